"""Arrow data: the functions over PyArrow arrays against the Polars expressions.

    python benches/arrow.py
    python benches/arrow.py --quick
    python benches/arrow.py --data DIR
    python benches/arrow.py --memory

One engine serves both, so the rates should be equal. Both get the same rows, Polars as a Series
and Arrow as large_binary arrays. Before each sample the same call runs once, untimed, and its
output is dropped, as in a loop over batches: each call reuses the memory of the one before.

``--memory`` measures instead the memory held after converting a column of a million rows.
"""

from __future__ import annotations

import gc
from collections.abc import Callable

import polars as pl
import pyarrow as pa
from harness import (
    CODECS,
    Contender,
    Corpus,
    CpuCodec,
    Rates,
    load,
    measure,
    progress,
    ratio,
    speed,
    table,
)
from memory import resident
from report import Report, benchmark_parser

import s4_codec.arrow
import s4_codec.polars
from s4_codec import num_threads

LINES, DOCUMENTS = 200_000, 10_000
MILLION = 1_000_000
BODY = "body"
COLUMNS = {"Mrow/s": "", "Polars": ".3f", "Arrow": ".3f", "Arrow/Polars": ".2f"}


def contenders(rows: pl.Series, codec: CpuCodec) -> dict[str, list[Contender]]:
    """Polars and Arrow, by direction."""
    total = int(rows.bin.size().sum())
    frame = rows.to_frame(BODY)
    structs = frame.select(s4_codec.polars.compress(BODY, codec))
    bare = structs.select(pl.col(BODY).struct.field("payload").alias(BODY))
    array = pa.array(rows.to_list(), pa.large_binary())
    packed = s4_codec.arrow.compress(array, codec)
    payloads = packed.field("payload")
    assert s4_codec.arrow.decompress(packed, codec).equals(array)

    def both(polars: Callable[[], object], arrow: Callable[[], object]) -> list[Contender]:
        def once(run: Callable[[], object]) -> Callable[[], object]:
            def run_and_drop() -> None:
                run()

            return run_and_drop

        return [
            Contender("Polars", total, polars, prepare=once(polars)),
            Contender("Arrow", total, arrow, prepare=once(arrow)),
        ]

    return {
        "compress": both(
            lambda: frame.select(s4_codec.polars.compress(BODY, codec)),
            lambda: s4_codec.arrow.compress(array, codec),
        ),
        "decompress": both(
            lambda: structs.select(s4_codec.polars.decompress(BODY, codec)),
            lambda: s4_codec.arrow.decompress(packed, codec),
        ),
        "decompress bare payloads": both(
            lambda: bare.select(s4_codec.polars.decompress(BODY, codec)),
            lambda: s4_codec.arrow.decompress(payloads, codec),
        ),
    }


def bench(report: Report, corpus: Corpus, rounds: int, shrink: int) -> None:
    columns = {
        "log lines": (corpus.lines, LINES // shrink),
        "JSON documents": (corpus.documents, DOCUMENTS // shrink),
    }
    for codec in CODECS.values():
        for what, (values, count) in columns.items():
            rows = pl.Series(BODY, (values * -(-count // len(values)))[:count], pl.Binary)
            lines: list[list[str | float]] = []
            measured: list[Rates] = []
            for direction, pair in contenders(rows, codec).items():
                progress(f"{codec}, {direction}, {what}")
                rates = measure(pair, rounds)
                progress("")
                numbers = [speed(rates, name) * count / pair[0].size for name in rates]
                lines.append([direction, *numbers, ratio(rates, "Arrow", "Polars")])
                measured.append(rates)
            report.table(f"{codec}, {count:,} {what}", COLUMNS, lines, measured)


def memory(corpus: Corpus) -> None:
    """The memory of a million log lines: as Arrow data, compressed, and restored."""
    print(f"data: {corpus.source}")
    values = corpus.lines
    lines = []
    for name, codec in CODECS.items():
        array = pa.array((values * -(-MILLION // len(values)))[:MILLION], pa.large_binary())
        for step, convert in (
            ("compress", s4_codec.arrow.compress),
            ("decompress", s4_codec.arrow.decompress),
        ):
            gc.collect()
            before, allocated = resident(), pa.total_allocated_bytes()
            result = convert(array, codec)
            held, source = resident() - before, array.nbytes
            array = result
            del result
            gc.collect()
            freed = allocated - pa.total_allocated_bytes()
            numbers = (source, array.nbytes, held, freed)
            lines.append([f"{name} {step}", *(f"{number / 2**20:,.0f}" for number in numbers)])
    header = ["MiB", "input", "result", "resident growth", "PyArrow memory freed with input"]
    table(f"{MILLION:,} log lines", header, lines)


def main() -> None:
    parser = benchmark_parser(__doc__, rounds=11, quick="7 rounds, a quarter of the rows")
    parser.add_argument("--memory", action="store_true", help="memory held instead of speed")
    args = parser.parse_args()
    corpus = load(args.data)
    if args.memory:
        memory(corpus)
        return
    rounds = 7 if args.quick else args.rounds
    report = Report(args, corpus, rounds, num_threads())
    bench(report, corpus, rounds, 4 if args.quick else 1)


if __name__ == "__main__":
    main()
