"""Tables of the documentation and of src/gpu/policy.rs, from the JSON of benches/gpu.py.

    python benches/gpu_tables.py telling.json sizes.json

Prints Markdown: the paths beside their limits, and the GPU beside all cores by size of value and
of column; then, in Rust, the rates that decide for ``device="auto"``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from gpu_columns import ARROW
from gpu_data import LOG, size_name
from gpu_limits import CHUNK
from gpu_report import SAME_WORK

Found = dict[str, Any]

#: What both can do, and the largest column of which src/gpu/policy.rs holds rates.
COMPARED = (("zstd", "compress"), ("zstd", "decompress"), ("gdeflate", "decompress"))
LARGEST = 256 << 20


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("files", type=Path, nargs="+", metavar="JSON")
    documents = [json.loads(path.read_text()) for path in parser.parse_args().files]
    rows = [row for document in documents for row in document["rows"]]
    for document in documents:
        versions = ", ".join(f"{name} {each}" for name, each in document["versions"].items())
        cores = f"{document['cores']} cores, {document['threads']} threads"
        print(f"{document['date']}: {document['gpu']}; {cores}; {versions}\n")
    print_limits(rows)
    for direction in SAME_WORK:
        print_comparison(rows, direction)
    print_rates(rows)


def print_limits(rows: list[Found]) -> None:
    """Every path that has a limit."""
    lines = [
        (
            f"{row['codec']}, {row['data']}, {row['ratio']:.1f}x",
            row["direction"],
            row["path"],
            f"{row['GB/s']:.1f}",
            f"{row['limit']['rate']:.1f}",
            row["limit"]["steps"],
            f"{row['share of limit']:.0%}",
        )
        for row in rows
        if row["limit"] is not None
    ]
    header = ("codec, data", "direction", "path", "GB/s", "limit", "of", "share")
    print_table(header, lines)


def print_comparison(rows: list[Found], direction: str) -> None:
    """GB/s host to host on the GPU and on all cores, by codec and sizes."""
    lines = []
    for key, paths in by_column(rows, direction).items():
        codec, value_size, column_size = key
        if ARROW in paths and SAME_WORK[direction] in paths:
            ours, theirs = paths[ARROW], paths[SAME_WORK[direction]]
            sizes = (size_name(value_size), size_name(column_size))
            rates = (f"{ours:.2f}", f"{theirs:.2f}", f"{ours / theirs:.2f}")
            lines.append((f"{codec} {direction}", *sizes, *rates))
    print_table(("", "value", "column", "GPU, GB/s", "all cores", "ratio"), lines)


def print_rates(rows: list[Found]) -> None:
    """The rows of COSTS in src/gpu/policy.rs: of each size of value the largest column up to
    256 MiB, and the start as columns of several sizes tell it."""
    threads = max((row["threads"] for row in rows), default=1)
    for codec, direction in COMPARED:
        other = SAME_WORK[direction]
        found = by_column(rows, direction).items()
        both = {
            key[1:]: each for key, each in found if key[0] == codec and {ARROW, other} <= set(each)
        }
        columns = [
            (size, size / each[ARROW]) for (value, size), each in both.items() if value == CHUNK
        ]
        if len(columns) < 2:
            continue
        (smallest, least), (largest, most) = columns[0], columns[-1]
        rate = (largest - smallest) / (most - least)
        print(f"// {codec} {direction}: {rate:.1f} GB/s once it runs")
        print(f"gpu_start: {max(0.0, least - smallest / rate):.1e},")
        by_value = {value: each for (value, size), each in both.items() if size <= LARGEST}
        for number, (value, each) in enumerate(by_value.items()):
            since = f"{value >> 10} << 10" if number > 0 else "0"
            print(f"rates({since}, {each[ARROW]:.1f}, {each[other] / threads:.3f}),")
        print()


def by_column(rows: list[Found], direction: str) -> dict[tuple[str, int, int], dict[str, float]]:
    """GB/s of every path on all threads, by codec, size of value and size of column of log text."""
    threads = max((row["threads"] for row in rows), default=1)
    found: dict[tuple[str, int, int], dict[str, float]] = {}
    for row in rows:
        if (row["direction"], row["data"], row["threads"]) == (direction, LOG, threads):
            key = (row["codec"], row["value_size"], row["column_size"])
            found.setdefault(key, {})[row["path"]] = row["GB/s"]
    return dict(sorted(found.items()))


def print_table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    print(f"| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for line in lines:
        print(f"| {' | '.join(line)} |")
    print()


if __name__ == "__main__":
    main()
