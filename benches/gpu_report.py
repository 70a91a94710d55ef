"""The results of benches/gpu.py as JSON and as tables."""

from __future__ import annotations

import functools
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path

from gpu_data import BITCOMP, GDEFLATE, KINDS, LOG, POSTINGS, ZSTD, size_name
from gpu_limits import CHUNK, CopyRate, KernelRate
from gpu_peer import NAME as PEER
from gpu_peer import RAW_NAME as RAW_PEER
from harness import Rates, fastest, ratio, speed, table

from s4_codec import __version__, gpu_status, num_threads

GPU, GPU_FRAMES = "GPU", "GPU, frames"
CPU, CPU_FRAMES = "CPU", "CPU, frames"
PEERS = (PEER, RAW_PEER)

#: The contenders that do the same work on the GPU and on the CPU, by direction.
COMPARED = {"compress": (GPU, CPU), "decompress": (GPU_FRAMES, CPU_FRAMES)}
DIRECTIONS = tuple(COMPARED)
ABSENT = "-"


@dataclass(frozen=True)
class Result:
    """One direction of one codec on one column."""

    data: str
    codec: str
    direction: str
    #: Bytes per value, and the number of values.
    value_size: int
    rows: int
    #: Original bytes divided by payload bytes.
    ratio: float
    rates: Rates

    @property
    def column_size(self) -> int:
        return self.value_size * self.rows

    def rate(self, name: str) -> str:
        """The GB/s of a contender."""
        return f"{speed(self.rates, name) / 1e3:.2f}" if name in self.rates else ABSENT

    def over(self, ours: str, others: Iterable[str]) -> str:
        """Our rate relative to the fastest of ``others``."""
        best = fastest(self.rates, [name for name in others if name in self.rates])
        return f"{ratio(self.rates, ours, best):.2f}" if best else ABSENT

    def over_cpu(self) -> float | None:
        """The GPU's rate relative to that of all cores."""
        ours, other = COMPARED[self.direction]
        has_both = ours in self.rates and other in self.rates
        return ratio(self.rates, ours, other) if has_both else None

    def to_json(self) -> dict[str, object]:
        rounds = {name: [rate / 1e3 for rate in rates] for name, rates in self.rates.items()}
        return {
            "data": self.data,
            "codec": self.codec,
            "direction": self.direction,
            "value_size": self.value_size,
            "rows": self.rows,
            "column_size": self.column_size,
            "ratio": self.ratio,
            "GB/s": {name: speed(self.rates, name) / 1e3 for name in self.rates},
            "GB/s by round": rounds,
            "GPU over CPU": self.over_cpu(),
        }


