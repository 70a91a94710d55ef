"""A dictionary set over three generations of data that drifts: ratios with and without refresh.

    python benches/dictionary_drift.py
    python benches/dictionary_drift.py --rows 50000

Makes events of an application from a fixed seed. Each generation is a release: it renames fields
and pages, and adds new ones; within a generation two batches are alike. A dictionary is trained on
the first batch. Then every batch offers the set a refresh on one tenth of its rows, and all rows
of the batch are compressed with the current dictionary, with the first one, and with none. At the
end the set decodes the rows of all batches.
"""

from __future__ import annotations

import argparse
import json
import time
from random import Random

import polars as pl
from harness import table
from synthetic import _WORDS, SEED

import s4_codec.polars as s4
from s4_codec import CpuZstd, CpuZstdDict, DictionarySet, train

BODY, LEVEL = "body", 3
GENERATIONS, BATCHES = 3, 2


def batch(generation: int, number: int, rows: int) -> pl.DataFrame:
    """Events of one generation."""
    # The same fields, pages and texts for all batches of a generation; most are new in each.
    release = Random(f"{SEED} release {generation}")
    fields = [f"{a}_{b}" for a, b in zip(*[release.sample(_WORDS, 12)] * 2, strict=True)]
    pages = ["/".join(release.sample(_WORDS, 3)) for _ in range(60)]
    notes = [" ".join(release.sample(_WORDS, 6)) for _ in range(80)]
    random = Random(f"{SEED} batch {generation} {number}")
    bodies = []
    for n in range(rows):
        event = {
            "version": f"{generation + 4}.{number}",
            "user": f"{random.getrandbits(48):012x}",
            "page": f"/{random.choice(pages)}/{random.getrandbits(24)}",
            "note": random.choice(notes),
            "at": 1_773_100_800_000 + n * 131,
        }
        event |= {field: random.randrange(1000) for field in random.sample(fields, 4)}
        bodies.append(json.dumps(event, separators=(",", ":")))
    return pl.DataFrame({BODY: bodies})


def ratio(rows: pl.DataFrame, packed: pl.DataFrame) -> float:
    original = int(rows[BODY].str.len_bytes().sum())
    return original / int(packed[BODY].struct.field("payload").bin.size().sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=20_000, metavar="N", help="rows of a batch")
    count = parser.parse_args().rows
    batches = [batch(g, n, count) for g in range(GENERATIONS) for n in range(BATCHES)]
    first = train(batches[0][BODY].gather_every(10))
    print(f"first training:\n{first}\n")
    dictionaries = DictionarySet([first])
    lines, stored = [], []
    for number, rows in enumerate(batches):
        start = time.perf_counter()
        refreshed = dictionaries.refresh(rows[BODY].gather_every(10))
        seconds = time.perf_counter() - start
        report = refreshed.report
        assert report is not None
        is_new = refreshed != dictionaries
        dictionaries = refreshed
        codecs: list[CpuZstd | CpuZstdDict] = [
            CpuZstd(LEVEL),
            first.codec(LEVEL),
            dictionaries.codec(LEVEL),
        ]
        packed = [rows.select(s4.compress(BODY, codec)) for codec in codecs]
        stored.append(packed[-1])
        ratios = [ratio(rows, each) for each in packed]
        lines.append(
            [
                f"{number // BATCHES + 1}, batch {number % BATCHES + 1}",
                *[f"{each:.2f}" for each in ratios],
                f"{1 - ratios[1] / ratios[2]:.1%}",
                f"{report.gain:.1%}",
                "new" if is_new else "kept",
                f"{len(dictionaries)}",
                f"{seconds:.2f}",
            ]
        )
    header = [
        *("generation", "none", "first", "refreshed", "saved", "gain held out", "current"),
        *("in set", "refresh s"),
    ]
    size = sum(map(len, batches[0][BODY])) / count
    title = f"ratio by dictionary, {count:,} rows of {size:.0f} bytes a batch, zstd {LEVEL}"
    table(title, header, lines)
    restored = pl.concat(stored).select(
        s4.decompress(BODY, dictionary=dictionaries, dtype=pl.String)
    )
    assert restored.equals(pl.concat(batches))
    text = sum(map(len, dictionaries.to_metadata().values()))
    print(
        f"\nthe set decodes all {restored.height:,} rows; as bytes it takes "
        f"{len(dictionaries.to_bytes()):,}, in metadata {text:,}"
    )


if __name__ == "__main__":
    main()
