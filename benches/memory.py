"""How much compressing and decompressing a column raises the peak memory of a process."""

from __future__ import annotations

import itertools
import multiprocessing
import resource
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from harness import CODECS, data_source, load, progress, table

import s4_codec.polars as s4

#: The column: its bytes, its name, and its numbers of chunks.
GIB, BODY, CHUNKS = 1 << 30, "body", (1, 48)


@dataclass(frozen=True)
class Lift:
    """Input, output and memory of the process in one step, in bytes."""

    step: str
    source: int
    output: int
    resident: int
    peak: int


def resident() -> int:
    """The resident memory of this process in bytes."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


def peak() -> int:
    """The peak resident memory of this process in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def lift(name: str, chunks: int, data: Path | None) -> list[Lift]:
    """A round trip of about 1 GiB, with every input and output kept alive."""
    codec, documents = CODECS[name], load(data).documents
    rows = GIB * len(documents) // sum(map(len, documents)) // chunks
    chunk = (documents * -(-rows // len(documents)))[:rows]
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


def print_memory(names: Iterable[str], data: Path | None) -> None:
    """Measures each codec and number of chunks in a process of its own."""
    print(f"data: {data_source(data)}")
    for name, chunks in itertools.product(names, CHUNKS):
        _print_lifts(name, chunks, data)


def _print_lifts(name: str, chunks: int, data: Path | None) -> None:
    title = f"{CODECS[name]}, peak memory, column in {chunks} chunk{'s' * (chunks > 1)}"
    progress(title)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        lifts = pool.apply(lift, (name, chunks, data))
    progress("")
    rows = []
    for each in lifts:
        growth = each.peak - each.resident
        numbers = (each.source, each.output, each.resident, each.peak, growth)
        cells = [f"{number / 2**20:,.0f}" for number in (*numbers, growth - each.output)]
        rows.append([each.step, *cells])
    header = ["MiB", "input", "output", "resident before", "peak", "growth", "growth - output"]
    table(title, header, rows)
