"""Polars columns with a trained dictionary, without one, and raw libzstd.

    python benches/dictionaries.py
    python benches/dictionaries.py --quick
    python benches/dictionaries.py --data DIR

The dictionary is trained on every tenth row. The raw library uses the same number of threads, a
prepared dictionary and reused contexts, and keeps its output.
"""

from __future__ import annotations

from functools import partial

import polars as pl
from harness import (
    Contender,
    load,
    measure,
    optional,
    progress,
    ratio,
    raw_driver,
    speed,
)
from report import Report, benchmark_parser

import s4_codec.polars as s4
from s4_codec import CpuZstd, CpuZstdDict, num_threads, train_dictionary

LINES, DOCUMENTS, BODY, LEVEL = 200_000, 10_000, "body", 3
RAW, OURS, PLAIN = "raw libzstd, prepared dictionary", "CpuZstdDict", "CpuZstd"
COLUMNS = {"": "", "ratio": ".2f", "Mrow/s": ".3f", "/raw": ".2f", "/no dictionary": ".2f"}


def total_bytes(column: pl.Series) -> int:
    return int(column.bin.size().sum())


def bench(report: Report, what: str, values: list[bytes], count: int, rounds: int) -> None:
    """Measures and reports one column."""
    dictionary = train_dictionary(values[::10])
    rows = pl.DataFrame({BODY: (values * -(-count // len(values)))[:count]})
    total = total_bytes(rows[BODY])
    codecs = {OURS: CpuZstdDict(dictionary, LEVEL), PLAIN: CpuZstd(LEVEL)}
    packed = {name: rows.select(s4.compress(BODY, codec)) for name, codec in codecs.items()}
    driver = raw_driver(num_threads()) if optional("pyarrow", "pyarrow") else None
    for direction in ("compress", "decompress"):
        contenders = []
        for name, codec in codecs.items():
            if direction == "compress":
                source, expression = rows, s4.compress(BODY, codec)
            else:
                source, expression = packed[name], s4.decompress(BODY, codec)
            contenders.append(Contender(name, total, partial(source.select, expression)))
        if driver is not None:
            prepared = driver.prepare(dictionary, LEVEL)
            if direction == "compress":
                run = partial(driver.compress, "cpu-zstd", LEVEL, driver.rows(rows[BODY]))
            else:
                payloads = driver.rows(packed[OURS][BODY].struct.field("payload"))
                sizes = packed[OURS][BODY].struct.field("original_size").rechunk().to_arrow()
                run = partial(driver.decompress, "cpu-zstd", payloads, sizes)
            contenders.append(Contender(RAW, total, partial(run, prepared), keep=True))
        progress(f"{direction}, {what}")
        rates = measure(contenders, rounds)
        progress("")
        lines = []
        for name in rates:
            stored = packed[PLAIN if name == PLAIN else OURS][BODY].struct.field("payload")
            mrows = speed(rates, name) * count / total
            lines.append(
                (
                    name,
                    total / total_bytes(stored),
                    mrows,
                    ratio(rates, name, RAW) if RAW in rates else None,
                    ratio(rates, name, PLAIN),
                )
            )
        title = f"{direction}, {count:,} {what} of {total / count:,.0f} bytes"
        report.table(title, COLUMNS, lines, [{name: rates[name]} for name in rates])


def main() -> None:
    parser = benchmark_parser(__doc__, rounds=11, quick="7 rounds, a quarter of the rows")
    args = parser.parse_args()
    rounds, shrink = (7, 4) if args.quick else (args.rounds, 1)
    corpus = load(args.data)
    report = Report(args, corpus, rounds, num_threads())
    bench(report, "log lines", corpus.lines, LINES // shrink, rounds)
    bench(report, "JSON documents", corpus.documents, DOCUMENTS // shrink, rounds)


if __name__ == "__main__":
    main()
