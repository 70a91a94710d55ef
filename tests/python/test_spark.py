"""Columns of Spark: a cluster of two separate worker processes on this machine."""

from __future__ import annotations

import collections.abc
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import polars as pl
import pyarrow as pa
import pytest
from codecs_table import DICTIONARY, text
from dictionaries_table import COLUMN, FRAMES, SET, TRAINED, VALUES
from documentation import blocks
from pyarrow import dataset

import s4_codec
import s4_codec.arrow as s4arrow
import s4_codec.polars as s4
from s4_codec import CpuGzip, CpuZstd, CpuZstdDict, DictionarySet, NvcompZstd, Passthrough

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("pyspark", reason="pyspark is not installed: pip install '.[spark]'")
if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
    pytest.skip("Spark needs Java 17, which is not here", allow_module_level=True)

from pyspark.errors import AnalysisException, PythonException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import s4_codec.spark as s4spark

CODECS = [
    Passthrough(),
    CpuZstd(9),
    CpuGzip(),
    CpuZstdDict(DICTIONARY),
    NvcompZstd("auto"),
]


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder.master("local-cluster[2,1,1024]")
    settings = {
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "4",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "700",
    }
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    yield session
    session.stop()


@pytest.fixture(scope="module")
def frame(spark: SparkSession) -> DataFrame:
    """Rows with nulls, empty values and an empty partition."""
    body = (
        "case when id % 7 = 3 then null else repeat(concat('line ', id), cast(id % 40 as int)) end"
    )
    rows = spark.range(0, 5000, 1, 5).selectExpr("id", f"{body} as body")
    return rows.filter("id < 1000 or id >= 2000").cache()


def mismatches(frame: DataFrame, one: str, other: str) -> int:
    return frame.filter(~F.col(one).eqNullSafe(F.col(other))).count()


@pytest.mark.parametrize("codec", CODECS, ids=repr)
def test_round_trip(frame: DataFrame, codec: s4_codec.Codec) -> None:
    packed = frame.withColumn("packed", s4spark.compress(codec)("body"))
    assert packed.schema["packed"].dataType.simpleString() == s4spark.COMPRESSED_TYPE
    assert packed.filter("body is null and packed is not null").count() == 0
    unpack = s4spark.decompress(codec, dtype="string")
    assert packed.select(unpack("packed")).columns == ["s4_decompress(packed)"]
    assert mismatches(packed.withColumn("back", unpack(F.col("packed"))), "body", "back") == 0
    dictionary = codec if isinstance(codec, CpuZstdDict) else None
    framed = frame.withColumn("frames", s4spark.encode(codec)("body"))
    decode = s4spark.decode(dtype="string", dictionary=dictionary)
    assert mismatches(framed.withColumn("back", decode("frames")), "body", "back") == 0


def test_payload_checksums(spark: SparkSession, frame: DataFrame) -> None:
    codec = CpuZstd()
    dtype = f"{s4spark.COMPRESSED_TYPE[:-1]},payload_crc32c:bigint>"
    packed = frame.withColumn("packed", s4spark.compress(codec, payload_checksum=True)("body"))
    assert packed.schema["packed"].dataType.simpleString() == dtype
    unpack = s4spark.decompress(codec, dtype="string")
    assert mismatches(packed.withColumn("back", unpack("packed")), "body", "back") == 0
    s4spark.register(spark, codec, prefix="checked_", payload_checksum=True)
    packed.createOrReplaceTempView("checked")
    (same,) = spark.sql("SELECT bool_and(checked_compress(body) <=> packed) FROM checked").first()
    assert same

    flipped = F.when(F.col("id") == 2003, F.lit(1)).otherwise(F.col("packed.payload_crc32c"))
    bad = packed.withColumn("packed", F.col("packed").withField("payload_crc32c", flipped))
    reason = r"S4CrcMismatchError: row 3 of its Arrow batch .*crc32c of the payload itself is "
    with pytest.raises(PythonException, match=reason):
        bad.select(unpack("packed")).collect()
    bad.createOrReplaceTempView("damaged")
    with pytest.raises(PythonException, match=reason):
        spark.sql("SELECT checked_decompress(packed) AS body FROM damaged").collect()
    without = bad.withColumn("packed", F.col("packed").dropFields("payload_crc32c"))
    assert mismatches(without.withColumn("back", unpack("packed")), "body", "back") == 0


