"""Spark: one column on 1, 2 and 4 workers of one core each, and where the time goes.

    python benches/scale.py
    python benches/scale.py --quick
    python benches/scale.py --data DIR

Needs Linux, Java 17 and `pip install '.[spark]'`. Values of 5 KB, pages of a log and JSON
documents, are read from uncompressed Parquet, coded by the functions of `s4_codec.spark`, and
dropped. A worker is a JVM process with a Python process, and runs one task at a time.

On the workers, clocks measure each call of `s4_codec.arrow` (the codec), the rest of
`s4_codec.spark` (the conversion), and Spark's own input and output. Shares are of workers x
seconds of the job, so they show where a worker's time goes. The CPU time of all worker processes
shows the cost, also where workers outnumber cores. The last section is a projection: arithmetic
on these measurements.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any
from unittest import mock

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from harness import Corpus, argument_parser, describe, load, progress, table
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql.functions import arrow_udf

import s4_codec.arrow
import s4_codec.polars
import s4_codec.spark
from s4_codec import CpuZstd

CODEC = CpuZstd(3)
VALUE_BYTES = 5 << 10
ROWS, FILES = 160_000, 8
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

#: Rows of an Arrow batch: 5 MB of them, and Spark's default, 51 MB.
BATCH_ROWS, DEFAULT_BATCH_ROWS = 1_000, 10_000
DIRECTIONS = ("compress", "decompress")
BIG_BATCHES = f" in batches of {DEFAULT_BATCH_ROWS:,}"
THROUGH = THROUGH_VALUES, THROUGH_PAYLOADS = "values back", "payloads back"

#: Counters on the workers: seconds, CPU seconds, and bytes and batches shipped.
SECONDS = ("function", "in", "codec", "out")
COUNTS = (*SECONDS, *[f"{name} cpu" for name in SECONDS], "bytes in", "bytes out", "batches")

SETTINGS = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "FATAL",
    "spark.executorEnv.S4_NUM_THREADS": "1",
    # One task per file.
    "spark.sql.files.maxPartitionBytes": str(256 << 20),
    "spark.sql.files.openCostInBytes": str(256 << 20),
}

# --- Data ---------------------------------------------------------------------------------


def pages(corpus: Corpus) -> list[bytes]:
    """Values of 5 KB: joined log lines and truncated documents, alternating."""
    logs, page = [], b""
    for line in corpus.lines:
        page += line + b"\n"
        if len(page) >= VALUE_BYTES:
            logs.append(page[:VALUE_BYTES])
            page = b""
    documents = [document[:VALUE_BYTES] for document in corpus.documents]
    return [page for pair in zip(logs, documents, strict=False) for page in pair]


@dataclass(frozen=True)
class Data:
    """The column in two Parquet datasets, and the sizes of its values and payloads."""

    values: str
    packed: str
    rows: int
    bytes: int
    payload_bytes: int


def write(folder: Path, corpus: Corpus, rows: int) -> Data:
    """Writes the column and its compressed form to uncompressed Parquet."""
    struct = pa.struct({"payload": pa.binary(), "original_size": pa.int64(), "crc32c": pa.int64()})
    source = itertools.cycle(pages(corpus))
    sizes = [0, 0]
    for number in range(FILES):
        column = pa.array(itertools.islice(source, rows // FILES), pa.binary())
        packed = s4_codec.arrow.compress(column, CODEC)
        sizes = [sizes[0] + column.nbytes, sizes[1] + packed.field("payload").nbytes]
        for name, array in (("values", column), ("packed", packed.cast(struct))):
            path = folder / name / f"{number}.parquet"
            path.parent.mkdir(exist_ok=True)
            pq.write_table(
                pa.table({"body": array}),
                path,
                compression="none",
                use_dictionary=False,
                row_group_size=DEFAULT_BATCH_ROWS,
            )
    return Data(str(folder / "values"), str(folder / "packed"), rows // FILES * FILES, *sizes)


# --- On the workers -----------------------------------------------------------------------


class Clock:
    """Adds up seconds and CPU seconds of calls."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(COUNTS, 0.0)

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            start, cpu = time.perf_counter(), time.process_time()
            try:
                return function(*arguments, **options)
            finally:
                self.counts[name] += time.perf_counter() - start
                self.counts[f"{name} cpu"] += time.process_time() - cpu

        return run

    def read(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The batches, timed as Spark's input."""
        iterator = iter(batches)
        step = self.timed("in", lambda: next(iterator, None))
        while (batch := step()) is not None:
            arrays = batch if isinstance(batch, tuple) else (batch,)
            self.counts["batches"] += 1
            self.counts["bytes in"] += sum(array.nbytes for array in arrays)
            yield batch


def metered(function: Callable[..., Any], totals: dict[str, Any]) -> Callable[..., Any]:
    """A function over batches that adds its time and bytes to Spark's accumulators."""

    def metered_function(batches):  # type: ignore[no-untyped-def]
        clock = Clock()
        with ExitStack() as stack:
            for name in ("compress", "decompress"):
                codec = clock.timed("codec", getattr(s4_codec.arrow, name))
                stack.enter_context(mock.patch.object(s4_codec.arrow, name, codec))
            made = iter(function(clock.read(batches)))
            step = clock.timed("function", lambda: next(made, None))
            while (array := step()) is not None:
                clock.counts["bytes out"] += array.nbytes
                start, cpu = time.perf_counter(), time.process_time()
                yield array
                clock.counts["out"] += time.perf_counter() - start
                clock.counts["out cpu"] += time.process_time() - cpu
        for name, total in totals.items():
            total.add(clock.counts[name])

    metered_function.__annotations__ = function.__annotations__
    return metered_function


def pass_through(batches: Iterator[pa.Array]) -> Iterator[pa.Array]:
    """The identity: the minimum cost of a function."""
    yield from batches


# --- Spark --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """Reads a dataset, applies a function to its column, and drops the result."""

    frame: DataFrame
    totals: dict[str, Any]
    batch_rows: int

    def run(self) -> Sample:
        # Spark 4.3 may hand over the batches of its Parquet reader as they are.
        for name in ("execution.arrow.maxRecordsPerBatch", "parquet.columnarReaderBatchSize"):
            self.frame.sparkSession.conf.set(f"spark.sql.{name}", self.batch_rows)
        before, cpu, others = self.counts(), workers_cpu(), others_cpu()
        start = time.perf_counter()
        self.frame.write.format("noop").mode("overwrite").save()
        seconds = time.perf_counter() - start
        counts = {name: after - before[name] for name, after in self.counts().items()}
        return Sample(seconds, workers_cpu() - cpu, others_cpu() - others, counts)

    def counts(self) -> dict[str, float]:
        return {name: total.value for name, total in self.totals.items()}


@dataclass(frozen=True)
class Sample:
    """One run of a job: its seconds, CPU seconds of the workers and of unrelated programs, and
    the counters of the workers."""

    seconds: float
    cpu: float
    others: float
    counts: dict[str, float]

    def conversion(self, clock: str = "") -> float:
        counts = self.counts
        return counts[f"function{clock}"] - counts[f"in{clock}"] - counts[f"codec{clock}"]


def descendants() -> list[list[int]]:
    """The child processes, their children, and so on, by generation."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        if fields := stat(path):
            children.setdefault(int(fields[1]), []).append(int(path.parent.name))
    levels = [children.get(os.getpid(), [])]
    while levels[-1]:
        levels.append([child for parent in levels[-1] for child in children.get(parent, [])])
    return levels


def stat(path: Path) -> list[str]:
    """The fields of /proc/PID/stat from the state on; empty if the process has ended."""
    try:
        return path.read_text().rpartition(")")[2].split()
    except OSError:
        return []


def cpu_seconds(pids: Iterable[int]) -> float:
    found = filter(None, (stat(Path(f"/proc/{pid}/stat")) for pid in pids))
    return sum(int(fields[11]) + int(fields[12]) for fields in found) / os.sysconf("SC_CLK_TCK")


def workers_cpu() -> float:
    """CPU seconds of Spark's workers and their Python, all descendants of the driver's JVM."""
    return cpu_seconds(itertools.chain(*descendants()[1:]))


def driver_cpu() -> float:
    """CPU seconds of the driver's JVM."""
    return cpu_seconds(descendants()[0])


def others_cpu() -> float:
    """CPU seconds of everything else on this machine."""
    user, nice, system, _, _, *rest = map(int, Path("/proc/stat").read_text().split()[1:9])
    total = (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")
    return total - cpu_seconds(itertools.chain([os.getpid()], *descendants()))


@contextmanager
def spark(workers: int) -> Iterator[SparkSession]:
    """A Spark session with ``workers`` worker processes of one core each."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.master(f"local-cluster[{workers},1,1024]").config(map=SETTINGS)
    with builder.getOrCreate() as session:
        yield session


def job(
    session: SparkSession,
    folder: str,
    make: Callable[[], Callable[[str], Column]],
    batch_rows: int = BATCH_ROWS,
) -> Job:
    """A job with the metered column function that ``make`` returns."""
    totals = {name: session.sparkContext.accumulator(0.0) for name in COUNTS}

    def metered_udf(function: Callable[..., Any], result: Any) -> Any:
        return arrow_udf(metered(function, totals), result)

    with mock.patch.object(s4_codec.spark, "arrow_udf", metered_udf):
        column = make()("body").alias("body")
    frame = session.read.parquet(folder).select(column)
    return Job(frame, totals, batch_rows)


def passing(field: str = "") -> Callable[[str], Column]:
    """A column function that returns its input: the cost of Spark itself."""
    pass_through.__annotations__ = {"batches": Iterator[pa.Array], "return": Iterator[pa.Array]}
    udf = vars(s4_codec.spark)["arrow_udf"](pass_through, "binary")
    return lambda column: udf(column + field)


def jobs(session: SparkSession, data: Data) -> dict[str, Job]:
    functions: dict[str, tuple[str, Callable[[], Callable[[str], Column]]]] = {
        "compress": (data.values, lambda: s4_codec.spark.compress(CODEC)),
        "decompress": (data.packed, lambda: s4_codec.spark.decompress(CODEC)),
        THROUGH_VALUES: (data.values, passing),
        THROUGH_PAYLOADS: (data.packed, lambda: passing(".payload")),
    }
    found = {name: job(session, *source) for name, source in functions.items()}
    for name in DIRECTIONS:
        found[name + BIG_BATCHES] = job(session, *functions[name], DEFAULT_BATCH_ROWS)
    return found


def driver_seconds_a_task(session: SparkSession, tasks: int = 400, runs: int = 4) -> float:
    """CPU seconds of the driver per empty task, from the last run; the others are warm-ups."""
    seconds = 0.0
    for _ in range(runs):
        start = driver_cpu()
        session.range(0, tasks, 1, tasks).write.format("noop").mode("overwrite").save()
        seconds = driver_cpu() - start
    return seconds / tasks


# --- Polars -------------------------------------------------------------------------------


def polars_seconds(data: Data) -> dict[str, float]:
    """The same jobs in Polars, file by file; the first run of each is a warm-up."""
    directions = {
        "compress": (data.values, s4_codec.polars.compress("body", CODEC)),
        "decompress": (data.packed, s4_codec.polars.decompress("body", CODEC)),
    }
    seconds = {}
    for name, (folder, expression) in directions.items():
        for _ in range(2):
            start = time.perf_counter()
            for path in sorted(Path(folder).iterdir()):
                pl.read_parquet(path).select(expression)
            seconds[name] = time.perf_counter() - start
    return seconds


def polars_process(data: Data, threads: int) -> dict[str, float]:
    """The same in a process of its own, on ``threads`` threads."""
    settings = {"POLARS_MAX_THREADS": str(threads), "S4_NUM_THREADS": str(threads)}
    context = multiprocessing.get_context("spawn")
    with mock.patch.dict(os.environ, settings), ProcessPoolExecutor(1, context) as pool:
        return pool.submit(polars_seconds, data).result()


# --- Measurement --------------------------------------------------------------------------


@dataclass
class Results:
    """The samples, by workers and job."""

    samples: dict[tuple[int, str], list[Sample]]
    polars: dict[tuple[int, str], list[float]]
    driver: dict[int, list[float]]

    def median(self, workers: int, name: str, of: Callable[[Sample], float]) -> float:
        return statistics.median(map(of, self.samples[workers, name]))


def measure(data: Data, counts: list[int], rounds: int, samples: int = 2) -> Results:
    """Starts a new Spark for every number of workers once per round, in a changing order.

    In each, every job runs twice as a warm-up and then ``samples`` times, in random order.
    """
    results = Results({}, {}, {})
    for number in range(rounds):
        shuffle = random.Random(number)
        for workers in shuffle.sample(counts, len(counts)):
            progress(f"round {number + 1} of {rounds}: {workers} workers")
            with spark(workers) as session:
                found = jobs(session, data)
                for each in [*found.values()] * 2:
                    each.run()
                for name in shuffle.sample([*found] * samples, len(found) * samples):
                    results.samples.setdefault((workers, name), []).append(found[name].run())
                results.driver.setdefault(workers, []).append(driver_seconds_a_task(session))
            for name, seconds in polars_process(data, workers).items():
                results.polars.setdefault((workers, name), []).append(seconds)
    progress("")
    return results


# --- Tables -------------------------------------------------------------------------------


def label(workers: int) -> str:
    return f"{workers} (on {CORES} cores)" if workers > CORES else str(workers)


def print_batches(results: Results, data: Data, name: str, workers: int) -> None:
    batches = results.median(workers, name, lambda sample: sample.counts["batches"])
    print(f"{name}: {data.rows / batches:,.0f} rows per batch on average")


def print_rates(results: Results, data: Data, name: str, counts: list[int]) -> None:
    rows = []
    for workers in counts:
        ours, big, values, payloads = (
            data.rows / results.median(workers, each, lambda sample: sample.seconds)
            for each in (name, name + BIG_BATCHES, THROUGH_VALUES, THROUGH_PAYLOADS)
        )
        polars = data.rows / statistics.median(results.polars[workers, name])
        megabytes = ours * data.bytes / data.rows / 1e6
        rates = [f"{each:,.0f}" for each in (ours, megabytes, big, values, payloads, polars)]
        rows.append([label(workers), *rates, f"{ours / polars:.2f}"])
    table(
        f"measured: {name}, rows/s; functions that return the column; Polars on as many threads",
        ["workers", name, "MB/s", BIG_BATCHES.strip(), *THROUGH, "Polars", "/Polars"],
        rows,
    )


def shares(sample: Sample, workers: int) -> list[float]:
    """Shares of the workers' time: codec, conversion, engine, and three parts of the engine."""
    total = workers * sample.seconds
    codec, conversion = sample.counts["codec"], sample.conversion()
    parts = [sample.counts["in"], sample.counts["out"]]
    engine = total - codec - conversion
    found = [codec, conversion, engine, *parts, engine - sum(parts)]
    return [each / total for each in found]


def print_shares(results: Results, name: str, counts: list[int]) -> None:
    rows = []
    for workers in counts:
        found = [shares(sample, workers) for sample in results.samples[workers, name]]
        medians = map(statistics.median, zip(*found, strict=True))
        rows.append([label(workers), *[f"{part:.1%}" for part in medians]])
    table(
        f"measured: {name}, shares of workers x seconds; the last three are the engine's",
        ["workers", "codec", "conversion", "engine", "awaiting input", "output", "outside Python"],
        rows,
    )


def cpu(results: Results, data: Data, workers: int, name: str) -> list[float]:
    """CPU seconds per GB of values: codec, conversion, engine, and total."""
    found = [
        (sample.counts["codec cpu"], sample.conversion(" cpu"), sample.cpu)
        for sample in results.samples[workers, name]
    ]
    medians = map(statistics.median, zip(*found, strict=True))
    codec, conversion, total = (each / data.bytes * 1e9 for each in medians)
    return [codec, conversion, total - codec - conversion, total]


def print_cpu(results: Results, data: Data, counts: list[int]) -> None:
    names = [*DIRECTIONS, *[name + BIG_BATCHES for name in DIRECTIONS]]
    rows = []
    for name, workers in itertools.product(names, counts):
        *parts, total = cpu(results, data, workers, name)
        seconds = [f"{each:.2f}" for each in (*parts, total)]
        rows.append([f"{name}, {label(workers)}", *seconds, *[f"{p / total:.1%}" for p in parts]])
    header = ["workers", "codec", "conversion", "engine", "all", "codec", "conversion", "engine"]
    table("measured: CPU seconds of the workers' processes per GB of values", header, rows)


def shipped(results: Results, data: Data, workers: int, name: str) -> float:
    """Bytes per row between the JVM and Python, in both directions."""
    counts = [sample.counts for sample in results.samples[workers, name]]
    return statistics.median(each["bytes in"] + each["bytes out"] for each in counts) / data.rows


# --- Projection ---------------------------------------------------------------------------

MACHINES, MACHINE_CORES, DISK, TASK, NETWORKS = 100, 16, 2.0, 0.128, (10, 25)


def print_assumptions(results: Results, data: Data, workers: int) -> None:
    networks = " or ".join(map(str, NETWORKS))
    driver = statistics.median(results.driver[workers]) * 1000
    payload = data.payload_bytes / data.bytes
    print(f"""
PROJECTION to {MACHINES} machines: arithmetic on the measurements above, not a measurement

assumed   a machine has {MACHINE_CORES} cores like these, a disk of {DISK} GB/s for reads and
          writes together, and a network of {networks} Gbit/s in each direction; a task has
          {TASK} GB of values; one core of the driver schedules the tasks; nothing is shuffled
assumed   compression reads values from the network or the disk and writes payloads back;
          decompression reads payloads the same way, and the values stay on the machine
measured  with {workers} workers on {CORES} cores: {payload:.3f} payload bytes per byte of values;
          a task takes {driver:.2f} ms of the driver's CPU""")
    for name in DIRECTIONS:
        codec, _, _, total = cpu(results, data, workers, name)
        between = shipped(results, data, workers, name)
        print(
            f"measured  {name}: {total:.2f} core seconds per GB, {codec:.2f} of them in the codec;"
        )
        print(f"          {between:,.0f} bytes per row between Java and Python")


def limits(results: Results, data: Data, workers: int, name: str) -> dict[str, tuple[float, str]]:
    """The limit of each resource in GB/s of values on all machines, and its formula."""
    payload = data.payload_bytes / data.bytes
    read, wrote = (1.0, payload) if name == "compress" else (payload, 0.0)
    total = cpu(results, data, workers, name)[-1]
    driver = statistics.median(results.driver[workers])
    found = {
        "cores": (MACHINES * MACHINE_CORES / total, f"{MACHINES} x {MACHINE_CORES} / {total:.2f}"),
        "disk": (MACHINES * DISK / (read + wrote), f"{MACHINES} x {DISK} / {read + wrote:.2f}"),
        "driver": (TASK / driver, f"{TASK} / {driver:.5f}"),
    }
    for gigabits in NETWORKS:
        limit = MACHINES * gigabits / 8 / max(read, wrote)
        formula = f"{MACHINES} x {gigabits} / 8 / {max(read, wrote):.2f}"
        found[f"network, {gigabits} Gbit/s"] = limit, formula
    return found


def project(results: Results, data: Data, workers: int) -> None:
    """Prints which resource saturates first on many machines."""
    print_assumptions(results, data, workers)
    for name in DIRECTIONS:
        found = limits(results, data, workers, name)
        rows = [
            [what, formula, f"{limit:,.1f}", f"{limit * 1e3 / (data.bytes / data.rows):,.0f}"]
            for what, (limit, formula) in sorted(found.items(), key=itemgetter(1))
        ]
        header = ["limit", "computed", "GB/s", "million rows/s"]
        table(f"projected: {name} on all machines; the lowest limit comes first", header, rows)


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--quick", action="store_true", help="one round")
    args = parser.parse_args()
    rounds = 1 if args.quick else args.rounds
    corpus = load(args.data)
    describe(corpus, rounds, 1, ["pyspark", "pyarrow"])
    with tempfile.TemporaryDirectory() as scratch:
        data = write(Path(scratch), corpus, args.rows)
        print(
            f"{data.rows:,} rows of {data.bytes / data.rows:,.0f} bytes in {FILES} files; ", end=""
        )
        print(f"{CODEC}; payloads of {data.payload_bytes / data.rows:,.0f} bytes")
        results = measure(data, args.workers, rounds)
    for name in (*DIRECTIONS, *[name + BIG_BATCHES for name in DIRECTIONS]):
        print_batches(results, data, name, args.workers[0])
    for name in DIRECTIONS:
        print_rates(results, data, name, args.workers)
        print_shares(results, name, args.workers)
        print_shares(results, name + BIG_BATCHES, args.workers)
    print_cpu(results, data, args.workers)
    samples = list(itertools.chain.from_iterable(results.samples.values()))
    others = statistics.median(each.others / each.seconds / CORES for each in samples)
    print(f"\nMedian share of the cores used by other programs meanwhile: {others:.0%}")
    project(results, data, max([each for each in args.workers if each <= CORES] or args.workers))


if __name__ == "__main__":
    main()
