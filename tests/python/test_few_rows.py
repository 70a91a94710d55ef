"""Reading a few rows decompresses those rows alone: all others are damaged, and nothing raises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest
from polars.exceptions import ComputeError

import s4_codec.arrow
import s4_codec.polars as s4
from s4_codec import S4IoError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VALUES = [b"value %d " % row * 20 for row in range(300)]
FIRST, LAST = 140, 149
WANTED = VALUES[FIRST : LAST + 1]
IDS = list(range(FIRST, LAST + 1))

IS_WANTED = pl.col("id").is_between(FIRST, LAST)
BODY = s4.decompress("body")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Parquet file in which the payloads of all rows but those wanted are damaged."""
    packed = pl.DataFrame({"id": range(len(VALUES)), "body": VALUES}).with_columns(
        s4.compress("body")
    )
    payload = pl.col("body").struct.field("payload")
    damaged = pl.when(IS_WANTED).then(payload).otherwise(pl.lit(b"damaged"))
    path = tmp_path_factory.mktemp("few-rows") / "rows.parquet"
    packed.with_columns(pl.col("body").struct.with_fields(payload=damaged)).write_parquet(
        path, row_group_size=50, compression="uncompressed"
    )
    return path


#: Plans in which Polars decompresses before or after it selects rows, as they are written.
PLANS: dict[str, Callable[[pl.LazyFrame], pl.LazyFrame]] = {
    "filter first": lambda rows: rows.filter(IS_WANTED).select("id", BODY),
    "filter last": lambda rows: rows.with_columns(BODY).filter(IS_WANTED),
    "filter of a selection": lambda rows: rows.select("id", BODY).filter(IS_WANTED),
    "filter beside a new column": lambda rows: rows.with_columns(value=BODY).filter(IS_WANTED),
    "filter by a list": lambda rows: rows.with_columns(BODY).filter(
        pl.col("id").is_in(pl.Series(IDS).implode())
    ),
    "filter by the value too": lambda rows: rows.with_columns(BODY).filter(
        IS_WANTED & pl.col("body").bin.starts_with(b"value")
    ),
    "filter by the value, then by id": lambda rows: (
        rows.with_columns(BODY).filter(pl.col("body").bin.starts_with(b"value")).filter(IS_WANTED)
    ),
    "named rows": lambda rows: rows.with_columns(s4.decompress("body", row="id")).filter(IS_WANTED),
    "verified": lambda rows: (
        rows.with_columns(BODY, bad=s4.verify("body"))
        .filter(IS_WANTED, pl.col("bad").is_null())
        .drop("bad")
    ),
    "slice last": lambda rows: rows.with_columns(BODY).slice(FIRST, len(IDS)),
    "join first": lambda rows: rows.join(
        pl.LazyFrame({"id": IDS}), on="id", how="semi"
    ).with_columns(BODY),
    "gather first": lambda rows: rows.select(pl.all().gather(IDS)).with_columns(BODY),
    "filter inside": lambda rows: rows.select(s4.decompress(pl.col("body").filter(IS_WANTED))),
    "null elsewhere": lambda rows: rows.select(
        s4.decompress(pl.when(IS_WANTED).then(pl.col("body")))
    ).drop_nulls(),
    "sort first": lambda rows: rows.sort("id").slice(FIRST, len(IDS)).with_columns(BODY),
    "fields": lambda rows: (
        rows.unnest("body")
        .filter(IS_WANTED)
        .select(body=s4.decompress(pl.struct("payload", "original_size", "crc32c")))
    ),
    "bare payloads": lambda rows: rows.select(
        "id", body=s4.decompress(pl.col("body").struct.field("payload"))
    ).filter(IS_WANTED),
}


@pytest.mark.parametrize("engine", ["in-memory", "streaming"])
@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_polars(
    path: Path, plan: Callable[[pl.LazyFrame], pl.LazyFrame], engine: pl._typing.EngineType
) -> None:
    for rows in (pl.scan_parquet(path), pl.read_parquet(path).lazy()):
        assert plan(rows).collect(engine=engine).to_series(-1).to_list() == WANTED
        with pytest.raises(ComputeError, match="row"):
            rows.select(BODY).collect(engine=engine)


@pytest.mark.parametrize(
    "plan",
    [
        lambda rows: rows.with_columns(BODY).select("id"),
        lambda rows: rows.with_columns(BODY).select(pl.len()),
        lambda rows: rows.with_columns(value=BODY).drop("value"),
    ],
    ids=["select", "len", "drop"],
)
def test_polars_columns_that_nobody_reads(
    path: Path, plan: Callable[[pl.LazyFrame], pl.LazyFrame]
) -> None:
    assert len(plan(pl.scan_parquet(path)).collect())