def test_frames_of_mixed_codecs(frame: DataFrame) -> None:
    zstd, gzip = s4spark.encode(CpuZstd()), s4spark.encode("cpu-gzip")
    mixed = F.when(F.col("id") % 2 == 0, zstd("body")).otherwise(gzip("body"))
    decoded = frame.withColumn("frames", mixed).withColumn(
        "back", s4spark.decode(dtype="string")("frames")
    )
    assert mismatches(decoded, "body", "back") == 0


def test_frames_of_values_that_do_not_shrink(spark: SparkSession, frame: DataFrame) -> None:
    s4spark.register(spark, CpuZstd(), prefix="own_", fallback=False)
    frame.createOrReplaceTempView("logs")
    for fallback in (True, False):
        made = frame.select(s4spark.encode(CpuZstd(), fallback=fallback)("body").alias("frames"))
        rows = frame.collect()
        for row, (found,) in zip(rows, made.collect(), strict=True):
            value = None if row.body is None else row.body.encode()
            expected = None if value is None else CpuZstd().encode(value, fallback=fallback)
            assert (None if found is None else bytes(found)) == expected
        function = "s4_encode" if fallback else "own_encode"
        s4spark.register(spark, CpuZstd())
        in_sql = spark.sql(f"SELECT {function}(body) AS frames FROM logs")
        assert in_sql.collect() == made.collect()
    with pytest.raises(TypeError, match="fallback must be True or False, not 1"):
        s4spark.encode(fallback=1)  # type: ignore[arg-type]


def test_sql(spark: SparkSession, frame: DataFrame) -> None:
    names = s4spark.register(spark, CpuZstdDict(DICTIONARY, 9))
    assert names[:2] == ["s4_compress", "s4_decompress"]
    s4spark.register(spark, "gzip", level=1, prefix="fast_")
    frame.createOrReplaceTempView("logs")
    wrong = spark.sql("""
        SELECT count(*) AS rows,
          count_if(NOT (s4_decompress_text(s4_compress(body)) <=> body)) AS compressed,
          count_if(NOT (s4_decode_text(s4_encode(body)) <=> body)) AS framed,
          count_if(NOT (fast_decode(fast_encode(body)) <=> CAST(body AS BINARY))) AS fast
        FROM logs
    """).first()
    assert wrong.asDict() == {"rows": 4000, "compressed": 0, "framed": 0, "fast": 0}


def test_polars_and_spark_read_each_other(
    spark: SparkSession, frame: DataFrame, tmp_path: Path
) -> None:
    packed = frame.withColumn("body", s4spark.compress(CpuZstd())("body"))
    packed.write.parquet(str(tmp_path / "spark"))
    read = pl.read_parquet(tmp_path / "spark/*.parquet").sort("id")
    restored = read.select("id", s4.decompress("body", CpuZstd(), dtype=pl.String))
    rows = [(row.id, row.body) for row in frame.orderBy("id").collect()]
    assert restored.rows() == rows

    ours = pl.DataFrame(rows, schema=["id", "body"], orient="row")
    (tmp_path / "polars").mkdir()
    ours.with_columns(s4.compress("body", CpuZstd())).write_parquet(
        tmp_path / "polars/part.parquet"
    )
    theirs = spark.read.parquet(str(tmp_path / "polars"))
    assert theirs.schema["body"].dataType.simpleString() == s4spark.COMPRESSED_TYPE
    unpack = s4spark.decompress(CpuZstd(), dtype="string")
    back = theirs.select("id", unpack("body").alias("body"))
    assert [tuple(row) for row in back.orderBy("id").collect()] == rows


