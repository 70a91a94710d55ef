"""Compress a column of a Parquet dataset with Dask, read it back and verify every value.

    python examples/dask_dataframe.py                            # Python's own library files
    python examples/dask_dataframe.py logs/ --column message --level 9 --output packed/
    python examples/dask_dataframe.py logs/ --column message --scheduler tcp://host:8786

Needs Dask (pip install '.[dask]'). Without --scheduler it starts two worker processes with one
thread each on this machine. On a cluster, all workers must have access to input and output.
"""

from __future__ import annotations

import argparse
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

import dask
import dask.dataframe as dd
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from dask.distributed import Client, LocalCluster

import s4_codec.arrow as s4
from s4_codec import CpuZstd


def library_files(folder: Path) -> str:
    """The .py files of this interpreter's standard library, as a folder of Parquet files."""
    root = Path(sysconfig.get_path("stdlib"))
    paths = [p for p in sorted(root.rglob("*.py")) if "site-packages" not in p.parts]
    folder.mkdir()
    for start in range(0, len(paths), 250):
        part = paths[start : start + 250]
        table = pa.table({"body": [p.read_bytes() for p in part], "path": list(map(str, part))})
        pq.write_table(table, folder / f"{start:05}.parquet")
    return str(folder)


def connect(scheduler: str | None) -> Client:
    if scheduler is not None:
        return Client(scheduler)
    # Each worker process uses one core, so it needs one thread.
    settings = {"env": {"S4_NUM_THREADS": "1"}, "dashboard_address": None}
    return Client(LocalCluster(n_workers=2, threads_per_worker=1, processes=True, **settings))


def read(folder: str) -> dd.DataFrame:
    """Read a data frame of Arrow columns, which are not copied. Each file is a partition."""
    types = {"types_mapper": pd.ArrowDtype}
    return dd.read_parquet(folder, split_row_groups=False, arrow_to_pandas=types)


def replaced(part: pd.DataFrame, column: str, values: pa.ChunkedArray) -> pd.DataFrame:
    array = pd.arrays.ArrowExtensionArray(pa.chunked_array(values))
    return part.assign(**{column: pd.Series(array, index=part.index)})


def compress(part: pd.DataFrame, column: str, codec: CpuZstd) -> pd.DataFrame:
    return replaced(part, column, s4.compress(pa.array(part[column]), codec))


def decompress(part: pd.DataFrame, column: str, codec: CpuZstd, dtype: str) -> pd.DataFrame:
    return replaced(part, column, s4.decompress(pa.array(part[column]), codec, dtype=dtype))


def size(part: pd.DataFrame, column: str) -> int:
    """The total size in bytes of the values, or of the payloads of compressed values."""
    values = pa.array(part[column])
    if pa.types.is_struct(values.type):
        values = pc.struct_field(values, "payload")
    return pc.sum(pc.binary_length(values)).as_py() or 0


def equal_rows(part: pd.DataFrame, restored: pd.DataFrame, column: str) -> int:
    """The number of rows of a partition that are unchanged."""
    before, after = (pa.array(each[column]).cast("large_binary") for each in (part, restored))
    both_null = pc.and_(before.is_null(), after.is_null())
    return pc.sum(pc.or_kleene(pc.equal(before, after), both_null)).as_py() or 0


def choose_column(types: dict[str, pa.DataType], wanted: str | None) -> str:
    kinds = (pa.binary(), pa.string(), pa.large_binary(), pa.large_string())
    usable = [name for name, dtype in types.items() if dtype in kinds]
    column = wanted or next(iter(usable), None)
    if column not in usable:
        found = f"{column!r} is not one" if column else "the table has none"
        sys.exit(f"expected a binary or string column, but {found}; columns: {types}")
    return column


def run(client: Client, source: str, output: str, wanted: str | None, codec: CpuZstd) -> None:
    table = read(source)
    types = {name: dtype.pyarrow_dtype for name, dtype in table.dtypes.items()}
    column = choose_column(types, wanted)
    original = sum(table.map_partitions(size, column).compute())
    rows, workers = len(table), len(client.ncores())
    print(f"column   {column!r}: {rows:,} rows, {original:,} bytes of {types[column]}")
    print(f"codec    {codec!r} on Dask {dask.__version__}, {workers} workers")

    start = time.perf_counter()
    packed = table.map_partitions(compress, column, codec)
    # The payloads are compressed already.
    packed.to_parquet(output, compression=None, schema={column: s4.COMPRESSED_TYPE})
    packing = rows / (time.perf_counter() - start)

    read_back = read(output)
    payload = sum(read_back.map_partitions(size, column).compute())
    print(f"payload  {payload:,} bytes, ratio {original / payload if payload else 1:.2f}")

    dtype = "large_string" if "string" in str(types[column]) else "large_binary"
    restored = read_back.map_partitions(decompress, column, codec, dtype)
    start = time.perf_counter()
    restored.map_partitions(len).compute()
    unpacking = rows / (time.perf_counter() - start)
    print(f"speed    compress {packing:,.0f} rows/s, decompress {unpacking:,.0f} rows/s")

    equal = dd.map_partitions(equal_rows, table, restored, column, align_dataframes=False)
    if (verified := sum(equal.compute())) != rows:
        sys.exit(f"{rows - verified:,} of {rows:,} values differ")
    print(f"verified {rows:,} of {rows:,} values came back unchanged")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", nargs="?", help="Parquet file or folder; default: the library")
    parser.add_argument("--column", help="default: the first binary or string column")
    parser.add_argument("--level", type=int, default=3, help="zstd level, 1 to 22; default: 3")
    parser.add_argument("--output", help="new folder to write; default: a temporary one")
    parser.add_argument("--scheduler", help="address of a running scheduler")
    args = parser.parse_args()
    if args.output and Path(args.output).exists():
        sys.exit(f"cannot write {args.output}: it exists already")
    with tempfile.TemporaryDirectory() as scratch:
        source = args.source or library_files(Path(scratch, "library"))
        output = args.output or str(Path(scratch, "compressed"))
        try:
            codec = CpuZstd(args.level)
            with connect(args.scheduler) as client:
                run(client, source, output, args.column, codec)
        except (OSError, ValueError) as error:
            sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
