"""Instructions per call and per row, counted by valgrind: this package and its peers, by part.

    python benches/instructions.py
    python benches/instructions.py --only decompress
    python benches/instructions.py --json counts.json

Counts hardly change with the load of the machine, but they are not times: valgrind has no AVX-512,
and an instruction may wait. Values are cut from a text, lines are those of a log; a row is a line
in a column of 2,000, on one thread. Each call is counted after two that warm up.

Parts are told by the names of functions. What has none, as in a module without symbols, is
"unnamed": for this package's, build it with ``strip = false`` in pyproject.toml. Even then
the assembly of libzstd stays without.
"""

from __future__ import annotations

import argparse
import functools
import os
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path
from typing import Any

from harness import CODECS, CpuCodec, argument_parser, load, optional, progress, table
from peers import DISTRIBUTIONS, Peer, peers
from report import machine, versions, write_json

from s4_codec import CpuZstd, CpuZstdDict, decode, train_dictionary

OURS = "ours"

#: Bytes of a value, and how many values are averaged.
SIZES = {100: 256, 1 << 10: 256, 10 << 10: 64}
LINES, ROWS, TRAINING_LINES = 256, 2_000, 10_000
DICTIONARY_BYTES = 16 << 10

#: The function whose calls divide the counts: nothing else in these processes calls it.
MARK = os.getpgrp

#: Parts, and the functions and objects that belong to them; the first that matches counts.
PARTS: dict[str, tuple[str, str]] = {
    "codec": (
        r"^_?(ZSTD|HUF|FSE|HIST|XXH|libdeflate|deflate|inflate|crc32_|adler32_|sort_symbols|"
        r"build_(tree|decode_table)|compute_length_counts|heap_sort|longest_match|compress_block)",
        r"",
    ),
    "crc32c": (r"crc_fast", r""),
    "GIL": (r"_gil$|PyEval_(Save|Restore)Thread|^_*pthread_|PyThreadState_MustExit", r""),
    "allocation": (r"[mM]alloc|^_*(int_)?(free|realloc)|PyObject_(Free|Realloc)|PyMem_", r""),
    "thread-locals": (r"^__tls_get_addr", r""),
    "copies": (r"^_*mem(cpy|set|move)", r""),
    "Python": (r"", r"libpython|/python3[.0-9]*$"),
    "unnamed": (r"^0x", r""),
    "rest": (r"", r""),
}


@dataclass(frozen=True)
class Case:
    """Calls to count."""

    operation: str
    contender: str
    #: What :func:`function` makes the function from.
    recipe: tuple[Any, ...]
    arguments: list[tuple[Any, ...]]
    #: What a count is divided by.
    rows: int


def function(recipe: tuple[Any, ...]) -> Callable[..., object]:
    """The function to call, made in the process that counts."""
    match recipe:
        case "ours", codec, "decode":
            return decode
        case "ours", codec, method:
            return bound(codec, method)
        case "peer", codec, name, method:
            (peer,) = [peer for peer in peers(codec) if peer.name == name]
            return bound(peer, method)
        case "zstandard", dictionary, level, "compress":
            from zstandard import ZstdCompressionDict, ZstdCompressor

            prepared = ZstdCompressionDict(dictionary)
            prepared.precompute_compress(level=level)
            return ZstdCompressor(level=level, dict_data=prepared).compress
        case "zstandard", dictionary, _, "decompress":
            from zstandard import ZstdCompressionDict, ZstdDecompressor

            return ZstdDecompressor(dict_data=ZstdCompressionDict(dictionary)).decompress
        case "polars", codec, method:
            import s4_codec.polars

            expression = bound(s4_codec.polars, method)("row", codec)
            return lambda frame: frame.select(expression)
        case "arrow", codec, method:
            import s4_codec.arrow

            call = bound(s4_codec.arrow, method)
            return lambda array: call(array, codec)
    raise AssertionError(recipe)


def bound(owner: object, name: str) -> Callable[..., object]:
    """A method of an object or a function of a module."""
    found: Callable[..., object] = getattr(owner, name)
    return found


