"""Polars columns: us, the peers from PyPI and the raw libraries on all cores.

    python benches/columns.py
    python benches/columns.py --codec cpu-zstd --quick
    python benches/columns.py --memory

Columns of log lines and of JSON documents. Prints million rows/s, MB/s of original bytes,
and the rate over that of the raw library, which runs on as many threads, reuses its
contexts, keeps its output, and neither computes a crc32c nor makes a column.

``--memory`` measures instead by how much a column of about 1 GiB lifts the peak memory.
"""

from __future__ import annotations

import argparse
from array import array
from collections.abc import Callable
from dataclasses import dataclass

import polars as pl
from harness import (
    CODECS,
    Contender,
    CpuCodec,
    describe,
    load,
    measure,
    optional,
    progress,
    ratio,
    raw_driver,
    speed,
    table,
)
from memory import print_memory
from peers import DISTRIBUTIONS, Peer, peers

import s4_codec.polars as s4
from s4_codec import CpuZstd, Passthrough, num_threads

LINES, DOCUMENTS = 200_000, 10_000
BODY = "body"
RAW = "raw library"

#: The column engine keeps this much memory of dropped outputs, to write it again.
KEPT_BYTES = 64 << 20
#: Peers whose functions of one argument ``map_elements`` calls.
MAPPED = {"zstandard", "deflate"}
#: Peers that need the original size to decompress, and so two columns.
LOOPED = {"pyarrow"}

#: Peers that loop over rows get one row in so many, as their cost grows evenly with rows.
ROW_BY_ROW = 10

#: Compression and decompression.
Runs = tuple[Callable[[], object], Callable[[], object]]


@dataclass(frozen=True)
class Case:
    """A column, and what we make of it."""

    codec: CpuCodec
    values: pl.DataFrame
    packed: pl.DataFrame

    @property
    def total(self) -> int:
        return int(self.values[BODY].bin.size().sum())

    def part(self, of: int) -> Case:
        """The first rows."""
        rows = len(self.values) // of
        return Case(self.codec, self.values.head(rows), self.packed.head(rows))

    @property
    def payloads(self) -> pl.Series:
        return self.packed[BODY].struct.field("payload")

    @property
    def sizes(self) -> pl.Series:
        return self.packed[BODY].struct.field("original_size")


