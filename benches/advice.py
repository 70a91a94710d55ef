"""What `s4_codec.advise` recommends, beside a full run of all codecs on the whole column.

    python benches/advice.py
    python benches/advice.py --data DIR --plots FOLDER

A full run compresses and decompresses every row with every way that advise compares. Prints the
tables of advise, whether its best is the best of the full run, and the time of advise beside one
full compression with `CpuZstd(3)`.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
from harness import argument_parser, describe, load, progress, table
from synthetic import pages

import s4_codec.polars as s4
from s4_codec import Advice, Codec, CpuZstd, CpuZstdDict, advise, num_threads, train_dictionary
from s4_codec._advice.choice import best_of
from s4_codec._advice.ways import Trained, Way, default_codecs, way_name

BODY = "body"

#: The text's pieces, in bytes, and how many HTML pages are made.
PIECE, PAGES, QUICK_PAGES = 4096, 5_000, 500


def timed(call: Callable[[], pl.DataFrame]) -> tuple[float, pl.DataFrame]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def full_way(rows: pl.DataFrame, codec: Codec, total: int) -> Way:
    """One way, on the whole column."""
    packing, packed = timed(lambda: rows.select(s4.compress(BODY, codec)))
    unpacking, _ = timed(lambda: packed.select(s4.decompress(BODY, codec)))
    file = io.BytesIO()
    packed.write_parquet(file, compression="uncompressed")
    size = len(file.getvalue()) + len(getattr(codec, "dict_bytes", b""))
    rates = total / packing / 1e6, total / unpacking / 1e6
    return Way(way_name(codec), codec, size, total / size, *rates, 0.0, None)


def full_run(rows: pl.DataFrame, total: int) -> list[Way]:
    """Every way of advise; dictionaries of several sizes, each trained on 100 times its size."""
    ways = []
    for codec in default_codecs(pl.Binary()):
        codecs: list[Codec] = [codec] if isinstance(codec, Codec) else []
        if isinstance(codec, Trained):
            for size in (112_640, 1 << 16, 1 << 14):
                count = min(len(rows), 100 * size * len(rows) // total + 1)
                samples = rows[BODY].sample(count, seed=0)
                codecs.append(CpuZstdDict(train_dictionary(samples, size), codec.level))
        for each in codecs:
            progress(f"full run, {way_name(each)}")
            ways.append(full_way(rows, each, total))
    progress("")
    return ways


def compare(name: str, values: list[bytes]) -> tuple[Advice, list[str]]:
    """The advice, and its line of the summary."""
    rows = pl.DataFrame({BODY: values}, schema={BODY: pl.Binary})
    total = sum(map(len, values))
    compressing, _ = timed(lambda: rows.select(s4.compress(BODY, CpuZstd(3))))
    start = time.perf_counter()
    advice = advise(rows)
    seconds = time.perf_counter() - start
    ways = full_run(rows, total)
    chosen = way_name(advice.best)
    best, smallest = best_of(ways), min(ways, key=lambda way: way.bytes)
    actual = min(way.bytes for way in ways if way.name == chosen)
    (projected,) = advice.table.filter(codec=chosen)["bytes"]
    line = [
        name,
        f"{total / 1e6:.1f}",
        chosen,
        f"{projected / 1e6:.3f}",
        f"{actual / 1e6:.3f}",
        best.name,
        f"{best.bytes / 1e6:.3f}",
        f"{smallest.name}, {smallest.bytes / 1e6:.3f}",
        f"{seconds:.2f}",
        f"{compressing:.2f}",
    ]
    return advice, line


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="also draw each chart there")
    parser.add_argument("--quick", action="store_true", help="fewer HTML pages")
    args = parser.parse_args()
    corpus = load(args.data)
    describe(corpus, 1, num_threads(), [])
    starts = range(0, len(corpus.text), PIECE)
    sets = {
        "log lines": corpus.lines,
        "JSON documents": corpus.documents,
        "text, 4 KiB": [corpus.text[start : start + PIECE] for start in starts],
        "HTML pages": pages(QUICK_PAGES if args.quick else PAGES),
    }
    lines = []
    for name, values in sets.items():
        advice, line = compare(name, values)
        lines.append(line)
        print(f"\n{name}: {advice}")
        if args.plots is not None:
            advice.chart().save(args.plots / f"{name.split()[0].strip(',')}.png")
    header = ["", "MB", "advised", "projected", "full", "best of full run", "MB"]
    table(
        "advised, and the best of a full run", [*header, "smallest, MB", "advise s", "one s"], lines
    )


if __name__ == "__main__":
    main()
