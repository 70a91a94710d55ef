"""Compress a column of a Parquet dataset on Spark, read it back and verify every value.

    python examples/spark_logs.py                                # Python's own library files
    python examples/spark_logs.py logs/ --column message --level 9 --output packed/
    python examples/spark_logs.py s3a://logs/ --column message --master spark://host:7077

Needs Java 17 and Spark (pip install '.[spark]'). Without --master it starts two worker processes
with one core each on this machine. On a cluster, all workers must have access to input and
output.
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
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from s4_codec import CpuZstd
from s4_codec.spark import compress, decompress, register

SETTINGS = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "FATAL",
    # Each task uses one core, so it needs one thread.
    "spark.executorEnv.S4_NUM_THREADS": "1",
    # Batches of a few MB are the fastest. The second setting is for batches read from Parquet.
    "spark.sql.execution.arrow.maxRecordsPerBatch": "1000",
    "spark.sql.parquet.columnarReaderBatchSize": "1000",
}


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


def start_spark(master: str) -> SparkSession:
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    return SparkSession.builder.master(master).config(map=SETTINGS).getOrCreate()


def start_workers(spark: SparkSession, codec: CpuZstd) -> None:
    """Run a small job on every worker, so that the measured time excludes starting them."""
    texts = spark.range(0, 1000, 1, 8).select(F.col("id").cast("string").alias("text"))
    texts.select(compress(codec)("text")).write.format("noop").mode("overwrite").save()


def quoted(column: str) -> str:
    """A column's name, quoted for SQL."""
    return "`" + column.replace("`", "``") + "`"


def choose_column(types: dict[str, str], wanted: str | None) -> str:
    usable = [name for name, dtype in types.items() if dtype in ("binary", "string")]
    column = wanted or next(iter(usable), None)
    if column not in usable:
        found = f"{column!r} is not one" if column else "the table has none"
        sys.exit(f"expected a binary or string column, but {found}; columns: {types}")
    return column


def size(table: DataFrame, values: str) -> int:
    """The total size of the values in bytes."""
    return int(table.agg(F.sum(F.octet_length(values))).collect()[0][0] or 0)


def largest_in_sql(spark: SparkSession, packed: DataFrame, column: str, codec: CpuZstd) -> int:
    """Find the largest value in SQL by its size, and decompress only that one."""
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
    column = choose_column(dict(table.dtypes), wanted)
    dtype, name = dict(table.dtypes)[column], quoted(column)
    rows, original = table.count(), size(table, name)
    print(f"column   {column!r}: {rows:,} rows, {original:,} bytes of {dtype}")
    print(f"codec    {codec!r} on Spark {spark.version}, {spark.sparkContext.master}")
    start_workers(spark, codec)

    start = time.perf_counter()
    packed = table.withColumn(column, compress(codec)(name))
    # The payloads are compressed already.
    packed.write.parquet(output, compression="uncompressed")
    packing = rows / (time.perf_counter() - start)

    read_back = spark.read.parquet(output)
    payload = size(read_back, f"{name}.payload")
    print(f"payload  {payload:,} bytes, ratio {original / payload if payload else 1:.2f}")

    restored = read_back.withColumn(column, decompress(codec, dtype=dtype)(name))
    start = time.perf_counter()
    restored.write.format("noop").mode("overwrite").save()
    unpacking = rows / (time.perf_counter() - start)
    print(f"speed    compress {packing:,.0f} rows/s, decompress {unpacking:,.0f} rows/s")
    largest = largest_in_sql(spark, read_back, column, codec)
    print(f"sql      found the largest value, {largest:,} bytes, by original_size")

    wrong = table.exceptAll(restored).count()
    if wrong or restored.count() != rows:
        sys.exit(f"{wrong:,} of {rows:,} rows differ")
    print(f"verified {rows:,} of {rows:,} values came back unchanged")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", nargs="?", help="Parquet file or folder; default: the library")
    parser.add_argument("--column", help="default: the first binary or string column")
    parser.add_argument("--level", type=int, default=3, help="zstd level, 1 to 22; default: 3")
    parser.add_argument("--output", help="new folder to write; default: a temporary one")
    parser.add_argument("--master", default="local-cluster[2,1,1024]", help="default: %(default)s")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        source = args.source or library_files(Path(scratch, "library"))
        output = args.output or str(Path(scratch, "compressed"))
        try:
            codec = CpuZstd(args.level)
            with start_spark(args.master) as spark:
                run(spark, source, output, args.column, codec)
        except (PySparkException, Py4JJavaError, ValueError) as error:
            # Java's messages fill pages. The last line of a worker's traceback names the error.
            lines = str(error).strip().splitlines()
            is_workers = "Traceback (most recent call last):" in lines
            sys.exit("\n".join([lines[0], lines[-1]] if is_workers else lines[:2]))


if __name__ == "__main__":
    main()
