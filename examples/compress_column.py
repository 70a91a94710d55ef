"""Compress a real column, write it to Parquet, read it back and verify every value.

    python examples/compress_column.py                       # Python's own library files
    python examples/compress_column.py logs.parquet --column body
    python examples/compress_column.py access.log --codec cpu-gzip --level 9

The file may be Parquet, Arrow IPC, CSV, TSV, NDJSON (.ndjson, .jsonl), or text with one row per
line.
"""

from __future__ import annotations

import argparse
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

import polars as pl

import s4_codec
import s4_codec.polars as s4

CODECS = {
    "cpu-zstd": s4_codec.CpuZstd,
    "cpu-gzip": s4_codec.CpuGzip,
    "passthrough": s4_codec.Passthrough,
}


def library_files() -> pl.DataFrame:
    """The .py files of this interpreter's standard library."""
    root = Path(sysconfig.get_path("stdlib"))
    paths = [p for p in sorted(root.rglob("*.py")) if "site-packages" not in p.parts]
    return pl.DataFrame({"path": map(str, paths), "body": [p.read_bytes() for p in paths]})


def text_lines(path: Path) -> pl.DataFrame:
    """The lines of a text file, without line ends."""
    return pl.DataFrame({"line": path.read_bytes().splitlines()}, schema={"line": pl.Binary})


def read(path: Path) -> pl.DataFrame:
    """Read a table in the format that the file's suffix names."""
    match path.suffix.lower():
        case ".parquet" | ".pq":
            return pl.read_parquet(path)
        case ".arrow" | ".ipc" | ".feather":
            return pl.read_ipc(path)
        case ".csv":
            return pl.read_csv(path)
        case ".tsv":
            return pl.read_csv(path, separator="\t")
        case ".ndjson" | ".jsonl":
            return pl.read_ndjson(path)
        case ".gz" | ".zst" | ".zip" | ".bz2" | ".xz":
            sys.exit(f"cannot read {path}: it is compressed already; decompress it first")
        case _:
            return text_lines(path)


def total_bytes(values: pl.Series) -> int:
    """The total size in bytes of the values of a Binary column."""
    # Polars adds 32-bit sizes modulo 2^32.
    return int(values.bin.size().cast(pl.Int64).sum())


def choose_column(table: pl.DataFrame, wanted: str | None) -> str:
    """The wanted column, or else the largest Binary or String column."""
    usable = {
        name: total_bytes(table[name].cast(pl.Binary))
        for name, dtype in table.schema.items()
        if dtype in (pl.Binary, pl.String)
    }
    if wanted is None and usable:
        return max(usable, key=lambda name: usable[name])
    if wanted in usable:
        return wanted
    found = f"{wanted!r} is not one" if wanted else "the table has none"
    sys.exit(f"expected a Binary or String column, but {found}; columns: {dict(table.schema)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, help="default: Python's library files")
    parser.add_argument("--column", help="default: the largest Binary or String column")
    parser.add_argument("--codec", choices=CODECS, default="cpu-zstd")
    parser.add_argument("--level", type=int, help="1 to 22 for zstd, 0 to 9 for gzip")
    parser.add_argument(
        "--output", type=Path, help="Parquet file to write; default: a temporary one"
    )
    args = parser.parse_args()
    if args.level is not None and args.codec == "passthrough":
        parser.error("passthrough has no level")
    try:
        codec = CODECS[args.codec](*([] if args.level is None else [args.level]))
    except ValueError as error:
        parser.error(str(error))

    try:
        table = library_files() if args.file is None else read(args.file)
    except (OSError, pl.exceptions.PolarsError) as error:
        sys.exit(f"cannot read {args.file}: {error}")
    column = choose_column(table, args.column)
    dtype = table.schema[column]
    values = table[column]
    original = total_bytes(values.cast(pl.Binary))
    threads = s4_codec.num_threads()
    print(f"column   {column!r}: {len(values):,} rows, {original:,} bytes of {dtype}")
    print(f"codec    {codec!r} on {threads} thread{'s' * (threads > 1)}")

    start = time.perf_counter()
    packed = table.with_columns(s4.compress(column, codec))
    compress_seconds = time.perf_counter() - start
    payload = total_bytes(packed[column].struct.field("payload"))

    with tempfile.TemporaryDirectory() as scratch:
        path = args.output or Path(scratch) / "compressed.parquet"
        try:
            # The payloads are compressed already.
            packed.write_parquet(path, compression="uncompressed")
        except OSError as error:
            sys.exit(f"cannot write {path}: {error}")
        print(f"written  {path.stat().st_size:,} bytes of Parquet")
        read_back = pl.read_parquet(path)

    start = time.perf_counter()
    restored = read_back.with_columns(s4.decompress(column, codec, dtype=dtype))
    decompress_seconds = time.perf_counter() - start
    if not restored[column].equals(values, null_equal=True):
        sys.exit("the restored column differs from the original")

    ratio = original / payload if payload else 1.0
    print(f"payload  {payload:,} bytes, ratio {ratio:.2f}")
    print(f"speed    compress {original / compress_seconds / 1e6:,.0f} MB/s, ", end="")
    print(f"decompress {original / decompress_seconds / 1e6:,.0f} MB/s")
    print(f"verified {len(values):,} of {len(values):,} values came back unchanged")


if __name__ == "__main__":
    main()
