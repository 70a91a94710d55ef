"""Compress a column of a Parquet dataset on Spark, read it back and verify every value.

    python examples/spark_logs.py                                # Python's own library files
    python examples/spark_logs.py logs/ --column message --level 9 --output packed/
    python examples/spark_logs.py s3a://logs/ --column message --master spark://host:7077

Needs Java 17 and Spark (pip install '.[spark]'). Without --master it starts two worker processes
of one core on this machine. On a cluster, input and output must be where all workers see them.
"""

from __future__ import annotations

import argparse
import os
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from s4_codec import CpuZstd
from s4_codec.spark import compress, decompress, register

SETTINGS = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "FATAL",
    # A task has one core, and the other cores have tasks of their own.
    "spark.executorEnv.S4_NUM_THREADS": "1",
}


def library_files(folder: Path, rows_a_file: int = 250) -> None:
    """Writes the .py files of the running interpreter's library, as several Parquet files."""
    root = Path(sysconfig.get_path("stdlib"))
    paths = [p for p in sorted(root.rglob("*.py")) if "site-packages" not in p.parts]
    for start in range(0, len(paths), rows_a_file):
        part = paths[start : start + rows_a_file]
        bodies = pa.array([p.read_bytes() for p in part], pa.binary())
        table = pa.table({"path": list(map(str, part)), "body": bodies})
        pq.write_table(table, folder / f"{start:05}.parquet")


def start_spark(master: str) -> SparkSession:
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName("s4-codec").master(master)
    return builder.config(map=SETTINGS).getOrCreate()


def quoted(column: str) -> str:
    """A column's name in SQL."""
    return "`" + column.replace("`", "``") + "`"


def choose_column(table: DataFrame, wanted: str | None) -> tuple[str, int]:
    """The wanted column, or the binary or string one with the most bytes; and its bytes."""
    usable = [name for name, dtype in table.dtypes if dtype in ("binary", "string")]
    if not usable or (wanted or usable[0]) not in usable:
        what = f"{wanted!r} is not one of them" if usable else "there is none"
        sys.exit(f"a binary or string column is needed, {what}; columns: {dict(table.dtypes)}")
    names = [wanted] if wanted else usable
    sums = table.agg(*[F.sum(F.octet_length(quoted(name))) for name in names]).collect()[0]
    sizes = {name: size or 0 for name, size in zip(names, sums, strict=True)}
    column = max(names, key=lambda name: sizes[name])
    return column, sizes[column]


def largest_in_sql(spark: SparkSession, packed: DataFrame, column: str, codec: CpuZstd) -> int:
    """SQL finds the largest value by its size, and decompresses only that one."""
    register(spark, codec)
    packed.createOrReplaceTempView("packed")
    name = quoted(column)
    found = spark.sql(
        f"SELECT octet_length(s4_decompress(value)) FROM (SELECT {name} AS value FROM packed"
        f" ORDER BY {name}.original_size DESC NULLS LAST LIMIT 1)"
    )
    return int(found.collect()[0][0] or 0)


def run(spark: SparkSession, source: str, output: str, wanted: str | None, codec: CpuZstd) -> None:
    table = spark.read.parquet(source)
    column, original = choose_column(table, wanted)
    dtype = dict(table.dtypes)[column]
    rows, name = table.count(), quoted(column)
    files = len(table.inputFiles())
    print(f"column   {column!r}: {rows:,} rows in {files} files, {original:,} bytes of {dtype}")
    print(f"codec    {codec!r} on Spark {spark.version}, {spark.sparkContext.master}")

    start = time.perf_counter()
    packed = table.withColumn(column, compress(codec)(name))
    # The payloads are compressed already.
    packed.write.parquet(output, compression="uncompressed")
    compress_rate = rows / (time.perf_counter() - start)

    read_back = spark.read.parquet(output)
    payload = read_back.agg(F.sum(F.octet_length(f"{name}.payload"))).collect()[0][0] or 0
    print(f"payload  {payload:,} bytes, ratio {original / payload if payload else 1:.2f}")

    restored = read_back.withColumn(column, decompress(codec, dtype=dtype)(name))
    start = time.perf_counter()
    restored.write.format("noop").mode("overwrite").save()
    decompress_rate = rows / (time.perf_counter() - start)
    print(f"speed    compress {compress_rate:,.0f} rows/s, decompress {decompress_rate:,.0f} rows/s")
    largest = largest_in_sql(spark, read_back, column, codec)
    print(f"sql      found the largest value, {largest:,} bytes, by original_size")

    wrong = table.exceptAll(restored).count()
    if wrong or restored.count() != rows:
        sys.exit(f"{wrong:,} of {rows:,} rows differ")
    print(f"verified {rows:,} of {rows:,} values are what they were")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", nargs="?", help="Parquet file or folder; default: the library")
    parser.add_argument("--column", help="default: the binary or string column with most bytes")
    parser.add_argument("--level", type=int, default=3, help="of zstd, 1 to 22; default: 3")
    parser.add_argument("--output", help="new folder to write; default: none kept")
    parser.add_argument("--master", default="local-cluster[2,1,1024]", help="default: %(default)s")
    args = parser.parse_args()
    try:
        codec = CpuZstd(args.level)
    except ValueError as error:
        parser.error(str(error))
    with tempfile.TemporaryDirectory() as scratch:
        source = args.source or str(Path(scratch, "library"))
        output = args.output or str(Path(scratch, "compressed"))
        if args.source is None:
            Path(source).mkdir()
            library_files(Path(source))
        try:
            with start_spark(args.master) as spark:
                run(spark, source, output, args.column, codec)
        except PySparkException as error:
            sys.exit(f"Spark: {str(error).splitlines()[0]}")


if __name__ == "__main__":
    main()