def test_one_folder_of_both(spark: SparkSession, frame: DataFrame, tmp_path: Path) -> None:
    """Spark, Polars and PyArrow see one schema in files that Spark and Polars wrote."""
    folder = tmp_path / "both"
    packed = frame.select(
        "id", s4spark.compress(CpuZstd())("body").alias("packed"), s4spark.encode()("body")
    )
    packed = packed.toDF("id", "packed", "frames")
    packed.write.parquet(str(folder))
    rows = [(row.id, row.body) for row in frame.orderBy("id").collect()]
    ours = pl.DataFrame(rows, schema=["id", "body"], orient="row")
    ours.select("id", packed=s4.compress("body"), frames=s4.encode("body")).write_parquet(
        folder / "polars.parquet"
    )
    twice = sorted(rows * 2, key=lambda row: row[0])
    high = sum(s4_codec.crc32c(body.encode()) >= 2**31 for _, body in rows if body is not None)
    assert high > 100

    for merge in ("false", "true"):
        theirs = spark.read.option("mergeSchema", merge).parquet(str(folder))
        assert theirs.schema.simpleString() == packed.schema.simpleString()
        back = theirs.select(
            "id",
            s4spark.decompress(CpuZstd(), dtype="string")("packed").alias("packed"),
            s4spark.decode(dtype="string")("frames").alias("frames"),
        )
        found = [tuple(row) for row in back.orderBy("id").collect()]
        assert found == [(number, body, body) for number, body in twice]

    read = pl.scan_parquet(folder / "*.parquet").select(
        "id",
        s4.decompress("packed", dtype=pl.String),
        s4.decode("frames", dtype=pl.String),
    )
    assert read.sort("id").collect().rows() == [(number, body, body) for number, body in twice]

    table = dataset.dataset(folder, format="parquet").to_table().sort_by("id")
    bodies = [body for _, body in twice]
    assert s4arrow.decompress(table["packed"], dtype="large_string").to_pylist() == bodies
    assert s4arrow.decode(table["frames"], dtype="large_string").to_pylist() == bodies


def test_documentation(spark: SparkSession, tmp_path: Path) -> None:
    (block,) = [each for each in blocks("docs/scale-out.md") if "pyspark" in each.needs]
    exec(block.code.replace('parquet("logs"', f'parquet("{tmp_path}/logs"'), {})


def test_bare_payloads(spark: SparkSession) -> None:
    payload = CpuGzip().compress(text(1000))[0]
    bare = spark.createDataFrame([(bytearray(payload),), (None,)], "body binary")
    unpack = s4spark.decompress("cpu-gzip", bare=True)
    assert bare.select(unpack("body")).columns == ["s4_decompress(body)"]
    assert [row[0] and bytes(row[0]) for row in bare.select(unpack("body")).collect()] == [
        text(1000),
        None,
    ]


def damaged(frame: DataFrame) -> DataFrame:
    """One row's checksum is wrong."""
    packed = frame.withColumn("packed", s4spark.compress(CpuZstd())("body"))
    crc = F.when(F.col("id") == 2003, F.lit(1)).otherwise(F.col("packed.crc32c"))
    return packed.withColumn("packed", F.col("packed").withField("crc32c", crc))


def test_a_corrupt_row_fails_the_job_or_becomes_null(frame: DataFrame) -> None:
    bad = damaged(frame)
    with pytest.raises(PythonException, match=r"S4CrcMismatchError: row 3 of its Arrow batch"):
        bad.select(s4spark.decompress(CpuZstd())("packed")).collect()
    lenient = s4spark.decompress(CpuZstd(), dtype="string", on_error="null")
    kept = bad.withColumn("back", lenient("packed"))
    assert [row.id for row in kept.filter("body is not null and back is null").collect()] == [2003]


def test_what_is_wrong_is_said_on_the_driver(frame: DataFrame) -> None:
    packed = frame.select(s4spark.compress()("body").alias("packed"))
    unpack = s4spark.decompress(CpuZstd())
    with pytest.raises(AnalysisException, match="crc32c"):
        packed.select(F.col("packed").dropFields("crc32c").alias("packed")).select(unpack("packed"))
    with pytest.raises(AnalysisException, match="STRUCT"):
        frame.select(unpack("body"))
    for make in (s4spark.compress, s4spark.decompress, s4spark.encode):
        with pytest.raises(TypeError, match="codec must be a codec object"):
            make(None)  # type: ignore[arg-type]
        with pytest.raises(s4_codec.S4UnregisteredCodecError, match='did you mean "zstd"'):
            make("zst")
    for make in (s4spark.compress, s4spark.encode):
        assert repr(make("zstd", level=9)).endswith("with CpuZstd(level=9)>")
        with pytest.raises(ValueError, match="level=9 is for a codec by name"):
            make(CpuZstd(3), level=9)
    for dtype in ("int", pa.binary()):
        with pytest.raises(TypeError, match="dtype must be"):
            s4spark.decompress(dtype=dtype)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="payload_checksum must be True or False, not 1"):
        s4spark.compress(payload_checksum=1)  # type: ignore[arg-type]
    for column in (None, 3, ["body"]):
        with pytest.raises(TypeError, match="s4_decompress takes a Column or the name of one"):
            unpack(column)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="on_error must be"):
        s4spark.decode(on_error="ignore")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_size must be"):
        s4spark.decode(max_size=-1)
    with pytest.raises(s4_codec.S4BackendError):
        s4spark.decode(dictionary=b"")


