"""Columns on 1, 2, 4, ... threads, up to the cores of the machine: rates, and where they bend.

    python benches/scaling.py
    python benches/scaling.py --quick
    python benches/scaling.py --threads 1 8 32
    python benches/scaling.py --data DIR

Columns of values of 100 bytes to 16 MiB, and of one huge value among tiny ones, at their head or
at their end. The raw library uses the same number of threads, and a part of the rows for each,
cut once by bytes; it computes no crc32c and builds no column. The engine cuts spans of about
256 KiB, which its threads take one by one, the large ones first. A value is one task: its format
has no parts that could be coded in parallel.

Prints rows/s, the speedup over one thread, the efficiency (speedup by threads), and the rate
relative to the raw library. Below are the columns whose efficiency is under 90%, with what is
known of the cause.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl
from harness import (
    CODECS,
    Contender,
    CpuCodec,
    Rates,
    load,
    measure,
    progress,
    ratio,
    raw_driver,
    speed,
)
from report import CORES, Cell, Report, benchmark_parser

import s4_codec.polars as s4
from s4_codec import set_num_threads

BODY = "body"
SIZES = {
    "100 B": 100,
    "1 KiB": 1 << 10,
    "10 KiB": 10 << 10,
    "100 KiB": 100 << 10,
    "1 MiB": 1 << 20,
}
LARGE = 16 << 20
#: Lower efficiencies are explained.
GOOD = 0.9


@dataclass(frozen=True)
class Column:
    """Values, and how large the largest is among all bytes."""

    name: str
    values: list[bytes]

    @property
    def total(self) -> int:
        return sum(map(len, self.values))

    @property
    def largest_share(self) -> float:
        return max(map(len, self.values)) / self.total


def cut(text: bytes, size: int, count: int) -> list[bytes]:
    """Values from positions spread evenly over a text, which repeats where it is too short."""
    text *= -(-(size + count) // len(text))
    step = max(1, (len(text) - size) // count)
    return [text[step * i : step * i + size] for i in range(count)]


def columns(text: bytes, total: int) -> list[Column]:
    """Columns of about ``total`` bytes each, or of so many large values."""
    found = [Column(name, cut(text, size, total // size)) for name, size in SIZES.items()]
    found += [Column(f"16 MiB, {count}", cut(text, LARGE, count)) for count in (1, 3, 8)]
    (huge,), tiny = cut(text, total // 2, 1), cut(text, 1 << 10, (total // 2) >> 10)
    name = f"{total >> 21} MiB"
    found.append(Column(f"{name}, then 1 KiB", [huge, *tiny]))
    found.append(Column(f"1 KiB, then {name}", [*tiny, huge]))
    return found


def contenders(
    column: Column, codec: CpuCodec, compress: bool, threads: Sequence[int]
) -> list[Contender]:
    """The engine and the raw library on each number of threads."""
    values = pl.DataFrame({BODY: column.values}, schema={BODY: pl.Binary})
    packed = values.select(s4.compress(BODY, codec))
    source = values if compress else packed
    expression = s4.compress(BODY, codec) if compress else s4.decompress(BODY, codec)

    def ours(count: int) -> Contender:
        def prepare() -> None:
            """The same call, so that each reuses the memory of the one before."""
            set_num_threads(count)
            source.select(expression)

        return Contender(name_of("ours", count), column.total, call, prepare)

    def call() -> object:
        return source.select(expression)

    def raw(count: int) -> list[Contender]:
        driver = raw_driver(count)
        if driver is None:
            return []
        name, level = codec.name, codec.level
        structs = packed[BODY].struct
        if compress:
            rows = driver.rows(values[BODY])
            run: Callable[[], object] = functools.partial(driver.compress, name, level, rows)
        else:
            rows = driver.rows(structs.field("payload"))
            sizes = structs.field("original_size").rechunk().to_arrow()
            run = functools.partial(driver.decompress, name, rows, sizes)
        return [Contender(name_of("raw", count), column.total, run)]

    return [each for count in threads for each in (ours(count), *raw(count))]


def name_of(who: str, threads: int) -> str:
    return f"{who}, {threads} thread{'s' * (threads > 1)}"


def explain(column: Column, rates: Rates, threads: int, is_quiet: bool) -> str | None:
    """What is known of an efficiency below :data:`GOOD`."""
    ours, one = name_of("ours", threads), name_of("ours", 1)
    efficiency = ratio(rates, ours, one) / threads
    if efficiency >= GOOD:
        return None
    text = f"{column.name}: efficiency {efficiency:.0%} on {threads} threads"
    values = len(column.values)
    if values < 4 * threads:
        turns = -(-values // threads)
        most = values / threads / turns
        reason = (
            f"{values} value{'s' * (values > 1)}, each one task, in {turns} turn{'s' * (turns > 1)}"
        )
    else:
        most = min(1.0, 1 / column.largest_share / threads)
        reason = f"the largest value is {column.largest_share:.0%} of the bytes, and one task"
    if most < GOOD:
        return f"{text}, at most {most:.0%}: {reason}"
    if not is_quiet:
        return f"{text}; other processes kept cores busy, so the cause is not known"
    raw, raw_one = name_of("raw", threads), name_of("raw", 1)
    if raw not in rates:
        return f"{text}; the raw library is missing, so the cause is not known"
    limit = ratio(rates, raw, raw_one) / threads
    if limit < efficiency + 0.05:
        return f"{text}, the raw library's {limit:.0%}: cores, caches or memory are shared"
    return f"{text}, the raw library's {limit:.0%}: the engine itself bends"


def bench(
    report: Report,
    codec: CpuCodec,
    compress: bool,
    found: Sequence[Column],
    threads: Sequence[int],
    rounds: int,
) -> None:
    """Measures and reports all columns in one direction."""
    direction = "compress" if compress else "decompress"
    rows: list[list[Cell]] = []
    measured: list[Rates] = []
    for column in found:
        progress(f"{codec}, {direction}, {column.name}")
        rates = measure(contenders(column, codec, compress, threads), rounds)
        row: list[Cell] = [column.name]
        one = name_of("ours", threads[0])
        for count in threads:
            ours, raw = name_of("ours", count), name_of("raw", count)
            speedup = ratio(rates, ours, one)
            row.append(speed(rates, ours) * 1e6 * len(column.values) / column.total)
            row += [speedup, speedup / count * threads[0]] if count != threads[0] else []
            row.append(ratio(rates, ours, raw) if raw in rates else None)
        rows.append(row)
        measured.append(rates)
    progress("")
    header = {"values": ""}
    for count in threads:
        header[f"{count}: rows/s"] = ",.0f"
        header |= (
            {f"{count}: speedup": ".2f", f"{count}: eff.": ".0%"} if count > threads[0] else {}
        )
        header[f"{count}: /raw"] = ".2f"
    report.table(f"{codec}, {direction}", header, rows, measured)
    print()
    for column, rates in zip(found, measured, strict=True):
        for count in threads[1:]:
            if text := explain(column, rates, count, report.is_quiet):
                report.note(f"{codec}, {direction}, {text}")


def default_threads() -> list[int]:
    """1, 2, 4, ... and the cores of this machine."""
    powers = [1 << power for power in range(CORES.bit_length()) if 1 << power < CORES]
    return [*powers, CORES]


def main() -> None:
    parser = benchmark_parser(__doc__, rounds=9, quick="3 rounds, a quarter of the bytes")
    parser.add_argument("--codec", choices=CODECS, help="default: all")
    parser.add_argument("--threads", type=int, nargs="+", default=default_threads(), metavar="N")
    args = parser.parse_args()
    threads = sorted({1, *args.threads})
    rounds, total = (3, 16 << 20) if args.quick else (args.rounds, 64 << 20)
    corpus = load(args.data)
    report = Report(args, corpus, rounds, threads[-1])
    found = columns(corpus.text, total)
    for name in CODECS if args.codec is None else [args.codec]:
        for compress in (True, False):
            bench(report, CODECS[name], compress, found, threads, rounds)


if __name__ == "__main__":
    main()