def cut(text: bytes, size: int, count: int) -> list[bytes]:
    """Values from positions spread evenly over the text."""
    step = (len(text) - size) // count
    return [text[step * i : step * i + size] for i in range(count)]


def of_values(codec: CpuCodec, kind: str, values: list[bytes]) -> Iterator[Case]:
    """Calls of this package and of its peers for each of ``values``."""
    count = len(values)
    packed = [codec.compress(value) for value in values]
    one_each = [(value,) for value in values]
    frames = [(codec.encode(value),) for value in values]
    for method, arguments in (
        ("compress", one_each),
        ("decompress", packed),
        ("encode", one_each),
        ("decode", frames),
    ):
        operation = f"{codec.name} {method} {kind}"
        yield Case(operation, OURS, ("ours", codec, method), arguments, count)
        if method not in ("compress", "decompress"):
            continue
        for peer in peers(codec):
            if peer.own_payloads or peer.own_level is not None:
                continue
            recipe = ("peer", codec, peer.name, method)
            yield Case(
                operation, peer.name, recipe, peer_arguments(peer, method, packed, values), count
            )


def peer_arguments(
    peer: Peer, method: str, packed: list[tuple[bytes, int, int]], values: list[bytes]
) -> list[tuple[Any, ...]]:
    """What a peer takes to compress ``values``, or to decompress them."""
    if method == "compress":
        return [(value, *peer.compress_arguments) for value in values]
    return [(payload, *peer.decompress_arguments(size)) for payload, size, _ in packed]


def of_lines_with_dictionary(
    codec: CpuZstdDict, dictionary: bytes, lines: list[bytes]
) -> Iterator[Case]:
    """The same with a dictionary; of the peers, only zstandard prepares one."""
    packed = [codec.compress(line) for line in lines]
    theirs = {"compress": [(line,) for line in lines], "decompress": [(row[0],) for row in packed]}
    ours = theirs | {"decompress": packed}
    for method in theirs:
        operation = f"{codec.name} {method} line"
        yield Case(operation, OURS, ("ours", codec, method), ours[method], len(lines))
        if optional("zstandard", "zstandard") is not None:
            recipe = ("zstandard", dictionary, codec.level, method)
            yield Case(operation, "zstandard", recipe, theirs[method], len(lines))


def of_rows(codec: CpuZstd | CpuZstdDict, lines: list[bytes]) -> Iterator[Case]:
    """Columns of ``lines``."""
    import polars as pl
    import pyarrow as pa

    frame = pl.DataFrame({"row": lines})
    array = pa.array(lines, pa.large_binary())
    for contender, values in (("polars", frame), ("arrow", array)):
        packed = function((contender, codec, "compress"))(values)
        for method, column in (("compress", values), ("decompress", packed)):
            operation = f"{codec.name} {method} row"
            yield Case(operation, contender, (contender, codec, method), [(column,)], len(lines))


def cases(data: Path | None) -> Iterator[Case]:
    """Everything that can be counted."""
    corpus = load(data)
    for codec in CODECS.values():
        for size, count in SIZES.items():
            yield from of_values(codec, f"{size} B", cut(corpus.text, size, count))
    zstd = CODECS["cpu-zstd"]
    assert isinstance(zstd, CpuZstd)
    dictionary = train_dictionary(corpus.lines[-TRAINING_LINES:], DICTIONARY_BYTES)
    with_dictionary = CpuZstdDict(dictionary, zstd.level)
    yield from of_values(zstd, "line", corpus.lines[:LINES])
    yield from of_lines_with_dictionary(with_dictionary, dictionary, corpus.lines[:LINES])
    yield from of_rows(zstd, corpus.lines[:ROWS])
    yield from of_rows(with_dictionary, corpus.lines[:ROWS])


def run(cases: Sequence[Case]) -> None:
    """Makes the calls of each case, between two marks, in the process that valgrind watches."""
    for case in cases:
        call = function(case.recipe)

        def calls(call: Callable[..., object] = call, case: Case = case) -> None:
            deque(starmap(call, case.arguments), maxlen=0)

        calls()
        calls()
        MARK()
        calls()
        MARK()