def test_what_only_workers_can_see_is_said_there(frame: DataFrame) -> None:
    with pytest.raises(
        PythonException, match=r"compress expects binary or string data.* found Int64"
    ):
        frame.select(s4spark.compress()("id")).collect()
    framed = frame.select(s4spark.encode(CpuZstdDict(DICTIONARY))("body").alias("frames"))
    with pytest.raises(PythonException, match="needs its dictionary; pass dictionary="):
        framed.select(s4spark.decode()("frames")).collect()
    with pytest.raises(PythonException, match="S4ManifestSizeExceedsLimitError"):
        frame.select(s4spark.encode()("body").alias("frames")).select(
            s4spark.decode(max_size=10)("frames")
        ).collect()


def test_sql_says_what_it_takes(spark: SparkSession, frame: DataFrame) -> None:
    s4spark.register(spark)
    packed = frame.select("body", s4spark.compress()("body").alias("packed"))
    packed.createOrReplaceTempView("packed_logs")
    for call, message in [
        ("s4_decompress(packed.payload)", "expected a struct of payload, original_size and crc32c"),
        ("s4_decompress_text(body)", "expected a struct of payload, original_size and crc32c"),
        ("s4_compress(body, body)", "s4_compress expects one column, found 2"),
        ("s4_decode(packed)", "decode expects binary data of frames, found Struct"),
    ]:
        with pytest.raises(PythonException, match=f"TypeError: .*{message}"):
            spark.sql(f"SELECT {call} AS result FROM packed_logs").collect()
    for wrong in ("", None, 5):
        with pytest.raises(TypeError, match="prefix must be"):
            s4spark.register(spark, prefix=wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="spark must be a SparkSession"):
        s4spark.register(CpuZstd())  # type: ignore[arg-type]


def test_a_dictionary_is_read_once_in_a_worker_process(
    spark: SparkSession, frame: DataFrame
) -> None:
    shipped = s4spark._sent(CpuZstdDict(DICTIONARY), spark.sparkContext)

    def seen(batches: Iterator[pa.Array]) -> Iterator[pa.Array]:
        for batch in batches:
            yield pa.array([f"{os.getpid()} {id(shipped.coder())}"] * len(batch))

    seen.__annotations__ = {
        "batches": collections.abc.Iterator[pa.Array],
        "return": collections.abc.Iterator[pa.Array],
    }
    column = F.arrow_udf(seen, "string")("body")
    found = set()
    for _ in range(3):
        found |= {row[0] for row in frame.select(column).collect()}
    processes = {each.split()[0] for each in found}
    assert len(found) == len(processes) <= 4, "one codec in each process, over batches and jobs"


