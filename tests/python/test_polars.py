"""Polars columns: round trips in every engine and shape."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pytest
from codecs_table import VALUES, Row, error, text, texts
from polars.testing import assert_frame_equal, assert_series_equal

import s4_codec.polars as s4
from s4_codec import Codec, CpuZstd, crc32c

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MANIFEST = pl.Struct({"payload": pl.Binary, "original_size": pl.Int64, "crc32c": pl.Int64})
CHECKSUMMED = pl.Struct([*MANIFEST.fields, pl.Field("payload_crc32c", pl.Int64)])


def rows(n: int) -> list[bytes | None]:
    """Rows of many sizes, with nulls."""
    return [None if i % 7 == 3 else text(i * 37 % 300) for i in range(n)]


def binary(values: list[bytes | None]) -> pl.Series:
    return pl.Series("body", values, dtype=pl.Binary)


COLUMNS = {
    "all values": binary([*VALUES, None]),
    "many rows": binary(rows(20_000)),
    "text": pl.Series("body", ["größe", None, "", "a" * 500], dtype=pl.String),
    "chunks": pl.concat([binary(rows(n)) for n in (1, 0, 5000, 3)], rechunk=False),
    "a slice": binary(rows(3000)).slice(1001, 777),
    "no rows": binary([]),
    "all null": binary([None] * 9),
    "one huge, many tiny": binary([text(20_000_000), *[b"x"] * 30_000]),
}

ENGINES: dict[str, Callable[[pl.LazyFrame], pl.DataFrame]] = {
    "in-memory": lambda frame: frame.collect(),
    "streaming": lambda frame: frame.collect(engine="streaming"),
}


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS)
def test_round_trip(
    codec: Codec, column: pl.Series, engine: Callable[[pl.LazyFrame], pl.DataFrame]
) -> None:
    frame = column.to_frame().with_row_index()
    packed = engine(frame.lazy().with_columns(s4.compress("body", codec)))
    assert packed.schema == {"index": pl.get_index_type(), "body": MANIFEST}
    assert packed.schema["body"] == s4.COMPRESSED_DTYPE
    lazy = packed.lazy().with_columns(s4.decompress("body", codec, dtype=column.dtype))
    assert lazy.collect_schema() == frame.schema
    assert_frame_equal(engine(lazy), frame)

    checksummed = s4.compress("body", codec, payload_checksum=True)
    lazy = frame.lazy().with_columns(checksummed)
    checked = engine(lazy)
    assert lazy.collect_schema() == checked.schema
    assert checked.schema["body"] == CHECKSUMMED
    fields = checked["body"].struct.unnest()
    assert_frame_equal(fields.drop("payload_crc32c"), packed["body"].struct.unnest())
    expected = [payload if payload is None else crc32c(payload) for payload in fields["payload"]]
    assert fields["payload_crc32c"].to_list() == expected
    restored = checked.lazy().with_columns(s4.decompress("body", codec, dtype=column.dtype))
    assert_frame_equal(engine(restored), frame)


def test_the_manifest_is_that_of_the_class(codec: Codec) -> None:
    values = [*rows(50), *VALUES]
    packed = binary(values).to_frame().select(s4.compress("body", codec)).to_series()
    for value, row in zip(values, packed.to_list(), strict=True):
        if value is None:
            assert row is None
            continue
        assert (row["original_size"], row["crc32c"]) == (len(value), crc32c(value))
        assert codec.decompress(row["payload"], len(value), crc32c(value)) == value


def test_nulls_are_outer_and_inner(codec: Codec) -> None:
    packed = binary([b"a", None]).to_frame().select(s4.compress("body", codec))
    assert packed["body"].null_count() == 1
    assert packed.unnest("body").null_count().row(0) == (1, 1, 1)


def test_a_null_payload_is_a_null_row(codec: Codec) -> None:
    packed = pl.Series("body", [{"payload": None, "original_size": 1, "crc32c": 2}], dtype=MANIFEST)
    assert packed.s4.decompress(codec).to_list() == [None]


@pytest.mark.parametrize("dtype", [pl.Binary, pl.String], ids=str)
def test_bare_payloads(codec: Codec, dtype: pl.DataType) -> None:
    values = [text(n * 11) for n in range(200)]
    bare = binary([codec.compress(value)[0] for value in values] + [None])
    restored = bare.to_frame().select(s4.decompress("body", codec, dtype=dtype)).to_series()
    assert_series_equal(restored, binary([*values, None]).cast(dtype))


def test_names_and_namespaces(codec: Codec) -> None:
    series = pl.Series("body", ["a", None, "b" * 100])
    packed = series.s4.compress(codec)
    assert packed.name == "body"
    assert_series_equal(packed.s4.decompress(codec, dtype=pl.String), series)
    frame = series.to_frame().select(
        pl.col("body").s4.compress(codec).s4.decompress(codec, dtype=pl.String)
    )
    assert_series_equal(frame["body"], series)


def test_codecs_by_name(row: Row) -> None:
    codec = row.codec
    if row.needs_dictionary:
        with pytest.raises(error("S4UnregisteredCodecError"), match="needs its dictionary"):
            s4.compress("body", codec.name)
        return
    series = pl.Series("body", [b"a" * 100])
    packed = series.s4.compress(codec.name)
    assert_series_equal(packed.s4.decompress(codec), series)
    # By name the device is open, and a CPU writes other bytes.
    if not row.on_gpu:
        assert_series_equal(packed, series.s4.compress(codec))
    assert_series_equal(series.s4.compress(codec).s4.decompress(codec.name), series)


def test_levels_reach_the_kernel() -> None:
    series = pl.Series("body", [text(100_000)])
    size = {
        level: series.s4.compress(CpuZstd(level)).struct.field("payload").bin.size().item()
        for level in (1, 19)
    }
    assert size[19] < size[1]


def test_expressions_of_every_kind(codec: Codec) -> None:
    frame = pl.DataFrame({"a": ["x" * 50, "y"], "b": ["p", "q" * 70]})
    packed = frame.select(s4.compress(pl.col("a") + pl.col("b"), codec))
    assert packed.select(s4.decompress("a", codec, dtype=pl.String))["a"].to_list() == [
        "x" * 50 + "p",
        "y" + "q" * 70,
    ]
    both = frame.select(pl.all().s4.compress(codec))
    assert_frame_equal(both.select(pl.all().s4.decompress(codec, dtype=pl.String)), frame)
    literal = pl.select(s4.compress(pl.lit("hello"), codec)).select(
        s4.decompress("literal", codec, dtype=pl.String)
    )
    assert literal.item() == "hello"


def test_group_by_over_and_filter(codec: Codec) -> None:
    frame = pl.DataFrame({"g": [1, 2, 1, 2, 3], "body": ["a" * 20, "b", None, "c" * 99, ""]})
    packed = frame.with_columns(pl.col("body").s4.compress(codec).over("g"))
    restored = pl.col("body").s4.decompress(codec, dtype=pl.String)
    assert_frame_equal(packed.with_columns(restored), frame)
    assert_frame_equal(packed.with_columns(restored.over("g")), frame)
    grouped = frame.group_by("g", maintain_order=True).agg(pl.col("body").s4.compress(codec))
    assert_frame_equal(grouped.explode("body").with_columns(restored), frame.sort("g"))
    kept = packed.lazy().with_columns(restored).filter(pl.col("body").str.len_bytes() > 19)
    assert kept.collect()["g"].to_list() == [1, 2]


def test_parquet_pipelines(codec: Codec, tmp_path: Path) -> None:
    frame = pl.DataFrame({"id": range(5000), "body": rows(5000)})
    frame.write_parquet(tmp_path / "in.parquet")
    packed = pl.scan_parquet(tmp_path / "in.parquet").with_columns(s4.compress("body", codec))
    packed.sink_parquet(tmp_path / "packed.parquet")
    restored = pl.scan_parquet(tmp_path / "packed.parquet").with_columns(
        s4.decompress("body", codec)
    )
    restored.sink_parquet(tmp_path / "out.parquet")
    assert_frame_equal(pl.read_parquet(tmp_path / "out.parquet"), frame)


def test_columns_outlive_their_frames(codec: Codec) -> None:
    """Output memory is recycled only once nothing refers to it."""
    series = [binary(texts(3000)) for _ in range(6)]
    packed = [s.s4.compress(codec) for s in series]
    slices = [p.slice(17, 5) for p in packed]
    del packed
    others = rows(20_000)
    for _ in range(6):
        binary(others).s4.compress(codec).s4.decompress(codec)
    for part in slices:
        assert part.s4.decompress(codec).to_list() == texts(3000)[17:22]
