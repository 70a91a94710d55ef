"""Compressed columns in files and tables of other tools: what one writes, any other reads back."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from codecs_table import DICTIONARY, text
from dictionaries_table import FRAMES, SET, VALUES
from pyarrow import dataset

import s4_codec.arrow
import s4_codec.polars as s4
from s4_codec import CpuGzip, CpuZstdDict, DictionarySet, Passthrough, crc32c

if TYPE_CHECKING:
    from collections.abc import Callable

deltalake = pytest.importorskip("deltalake", reason="deltalake is not installed: .[test]")
catalogs = pytest.importorskip(
    "pyiceberg.catalog.sql", reason="pyiceberg is not installed: .[test]"
)

TEXTS = [
    *[None if n % 7 == 3 else text(n * 31 % 400).decode() for n in range(100)],
    "",
    None,
    "größe " * 50,
    text(100_000).decode(),
]
CODECS = {"gzip": CpuGzip(), "dictionary": CpuZstdDict(DICTIONARY), "stored": Passthrough()}


def compressed(texts: list[str | None]) -> pl.DataFrame:
    """Texts and, under other names, what every verb makes of them."""
    frame = pl.DataFrame(
        {"id": range(len(texts)), "body": texts}, schema_overrides={"body": pl.String}
    )
    return frame.with_columns(
        s4.compress("body").alias("packed"),
        s4.encode("body").alias("frames"),
        *[s4.compress("body", codec).alias(name) for name, codec in CODECS.items()],
    )


def check(found: Any, texts: list[str | None] = TEXTS) -> None:
    """What was read is what was written; Polars and Arrow restore every column of it."""
    # A plan stays one, so that the columns are restored as they are scanned.
    frame = found if isinstance(found, (pl.DataFrame, pl.LazyFrame)) else pl.DataFrame(found)
    codecs = {"packed": "cpu-zstd"} | CODECS
    restored = frame.lazy().select(
        "id",
        "body",
        s4.decode("frames", dtype=pl.String),
        *[s4.decompress(name, codec, dtype=pl.String) for name, codec in codecs.items()],
    )
    want = sorted(enumerate(texts))
    for engine in ("in-memory", "streaming"):
        rows = restored.collect(engine=engine).sort("id").rows()  # type: ignore[call-overload]
        assert rows == [(number, *[body] * 6) for number, body in want]
    table = pa.table(frame.lazy().collect() if isinstance(found, pl.LazyFrame) else found)

    def by_id(values: pa.ChunkedArray) -> dict[int, str | None]:
        return dict(zip(table["id"].to_pylist(), values.to_pylist(), strict=True))

    wanted = dict(enumerate(texts))
    assert by_id(table["body"]) == wanted
    assert by_id(s4_codec.arrow.decode(table["frames"], dtype="large_string")) == wanted
    for name, codec in codecs.items():
        column = table[name]
        sizes = [column.type.field(field).type for field in ("original_size", "crc32c")]
        assert sizes == [pa.int64(), pa.int64()]
        assert by_id(s4_codec.arrow.decompress(column, codec, dtype="large_string")) == wanted
        assert column.null_count == texts.count(None)


class Format(NamedTuple):
    """Who writes and who reads a format. Writers of tables append."""

    writers: dict[str, Callable[[pl.DataFrame, Path], object]]
    readers: dict[str, Callable[[Path], Any]]


def with_duckdb(frame: pl.DataFrame, path: Path) -> None:
    with duckdb.connect() as connection:
        connection.register("frame", frame.to_arrow())
        connection.execute(f"copy frame to '{path}/duckdb.parquet'")


def read_by_duckdb(path: Path) -> pa.Table:
    with duckdb.connect() as connection:
        return pa.table(connection.sql(f"select * from '{path}/*.parquet'"))


def by_deltalake(path: Path) -> pa.Table:
    query = deltalake.QueryBuilder().register("t", deltalake.DeltaTable(path))
    return pa.table(query.execute("select * from t"))


def iceberg(path: Path) -> Any:
    """The table of the catalog in a folder."""
    catalog = catalogs.SqlCatalog("test", uri=f"sqlite:///{path}/c.db", warehouse=f"file://{path}")
    catalog.create_namespace_if_not_exists("s4")
    return catalog.create_table_if_not_exists("s4.logs", schema=compressed([]).to_arrow().schema)


FORMATS = {
    "Parquet": Format(
        {
            "Polars": lambda frame, path: frame.write_parquet(path / "polars.parquet"),
            "Polars, streaming": lambda frame, path: frame.lazy().sink_parquet(path / "s.parquet"),
            "PyArrow": lambda frame, path: pyarrow.parquet.write_table(
                frame.to_arrow(), path / "pyarrow.parquet"
            ),
            "DuckDB": with_duckdb,
        },
        {
            "Polars": lambda path: pl.read_parquet(path / "*.parquet"),
            "Polars, lazy": lambda path: pl.scan_parquet(path / "*.parquet"),
            "PyArrow": lambda path: dataset.dataset(path, format="parquet").to_table(),
            "DuckDB": read_by_duckdb,
        },
    ),
    "Arrow IPC": Format(
        {
            "Polars": lambda frame, path: frame.write_ipc(path / "polars.arrow"),
            "Polars, old": lambda frame, path: frame.write_ipc(
                path / "old.arrow", compat_level=pl.CompatLevel.oldest(), compression="zstd"
            ),
            "PyArrow": lambda frame, path: pyarrow.feather.write_feather(
                frame.to_arrow(), str(path / "pyarrow.arrow"), "uncompressed"
            ),
        },
        {
            "Polars": lambda path: pl.read_ipc(path / "*.arrow"),
            "Polars, lazy": lambda path: pl.scan_ipc(path / "*.arrow"),
            "PyArrow": lambda path: dataset.dataset(path, format="arrow").to_table(),
        },
    ),
    "Delta Lake": Format(
        {
            "Polars": lambda frame, path: frame.write_delta(path, mode="append"),
            "deltalake": lambda frame, path: deltalake.write_deltalake(
                path, frame.to_arrow(), mode="append"
            ),
        },
        {
            "Polars": lambda path: pl.read_delta(str(path)),
            "Polars, lazy": lambda path: pl.scan_delta(str(path)),
            "deltalake": by_deltalake,
        },
    ),
    "Iceberg": Format(
        {
            "Polars": lambda frame, path: frame.write_iceberg(iceberg(path), mode="append"),
            "pyiceberg": lambda frame, path: iceberg(path).append(frame.to_arrow()),
        },
        {
            "Polars": lambda path: pl.scan_iceberg(iceberg(path)).collect(),
            "Polars, lazy": lambda path: pl.scan_iceberg(iceberg(path)),
            "pyiceberg": lambda path: iceberg(path).scan().to_arrow(),
        },
    ),
}

WRITTEN = [
    pytest.param(name, writer, id=f"{name} by {writer}")
    for name, kind in FORMATS.items()
    for writer in kind.writers
]


@pytest.fixture(autouse=True)
def _planner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Polars plans scans of Iceberg by the package that is tested, without a warning."""
    monkeypatch.setenv("POLARS_ICEBERG_PLANNER", "pyiceberg")