def count(cases: Sequence[Case]) -> list[Counter[str]]:
    """The instructions of one call or row of each case, by part."""
    with tempfile.TemporaryDirectory() as folder:
        recorded, dumps = Path(folder, "cases"), Path(folder, "counts")
        recorded.write_bytes(pickle.dumps(cases))
        subprocess.run(
            [
                "valgrind",
                "--quiet",
                "--tool=callgrind",
                f"--dump-before={MARK.__name__}",
                f"--callgrind-out-file={dumps}",
                "--compress-strings=no",
                "--compress-pos=no",
                sys.executable,
                __file__,
                "--run",
                str(recorded),
            ],
            check=True,
            env=os.environ | {"S4_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"},
        )
        # The dump at every second mark holds what came after the mark before it.
        files = [Path(f"{dumps}.{2 * i + 2}") for i in range(len(cases))]
        return [
            Counter({part: n / case.rows for part, n in parts(file).items()})
            for case, file in zip(cases, files, strict=True)
        ]


def parts(dump: Path) -> Counter[str]:
    """A dump's instructions by part."""
    found: Counter[str] = Counter()
    binary = name = ""
    is_callee = False
    for line in dump.read_text().splitlines():
        key, _, value = line.partition("=")
        if key == "ob":
            binary = value
        elif key == "fn":
            name = value
        elif key == "calls":
            # The next line has the instructions of the callee, which are counted there.
            is_callee = True
        elif line[:1].isdigit():
            if not is_callee:
                found[part_of(name, binary)] += int(line.split()[1])
            is_callee = False
    return found


@functools.cache
def part_of(name: str, binary: str) -> str:
    """The part that a function of a binary belongs to."""
    return next(
        part
        for part, (names, binaries) in PARTS.items()
        if re.search(names, name) and re.search(binaries, binary)
    )


def print_counts(cases: Sequence[Case], counts: Sequence[Counter[str]]) -> None:
    """A table for each codec: a line for each operation and contender."""
    ours = {
        case.operation: counted.total()
        for case, counted in zip(cases, counts, strict=True)
        if case.contender == OURS
    }
    by_codec: dict[str, list[list[str]]] = {}
    for case, counted in zip(cases, counts, strict=True):
        codec, _, operation = case.operation.partition(" ")
        total = counted.total()
        relative = f"{total / ours[case.operation]:.3f}" if case.operation in ours else "-"
        each = [f"{counted[part]:,.0f}" for part in PARTS]
        row = [f"{operation} {case.contender}", f"{total:,.0f}", relative, *each]
        by_codec.setdefault(codec, []).append(row)
    for codec, rows in by_codec.items():
        table(f"{codec}, instructions per call or row", ["", "all", "/ours", *PARTS], rows)


def entries(cases: Sequence[Case], counts: Sequence[Counter[str]]) -> list[dict[str, Any]]:
    return [
        {
            "operation": case.operation,
            "contender": case.contender,
            "all": counted.total(),
            **counted,
        }
        for case, counted in zip(cases, counts, strict=True)
    ]


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--only", default="", metavar="TEXT", help="operations with TEXT in them")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the counts to FILE")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run is not None:
        run(pickle.loads(args.run.read_bytes()))
        return
    if shutil.which("valgrind") is None:
        parser.exit(1, "expected valgrind on PATH, found none: install it to count instructions\n")
    found = [case for case in cases(args.data) if args.only in case.operation]
    if not found:
        parser.error(f"--only: no operation has {args.only!r} in it")
    progress(f"counting {len(found)} cases")
    counts = count(found)
    progress("")
    print_counts(found, counts)
    if args.json is not None:
        document = {"machine": machine(), "versions": versions(DISTRIBUTIONS)}
        write_json(args.json, document | {"counts": entries(found, counts)})


if __name__ == "__main__":
    main()
