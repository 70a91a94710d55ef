"""Table files as the command reads them: every format, and what is said about bad ones."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

import s4_codec
from s4_codec._cli.streams import Failure
from s4_codec._cli.tables import read_column

TABLE = pl.DataFrame({"id": range(300), "body": [f"row {n} \u20ac" * (n % 7) for n in range(300)]})

WRITERS: dict[str, Callable[[pl.DataFrame, Path], object]] = {
    "rows.parquet": pl.DataFrame.write_parquet,
    "rows.PQ": pl.DataFrame.write_parquet,
    "rows.arrow": pl.DataFrame.write_ipc,
    "rows.arrows": pl.DataFrame.write_ipc_stream,
    "rows.csv": pl.DataFrame.write_csv,
    "rows.tsv": lambda table, path: table.write_csv(path, separator="\t"),
    "rows.ndjson": pl.DataFrame.write_ndjson,
    "rows.jsonl": pl.DataFrame.write_ndjson,
    # Content, not the suffix, tells Parquet and Arrow; Polars would expand the last names.
    "parquet-without-suffix": pl.DataFrame.write_parquet,
    "stream.feather": pl.DataFrame.write_ipc_stream,
    "rows[1]*.parquet": pl.DataFrame.write_parquet,
    "rows?.ndjson": pl.DataFrame.write_ndjson,
}


@pytest.mark.parametrize("column", ["body", None])
@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_column(tmp_path: Path, name: str, column: str | None) -> None:
    path = tmp_path / name
    WRITERS[name](TABLE, path)
    found = read_column(str(path), column)
    assert (found.name, found.dtype) == ("body", pl.String)
    # CSV cannot tell the empty string from null.
    assert found.fill_null("").equals(TABLE["body"])


def test_text_becomes_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = b"one\n\ntwo\r\n\xff not UTF-8\nlast without an end"
    (tmp_path / "app.log").write_bytes(text)
    monkeypatch.setattr("s4_codec._cli.tables._TEXT_PIECE", 5)
    found = read_column(str(tmp_path / "app.log"))
    assert found.to_list() == text.splitlines()
    assert (found.name, found.dtype) == ("line", pl.Binary)
    (tmp_path / "empty.log").touch()
    assert read_column(str(tmp_path / "empty.log"), "line").dtype == pl.Binary


def test_a_named_column_of_text_formats_is_text(tmp_path: Path) -> None:
    rows = ['{"id": 1, "nested": {"a": 1}}'] * 200 + ['{"late": "x"}']
    (tmp_path / "rows.ndjson").write_text("\n".join(rows))
    path = str(tmp_path / "rows.ndjson")
    assert read_column(path, "id")[0] == "1"
    assert read_column(path, "nested")[0].replace(" ", "") == '{"a":1}'
    assert read_column(path, "late").drop_nulls().to_list() == ["x"]
    numbers = "\n".join(["hash", *["123"] * 200, "12ab"])
    (tmp_path / "rows.csv").write_text(numbers)
    assert read_column(str(tmp_path / "rows.csv"), "hash")[-1] == "12ab"


def ipc_stream(table: pl.DataFrame) -> bytes:
    stream = io.BytesIO()
    table.write_ipc_stream(stream)
    return stream.getvalue()


BAD: dict[str, tuple[str, bytes | pl.DataFrame, str | None, list[str]]] = {
    "several": (
        "a.csv",
        b"a,b,n\nx,y,1\n",
        None,
        ["2 columns are String or Binary; pass --column NAME", "a (String), b (String), n (Int64)"],
    ),
    "none": ("a.csv", b"n\n1\n", None, ["no column is String or Binary", "n (Int64)"]),
    "missing": ("a.parquet", TABLE, "no", ["has no column 'no'", "id (Int64), body (String)"]),
    "missing in a stream": ("a", ipc_stream(TABLE), "no", ["has no column 'no'", "body (String)"]),
    "numbers": ("a.parquet", TABLE, "id", ["column 'id' is Int64; expected String or Binary"]),
    "lines": ("a.log", b"x\n", "body", ["lines of text", "'line', not 'body'", ".parquet"]),
    "compressed": ("a.csv.gz", gzip.compress(b"x"), None, ["is compressed with gzip"]),
    "frames": ("a.s4", s4_codec.CpuZstd().encode(b"x"), None, ["compressed with s4-codec"]),
    "binary": ("a.png", b"\x89PNG\0\0", None, ["is a binary file; expected Parquet"]),
    "truncated": ("a.parquet", b"PAR1 and no more", None, ["cannot be read as PARQUET"]),
    "not JSON": ("a.ndjson", b"not JSON\n", None, ["cannot be read as NDJSON"]),
    "empty CSV": ("a.csv", b"", None, ["cannot be read as CSV"]),
    "not UTF-8": ("a.csv", b"a\n\xff\n", "a", ["cannot be read as CSV", "utf-8"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_explained(tmp_path: Path, case: str) -> None:
    name, content, column, words = BAD[case]
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content.write_parquet(path)
    with pytest.raises(Failure) as caught:
        read_column(str(path), column)
    for word in [str(path), *words]:
        assert word in str(caught.value)


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"nope\.parquet: No such file"):
        read_column(str(tmp_path / "nope.parquet"))
    with pytest.raises(Failure, match="Is a directory"):
        read_column(str(tmp_path))
