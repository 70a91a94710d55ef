"""Whole objects and files: encode_s4_object, decode and open, beside zstandard on as many threads.

    python benches/objects.py
    python benches/objects.py --published FOLDER
    python benches/objects.py --quick
    python benches/objects.py --data DIR

``--published`` adds s4-codec 1.5 from FOLDER; published.py says how to install it there. It decodes
frame by frame, as its clients do. zstandard decodes on one thread, and writes no checksum.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import Contender, load, measure, optional, progress, ratio, speed
from published import Published
from report import Report, benchmark_parser

from s4_codec import decode, encode_s4_object, num_threads
from s4_codec import open as open_frames

LEVEL = 3
#: Bytes of a read or write of a file.
PIECE = 1 << 20
OURS = "ours"
COLUMNS = {"": "", "MB/s": ",.0f", "ours/it": ".2f"}

PUBLISHED = """
import s4_codec
body = s4_codec.encode_s4_object(data)["body"]
codec = s4_codec.CpuZstd()
def encode():
    s4_codec.encode_s4_object(data)
def decode():
    frames = s4_codec.frame_iter(body)
    return b"".join(codec.decompress(p, h["original_size"], h["crc32c"]) for h, p in frames)
assert decode() == data
"""

#: Functions by name: what encodes the object, what decodes it.
Ways = dict[str, tuple[Callable[[], object], Callable[[], object]]]


def write(opened: Any, data: memoryview) -> None:
    with opened as file:
        for start in range(0, len(data), PIECE):
            file.write(data[start : start + PIECE])


def read(opened: Any) -> int:
    with opened as file:
        return sum(iter(lambda: len(file.read(PIECE)), 0))


def ours(data: bytes) -> Ways:
    """This package, in one call and as a file."""
    body, view = encode_s4_object(data)["body"], memoryview(data)
    assert decode(body) == data
    return {
        OURS: (lambda: encode_s4_object(data), lambda: decode(body)),
        "ours, as a file": (
            lambda: write(open_frames(io.BytesIO(), "wb"), view),
            lambda: read(open_frames(io.BytesIO(body))),
        ),
    }


def zstandard(data: bytes) -> Ways:
    """zstandard in one call and as a file, where it is installed."""
    module, view = optional("zstandard", "zstandard"), memoryview(data)
    if module is None:
        return {}
    compressor = module.ZstdCompressor(LEVEL, threads=num_threads())
    decompressor = module.ZstdDecompressor()
    body = compressor.compress(data)
    return {
        "zstandard": (lambda: compressor.compress(data), lambda: decompressor.decompress(body)),
        "zstandard, as a file": (
            lambda: write(module.open(io.BytesIO(), "wb", cctx=compressor), view),
            lambda: read(module.open(io.BytesIO(body), dctx=decompressor)),
        ),
    }


def published(data: bytes, folder: Path | None) -> Ways:
    """The published package in another process, if FOLDER was given."""
    if folder is None:
        return {}
    other = Published(folder, PUBLISHED, data)
    return {other.name: (lambda: other.run("encode"), lambda: other.run("decode"))}


def main() -> None:
    parser = benchmark_parser(__doc__, rounds=7, quick="5 rounds, 64 MiB")
    text = "where s4-codec 1.5 is installed"
    parser.add_argument("--published", type=Path, metavar="FOLDER", help=text)
    parser.add_argument("--mib", type=int, default=256, help="size of the object; default: 256")
    args = parser.parse_args()
    rounds, mib = (5, 64) if args.quick else (args.rounds, args.mib)
    corpus, size = load(args.data), mib << 20
    data = (corpus.text * -(-size // len(corpus.text)))[:size]
    report = Report(args, corpus, rounds, num_threads(), ["zstandard"])
    ways = ours(data) | zstandard(data) | published(data, args.published)
    for index, verb in enumerate(("encode", "decode")):
        progress(f"{verb} {mib} MiB")
        contenders = [Contender(name, size, runs[index]) for name, runs in ways.items()]
        rates = measure(contenders, rounds)
        progress("")
        lines = [(name, speed(rates, name), ratio(rates, OURS, name)) for name in rates]
        report.table(f"{verb} {mib} MiB", COLUMNS, lines, [{name: rates[name]} for name in rates])


if __name__ == "__main__":
    main()