def tile(codec: CpuCodec, rows: list[bytes], count: int) -> Case:
    """A column of ``count`` rows."""
    values = pl.DataFrame({BODY: (rows * -(-count // len(rows)))[:count]})
    packed = values.select(s4.compress(BODY, codec))
    assert packed.select(s4.decompress(BODY, codec)).equals(values)
    return Case(codec, values, packed)


def copies(case: Case) -> list[pl.DataFrame]:
    """Columns in more memory than the engine keeps.

    While they live, whatever it had kept is in them, so the next output is in fresh pages.
    Once they are dropped, it has kept all that it keeps.
    """
    count = 1 + -(-KEPT_BYTES // case.total)
    return [case.values.select(s4.compress(BODY, Passthrough())) for _ in range(count)]


def ours(case: Case, compress: bool) -> list[Contender]:
    """Our expressions: into recycled memory, into fresh memory, and streaming."""
    if compress:
        source, expression = case.values, s4.compress(BODY, case.codec)
    else:
        source, expression = case.packed, s4.decompress(BODY, case.codec)

    def eager() -> object:
        return source.select(expression)

    def streaming() -> object:
        return source.lazy().select(expression).collect(engine="streaming")

    def drop_copies() -> None:
        copies(case)

    def hold_copies() -> object:
        return copies(case)

    return [
        Contender("ours, outputs dropped", case.total, eager, prepare=drop_copies),
        Contender(
            "ours, outputs kept (fresh pages)", case.total, eager, prepare=hold_copies, keep=True
        ),
        Contender("ours, streaming engine", case.total, streaming, prepare=drop_copies),
    ]


def raw(case: Case) -> Runs | None:
    """The raw library on all cores."""
    driver = raw_driver(num_threads())
    if driver is None:
        return None
    name, level = case.codec.name, case.codec.level
    values, payloads = driver.rows(case.values[BODY]), driver.rows(case.payloads)
    sizes = case.sizes.rechunk().to_arrow()
    return (
        lambda: driver.compress(name, level, values),
        lambda: driver.decompress(name, payloads, sizes),
    )


def multi_buffer(case: Case) -> Runs | None:
    """zstandard's calls for many buffers, which lie back to back already."""
    module = optional("zstandard", "zstandard") if isinstance(case.codec, CpuZstd) else None
    if module is None or not hasattr(module, "BufferWithSegments"):
        return None

    def segments(column: pl.Series) -> object:
        rows, bounds, end = column.to_list(), array("Q"), 0
        for row in rows:
            bounds.extend((end, len(row)))
            end += len(row)
        return module.BufferWithSegments(b"".join(rows), bounds.tobytes())

    compressor = module.ZstdCompressor(level=case.codec.level)
    decompressor = module.ZstdDecompressor()
    values, payloads = segments(case.values[BODY]), segments(case.payloads)
    sizes, threads = array("Q", case.sizes).tobytes(), num_threads()
    return (
        lambda: compressor.multi_compress_to_buffer(values, threads=threads),
        lambda: decompressor.multi_decompress_to_buffer(
            payloads, decompressed_sizes=sizes, threads=threads
        ),
    )


def mapped(case: Case, peer: Peer) -> Runs:
    """``map_elements`` with a peer's function."""

    def compress(value: bytes) -> bytes:
        return bytes(peer.compress(value, *peer.compress_arguments))

    def decompress(payload: bytes) -> bytes:
        return bytes(peer.decompress(payload))

    payloads = case.payloads.to_frame(BODY)
    return (
        lambda: case.values.select(pl.col(BODY).map_elements(compress, pl.Binary)),
        lambda: payloads.select(pl.col(BODY).map_elements(decompress, pl.Binary)),
    )


def looped(case: Case, peer: Peer) -> Runs:
    """A loop over the rows as Python objects, and back to a column."""
    values, payloads, sizes = case.values[BODY], case.payloads, case.sizes
    arguments = peer.decompress_arguments
    return (
        lambda: pl.Series([peer.compress(v, *peer.compress_arguments) for v in values.to_list()]),
        lambda: pl.Series(
            [
                peer.decompress(payload, *arguments(size))
                for payload, size in zip(payloads.to_list(), sizes.to_list(), strict=True)
            ]
        ),
    )


def contenders(case: Case) -> dict[str, list[Contender]]:
    """All that is measured on one column, by direction."""
    few = case.part(ROW_BY_ROW)
    theirs = {"zstandard multi-buffer": (case, multi_buffer(case))}
    for peer in peers(case.codec):
        if peer.name in MAPPED:
            theirs[f"map_elements, {peer.name}"] = (few, mapped(few, peer))
        if peer.name in LOOPED:
            theirs[f"loop over rows, {peer.name}"] = (few, looped(few, peer))
    theirs[RAW] = (case, raw(case))
    directions = {}
    for index, direction in enumerate(("compress", "decompress")):
        directions[direction] = ours(case, compress=direction == "compress") + [
            Contender(name, on.total, runs[index], keep=name == RAW)
            for name, (on, runs) in theirs.items()
            if runs is not None
        ]
    return directions


def bench(codec: CpuCodec, what: str, rows: list[bytes], count: int, rounds: int) -> None:
    """Measures and prints all of one column and codec."""
    case = tile(codec, rows, count)
    for direction, found in contenders(case).items():
        title = f"{codec}, {direction}, {count:,} {what} of {case.total / count:,.0f} bytes"
        progress(title)
        rates = measure(found, rounds)
        progress("")
        lines = []
        for name in rates:
            to_raw = f"{ratio(rates, name, RAW):.2f}" if RAW in rates else "-"
            rate = speed(rates, name)
            lines.append([name, f"{rate * count / case.total:.3f}", f"{rate:,.0f}", to_raw])
        table(title, ["", "Mrow/s", "MB/s", "/raw"], lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--codec", choices=CODECS, help="default: all")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--quick", action="store_true", help="7 rounds, a quarter of the rows")
    parser.add_argument("--memory", action="store_true", help="peak memory instead of speed")
    args = parser.parse_args()
    names = list(CODECS) if args.codec is None else [args.codec]
    if args.memory:
        print_memory(names)
        return
    corpus, rounds = load(), 7 if args.quick else args.rounds
    describe(corpus, rounds, num_threads(), DISTRIBUTIONS)
    shrink = 4 if args.quick else 1
    for name in names:
        bench(CODECS[name], "log lines", corpus.lines, LINES // shrink, rounds)
        bench(CODECS[name], "JSON documents", corpus.documents, DOCUMENTS // shrink, rounds)


if __name__ == "__main__":
    main()