@pytest.mark.parametrize(("name", "writer"), WRITTEN)
def test_whoever_writes_all_can_read(name: str, writer: str, tmp_path: Path) -> None:
    assert sum(crc32c(body.encode()) >= 2**31 for body in TEXTS if body is not None) > 10
    FORMATS[name].writers[writer](compressed(TEXTS), tmp_path)
    for read in FORMATS[name].readers.values():
        check(read(tmp_path))


@pytest.mark.parametrize("name", FORMATS)
def test_one_table_of_several_writers(name: str, tmp_path: Path) -> None:
    """Their files have one schema, so a table takes all of them, and null columns too."""
    frame = compressed(TEXTS)
    writers = FORMATS[name].writers.values()
    cuts = [len(TEXTS) * i // len(writers) for i in range(len(writers) + 1)]
    for write, (start, end) in zip(writers, itertools.pairwise(cuts), strict=True):
        write(frame.slice(start, end - start), tmp_path)
    for read in FORMATS[name].readers.values():
        check(read(tmp_path))


@pytest.mark.parametrize(("name", "writer"), WRITTEN)
@pytest.mark.parametrize("texts", [[], [None, None]], ids=["no rows", "nulls"])
def test_columns_without_values(
    name: str, writer: str, texts: list[str | None], tmp_path: Path
) -> None:
    FORMATS[name].writers[writer](compressed(texts), tmp_path)
    for read in FORMATS[name].readers.values():
        check(read(tmp_path), texts)


def test_a_dictionary_set_lives_beside_a_delta_table(tmp_path: Path) -> None:
    """Readers pass over a folder whose name starts with an underscore, and vacuum keeps it."""
    path = tmp_path / "events"
    pl.DataFrame({"body": FRAMES}).write_delta(path)
    SET.save(path / "_s4dict")
    pl.DataFrame({"body": FRAMES}).write_delta(path, mode="overwrite")
    table = deltalake.DeltaTable(path)
    removed = table.vacuum(0, dry_run=False, enforce_retention_duration=False)
    assert removed
    assert not any("_s4dict" in name for name in removed)
    found = DictionarySet.load(path / "_s4dict")
    assert found == SET
    restored = pl.scan_delta(str(path)).select(s4.decode("body", dictionary=found)).collect()
    assert restored["body"].to_list() == VALUES


def test_a_dictionary_set_lives_in_a_property_of_an_iceberg_table(tmp_path: Path) -> None:
    frame = pl.DataFrame({"body": FRAMES}).to_arrow()
    catalog = catalogs.SqlCatalog(
        "test", uri=f"sqlite:///{tmp_path}/c.db", warehouse=f"file://{tmp_path}"
    )
    catalog.create_namespace("s4")
    table = catalog.create_table("s4.events", schema=frame.schema)
    table.append(frame)
    with table.transaction() as transaction:
        transaction.set_properties(SET.to_metadata())
    reopened = catalog.load_table("s4.events")
    found = DictionarySet.from_metadata(reopened.properties)
    assert found == SET
    restored = s4_codec.arrow.decode(reopened.scan().to_arrow()["body"], dictionary=found)
    assert restored.to_pylist() == VALUES
