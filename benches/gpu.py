"""GPU codecs from host to host: this package on the GPU and on all cores, and nvidia.nvcomp.

    python benches/gpu.py
    python benches/gpu.py --quick
    python benches/gpu.py --data DIR
    python benches/gpu.py --seconds 600 --json gpu.json

Columns of values of one size, as Arrow data, through ``s4_codec.arrow``: compress and
decompress with a codec object on the GPU, and decode on frames, on the GPU and on the CPU. The
CPU compresses with ``CpuZstd(3)``; it cannot compress GDeflate or Bitcomp, nor decompress
Bitcomp. Prints GB/s of original bytes, their share of the rate at which this machine copies
pinned memory in the same direction, nvCOMP's rates for chunks already on the device, and the
sizes from which on the GPU is faster than all cores.

The most important cases are measured first; the report names those that ``--seconds`` leaves no
time for. Needs a GPU and nvCOMP (``pip install 's4-codec[gpu]'``); exits with 2 without them.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
from cuda import CallError, Cuda, Nvcomp
from gpu_data import (
    ABOUT_DATA,
    BITCOMP,
    GDEFLATE,
    IDS,
    JSON,
    KINDS,
    LOG,
    POSTINGS,
    ZSTD,
    Data,
    Kind,
    load_data,
    size_name,
)
from gpu_limits import CHUNK, MIB, copy_rates, host_copy_rates, kernel_rate
from gpu_peer import Pair, peers, refusal
from gpu_report import CPU, CPU_FRAMES, GPU, GPU_FRAMES, Report, Result
from harness import Contender, Rates, argument_parser, describe, load, measure, progress

import s4_codec.arrow
from s4_codec import Codec, gpu_available, gpu_status, num_threads

KIB = 1 << 10
#: The most important first: there may be no time for the last.
SIZES = [CHUNK, 4 * KIB, MIB, 256 * KIB, 16 * KIB, KIB, 16 * MIB, 256]
QUICK_SIZES = [CHUNK, 4 * KIB]
#: Sizes of values that nvidia.nvcomp is measured with.
PEER_SIZES = (CHUNK, 4 * KIB, MIB)
#: Sizes of columns of 64 KiB values, to find the size from which on a GPU pays.
COLUMN_MIB = (1, 4, 16, 64, 256)
#: Sizes of batches on the device: that of this package, and a larger one.
BATCH_MIB = (64, 256)
COPY_MIB = (1, 16, 64, 256)
#: The most values of a column: more small ones would take all the time.
MOST_ROWS = 256 << 10

#: The data that each codec is made for.
MAIN = [(LOG, ZSTD), (LOG, GDEFLATE), (POSTINGS, BITCOMP)]

#: No round starts after this many seconds, in the main cases and in the others.
MAIN_SECONDS, OTHER_SECONDS = 6.0, 1.2
#: The minimum duration of a sample of a small column.
LEAST_SECONDS = 0.01
#: No batch on the device starts after this share of the total time.
KERNELS_UNTIL = 0.4

DISTRIBUTIONS = [
    "pyarrow",
    "numpy",
    *("nvidia-libnvcomp-cu12", "nvidia-libnvcomp-cu13"),
    *("nvidia-nvcomp-cu12", "nvidia-nvcomp-cu13"),
]


#: The name of a measurement, and the function that runs it.
Step = tuple[str, Callable[[], None]]


@dataclass(frozen=True)
class Case:
    """Values of one size, for one codec."""

    data: Data
    kind: Kind
    value_size: int

    @property
    def is_main(self) -> bool:
        return (self.data.name, self.kind) in MAIN

    @property
    def rank(self) -> int:
        """Its place in the order of measurement: 0 comes first."""
        is_typical = self.value_size == CHUNK
        if self.is_main:
            return 0 if is_typical else 1
        if is_typical:
            return 2
        return 3 if self.data.name == JSON and self.kind is not BITCOMP else 4

    def __str__(self) -> str:
        return f"{self.kind.name}, {self.data.name}, {size_name(self.value_size)}"


@dataclass
class Run:
    """The settings, and the results so far."""

    device: int
    rounds: int
    #: Bytes of a column.
    column_size: int
    seconds: float
    report: Report
    cuda: Cuda
    #: Why nvidia.nvcomp is not measured, or None.
    no_peer: str | None
    start: float

    def is_over(self, share: float = 1.0) -> bool:
        """Whether ``share`` of the time is used up."""
        return time.monotonic() - self.start > share * self.seconds


@dataclass(frozen=True)
class Column:
    """A column, its payloads from the GPU, and frames of them where a CPU can decode them."""

    kind: Kind
    codec: Codec
    device: int
    values: pa.LargeBinaryArray
    packed: pa.StructArray
    frames: pa.LargeBinaryArray | None

    @classmethod
    def of(cls, kind: Kind, codec: Codec, device: int, values: pa.LargeBinaryArray) -> Column:
        """Compresses ``values``, and verifies every decompressor."""
        packed = s4_codec.arrow.compress(values, codec)
        frames = s4_codec.arrow.encode(values, codec) if kind.has_cpu_decoder else None
        column = cls(kind, codec, device, values, packed, frames)
        for contender in column.decompressors():
            assert values.equals(contender.run()), f"{contender.name} does not restore the column"
        return column

    @property
    def size(self) -> int:
        """Bytes of the values."""
        return int(self.values.buffers()[2].size)

    @property
    def ratio(self) -> float:
        """Original bytes divided by payload bytes."""
        payloads = self.packed.field("payload")
        offsets = payloads.buffers()[1]
        ends = memoryview(offsets).cast("q")
        return self.size / (ends[len(payloads)] - ends[0])

    def compressors(self) -> list[Contender]:
        found = {GPU: self.codec, CPU: self.kind.cpu_codec}
        return [
            Contender(name, self.size, partial(s4_codec.arrow.compress, self.values, codec))
            for name, codec in found.items()
            if codec is not None
        ]

    def decompressors(self) -> list[Contender]:
        runs = {GPU: partial(s4_codec.arrow.decompress, self.packed, self.codec)}
        if self.frames is not None:
            decode = partial(s4_codec.arrow.decode, self.frames)
            runs |= {GPU_FRAMES: partial(decode, device=self.device), CPU_FRAMES: decode}
        return [Contender(name, self.size, run) for name, run in runs.items()]


def result(case: Case, column: Column, direction: str, rates: Rates) -> Result:
    return Result(
        case.data.name,
        case.kind.name,
        direction,
        case.value_size,
        len(column.values),
        column.ratio,
        rates,
    )


def measure_case(run: Run, case: Case) -> None:
    """Adds both directions of one case to the report."""
    rows = min(MOST_ROWS, run.column_size // case.value_size)
    values = case.data.column(case.value_size, rows * case.value_size)
    codec = case.kind.make(run.device, case.data.data_type)
    progress(f"{case}: verifying")
    column = Column.of(case.kind, codec, run.device, values)
    pairs: list[Pair] = []
    if run.no_peer is None and case.value_size in PEER_SIZES:
        progress(f"{case}: nvidia.nvcomp")
        pairs, skipped = peers(run.device, case.kind, case.data, case.value_size, rows)
        run.report.skipped += skipped
    theirs = [[pair[index] for pair in pairs] for index in (0, 1)]
    most = MAIN_SECONDS if case.rank == 0 else OTHER_SECONDS
    for direction, contenders in (
        ("compress", column.compressors() + theirs[0]),
        ("decompress", column.decompressors() + theirs[1]),
    ):
        progress(f"{case}: {direction}")
        rates = measure(contenders, run.rounds, most_seconds=most)
        run.report.results.append(result(case, column, direction, rates))


def measure_columns(run: Run, case: Case) -> None:
    """The same values in columns of several sizes, on the GPU and on all cores."""
    codec = case.kind.make(run.device, case.data.data_type)
    for mib in COLUMN_MIB:
        if mib * MIB > run.column_size:
            break
        progress(f"{case}: column of {mib} MiB")
        values = case.data.column(case.value_size, mib * MIB)
        column = Column.of(case.kind, codec, run.device, values)
        directions = {"decompress": column.decompressors()[1:]}
        if case.kind.cpu_codec is not None:
            directions["compress"] = column.compressors()
        for direction, contenders in directions.items():
            rates = measure(contenders, run.rounds, LEAST_SECONDS, OTHER_SECONDS)
            run.report.columns.append(result(case, column, direction, rates))


def measure_copies(run: Run) -> None:
    """Measures the copy rates, the reference for all other rates."""
    progress("copies")
    sizes = [mib * MIB for mib in COPY_MIB if mib * MIB <= run.column_size]
    run.report.copies = copy_rates(run.cuda, sizes)
    run.report.host_copies = host_copy_rates(max(sizes), num_threads())


def measure_kernels(run: Run, data_sets: list[Data]) -> None:
    """Measures nvCOMP alone, as far as time allows."""
    nvcomp = Nvcomp()
    every = [(data, kind) for data in data_sets for kind in KINDS.values()]
    every.sort(key=lambda pair: (pair[0].name, pair[1]) not in MAIN)
    sizes = [mib * MIB for mib in BATCH_MIB if mib * MIB <= run.column_size]
    for (data, kind), size in itertools.product(every, sizes or [run.column_size]):
        what = f"{kind.name}, {data.name}, on the device, {size_name(size)}"
        if run.is_over(KERNELS_UNTIL):
            run.report.left_out.append(what)
            continue
        progress(what)
        try:
            found = kernel_rate(run.cuda, nvcomp, data, kind, size)
            run.report.kernels.append(found)
        except CallError as error:
            run.report.skipped.append(f"{what}: {error}")


def cases(data_sets: dict[str, Data], sizes: list[int]) -> list[Case]:
    """Everything to measure, the most important first."""
    every = [data for name, data in data_sets.items() if name != IDS]
    found = [Case(*case) for case in itertools.product(every, KINDS.values(), sizes)]
    found.append(Case(data_sets[IDS], BITCOMP, CHUNK))
    return sorted(found, key=lambda case: (case.rank, sizes.index(case.value_size)))


def steps(run: Run, data_sets: dict[str, Data], sizes: list[int]) -> list[Step]:
    """All measurements by name, the most important first."""

    def of(case: Case) -> Step:
        return str(case), partial(measure_case, run, case)

    found = [case for case in cases(data_sets, sizes) if case.value_size <= run.column_size]
    by_column = [Case(data_sets[LOG], kind, CHUNK) for kind in (ZSTD, GDEFLATE)]
    return [
        ("copies", partial(measure_copies, run)),
        *(of(case) for case in found if case.rank == 0),
        *((f"columns, {case}", partial(measure_columns, run, case)) for case in by_column),
        ("nvCOMP alone", partial(measure_kernels, run, list(data_sets.values()))),
        *(of(case) for case in found if case.rank > 0),
    ]


def bench(run: Run, data_sets: dict[str, Data], sizes: list[int]) -> None:
    """Runs all measurements that there is time for."""
    report = run.report
    for name, step in steps(run, data_sets, sizes):
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
    progress("")


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--device", type=int, default=0, help="number of the GPU")
    parser.add_argument("--mib", type=int, default=512, help="size of a column")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=240, help="start nothing later")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write all numbers to PATH")
    parser.add_argument("--quick", action="store_true", help="3 rounds, few sizes, 4 MiB")
    args = parser.parse_args()
    if not gpu_available():
        print(gpu_status())
        sys.exit(2)
    corpus, rounds = load(args.data), 3 if args.quick else args.rounds
    print(f"{gpu_status()}; {os.cpu_count()} cores")
    describe(corpus, rounds, num_threads(), DISTRIBUTIONS)
    print(ABOUT_DATA)
    sys.stdout.flush()
    size = (4 if args.quick else args.mib) * MIB
    report = Report(args.json, corpus.source)
    start, no_peer = time.monotonic(), refusal(args.device)
    if no_peer is not None:
        report.skipped.append(no_peer)
    run = Run(args.device, rounds, size, args.seconds, report, Cuda(args.device), no_peer, start)
    # If terminated from outside, print the results so far.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        bench(run, load_data(corpus), QUICK_SIZES if args.quick else SIZES)
    except KeyboardInterrupt:
        progress("")
        report.left_out.append("everything after an interrupt")
    report.save()
    report.print()
    if report.failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