@dataclass
class Report:
    """All results so far, saved to ``path`` unless that is None."""

    path: Path | None
    corpus: str
    copies: list[CopyRate] = field(default_factory=list)
    #: GB/s within the host's memory, by number of threads.
    host_copies: dict[int, float] = field(default_factory=dict)
    kernels: list[KernelRate] = field(default_factory=list)
    #: Columns by size of value, and by size of column.
    results: list[Result] = field(default_factory=list)
    columns: list[Result] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def save(self) -> None:
        if self.path is None:
            return
        document = {
            **machine(),
            "corpus": self.corpus,
            "pinned GB/s": {direction: self.pinned(direction) for direction in DIRECTIONS},
            "copies": [asdict(each) for each in self.copies],
            "host copies": self.host_copies,
            "kernels": [asdict(each) for each in self.kernels],
            "by value size": [each.to_json() for each in self.results],
            "by column size": [each.to_json() for each in self.columns],
            "crossover": [
                {"codec": codec, "direction": direction, "data": data, "by": by, "from": start}
                for by, found in (("value", self.results), ("column", self.columns))
                for codec, direction, data, _, start in crossovers(found, by)
            ],
            "left out": self.left_out,
            "skipped": self.skipped,
            "failed": self.failed,
        }
        self.path.write_text(json.dumps(document, indent=1) + "\n")

    def pinned(self, direction: str) -> float | None:
        """GB/s of copies of pinned memory in the direction of the original bytes."""
        found = [each for each in self.copies if each.kind == "pinned"]
        if not found:
            return None
        largest = found[-1]
        rate = largest.to_device if direction == "compress" else largest.from_device
        return None if isinstance(rate, str) else rate

    def share(self, found: Result) -> str:
        """Our rate on the GPU as a share of the rate of pinned copies."""
        limit = self.pinned(found.direction)
        return f"{speed(found.rates, GPU) / 1e3 / limit:.0%}" if limit else ABSENT

    def print(self) -> None:
        """Prints all tables, the summary last."""
        self._print_copies()
        self._print_kernels()
        for kind in KINDS:
            for direction in DIRECTIONS:
                self._print_results(kind, direction)
        self._print_crossovers("value", self.results)
        self._print_crossovers("column", self.columns)
        for title, lines in (
            ("Left out for lack of time", self.left_out),
            ("Skipped", self.skipped),
            ("FAILED", self.failed),
        ):
            if lines:
                print(f"\n{title}:", *dict.fromkeys(lines), sep="\n  ")
        self._print_summary()

    def _print_copies(self) -> None:
        rows = []
        reasons: dict[str, None] = {}
        for each in self.copies:
            cells = []
            for rate in (each.to_device, each.from_device, each.both):
                cells.append("skipped" if isinstance(rate, str) else f"{rate:.1f}")
                if isinstance(rate, str):
                    reasons[f"{each.kind}, {size_name(each.size)} {rate}"] = None
            rows.append([f"{each.kind}, {size_name(each.size)}", *cells])
        header = ["GB/s", "to device", "from device", "both at once"]
        _table("Copies between host and device", header, rows)
        for reason in reasons:
            print(reason)
        rows = [[f"{count}", f"{rate:.1f}"] for count, rate in self.host_copies.items()]
        _table("Copies within the host's memory", ["threads", "GB/s"], rows)

    def _print_kernels(self) -> None:
        rows = [
            [
                f"{each.codec}, {each.data}, {size_name(each.size)}",
                f"{each.compress:.1f}",
                f"{each.decompress:.1f}",
                f"{each.ratio:.2f}",
            ]
            for each in self.kernels
        ]
        title = "nvCOMP alone: one batch of 64 KiB chunks on the device, GB/s of original bytes"
        _table(title, ["", "compress", "decompress", "ratio"], rows)

    def _print_results(self, codec: str, direction: str) -> None:
        found = [
            each for each in self.results if (each.codec, each.direction) == (codec, direction)
        ]
        found.sort(key=lambda each: (each.data, each.value_size))
        ours, other = COMPARED[direction]
        frames = [GPU_FRAMES] if direction == "decompress" else []
        rows = [
            [
                f"{each.data}, {size_name(each.value_size)}",
                each.rate(GPU),
                self.share(each),
                *(each.rate(name) for name in frames),
                each.rate(other),
                each.over(ours, [other]),
                *(each.rate(name) for name in PEERS),
                each.over(GPU, PEERS),
                f"{each.ratio:.2f}",
                size_name(each.column_size),
                f"{len(each.rates[GPU])}",
            ]
            for each in found
        ]
        header = ["GB/s", GPU, "of pinned", *frames, other, "GPU/CPU"]
        header += [PEER, "its RAW", "GPU/it", "ratio", "column", "rounds"]
        preposition = "to" if direction == "compress" else "from"
        title = f"{codec}, {direction}; of pinned: as a share of copies {preposition} the device"
        _table(title, header, rows)

    def _print_crossovers(self, by: str, results: list[Result]) -> None:
        sizes = sorted({_size_by(by, each) for each in results})
        rows = []
        for codec, direction, data, ratios, start in crossovers(results, by):
            cells = [f"{ratios[size]:.2f}" if size in ratios else ABSENT for size in sizes]
            since = ABSENT if start is None else size_name(start)
            rows.append([f"{codec}, {direction}, {data}", *cells, since])
        what = "value" if by == "value" else "column of 64 KiB values"
        title = f"GPU / all cores by size of {what}, and the size from which on it is above 1"
        _table(title, ["", *map(size_name, sizes), "from"], rows)

    def _print_summary(self) -> None:
        rows = []
        for codec, data in ((ZSTD, LOG), (GDEFLATE, LOG), (BITCOMP, POSTINGS)):
            for each in self.results:
                if (each.codec, each.data, each.value_size) != (codec.name, data, CHUNK):
                    continue
                alone = [
                    getattr(kernel, each.direction)
                    for kernel in self.kernels
                    if (kernel.codec, kernel.data) == (codec.name, data)
                ]
                rows.append(
                    [
                        f"{codec.name}, {each.direction}, {data}",
                        each.rate(GPU),
                        self.share(each),
                        f"{max(alone):.1f}" if alone else ABSENT,
                        each.over(COMPARED[each.direction][0], [COMPARED[each.direction][1]]),
                        each.over(GPU, PEERS),
                        f"{each.ratio:.2f}",
                    ]
                )
        cores = f"/{num_threads()} cores"
        header = ["GB/s", GPU, "of pinned", "nvCOMP alone", cores, "/nvidia.nvcomp", "ratio"]
        _table("Summary: values of 64 KiB", header, rows)


def _table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table unless it is empty."""
    if rows:
        table(title, header, rows)


def _size_by(by: str, found: Result) -> int:
    return found.value_size if by == "value" else found.column_size


def crossovers(
    results: Sequence[Result], by: str
) -> list[tuple[str, str, str, dict[int, float], int | None]]:
    """Codec, direction, data, the GPU's rate relative to the CPU's by size, and the smallest
    size from which on it is always above 1."""
    found: dict[tuple[str, str, str], dict[int, float]] = {}
    for each in results:
        over = each.over_cpu()
        if over is not None:
            key = (each.codec, each.direction, each.data)
            found.setdefault(key, {})[_size_by(by, each)] = over
    rows = []
    for key, ratios in sorted(found.items()):
        start = None
        for size in sorted(ratios, reverse=True):
            if ratios[size] <= 1:
                break
            start = size
        rows.append((*key, ratios, start))
    return rows


@functools.cache
def machine() -> dict[str, object]:
    """The machine, and the versions of the software."""
    versions = {"s4-codec": __version__, "Python": platform.python_version()}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"] or ""
        if name in ("polars", "pyarrow", "numpy") or name.startswith("nvidia-"):
            versions[name] = distribution.version
    return {
        "gpu": gpu_status(),
        "nvidia-smi": nvidia_smi(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "threads": num_threads(),
        "versions": versions,
    }


def nvidia_smi() -> str | None:
    """Name, driver and PCIe link of the GPUs, as nvidia-smi reports them."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    fields = "name,driver_version,pcie.link.gen.max,pcie.link.gen.current,pcie.link.width.current"
    command = [tool, f"--query-gpu={fields}", "--format=csv"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return f"{error}"
    return done.stdout.strip()
