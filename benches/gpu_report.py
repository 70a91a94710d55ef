"""The results of benches/gpu.py: printed row by row, saved as JSON, and compared in tables."""

from __future__ import annotations

import functools
import json
import os
import platform
import shutil
import statistics
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from gpu_columns import ARROW, CPU, CPU_ZSTD, LIMIT_OF, Case
from gpu_copies import CopyRate
from gpu_data import size_name
from gpu_limits import Limit
from harness import Rates, table

from s4_codec import __version__, gpu_status, num_threads

#: What does the same work as host to host on the GPU, on all cores, by direction.
SAME_WORK = {"compress": CPU_ZSTD, "decompress": CPU}
ABSENT = "-"


@dataclass(frozen=True)
class Row:
    """One way to do one direction of one column."""

    data: str
    codec: str
    direction: str
    path: str
    #: Bytes per value, and of all values.
    value_size: int
    column_size: int
    threads: int
    #: Original bytes divided by payload bytes.
    ratio: float
    #: GB/s of original bytes, one number a round.
    rounds: list[float]
    #: That of the same column in the same run, if it was measured.
    limit: Limit | None

    @property
    def rate(self) -> float:
        """The median."""
        return statistics.median(self.rounds)

    @property
    def share(self) -> float | None:
        """The rate as a share of the limit."""
        return None if self.limit is None else self.rate / self.limit.rate

    def to_json(self) -> dict[str, object]:
        return {**asdict(self), "GB/s": self.rate, "share of limit": self.share}

    def print(self) -> None:
        path = self.path + ", 1 thread" * (self.threads == 1)
        cells = f"  {self.direction:<10}  {path:<26}{self.rate:>9.3f}"
        if self.limit is not None:
            limit = f"{self.limit.steps}, {size_name(self.limit.batch_size)} a batch"
            cells += f"{self.limit.rate:>9.2f}{self.share:>6.0%}  {limit}"
        print(cells, flush=True)


@dataclass
class Report:
    """All results so far, saved to ``path`` unless that is None."""

    path: Path | None
    corpus: str
    rows: list[Row] = field(default_factory=list)
    limits: list[dict[str, object]] = field(default_factory=list)
    copies: list[CopyRate] = field(default_factory=list)
    #: GB/s within the host's memory, by number of threads.
    host_copies: dict[int, float] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def save(self) -> None:
        if self.path is None:
            return
        document = {
            **machine(),
            "corpus": self.corpus,
            "rows": [each.to_json() for each in self.rows],
            "limits": self.limits,
            "copies": [asdict(each) for each in self.copies],
            "host copies": self.host_copies,
            "left out": self.left_out,
            "skipped": self.skipped,
            "failed": self.failed,
        }
        # A run that is killed must not leave half a file.
        unfinished = self.path.with_suffix(".tmp")
        unfinished.write_text(json.dumps(document, indent=1) + "\n")
        unfinished.replace(self.path)

    def add(
        self,
        case: Case,
        direction: str,
        rates: Rates,
        ratio: float,
        limits: Sequence[Limit] = (),
    ) -> None:
        """Prints and saves what was measured."""
        by_steps = {each.steps: each for each in limits}
        for path, rounds in rates.items():
            row = Row(
                case.data.name,
                case.kind.name,
                direction,
                path,
                case.value_size,
                case.column_size,
                num_threads(),
                ratio,
                [rate / 1e3 for rate in rounds],
                by_steps.get(LIMIT_OF[direction].get(path, "")),
            )
            row.print()
            self.rows.append(row)
        self.save()

    def add_limits(self, case: Case, direction: str, limits: Iterable[Limit]) -> None:
        """Prints and saves the limits of a column."""
        for limit in limits:
            name = f"limit: {limit.steps}"
            batch = f"{size_name(limit.batch_size)} a batch"
            print(f"  {direction:<10}  {name:<35}{limit.rate:>9.2f}       {batch}", flush=True)
            sizes = {"value_size": case.value_size, "column_size": case.column_size}
            names = {"data": case.data.name, "codec": case.kind.name, "direction": direction}
            self.limits.append({**names, **sizes, **asdict(limit)})
        self.save()

    def skip(self, reasons: Iterable[str]) -> None:
        """Prints and saves why something is not measured."""
        for reason in reasons:
            if reason in self.skipped:
                continue
            print(f"  skipped: {reason}", flush=True)
            self.skipped.append(reason)
        self.save()

    def print(self) -> None:
        """Prints the tables that compare rows."""
        self._print_copies()
        for direction, other in SAME_WORK.items():
            self._print_comparison(direction, other)
        for title, lines in (
            ("Left out for lack of time", self.left_out),
            ("Skipped", self.skipped),
            ("FAILED", self.failed),
        ):
            if lines:
                print(f"\n{title}:", *lines, sep="\n  ")

    def _print_copies(self) -> None:
        if not self.copies:
            return
        rows = []
        for each in self.copies:
            found = (each.to_device, each.from_device, each.both)
            cells = [rate if isinstance(rate, str) else f"{rate:.1f}" for rate in found]
            rows.append([f"{each.kind}, {size_name(each.size)}", *cells])
        header = ["GB/s", "to device", "from device", "both at once"]
        table("Copies between host and device", header, rows)
        rows = [[f"{count}", f"{rate:.1f}"] for count, rate in self.host_copies.items()]
        table("Copies within the host's memory", ["threads", "GB/s"], rows)

    def _print_comparison(self, direction: str, other: str) -> None:
        """GB/s on the GPU and on all cores, by size of value and of column."""
        found: dict[tuple[str, str, int, int], dict[str, float]] = {}
        for each in self.rows:
            if each.direction == direction and each.threads == num_threads():
                key = (each.codec, each.data, each.value_size, each.column_size)
                found.setdefault(key, {})[each.path] = each.rate
        rows = []
        for (codec, data, value_size, column_size), rates in sorted(found.items()):
            if ARROW not in rates or other not in rates:
                continue
            ours, theirs = rates[ARROW], rates[other]
            label = f"{codec}, {data}, {size_name(value_size)}, {size_name(column_size)}"
            milliseconds = [f"{column_size / each / 1e6:.2f}" for each in (ours, theirs)]
            cells = [f"{ours:.2f}", f"{theirs:.2f}", f"{ours / theirs:.2f}", *milliseconds]
            rows.append([label, *cells])
        if len(rows) > 1:
            header = ["codec, data, value, column", "GPU", "CPU", "GPU/CPU", "GPU ms", "CPU ms"]
            title = f"{direction}, host to host, GB/s: {ARROW} on the GPU, {other} on all cores"
            table(title, header, rows)


@functools.cache
def machine() -> dict[str, object]:
    """The machine, and the versions of the software."""
    versions = {"s4-codec": __version__, "Python": platform.python_version()}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"] or ""
        if name in ("polars", "pyarrow", "numpy", "cupy-cuda13x", "torch") or name.startswith(
            ("nvidia-libnvcomp", "nvidia-nvcomp")
        ):
            versions[name] = distribution.version
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
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
