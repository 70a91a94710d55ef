"""What the benches share: data, timing in interleaved rounds, and tables."""

from __future__ import annotations

import contextlib
import functools
import gc
import gzip
import importlib
import math
import platform
import random
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s4_codec import CpuGzip, CpuZstd, __version__

if TYPE_CHECKING:
    from raw import Raw

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

CpuCodec = CpuZstd | CpuGzip

#: What is measured, by name.
CODECS: dict[str, CpuCodec] = {"cpu-zstd": CpuZstd(3), "cpu-gzip": CpuGzip(6)}

#: MB/s of original bytes, one number a round, by contender.
Rates = dict[str, list[float]]


@dataclass(frozen=True)
class Corpus:
    """Real text: log lines, JSON documents, and all of it in one piece."""

    source: str
    lines: list[bytes]
    documents: list[bytes]
    text: bytes


def load() -> Corpus:
    """The files in ``../shared/data``, or the standard library's source instead."""
    if not DATA.is_dir():
        return _standard_library()
    logs, documents, xml = (
        gzip.decompress((DATA / name).read_bytes())
        for name in ("apache.log.gz", "nginxplus.json.gz", "xml.gz")
    )
    return Corpus(
        "Apache log, nginx JSON, Silesia XML",
        lines=logs.splitlines(),
        documents=documents.splitlines(),
        text=logs + documents + xml,
    )


def _standard_library() -> Corpus:
    root = Path(sysconfig.get_path("stdlib"))
    paths = [path for path in sorted(root.rglob("*.py")) if "site-packages" not in path.parts]
    text = b"".join(path.read_bytes() for path in paths)[: 10 << 20]
    page = 5600
    return Corpus(
        "../shared/data is absent, so source of Python's standard library",
        lines=[line for line in text.splitlines() if line][:10_000],
        documents=[text[start : start + page] for start in range(0, 500 * page, page)],
        text=text,
    )


@functools.cache
def optional(module: str, distribution: str) -> Any | None:
    """A module that need not be there; its absence is printed once."""
    try:
        return importlib.import_module(module)
    except ImportError:
        print(f"skipped: {distribution} is not installed")
        return None


@functools.cache
def raw_driver(threads: int) -> Raw | None:
    """The raw libraries on ``threads`` threads, where they can be built."""
    try:
        from raw import Raw

        return Raw(threads)
    except (ImportError, OSError, subprocess.SubprocessError) as error:
        print(f"skipped: the raw libraries, which need cargo and pyarrow ({error})")
        return None


def describe(corpus: Corpus, rounds: int, threads: int, distributions: Iterable[str]) -> None:
    """Prints what runs, and on what."""
    versions = [f"s4-codec {__version__}"]
    for name in ("polars", *distributions):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions.append(f"{name} {metadata.version(name)}")
    print(f"{', '.join(versions)}; Python {platform.python_version()}")
    print(f"{threads} thread{'s' * (threads > 1)}; medians of {rounds} interleaved rounds")
    print(f"data: {corpus.source}")


def progress(text: str) -> None:
    """Replaces the line on stderr that says what is being measured."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr, flush=True)


def nothing() -> None:
    """No preparation."""


@dataclass(frozen=True)
class Contender:
    """One way to do the work.

    ``prepare`` runs before every sample, untimed, and what it returns lives through the
    sample. With ``keep``, so does every output, to the end of the measurement; otherwise
    an output is dropped, untimed, before the next sample.
    """

    name: str
    #: Original bytes that one run handles.
    size: int
    run: Callable[[], object]
    prepare: Callable[[], object] = nothing
    keep: bool = False


def measure(
    contenders: Sequence[Contender],
    rounds: int,
    least_seconds: float = 0.0,
    most_seconds: float = math.inf,
) -> Rates:
    """Times every contender once a round, in an order that changes from round to round.

    A sample runs as often as it takes to last ``least_seconds``. The first run of each
    contender is a warm-up. No round but the first begins after ``most_seconds``.
    """
    start = time.perf_counter()
    runs = {each.name: _runs(each, least_seconds) for each in contenders}
    rates: Rates = {each.name: [] for each in contenders}
    kept: list[object] = []
    gc.collect()
    gc.disable()
    try:
        for number in range(rounds):
            if number > 0 and time.perf_counter() - start > most_seconds:
                break
            for each in random.Random(number).sample(contenders, len(contenders)):
                rate, output = _sample(each, runs[each.name])
                rates[each.name].append(rate)
                if each.keep:
                    kept.append(output)
                del output
    finally:
        gc.enable()
    return rates


def _runs(contender: Contender, least_seconds: float) -> int:
    """How many runs make a sample, from the second of two runs."""
    _sample(contender, 1)
    if not least_seconds:
        return 1
    rate, _ = _sample(contender, 1)
    return max(1, round(least_seconds * rate * 1e6 / contender.size))


def _sample(contender: Contender, runs: int) -> tuple[float, object]:
    """MB/s over ``runs`` runs, and the last output."""
    held = contender.prepare()
    output = None
    start = time.perf_counter()
    for _ in range(runs):
        output = contender.run()
    seconds = time.perf_counter() - start
    del held
    return contender.size * runs / seconds / 1e6, output


def ratio(rates: Rates, ours: str, other: str) -> float:
    """How many times faster ``ours`` is: the median of the rounds' ratios."""
    pairs = zip(rates[ours], rates[other], strict=True)
    return statistics.median(mine / theirs for mine, theirs in pairs)


def speed(rates: Rates, name: str) -> float:
    """The median rate."""
    return statistics.median(rates[name])


def fastest(rates: Rates, names: Iterable[str]) -> str | None:
    """The one of ``names`` with the highest median rate."""
    return max(names, key=lambda name: speed(rates, name), default=None)


def table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints a table: the first column flush left, all others flush right."""
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    print(f"\n{title}\n")
    for first, *rest in lines:
        cells = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        print("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    sys.stdout.flush()
