"""What a benchmark prints, and the same with all digits as one JSON document.

```text
{benchmark, command, date, seconds, machine, versions, threads, rounds, data, skipped, tables,
notes}
```

A table has a ``title``, the ``unit`` of its corner, and ``rows``: each has its name under
``row``, a number under the name of every column, null where nothing was measured, and under
``rounds`` the MB/s of original bytes of every contender, one number a round. Host names and
folders are left out.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import harness
from harness import Corpus, Rates

from s4_codec import __version__

#: A name, a number, or nothing.
Cell = str | float | None

ABSENT = "-"

#: More busy cores than this disturb a measurement.
QUIET = 0.25
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def benchmark_parser(doc: str | None, rounds: int, quick: str) -> argparse.ArgumentParser:
    """A parser with the options of every benchmark: data, rounds, a quick run, and JSON."""
    parser = harness.argument_parser(doc)
    parser.add_argument("--rounds", type=int, default=rounds, help=f"default: {rounds}")
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all numbers to FILE")
    return parser


def machine() -> dict[str, Any]:
    """The processor, the cores that this process may use, the memory, and what else runs."""
    model = platform.processor()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if "model name" in line)
    return {
        "cpu": model or platform.machine(),
        "cores": CORES,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load_1min": os.getloadavg()[0],
        "busy_cores": busy_cores(),
    }


def busy_cores(seconds: float = 0.3) -> float | None:
    """The cores that are busy while this process sleeps; None where that is not known."""
    try:
        before = _core_seconds()
        time.sleep(seconds)
        busy, idle = (b - a for a, b in zip(before, _core_seconds(), strict=True))
        return round((os.cpu_count() or 1) * busy / (busy + idle), 2)
    except (OSError, ZeroDivisionError):
        return None


def _core_seconds() -> tuple[int, int]:
    """The time that all cores have been busy and idle, in ticks."""
    user, nice, system, idle, waiting, *rest = map(
        int, Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]
    )
    return user + nice + system + sum(rest), idle + waiting


def versions(distributions: Iterable[str]) -> dict[str, str]:
    """The versions of Python, of this package, and of what is installed."""
    found = {"s4-codec": __version__}
    for name in dict.fromkeys(("polars", "pyarrow", *distributions)):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return {**found, "Python": platform.python_version()}


class Report:
    """Prints the circumstances of a run, then its tables; writes both to a file, if one is named.

    The file is written anew with every table, so a run that is cut short leaves what it had.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        corpus: Corpus,
        rounds: int,
        threads: int,
        distributions: Iterable[str] = (),
    ) -> None:
        self._path: Path | None = args.json
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        self._start = time.perf_counter()
        self._tables: list[dict[str, object]] = []
        self._notes: list[str] = []
        host = machine()
        self._run: dict[str, Any] = {
            "benchmark": Path(sys.argv[0]).stem,
            "command": without_folders(" ".join(["python", *sys.argv])),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": host,
            "versions": versions(distributions),
            "threads": threads,
            "rounds": rounds,
            "data": without_folders(corpus.source),
        }
        harness.describe(corpus, rounds, threads, distributions)
        memory = f"{host['memory_bytes'] / (1 << 30):.0f} GiB"
        print(f"{host['cpu']}, {CORES} cores, {memory}; busy before: {host['busy_cores']} cores")

    def table(
        self,
        title: str,
        columns: Mapping[str, str],
        rows: Sequence[Sequence[Cell]],
        rates: Sequence[Rates] = (),
    ) -> None:
        """Prints and records a table.

        ``columns`` maps the name of each column to its format; the first holds the rows' names.
        ``rates`` are what the rows were computed from, row by row.
        """
        unit, *names = columns
        formats = list(columns.values())
        harness.table(
            title,
            list(columns),
            [[_text(cell, form) for cell, form in zip(row, formats, strict=True)] for row in rows],
        )
        recorded = []
        for number, (first, *cells) in enumerate(rows):
            values = {name: _rounded(cell) for name, cell in zip(names, cells, strict=True)}
            record: dict[str, object] = {"row": first, **values}
            if rates:
                record["rounds"] = {
                    name: [_rounded(rate) for rate in found]
                    for name, found in rates[number].items()
                }
            recorded.append(record)
        self._tables.append({"title": title, "unit": unit, "rows": recorded})
        self._save()

    @property
    def is_quiet(self) -> bool:
        """Whether other processes left the cores alone when the run began."""
        return (self._run["machine"]["busy_cores"] or 0.0) < QUIET

    def note(self, text: str) -> None:
        """Prints and records a sentence."""
        print(text, flush=True)
        self._notes.append(text)
        self._save()

    def _save(self) -> None:
        if self._path is None:
            return
        document = {
            **self._run,
            "seconds": round(time.perf_counter() - self._start, 1),
            "skipped": [without_folders(reason) for reason in harness.SKIPPED],
            "tables": self._tables,
            "notes": self._notes,
        }
        write_json(self._path, document)


def write_json(path: Path, document: object) -> None:
    """Writes a document in whole or not at all."""
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps(document, indent=1) + "\n")
    unfinished.replace(path)


def without_folders(text: str) -> str:
    """A text with the last part alone of every absolute path."""
    return re.sub(r"(?<![\w.])(?:/[^\s/'\",:]+)*/(?=[^\s/'\",:])", "", text)


def _text(cell: Cell, form: str) -> str:
    if cell is None:
        return ABSENT
    return cell if isinstance(cell, str) else format(cell, form)


def _rounded(cell: Cell) -> Cell:
    """Six digits, more than any measurement has."""
    return float(f"{cell:.6g}") if isinstance(cell, float) else cell