@pytest.fixture(scope="module")
def drifted(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> DataFrame:
    """Rows of three generations, compressed each with the dictionary of its own."""
    path = tmp_path_factory.mktemp("drifted") / "rows.parquet"
    columns = {"n": range(len(VALUES)), "packed": COLUMN, "frames": FRAMES, "body": VALUES}
    pl.DataFrame(columns).write_parquet(path)
    return spark.read.parquet(str(path))


def test_each_row_finds_its_dictionary_in_a_set(drifted: DataFrame) -> None:
    found = drifted.select(
        "n",
        s4spark.decompress(dictionary=SET)("packed").alias("packed"),
        s4spark.decompress(dictionary=SET, bare=True)("packed.payload").alias("bare"),
        s4spark.decode(dictionary=SET)("frames").alias("frames"),
    )
    rows = sorted(tuple(row) for row in found.collect())
    assert rows == [(n, *[value] * 3) for n, value in enumerate(VALUES)]
    missing = s4spark.decompress(dictionary=DictionarySet(TRAINED[:2]))
    with pytest.raises(PythonException, match=f"with zstd id {SET.zstd_ids[2]}; the set has"):
        drifted.select(missing("packed")).collect()
    with pytest.raises(ValueError, match="codec or dictionary, not both"):
        s4spark.decompress(CpuZstd(), dictionary=SET)


def test_a_set_is_broadcast_once(spark: SparkSession) -> None:
    send = mock.Mock(side_effect=spark.sparkContext.broadcast)
    with mock.patch.object(spark.sparkContext, "broadcast", send):
        for _ in range(2):
            dictionaries = DictionarySet(TRAINED, 1)
            s4spark.decode(dictionary=dictionaries)("body")
            s4spark.decompress(dictionary=dictionaries)("body")
    assert send.call_count == 1


def test_a_dictionary_is_broadcast_once(spark: SparkSession) -> None:
    send = mock.Mock(side_effect=spark.sparkContext.broadcast)
    with mock.patch.object(spark.sparkContext, "broadcast", send):
        for _ in range(2):
            codec = CpuZstdDict(DICTIONARY, 11)
            s4spark.register(spark, codec)
            s4spark.decode(dictionary=codec)("body")
            s4spark.compress(codec)("body")
    assert send.call_count == 1


SESSIONS = """
import pickle, sys
from pyspark.sql import SparkSession, functions as F
from s4_codec import CpuZstdDict
from s4_codec.spark import compress

ours, other = CpuZstdDict(b"one dictionary " * 50), CpuZstdDict(b"another dictionary " * 50)
pack = compress(ours)
builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
for _ in range(2):
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("OFF")
    row = spark.range(1)
    row.select(compress(other)(F.lit("x"))).collect()
    for function in (pack, pickle.loads(pickle.dumps(pack))):
        payload, size, crc = row.select(function(F.lit("one dictionary")).alias("p")).first().p
        assert ours.decompress(bytes(payload), size, crc) == b"one dictionary"
    spark.stop()
try:
    pack("body")
except Exception as error:
    assert "No active or default Spark session" in str(error), error
else:
    sys.exit("no error without a session")
"""


def test_functions_outlive_sessions() -> None:
    """And may be made before the first. Spark numbers broadcasts anew in each."""
    command = [sys.executable, "-c", SESSIONS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr


def test_large_var_types(spark: SparkSession, frame: DataFrame) -> None:
    name = "spark.sql.execution.arrow.useLargeVarTypes"
    spark.conf.set(name, "true")
    try:
        packed = frame.withColumn("packed", s4spark.compress()("body"))
        back = packed.withColumn("back", s4spark.decompress(dtype="string")("packed"))
        assert mismatches(back, "body", "back") == 0
    finally:
        spark.conf.unset(name)


def workers() -> list[int]:
    """Spark's Python worker processes: children of its daemons."""
    daemons, parents = set(), {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        if b"pyspark.daemon" in command or b"pyspark/daemon" in command:
            daemons.add(int(folder.name))
            parents[int(folder.name)] = parent
    return [process for process, parent in parents.items() if parent in daemons]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes by /proc")
def test_a_killed_worker_is_replaced(spark: SparkSession) -> None:
    """Spark runs the lost tasks again, and the result is whole."""
    rows = spark.range(0, 40_000, 1, 8).selectExpr("id", "repeat(uuid(), 300) as body")
    result: dict[str, Any] = {}

    def job() -> None:
        slow = s4spark.compress(CpuZstd(15))
        packed = rows.select(F.length("body").alias("n"), slow("body").alias("packed"))
        sizes = packed.select(F.sum("n"), F.sum("packed.original_size"), F.count("packed"))
        result["sums"] = tuple(sizes.first())

    thread = threading.Thread(target=job)
    thread.start()
    killed = 0
    deadline = time.monotonic() + 60
    while thread.is_alive() and killed < 2 and time.monotonic() < deadline:
        time.sleep(0.7)
        for process in workers()[:1]:
            os.kill(process, signal.SIGKILL)
            killed += 1
    thread.join(200)
    assert killed == 2
    assert result["sums"] == (40_000 * 300 * 36, 40_000 * 300 * 36, 40_000)
