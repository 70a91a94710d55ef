"""Write a partitioned Parquet dataset with a compressed column, scan it and verify every value.

    python examples/arrow_dataset.py                        # Python's own library files
    python examples/arrow_dataset.py logs.parquet --column body --partition day
    python examples/arrow_dataset.py --codec cpu-gzip --output some-folder

PyArrow decompresses during the scan, with a registered compute function. If DuckDB is
installed, it queries the same files and returns Arrow data.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import sysconfig
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

import s4_codec.arrow as s4
from s4_codec import Codec

CODECS = ("cpu-zstd", "cpu-gzip", "passthrough")


def library_files() -> pa.Table:
    """The .py files of this interpreter's standard library, with their top-level folders."""
    root = Path(sysconfig.get_path("stdlib"))
    paths = [p for p in sorted(root.rglob("*.py")) if "site-packages" not in p.parts]
    names = [p.relative_to(root) for p in paths]
    return pa.table(
        {
            "folder": [name.parts[0] if len(name.parts) > 1 else "." for name in names],
            "path": list(map(str, names)),
            "body": [p.read_bytes() for p in paths],
        }
    )


def is_compressible(column: pa.ChunkedArray) -> bool:
    """Whether a column can be compressed. An empty slice of it is enough to tell."""
    try:
        s4.compress(column[:0])
    except TypeError:
        return False
    return not pa.types.is_null(column.type)


def free_name(table: pa.Table) -> str:
    """A column name that the table does not have."""
    name = "row"
    while name in table.column_names:
        name += "_"
    return name


def size_on_disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.parquet"))


def write(table: pa.Table, folder: Path, column: str, codec: Codec, partition: str | None) -> None:
    """Write ``table`` with ``column`` compressed, one folder per value of ``partition``."""
    packed = s4.compress(table[column], codec)
    table = table.set_column(table.column_names.index(column), column, packed)
    # The payloads are compressed already.
    options = ds.ParquetFileFormat().make_write_options(compression="none")
    parts = [partition] if partition else None
    ds.write_dataset(
        table,
        folder,
        format="parquet",
        file_options=options,
        partitioning=parts,
        partitioning_flavor="hive" if parts else None,
        max_partitions=100_000,
    )


def scan(folder: Path, column: str, codec: Codec) -> pa.Table:
    """Read the dataset. The scan decompresses ``column`` batch by batch."""
    dataset = ds.dataset(folder, format="parquet", partitioning="hive")
    _, decompress = s4.register_compute_functions(codec, "large_binary")
    projection = {name: ds.field(name) for name in dataset.schema.names}
    # PyArrow has no public way to call a registered function in a projection.
    projection[column] = ds.field(column)._call(decompress, [ds.field(column)])
    return dataset.to_table(projection)


def largest_with_duckdb(folder: Path, column: str, codec: Codec) -> bytes | None:
    """Find the largest value with DuckDB by its size, and decompress only that one."""
    import duckdb

    # SQL escapes a quote by doubling it.
    files = str(folder / "**" / "*.parquet").replace("'", "''")
    name = '"' + column.replace('"', '""') + '"'
    query = f"SELECT {name} FROM '{files}' ORDER BY {name}.original_size DESC NULLS LAST LIMIT 1"
    with duckdb.connect() as connection:
        value: bytes | None = s4.decompress(connection.sql(query), codec)[0].as_py()
    return value


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", nargs="?", type=Path, help="Parquet; default: Python's library")
    parser.add_argument("--column", help="default: the largest binary or string column")
    parser.add_argument("--partition", help="column to partition by")
    parser.add_argument("--codec", choices=CODECS, default="cpu-zstd", help="default: cpu-zstd")
    parser.add_argument("--level", type=int, help="1 to 22 for zstd, 0 to 9 for gzip")
    parser.add_argument("--output", type=Path, help="new folder to write; default: a temporary one")
    args = parser.parse_args()
    try:
        codec = Codec.from_name(args.codec, args.level)
    except ValueError as error:
        parser.error(str(error))
    try:
        table = library_files() if args.file is None else pq.read_table(args.file)
    except FileNotFoundError:
        sys.exit(f"cannot read {args.file}: file not found")
    except (OSError, pa.ArrowException) as error:
        sys.exit(f"cannot read {args.file}: {error}")
    if not len(table):
        sys.exit(f"{args.file} has no rows")
    if args.output is not None and args.output.exists() and any(args.output.iterdir()):
        sys.exit(f"cannot write {args.output}: the folder is not empty")
    partition = args.partition or ("folder" if args.file is None else None)
    usable = {
        name: table[name].nbytes
        for name in table.column_names
        if name != partition and is_compressible(table[name])
    }
    column: str = args.column or max(usable, key=lambda name: usable[name], default="")
    if column not in usable:
        found = f"{column!r} is not one" if column else "the table has none"
        sys.exit(f"expected a binary or string column, but {found}; columns: {table.schema.names}")
    if partition is not None and partition not in table.column_names:
        sys.exit(f"no column {partition!r} to partition by; columns: {table.schema.names}")

    # The scan returns files in any order, so a row number identifies the rows.
    row = free_name(table)
    table = table.append_column(row, pa.array(range(len(table)), pa.int64()))
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.output or Path(scratch) / "dataset"
        try:
            write(table, folder, column, codec, partition)
        except (OSError, pa.ArrowException) as error:
            sys.exit(f"cannot write {folder}: {error}")
        files = len(list(folder.rglob("*.parquet")))
        original = table[column].nbytes
        print(f"column   {column!r}: {len(table):,} rows, {original:,} bytes")
        print(f"written  {files} files, {size_on_disk(folder):,} bytes, with {codec!r}")
        restored = scan(folder, column, codec).sort_by(row)
        expected = s4.decompress(table[column], "passthrough")
        if not restored[column].equals(expected):
            sys.exit("the scan returned other values than were written")
        print(f"scanned  {len(restored):,} rows, all values unchanged")
        if expected.null_count < len(expected) and importlib.util.find_spec("duckdb"):
            largest = largest_with_duckdb(folder, column, codec)
            if largest is None:
                sys.exit("DuckDB found no value")
            if len(largest) != pc.max(pc.binary_length(expected)).as_py():
                sys.exit(f"expected the largest value, but DuckDB found {len(largest):,} bytes")
            print(f"duckdb   found the largest value, {len(largest):,} bytes, by original_size")


if __name__ == "__main__":
    main()
