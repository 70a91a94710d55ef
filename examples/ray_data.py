"""Compress a column of a Parquet dataset with Ray Data, read it back and verify every value.

    python examples/ray_data.py                                  # Python's own library files
    python examples/ray_data.py logs/ --column message --level 9 --output packed/
    python examples/ray_data.py s3://logs/ --column message --address host:6379

Needs Ray (pip install '.[ray]'). Without --address it starts Ray on this machine. On a cluster,
all workers must have access to input and output.
"""

from __future__ import annotations

import argparse
import logging
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray
from ray.data import DataContext, Dataset, read_parquet
from ray.exceptions import RayError

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


def start_ray(address: str | None) -> None:
    # Each task uses one core, so it needs one thread.
    environment = {"env_vars": {"S4_NUM_THREADS": "1"}}
    ray.init(address, runtime_env=environment, logging_level=logging.ERROR, log_to_driver=False)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    DataContext.get_current().enable_progress_bars = False


def compress(batch: pa.Table, column: str, codec: CpuZstd) -> pa.Table:
    place = batch.column_names.index(column)
    return batch.set_column(place, column, s4.compress(batch[column], codec))


def decompress(batch: pa.Table, column: str, codec: CpuZstd, dtype: str) -> pa.Table:
    place = batch.column_names.index(column)
    return batch.set_column(place, column, s4.decompress(batch[column], codec, dtype=dtype))


def size(batch: pa.Table, column: str) -> pa.Table:
    """The total size in bytes of the values, or of the payloads of compressed values."""
    values = batch[column]
    if pa.types.is_struct(values.type):
        values = pc.struct_field(values, "payload")
    return pa.table({"bytes": [pc.sum(pc.binary_length(values)).as_py() or 0]})


def digests(batch: pa.Table, column: str) -> pa.Table:
    buffers = [value.as_buffer() for value in batch[column].cast("large_binary")]
    found = [None if buffer is None else sha256(buffer).hexdigest() for buffer in buffers]
    return pa.table({"digest": pa.array(found, pa.string())})


def mapped(table: Dataset, function: Callable[..., pa.Table], **arguments: object) -> Dataset:
    return table.map_batches(function, batch_format="pyarrow", fn_kwargs=arguments)


def choose_column(types: dict[str, pa.DataType], wanted: str | None) -> str:
    kinds = (pa.binary(), pa.string(), pa.large_binary(), pa.large_string())
    usable = [name for name, dtype in types.items() if dtype in kinds]
    column = wanted or next(iter(usable), None)
    if column not in usable:
        found = f"{column!r} is not one" if column else "the table has none"
        sys.exit(f"expected a binary or string column, but {found}; columns: {types}")
    return column


def run(source: str, output: str, wanted: str | None, codec: CpuZstd) -> None:
    table = read_parquet(source)
    schema = table.schema()
    types = dict(zip(schema.names, schema.types, strict=True))
    column = choose_column(types, wanted)
    original = mapped(table, size, column=column).sum("bytes")
    rows, cores = table.count(), int(ray.cluster_resources()["CPU"])
    print(f"column   {column!r}: {rows:,} rows, {original:,} bytes of {types[column]}")
    print(f"codec    {codec!r} on Ray {ray.__version__}, {cores} cores")

    start = time.perf_counter()
    # The payloads are compressed already.
    mapped(table, compress, column=column, codec=codec).write_parquet(output, compression="none")
    packing = rows / (time.perf_counter() - start)

    read_back = read_parquet(output)
    payload = mapped(read_back, size, column=column).sum("bytes")
    print(f"payload  {payload:,} bytes, ratio {original / payload if payload else 1:.2f}")

    dtype = "large_string" if "string" in str(types[column]) else "large_binary"
    start = time.perf_counter()
    restored = mapped(read_back, decompress, column=column, codec=codec, dtype=dtype).materialize()
    unpacking = rows / (time.perf_counter() - start)
    print(f"speed    compress {packing:,.0f} rows/s, decompress {unpacking:,.0f} rows/s")

    # Ray returns rows in any order, so this compares digests.
    before, after = (
        Counter(row["digest"] for row in mapped(each, digests, column=column).iter_rows())
        for each in (table, restored)
    )
    if before != after:
        sys.exit(f"{(before - after).total():,} of {rows:,} values differ")
    print(f"verified {rows:,} of {rows:,} values came back unchanged")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", nargs="?", help="Parquet file or folder; default: the library")
    parser.add_argument("--column", help="default: the first binary or string column")
    parser.add_argument("--level", type=int, default=3, help="zstd level, 1 to 22; default: 3")
    parser.add_argument("--output", help="new folder to write; default: a temporary one")
    parser.add_argument("--address", help="address of a running Ray cluster")
    args = parser.parse_args()
    if args.output and Path(args.output).exists():
        sys.exit(f"cannot write {args.output}: it exists already")
    with tempfile.TemporaryDirectory() as scratch:
        source = args.source or library_files(Path(scratch, "library"))
        output = args.output or str(Path(scratch, "compressed"))
        try:
            codec = CpuZstd(args.level)
            start_ray(args.address)
            run(source, output, args.column, codec)
        except (OSError, ValueError, RuntimeError, RayError) as error:
            sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
