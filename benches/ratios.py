"""How well the benchmarks' data compresses, value by value and as a whole.

    python benches/ratios.py
    python benches/ratios.py --data DIR

Prints original bytes divided by payload bytes: of the log lines, the JSON documents and pieces of
the text, each compressed alone, with a dictionary trained on every tenth of them, and all in one
piece.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness import CODECS, argument_parser, data_source, load, table

from s4_codec import Codec, CpuZstdDict, train_dictionary

#: Pieces that the text is cut into, in bytes.
PIECES = (1 << 10, 10 << 10)


def ratio(codec: Codec, values: Sequence[bytes]) -> str:
    payloads = sum(len(codec.compress(value)[0]) for value in values)
    return f"{sum(map(len, values)) / payloads:.2f}"


def main() -> None:
    args = argument_parser(__doc__).parse_args()
    print(f"data: {data_source(args.data)}")
    corpus = load(args.data)
    sets = {"log lines": corpus.lines, "JSON documents": corpus.documents}
    for size in PIECES:
        starts = range(0, len(corpus.text) - size + 1, size)
        sets[f"text, {size >> 10} KiB"] = [corpus.text[start : start + size] for start in starts]
    rows = []
    for name, values in sets.items():
        total = sum(map(len, values))
        cells = [f"{len(values):,}", f"{total / len(values):,.0f}"]
        cells += [ratio(codec, values) for codec in CODECS.values()]
        cells.append(ratio(CpuZstdDict(train_dictionary(values[::10]), 3), values))
        cells.append(ratio(CODECS["cpu-zstd"], [b"\n".join(values)]))
        rows.append([name, *cells])
    header = ["", "values", "bytes", *map(str, CODECS.values()), "dictionary", "in one piece"]
    table("compression ratios", header, rows)


if __name__ == "__main__":
    main()
