"""GPU codecs beside the limits of the hardware, beside all cores, and beside nvidia.nvcomp.

    python benches/gpu.py
    python benches/gpu.py --quick
    python benches/gpu.py --part telling --seconds 80 --json telling.json
    python benches/gpu.py --data DIR

Columns of values of one size, warm, from host to host (``s4_codec.arrow``, ``s4_codec.polars``)
and with the values on the device (``s4_codec.gpu``). Prints GB/s of original bytes. Parts, the
most telling first; each row is printed and saved when it is measured:

telling  values of 64 KiB by every path, each beside its limit in the same run: the same chunks
         through nvCOMP's kernels and copies of pinned memory (see gpu_limits.py)
sizes    values from 256 B to 16 MiB and columns from 1 MiB to 1 GiB, beside all cores: the
         figures of ``device="auto"`` (src/gpu/policy.rs)
peers    nvidia.nvcomp, NVIDIA's Python package, on the same values
other    copies of memory, and data that the codecs are not made for

``--seconds`` limits all parts together; the report names what there was no time for. Needs a
GPU and nvCOMP (``pip install 's4-codec[gpu]'``); exits with 2 without them.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from cuda import Cuda
from gpu_columns import (
    ARROW,
    CPU,
    CPU_ZSTD,
    FROM_COLUMN,
    FROM_MATRIX,
    KEPT,
    POLARS,
    TO_DEVICE,
    Case,
    Column,
)
from gpu_copies import copy_rates, host_copy_rates
from gpu_data import (
    ABOUT_DATA,
    BITCOMP,
    EMBEDDINGS,
    GDEFLATE,
    IDS,
    KINDS,
    LOG,
    POSTINGS,
    ZSTD,
    Data,
    load_data,
)
from gpu_limits import CHUNK, MIB, Limits
from gpu_peer import peers, refusal
from gpu_report import Report
from harness import argument_parser, describe, load, measure

from s4_codec import gpu_available, gpu_status, num_threads, set_num_threads

KIB = 1 << 10
#: The most important first: there may be no time for the last.
SIZES = [CHUNK, 4 * KIB, MIB, 16 * KIB, 256 * KIB, KIB, 16 * MIB, 256]
QUICK_SIZES = [CHUNK, 4 * KIB]
#: Sizes of columns of 64 KiB values.
COLUMN_MIB = (64, 16, 4, 1, 1024)
#: The size of columns by value size, and of those that a single thread codes.
BY_VALUE_MIB, ONE_THREAD_MIB = 256, 32
COPY_MIB = (1, 16, 64, 256)
#: The most values of a column: more small ones would take all the time.
MOST_ROWS = 256 << 10

#: What the codecs are made for.
TELLING = [(LOG, ZSTD), (LOG, GDEFLATE), (POSTINGS, BITCOMP), (EMBEDDINGS, BITCOMP)]

#: No round starts after this many seconds, in the telling rows and in the others.
TELLING_SECONDS, OTHER_SECONDS = 2.0, 1.2
#: The minimum duration of a sample of a small column.
LEAST_SECONDS = 0.01

DISTRIBUTIONS = [
    "pyarrow",
    "numpy",
    *("nvidia-libnvcomp-cu12", "nvidia-libnvcomp-cu13"),
    *("nvidia-nvcomp-cu12", "nvidia-nvcomp-cu13"),
]

#: The name of a measurement, and the function that runs it.
Step = tuple[str, Callable[[], None]]


@dataclass
class Run:
    """The settings, and the results so far."""

    device: int
    rounds: int
    #: Bytes of a column.
    column_size: int
    sizes: list[int]
    seconds: float
    report: Report
    data: dict[str, Data]
    stack: ExitStack
    start: float

    def is_over(self) -> bool:
        """Whether the time is used up."""
        return time.monotonic() - self.start > self.seconds

    @cached_property
    def limits(self) -> Limits:
        return Limits(self.stack, self.device, self.column_size)

    def case(self, data: str, codec: str, value_size: int, column_size: int) -> Case:
        rows = max(1, min(MOST_ROWS, column_size // value_size))
        return Case(self.data[data], KINDS[codec], value_size, rows * value_size)

    def measure(
        self, column: Column, direction: str, *names: str, seconds: float = OTHER_SECONDS
    ) -> None:
        """Adds those of the named ways that work to the report."""
        found = column.contenders(direction, *names)
        self.report.skip(column.skipped)
        column.skipped.clear()
        least = LEAST_SECONDS if column.size <= 16 * MIB else 0.0
        rates = measure(found, self.rounds, least, seconds)
        limits = column.limits.get(direction, [])
        self.report.add(column.case, direction, rates, column.ratio, limits)

    def column(self, case: Case) -> Column:
        print(f"\n{case}", flush=True)
        return Column.of(case, self.device)


def telling_row(run: Run, case: Case) -> None:
    """Every path of one column, each with its limit."""
    column = run.column(case)
    column.limits = run.limits.measure(case.kind, case.data, column.values, column.packed)
    for direction, limits in column.limits.items():
        run.report.add_limits(case, direction, limits)
    paths = {
        "decompress": (TO_DEVICE, ARROW, POLARS, CPU, CPU_ZSTD),
        "compress": (ARROW, POLARS, FROM_COLUMN, FROM_MATRIX, CPU_ZSTD),
    }
    for direction, names in paths.items():
        run.measure(column, direction, *names, seconds=TELLING_SECONDS)
    run.measure(column, "decompress", KEPT, seconds=TELLING_SECONDS)


@contextmanager
def one_thread() -> Iterator[None]:
    """Columns run on one thread."""
    before = num_threads()
    set_num_threads(1)
    try:
        yield
    finally:
        set_num_threads(before)


def size_row(run: Run, case: Case) -> None:
    """A column on the GPU, and on all cores."""
    column = run.column(case)
    run.measure(column, "decompress", ARROW, TO_DEVICE, CPU, CPU_ZSTD)
    run.measure(column, "compress", ARROW, CPU_ZSTD)


def core_row(run: Run, case: Case) -> None:
    """A column on one core."""
    column = run.column(case)
    with one_thread():
        run.measure(column, "decompress", CPU, CPU_ZSTD)
        run.measure(column, "compress", CPU_ZSTD)


def peer_row(run: Run, case: Case) -> None:
    """nvidia.nvcomp, beside this package in the same rounds."""
    column = run.column(case)
    pairs, skipped = peers(run.device, case.kind, case.data, case.value_size, len(column.values))
    run.report.skip(skipped)
    for index, direction in enumerate(("compress", "decompress")):
        found = [*column.contenders(direction, ARROW), *(pair[index] for pair in pairs)]
        rates = measure(found, run.rounds, most_seconds=OTHER_SECONDS)
        run.report.add(case, direction, rates, column.ratio)


def other_row(run: Run, case: Case) -> None:
    column = run.column(case)
    run.measure(column, "decompress", TO_DEVICE, ARROW, CPU)
    run.measure(column, "compress", ARROW, CPU_ZSTD)


def copies(run: Run) -> None:
    """The rates of copies, the reference for all other rates."""
    sizes = [mib * MIB for mib in COPY_MIB if mib * MIB <= run.column_size]
    run.report.copies = copy_rates(Cuda(run.device), sizes)
    run.report.host_copies = host_copy_rates(max(sizes), num_threads())


def telling_steps(run: Run) -> Iterator[Step]:
    for data, kind in TELLING:
        case = run.case(data, kind.name, CHUNK, run.column_size)
        yield str(case), partial(telling_row, run, case)


def size_steps(run: Run) -> Iterator[Step]:
    by_value = min(run.column_size, BY_VALUE_MIB * MIB)
    one_thread_size = min(run.column_size, ONE_THREAD_MIB * MIB)
    columns = [mib * MIB for mib in COLUMN_MIB if mib * MIB <= 2 * run.column_size]
    for kind in (ZSTD, GDEFLATE):
        for value_size in run.sizes:
            case = run.case(LOG, kind.name, value_size, by_value)
            yield str(case), partial(size_row, run, case)
        for column_size in columns:
            case = run.case(LOG, kind.name, CHUNK, column_size)
            yield str(case), partial(size_row, run, case)
        for value_size in run.sizes:
            case = run.case(LOG, kind.name, value_size, one_thread_size)
            yield f"{case}, one core", partial(core_row, run, case)


def peer_steps(run: Run) -> Iterator[Step]:
    reason = refusal(run.device)
    if reason is not None:
        run.report.skip([reason])
        return
    for data, kind in TELLING:
        case = run.case(data, kind.name, CHUNK, run.column_size)
        yield f"nvidia.nvcomp, {case}", partial(peer_row, run, case)


def other_steps(run: Run) -> Iterator[Step]:
    yield "copies", partial(copies, run)
    for name in run.data:
        for kind in KINDS.values():
            if (name, kind) in TELLING or (name == IDS and kind is not BITCOMP):
                continue
            case = run.case(name, kind.name, CHUNK, min(run.column_size, BY_VALUE_MIB * MIB))
            yield str(case), partial(other_row, run, case)


PARTS: dict[str, Callable[[Run], Iterator[Step]]] = {
    "telling": telling_steps,
    "sizes": size_steps,
    "peers": peer_steps,
    "other": other_steps,
}


def bench(run: Run, parts: list[str]) -> None:
    """Runs all measurements that there is time for."""
    report = run.report
    for part in parts:
        for name, step in PARTS[part](run):
            if run.is_over():
                report.left_out.append(name)
                continue
            try:
                step()
            except Exception as error:
                # The report lists failures; the other measurements continue.
                traceback.print_exc()
                report.failed.append(f"{name}: {type(error).__name__}: {error}")
            report.save()


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--part", choices=PARTS, action="append", help="default: all, in order")
    parser.add_argument("--device", type=int, default=0, help="number of the GPU")
    parser.add_argument("--mib", type=int, default=512, help="size of a column")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=300, help="start nothing later")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write all numbers to PATH")
    parser.add_argument("--quick", action="store_true", help="3 rounds, few sizes, 4 MiB")
    args = parser.parse_args()
    start = time.monotonic()
    if not gpu_available():
        print(gpu_status())
        sys.exit(2)
    corpus, rounds = load(args.data), 3 if args.quick else args.rounds
    print(f"{gpu_status()}; {os.cpu_count()} cores")
    describe(corpus, rounds, num_threads(), DISTRIBUTIONS)
    print(ABOUT_DATA, flush=True)
    report = Report(args.json, corpus.source)
    # If terminated from outside, print the comparisons so far.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as stack:
        run = Run(
            args.device,
            rounds,
            column_size=(4 if args.quick else args.mib) * MIB,
            sizes=QUICK_SIZES if args.quick else SIZES,
            seconds=args.seconds,
            report=report,
            data=load_data(corpus),
            stack=stack,
            start=start,
        )
        try:
            bench(run, args.part or list(PARTS))
        except KeyboardInterrupt:
            report.left_out.append("everything after an interrupt")
    report.save()
    report.print()
    if report.failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