def arrow_mask(table: pa.Table) -> pa.ChunkedArray:
    return pc.is_in(table["id"], pa.array(IDS))


def null_elsewhere(path: Path) -> pa.Array:
    """The structs of all rows, null where they are not wanted; the fields are not."""
    table = ds.dataset(path).to_table().combine_chunks()
    (body,) = table["body"].chunks
    mask = pc.invert(arrow_mask(table)).combine_chunks()
    structs = pa.StructArray.from_arrays(body.flatten(), fields=list(body.type), mask=mask)
    return s4_codec.arrow.decompress(structs).drop_null()


def projected(path: Path) -> pa.Array:
    """What a scan returns that decompresses with a registered function."""
    dataset = ds.dataset(path)
    dtype = dataset.schema.field("body").type
    *_, name = s4_codec.arrow.register_compute_functions("cpu-zstd", dtype)
    projection = {"body": ds.field("body")._call(name, [ds.field("body")])}
    condition = (ds.field("id") >= FIRST) & (ds.field("id") <= LAST)
    return dataset.to_table(projection, filter=condition)["body"]


def read(path: Path) -> pa.Table:
    return ds.dataset(path).to_table()


def duckdb_rows(path: Path, condition: str) -> Any:
    duckdb = pytest.importorskip("duckdb")
    return duckdb.sql(f"SELECT body FROM '{path}' {condition}")


#: Rows selected by PyArrow or DuckDB, then decompressed.
SELECTIONS: dict[str, Callable[[Path], Any]] = {
    "scan": lambda path: ds.dataset(path).to_table(filter=ds.field("id").isin(IDS))["body"],
    "scan, as a stream": lambda path: (
        ds.dataset(path).scanner(["body"], filter=ds.field("id").isin(IDS)).to_reader()
    ),
    "take from a dataset": lambda path: ds.dataset(path).take(IDS)["body"],
    "filter": lambda path: read(path).filter(arrow_mask(read(path)))["body"],
    "take": lambda path: read(path).take(IDS)["body"],
    "slice": lambda path: read(path).slice(FIRST, len(IDS))["body"],
    "slice of an array": lambda path: (
        read(path).combine_chunks()["body"].chunk(0).slice(FIRST, len(IDS))
    ),
    "slice of payloads": lambda path: (
        read(path).combine_chunks()["body"].chunk(0).field("payload").slice(FIRST, len(IDS))
    ),
    "DuckDB, a range": lambda path: duckdb_rows(path, f"WHERE id BETWEEN {FIRST} AND {LAST}"),
    "DuckDB, a list": lambda path: duckdb_rows(path, f"WHERE id IN {tuple(IDS)} ORDER BY id"),
    "DuckDB, a join": lambda path: duckdb_rows(
        path, f"JOIN (SELECT unnest({IDS}) AS id) USING (id) ORDER BY id"
    ),
}


@pytest.mark.parametrize("selection", SELECTIONS.values(), ids=SELECTIONS)
def test_arrow(path: Path, selection: Callable[[Path], Any]) -> None:
    assert s4_codec.arrow.decompress(selection(path)).to_pylist() == WANTED
    with pytest.raises(S4IoError, match="row 0"):
        s4_codec.arrow.decompress(read(path)["body"])


@pytest.mark.parametrize("function", [null_elsewhere, projected])
def test_arrow_results(path: Path, function: Callable[[Path], Any]) -> None:
    assert function(path).to_pylist() == WANTED


def test_a_slice_of_structs_is_imported_without_its_other_rows() -> None:
    """Import checks every row, so slice after slice would take quadratic time."""
    packed = s4_codec.arrow.compress(pa.array(VALUES))
    payload, *numbers = packed.flatten()
    _, offsets, values = payload.buffers()
    damaged = bytearray(offsets)
    damaged[8:16] = (1 << 62).to_bytes(8, "little")
    payload = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(payload), [None, pa.py_buffer(damaged), values]
    )
    structs = pa.StructArray.from_arrays([payload, *numbers], fields=list(packed.type))
    restored = s4_codec.arrow.decompress(structs.slice(FIRST, len(IDS)))
    assert restored.to_pylist() == WANTED
    with pytest.raises(ValueError, match="offsets are negative or descend"):
        s4_codec.arrow.decompress(structs)
