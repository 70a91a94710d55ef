"""How far compressing and decompressing a column lifts the peak memory of a process."""

from __future__ import annotations

import itertools
import multiprocessing
import resource
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from harness import CODECS, load, progress, table

import s4_codec.polars as s4

#: The column: its bytes, its name, and in how many chunks it comes.
GIB, BODY, CHUNKS = 1 << 30, "body", (1, 48)


@dataclass(frozen=True)
class Lift:
    """What one step held and how far it lifted the process's memory, in bytes."""

    step: str
    source: int
    output: int
    resident: int
    peak: int


def resident() -> int:
    """Bytes of this process in memory now."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


def peak() -> int:
    """Bytes of this process in memory at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def lift(name: str, chunks: int) -> list[Lift]:
    """A round trip of about 1 GiB, all of which stays alive."""
    codec, documents = CODECS[name], load().documents
    chunk = documents * (GIB // sum(map(len, documents)) // chunks)
    column = pl.concat([pl.Series(BODY, chunk) for _ in range(chunks)], rechunk=False)
    values = column.to_frame()
    before = resident()
    packed = values.select(s4.compress(BODY, codec))
    compress = Lift("compress", size(values), size(packed), before, peak())
    before = resident()
    restored = packed.select(s4.decompress(BODY, codec))
    decompress = Lift("decompress", size(packed), size(restored), before, peak())
    assert restored.equals(values)
    return [compress, decompress]


def size(table: pl.DataFrame) -> int:
    return int(table.estimated_size())


def print_memory(names: Iterable[str]) -> None:
    """Measures each codec and number of chunks in a process of its own."""
    for name, chunks in itertools.product(names, CHUNKS):
        _print_lifts(name, chunks)


def _print_lifts(name: str, chunks: int) -> None:
    title = f"{CODECS[name]}, peak memory, column in {chunks} chunk{'s' * (chunks > 1)}"
    progress(title)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        lifts = pool.apply(lift, (name, chunks))
    progress("")
    rows = []
    for each in lifts:
        growth = each.peak - each.resident
        numbers = (each.source, each.output, each.resident, each.peak, growth)
        cells = [f"{number / 2**20:,.0f}" for number in (*numbers, growth - each.output)]
        rows.append([each.step, *cells])
    header = ["MiB", "input", "output", "resident before", "peak", "growth", "growth - output"]
    table(title, header, rows)
