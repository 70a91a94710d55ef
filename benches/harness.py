"""What the benchmarks share: options, data, timing in interleaved rounds, and tables."""

from __future__ import annotations

import argparse
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
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthetic import SEED, catalogue, documents, log_lines

from s4_codec import CpuGzip, CpuZstd, __version__

if TYPE_CHECKING:
    from raw import Raw

#: What the folder of ``--data`` holds.
DATA_FILES = ("apache.log.gz", "nginxplus.json.gz", "xml.gz")

CpuCodec = CpuZstd | CpuGzip

#: What is measured, by name.
CODECS: dict[str, CpuCodec] = {"cpu-zstd": CpuZstd(3), "cpu-gzip": CpuGzip(6)}

#: What this run left out, and why.
SKIPPED: list[str] = []

#: MB/s of original bytes, one number a round, by contender.
Rates = dict[str, list[float]]


@dataclass(frozen=True)
class Corpus:
    """Log lines, JSON documents, and one long text."""

    source: str
    lines: list[bytes]
    documents: list[bytes]
    text: bytes


def argument_parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser with the first line of ``doc`` and the option ``--data``."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument(
        "--data",
        type=_data_folder,
        metavar="DIR",
        help=(
            "folder with apache.log.gz (a log), nginxplus.json.gz (one JSON document per line) "
            "and xml.gz (any text), each compressed with gzip; default: data made from a fixed seed"
        ),
    )
    return parser


def _data_folder(path: str) -> Path:
    folder = Path(path)
    missing = [name for name in DATA_FILES if not (folder / name).is_file()]
    if missing:
        msg = f"expected {', '.join(DATA_FILES)} in {folder}; missing: {', '.join(missing)}"
        raise argparse.ArgumentTypeError(msg)
    return folder


def data_options(folder: Path | None) -> list[str]:
    """The options that pass ``folder`` on to another process."""
    return [] if folder is None else ["--data", str(folder)]


def data_source(folder: Path | None) -> str:
    """Which data :func:`load` returns, in words."""
    if folder is None:
        return f"made from seed {SEED}: access log, JSON status documents, XML catalogue"
    return f"{', '.join(DATA_FILES)} in {folder}"


def load(folder: Path | None) -> Corpus:
    """The files in ``folder``, or synthetic data where it is None."""
    if folder is None:
        return Corpus(data_source(None), log_lines(), documents(), catalogue())
    log, status, xml = (gzip.decompress((folder / name).read_bytes()) for name in DATA_FILES)
    return Corpus(data_source(folder), log.splitlines(), status.splitlines(), log + status + xml)


def skip(reason: str) -> None:
    """Prints and records that something is left out."""
    print(f"skipped: {reason}")
    SKIPPED.append(reason)


@functools.cache
def optional(module: str, distribution: str) -> Any | None:
    """An optional module; says once that it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError:
        skip(f"{distribution} is not installed")
        return None


@functools.cache
def raw_driver(threads: int) -> Raw | None:
    """The raw libraries on ``threads`` threads, or None where they cannot be built."""
    try:
        from raw import Raw

        return Raw(threads)
    except (ImportError, OSError, subprocess.SubprocessError) as error:
        skip(f"the raw libraries need cargo and pyarrow ({error})")
        return None


def describe(corpus: Corpus, rounds: int, threads: int, distributions: Iterable[str]) -> None:
    """Prints the versions, threads, rounds and data of a run."""
    versions = [f"s4-codec {__version__}"]
    for name in ("polars", *distributions):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions.append(f"{name} {metadata.version(name)}")
    print(f"{', '.join(versions)}; Python {platform.python_version()}")
    print(f"{threads} thread{'s' * (threads > 1)}; medians of {rounds} interleaved rounds")
    print(f"data: {corpus.source}")


def progress(text: str) -> None:
    """Replaces the line on stderr that names what is being measured."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr, flush=True)


def nothing() -> None:
    """No preparation."""


@dataclass(frozen=True)
class Contender:
    """One way to do the work.

    ``prepare`` runs before every sample, untimed, and its result is held during the sample.
    With ``keep``, every output is held until the end of the measurement; otherwise an output
    is dropped, untimed, before the next sample.
    """

    name: str
    #: Original bytes per run.
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
    """Times every contender once per round, in an order that changes from round to round.

    A sample repeats the run until it lasts ``least_seconds``. The first run of each contender
    is a warm-up. After ``most_seconds`` no further round starts.
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
    """The number of runs per sample, estimated from the second of two runs."""
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
    """The speed of ``ours`` relative to ``other``: the median of the rounds' ratios."""
    pairs = zip(rates[ours], rates[other], strict=True)
    return statistics.median(mine / theirs for mine, theirs in pairs)


def speed(rates: Rates, name: str) -> float:
    """The median rate."""
    return statistics.median(rates[name])


def fastest(rates: Rates, names: Iterable[str]) -> str | None:
    """The one of ``names`` with the highest median rate."""
    return max(names, key=lambda name: speed(rates, name), default=None)


def table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints a table: the first column left-aligned, all others right-aligned."""
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    print(f"\n{title}\n")
    for first, *rest in lines:
        cells = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        print("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    sys.stdout.flush()
