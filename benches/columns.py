"""Polars columns: this package, its peers from PyPI and the raw libraries, on all cores.

    python benches/columns.py
    python benches/columns.py --codec cpu-zstd --quick
    python benches/columns.py --data DIR
    python benches/columns.py --published FOLDER
    python benches/columns.py --memory

Columns of log lines and of JSON documents. Prints million rows/s, MB/s of original bytes, and
the rate relative to the raw library, which uses the same number of threads, reuses its
contexts and keeps its output, but computes no crc32c and builds no column.

``--published`` adds s4-codec 1.5 from FOLDER; published.py says how to install it there.
``--memory`` measures instead how much a column of about 1 GiB raises the peak memory.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from harness import (
    CODECS,
    Contender,
    CpuCodec,
    load,
    measure,
    optional,
    progress,
    ratio,
    raw_driver,
    speed,
)
from memory import print_memory
from peers import DISTRIBUTIONS, Peer, peers
from published import Published
from report import Report, benchmark_parser

import s4_codec.polars as s4
from s4_codec import CpuZstd, Passthrough, num_threads

LINES, DOCUMENTS = 200_000, 10_000
BODY = "body"
RAW = "raw library"

#: The column engine keeps this much memory of dropped outputs for reuse.
KEPT_BYTES = 64 << 20
#: Peers measured through ``map_elements``: their functions take one argument.
MAPPED = {"zstandard", "deflate"}
#: Peers measured in a loop: they need the original size, a second column, to decompress.
LOOPED = {"pyarrow"}

#: Peers that loop over rows get one tenth of them: their cost is proportional to the rows.
ROW_BY_ROW = 10

COLUMNS = {"": "", "Mrow/s": ".3f", "MB/s": ",.0f", "/raw": ".2f"}

#: Compression and decompression.
Runs = tuple[Callable[[], object], Callable[[], object]]


@dataclass(frozen=True)
class Case:
    """A column and its compressed form."""

    codec: CpuCodec
    values: pl.DataFrame
    packed: pl.DataFrame

    @property
    def total(self) -> int:
        return int(self.values[BODY].bin.size().sum())

    def part(self, of: int) -> Case:
        """The first rows, one in ``of``."""
        rows = len(self.values) // of
        return Case(self.codec, self.values.head(rows), self.packed.head(rows))

    @property
    def payloads(self) -> pl.Series:
        return self.packed[BODY].struct.field("payload")

    @property
    def sizes(self) -> pl.Series:
        return self.packed[BODY].struct.field("original_size")


def tile(codec: CpuCodec, rows: list[bytes], count: int) -> Case:
    """A column of ``count`` rows, repeating ``rows``."""
    values = pl.DataFrame({BODY: (rows * -(-count // len(rows)))[:count]})
    packed = values.select(s4.compress(BODY, codec))
    assert packed.select(s4.decompress(BODY, codec)).equals(values)
    return Case(codec, values, packed)


def copies(case: Case) -> list[pl.DataFrame]:
    """Columns that take more memory than the engine keeps.

    While they live, they hold all kept memory, so the next output goes into fresh pages. Once
    they are dropped, the engine keeps as much as it ever does.
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
    """zstandard's multi-buffer calls, on buffers that are contiguous already."""
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
    """A loop over the rows as Python objects, collected into a column."""
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


#: What the published package does, value by value.
PUBLISHED = """
import polars as pl, s4_codec
name, level, rows = data
codec = {"cpu-zstd": s4_codec.CpuZstd, "cpu-gzip": s4_codec.CpuGzip}[name](level)
values, sealed = pl.Series(rows), [codec.compress(value) for value in rows]
def compress():
    pl.Series([codec.compress(value)[0] for value in values.to_list()])
def decompress():
    pl.Series([codec.decompress(*value) for value in sealed])
"""


def published(case: Case, folder: Path) -> tuple[str, Runs]:
    """The published package in another process."""
    data = (case.codec.name, case.codec.level, case.values[BODY].to_list())
    other = Published(folder, PUBLISHED, data)
    name = f"loop over rows, {other.name}"
    return name, (lambda: other.run("compress"), lambda: other.run("decompress"))


def contenders(case: Case, folder: Path | None) -> dict[str, list[Contender]]:
    """Everything that is measured on one column, by direction."""
    few = case.part(ROW_BY_ROW)
    theirs: dict[str, tuple[Case, Runs | None]] = {}
    theirs["zstandard multi-buffer"] = (case, multi_buffer(case))
    for peer in peers(case.codec):
        if peer.name in MAPPED:
            theirs[f"map_elements, {peer.name}"] = (few, mapped(few, peer))
        if peer.name in LOOPED:
            theirs[f"loop over rows, {peer.name}"] = (few, looped(few, peer))
    if folder is not None:
        name, runs = published(few, folder)
        theirs[name] = (few, runs)
    theirs[RAW] = (case, raw(case))
    directions = {}
    for index, direction in enumerate(("compress", "decompress")):
        directions[direction] = ours(case, compress=direction == "compress") + [
            Contender(name, on.total, runs[index], keep=name == RAW)
            for name, (on, runs) in theirs.items()
            if runs is not None
        ]
    return directions


def bench(
    report: Report,
    codec: CpuCodec,
    what: str,
    rows: list[bytes],
    count: int,
    rounds: int,
    folder: Path | None,
) -> None:
    """Measures and reports one column with one codec."""
    case = tile(codec, rows, count)
    for direction, found in contenders(case, folder).items():
        title = f"{codec}, {direction}, {count:,} {what} of {case.total / count:,.0f} bytes"
        progress(title)
        rates = measure(found, rounds)
        progress("")
        lines = []
        for name in rates:
            to_raw = ratio(rates, name, RAW) if RAW in rates else None
            rate = speed(rates, name)
            lines.append((name, rate * count / case.total, rate, to_raw))
        report.table(title, COLUMNS, lines, [{name: rates[name]} for name in rates])


def main() -> None:
    parser = benchmark_parser(__doc__, rounds=11, quick="7 rounds, a quarter of the rows")
    parser.add_argument("--codec", choices=CODECS, help="default: all")
    parser.add_argument(
        "--published", type=Path, metavar="FOLDER", help="where s4-codec 1.5 is installed"
    )
    parser.add_argument("--memory", action="store_true", help="peak memory instead of speed")
    args = parser.parse_args()
    names = list(CODECS) if args.codec is None else [args.codec]
    if args.memory:
        print_memory(names, args.data)
        return
    corpus, rounds = load(args.data), 7 if args.quick else args.rounds
    report = Report(args, corpus, rounds, num_threads(), DISTRIBUTIONS)
    shrink = 4 if args.quick else 1
    for name in names:
        codec = CODECS[name]
        for what, values, count in (
            ("log lines", corpus.lines, LINES),
            ("JSON documents", corpus.documents, DOCUMENTS),
        ):
            bench(report, codec, what, values, count // shrink, rounds, args.published)


if __name__ == "__main__":
    main()
