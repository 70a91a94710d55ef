"""Every operation with one allocation after the other failing, each in a process of its own.

Usage: preloaded.py allocation_faults [--sample N] [--only TEXT], which compiles and preloads
allocation_faults.c. The allocations are those that the extension module makes on any thread:
Rust's, libzstd's and libdeflate's, mappings of memory, and threads. One fails alone, or all fail
from one on, as where memory is short. The outcome must be the right result or an error that says
that memory is short, and the same call without a fault must succeed afterwards.

Prints a line for every other outcome, then a table: faults, and how many of them each operation
survived with its result and how many with an error.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import pickle
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from random import Random
from typing import IO, Any

import polars as pl
import pyarrow as pa
from codecs_table import DICTIONARY, noise, text

import s4_codec
import s4_codec.arrow as s4a
import s4_codec.polars as s4
from s4_codec import CpuGzip, CpuZstd, CpuZstdDict, NvcompZstd, Passthrough
from s4_codec.dictionaries import DictionarySet

#: What says that memory is short. Polars has its own class; threads need memory, too.
ERRORS = (MemoryError, s4_codec.S4BackendError, s4_codec.S4IoError, pl.exceptions.ComputeError)
WORDS = ("allocate", "memory", "thread")
#: Seconds after which a call counts as hanging.
PATIENCE = 60
#: What Rust's standard library says as it ends the process, because there is no memory for the
#: handle of a thread that starts, or that it sees for the first time. It can do no other, and does
#: not ask the module's allocator.
THREAD_HANDLE = "memory allocation of 48 bytes failed"
#: No number of an allocation is higher.
ALL = 1 << 40

#: Values of a column: several spans, rows of many lengths, one that shares no block.
VALUES = [text(n * 977 % 40_000) for n in range(60)] + [b"", text(1_200_000), noise(5000)]
LONG = text(5_000_000)
#: Chunks of a column that grew by appending: each takes small allocations of its own.
PIECES = [text(n % 60) for n in range(2000)]
NUMBERS = [[float(n * m % 17) for m in range(n % 50)] for n in range(300)]
OTHER = s4_codec.train_dictionary([text(300)[n:] + b"%d" % n for n in range(200)], 1000)

CODECS = {
    "passthrough": Passthrough(),
    "cpu-zstd": CpuZstd(),
    "cpu-gzip": CpuGzip(),
    "cpu-zstd-dict": CpuZstdDict(DICTIONARY),
    "nvcomp-zstd": NvcompZstd("auto"),
}


def damaged(payload: bytes) -> bytes:
    return payload[:-9] + b"damaged!!"


def column(values: list[Any]) -> pl.DataFrame:
    return pl.DataFrame({"body": values})


def read(frame: pl.DataFrame) -> list[Any]:
    return frame.to_series().to_list()


Operation = Callable[[], Any]


def prepared() -> dict[str, Any]:
    """What operations take: made in another process, so that theirs meets everything anew."""
    sealed = {name: [codec.compress(value) for value in VALUES] for name, codec in CODECS.items()}
    stored = s4_codec.encode_s4_object(text(9 << 20))
    frames = [CpuZstd().encode(value) for value in VALUES]
    return {
        "sealed": sealed,
        "large": {name: codec.compress(LONG) for name, codec in CODECS.items()},
        "frames": frames,
        "object": stored,
        "body": b"".join(frames),
        "set": DictionarySet([DICTIONARY, OTHER]).to_bytes(),
        "pieces": [CpuZstd().compress(piece) for piece in PIECES],
        "numbers": s4a.compress(pa.array(NUMBERS, pa.list_(pa.float64()))).to_pylist(),
    }


def operations(made: dict[str, Any]) -> Iterator[tuple[str, Operation]]:
    yield from value_operations(made)
    yield from body_operations(made)
    yield from dictionary_operations(made)
    for name in CODECS:
        yield from column_operations(name, CODECS[name], made["sealed"][name])
    yield from frame_operations(made["frames"])
    yield from number_operations(made["numbers"])
    yield from chunk_operations(made["pieces"])


def value_operations(made: dict[str, Any]) -> Iterator[tuple[str, Operation]]:
    for name, codec in CODECS.items():
        yield f"{name}: compress", partial(codec.compress, VALUES[-2])
        yield f"{name}: compress, long", partial(codec.compress, LONG)
        yield f"{name}: encode", partial(codec.encode, VALUES[-2])
        yield f"{name}: decompress", partial(codec.decompress, *made["sealed"][name][-2])
        yield f"{name}: decompress, long", partial(codec.decompress, *made["large"][name])


def body_operations(made: dict[str, Any]) -> Iterator[tuple[str, Operation]]:
    body, stored = made["body"], made["object"]
    parts = stored["body"], stored["metadata"], stored["sidecar"]
    yield "decode", partial(s4_codec.decode, body)
    yield "frame_iter", partial(s4_codec.frame_iter, body)
    yield "iter_frames", lambda: list(s4_codec.iter_frames(body))
    yield "build_index", partial(s4_codec.build_index, body)
    yield "decode_index", partial(s4_codec.decode_index, stored["sidecar"])
    yield "bind_index", partial(s4_codec.bind_index, stored["sidecar"], len(stored["body"]))
    yield "lookup_range", partial(s4_codec.lookup_range, stored["sidecar"], 5, 6 << 20)
    yield "encode_s4_object", partial(s4_codec.encode_s4_object, text(9 << 20))
    yield "decode_s4_object", partial(s4_codec.decode_s4_object, *parts)
    yield "decode_s4_object, range", partial(s4_codec.decode_s4_object, *parts, (9, 7 << 20))


def dictionary_operations(made: dict[str, Any]) -> Iterator[tuple[str, Operation]]:
    sealed = CpuZstdDict(DICTIONARY).compress(VALUES[9])
    samples = [text(200)[n % 99 :] + str(n).encode() * 20 for n in range(2000)]
    yield "CpuZstdDict", lambda: CpuZstdDict(bytes(DICTIONARY)).dict_id
    yield "CpuZstdDict, new", lambda: CpuZstdDict(DICTIONARY + b"x").compress(VALUES[9])
    yield "DictionarySet", lambda: DictionarySet([DICTIONARY, OTHER]).ids
    yield "DictionarySet.from_bytes", lambda: DictionarySet.from_bytes(made["set"]).to_bytes()
    yield (
        "DictionarySet.decompress",
        lambda: s4a.decompress(
            pa.array([dict(zip(FIELDS, sealed, strict=True))]),
            dictionary=DictionarySet.from_bytes(made["set"]),
        ).to_pylist(),
    )
    # libzstd tries several settings and skips those for which it has no memory, so that the
    # dictionary may be another one.
    yield "train_dictionary", lambda: is_dictionary(s4_codec.train_dictionary(samples, 4096))


def is_dictionary(found: bytes) -> bool:
    codec = CpuZstdDict(found)
    return len(found) <= 4096 and codec.decompress(*codec.compress(VALUES[9])) == VALUES[9]


FIELDS = ("payload", "original_size", "crc32c")


def column_operations(
    name: str, codec: s4_codec.Codec, sealed: list[tuple[bytes, int, int]]
) -> Iterator[tuple[str, Operation]]:
    values, rows = column(VALUES), [dict(zip(FIELDS, row, strict=True)) for row in sealed]
    rows[7:9] = [None, None]
    bad = [*rows, {**rows[5], "crc32c": 7}, {**rows[6], "payload": damaged(rows[6]["payload"])}]
    structs, broken = column(rows), column(bad)
    arrays = pa.array(VALUES), pa.array(rows), pa.array(bad)
    yield f"Polars: {name}: compress", lambda: read(values.select(s4.compress("body", codec)))
    yield f"Polars: {name}: encode", lambda: read(values.select(s4.encode("body", codec)))
    yield f"Arrow: {name}: compress", lambda: s4a.compress(arrays[0], codec).to_pylist()
    yield f"Arrow: {name}: encode", lambda: s4a.encode(arrays[0], codec).to_pylist()
    yield (
        f"Polars: {name}: decompress",
        lambda: read(structs.select(s4.decompress("body", codec))),
    )
    yield f"Arrow: {name}: decompress", lambda: s4a.decompress(arrays[1], codec).to_pylist()
    yield (
        f"Polars: {name}: decompress, null",
        lambda: read(broken.select(s4.decompress("body", codec, on_error="null"))),
    )
    yield (
        f"Arrow: {name}: decompress, null",
        lambda: s4a.decompress(arrays[2], codec, on_error="null").to_pylist(),
    )
    yield f"Polars: {name}: verify", lambda: read(broken.select(s4.verify("body", codec)))
    yield f"Arrow: {name}: verify", lambda: s4a.verify(arrays[2], codec).to_pylist()
    if name in ("cpu-zstd", "cpu-gzip"):
        bare = [row and row["payload"] for row in rows]
        payloads, array = column(bare), pa.array(bare)
        yield (
            f"Polars: {name}: decompress, bare",
            lambda: read(payloads.select(s4.decompress("body", codec))),
        )
        yield f"Arrow: {name}: decompress, bare", lambda: s4a.decompress(array, codec).to_pylist()


def frame_operations(frames: list[bytes]) -> Iterator[tuple[str, Operation]]:
    stored, broken = column(frames), column([*frames, damaged(frames[5]), b"none"])
    good, bad = pa.array(frames), pa.array([*frames, damaged(frames[5]), b"none"])
    chunks = pa.chunked_array([good[:20], good[20:]])
    texts = pl.String
    yield "Polars: decode", lambda: read(stored.select(s4.decode("body")))
    yield "Arrow: decode", lambda: s4a.decode(good).to_pylist()
    yield "Arrow: decode, chunks", lambda: s4a.decode(chunks).to_pylist()
    yield (
        "Polars: decode, null",
        lambda: read(broken.select(s4.decode("body", dtype=texts, on_error="null"))),
    )
    yield "Arrow: decode, null", lambda: s4a.decode(bad, on_error="null").to_pylist()
    yield "Polars: verify_frames", lambda: read(broken.select(s4.verify_frames("body")))
    yield "Arrow: verify_frames", lambda: s4a.verify_frames(bad).to_pylist()
    yield "Polars: frame_info", lambda: read(stored.select(s4.frame_info("body")))
    yield "Arrow: frame_info", lambda: s4a.frame_info(good).to_pylist()
    yield (
        "Polars: streaming",
        lambda: read(
            stored.lazy().select(s4.decode("body")).collect(engine="streaming"),
        ),
    )


def number_operations(rows: list[Any]) -> Iterator[tuple[str, Operation]]:
    dtype, structs, array = pl.List(pl.Float64), column(rows), pa.array(rows)
    lists, numbers = column(NUMBERS), pa.array(NUMBERS, pa.list_(pa.float64()))
    yield "Polars: lists: compress", lambda: read(lists.select(s4.compress("body")))
    yield "Arrow: lists: compress", lambda: s4a.compress(numbers).to_pylist()
    yield (
        "Polars: lists: decompress",
        lambda: read(structs.select(s4.decompress("body", dtype=dtype))),
    )
    yield (
        "Arrow: lists: decompress",
        lambda: s4a.decompress(array, dtype=numbers.type).to_pylist(),
    )


def chunk_operations(sealed: list[tuple[bytes, int, int]]) -> Iterator[tuple[str, Operation]]:
    rows = [dict(zip(FIELDS, row, strict=True)) for row in sealed]
    bad = [{**row, "crc32c": 7} if n % 3 else row for n, row in enumerate(rows)]
    arrays = [pa.chunked_array([[row] for row in data]) for data in (PIECES, rows, bad)]
    dtype = pl.List(pl.UInt8)
    yield "Polars: chunks: compress", lambda: read(in_chunks(PIECES).select(s4.compress("body")))
    yield "Arrow: chunks: compress", lambda: s4a.compress(arrays[0]).to_pylist()
    yield "Arrow: chunks: encode", lambda: s4a.encode(arrays[0]).to_pylist()
    yield "Polars: chunks: decompress", lambda: read(in_chunks(rows).select(s4.decompress("body")))
    yield (
        "Polars: chunks: decompress, lists",
        lambda: read(in_chunks(rows).select(s4.decompress("body", dtype=dtype))),
    )
    yield "Arrow: chunks: decompress", lambda: s4a.decompress(arrays[1]).to_pylist()
    yield (
        "Arrow: chunks: decompress, null",
        lambda: s4a.decompress(arrays[2], on_error="null").to_pylist(),
    )
    yield "Polars: chunks: verify", lambda: read(in_chunks(bad).select(s4.verify("body")))
    yield "Arrow: chunks: verify", lambda: s4a.verify(arrays[2]).to_pylist()


def in_chunks(rows: list[Any]) -> pl.DataFrame:
    """A column of as many chunks as rows; made in a child, as Polars' threads survive no fork."""
    whole = column(rows)
    return pl.concat([whole.slice(n, 1) for n in range(len(rows))], rechunk=False)


def in_child(work: Callable[[], Any]) -> tuple[str, Any]:
    """Runs ``work`` in a fork of this process: how that ended, if not well, and the result."""
    with tempfile.TemporaryFile() as errors:
        return _in_child(work, errors)


def _in_child(work: Callable[[], Any], errors: IO[bytes]) -> tuple[str, Any]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        signal.alarm(PATIENCE)
        os.dup2(errors.fileno(), 2)
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump(work(), pipe)
        # Without cleaning up: threads of the pool may be at work.
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(child, 0)
    errors.seek(0)
    said = errors.read().decode().partition("\n")[0]
    if status == 0:
        return "", pickle.loads(data)
    if status & 127 == signal.SIGABRT and said == THREAD_HANDLE:
        return "thread", None
    ended = signal.Signals(status & 127).name if status & 127 else f"status {status >> 8}"
    return f"{ended}: {said}", None


class Faults:
    """Lets allocations of the extension module fail."""

    def __init__(self, library: str) -> None:
        self._library = ctypes.CDLL(library)
        self._library.faults_disarm.restype = ctypes.c_long
        if not self._library.faults_choose(s4_codec.s4_codec.__file__.encode()):
            sys.exit(f"{library} does not see the extension module")

    def attempt(self, run: Operation, first: int, end: int) -> tuple[str, int]:
        """The outcome of a call with the allocations from ``first`` to before ``end`` failing,
        and the number of allocations."""
        self._library.faults_arm(ctypes.c_long(first), ctypes.c_long(end))
        try:
            found = run()
        except BaseException as error:
            number = self._library.faults_disarm()
            if isinstance(error, ERRORS) and any(word in str(error) for word in WORDS):
                return "error", number
            # CPython says nothing more.
            if type(error) is MemoryError:
                return "error", number
            return f"raises {traceback.format_exception_only(error)[-1]!r}", number
        number = self._library.faults_disarm()
        self.found = found
        return "result", number


def outcome(faults: Faults, run: Operation, expected: Any, first: int, end: int) -> tuple[str, int]:
    """The outcome of a call with faults, and of the same call without them."""
    found, number = faults.attempt(run, first, end)
    if found == "result" and faults.found != expected:
        found = "another result"
    again, _ = faults.attempt(run, ALL, ALL)
    if again != "result" or faults.found != expected:
        found += f", and without a fault: {again}"
    return found, number


def ranges(name: str, numbers: int, most: int) -> list[tuple[int, int]]:
    """The ranges of allocations to fail: each alone, and all from each on; or so many of these."""
    found = [(first, end) for first in range(1, numbers + 1) for end in (first + 1, ALL)]
    return found if len(found) <= most else Random(name).sample(found, most)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="preloaded.py allocation_faults", description="Lets allocations fail."
    )
    parser.add_argument("library", help=argparse.SUPPRESS)
    parser.add_argument(
        "--sample",
        type=int,
        default=400,
        metavar="N",
        help="faults of an operation that has more (default: 400)",
    )
    parser.add_argument("--only", default="", help="operations whose name contains this")
    parser.add_argument("--without", default="\0", help="no operations whose name contains this")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    faults = Faults(options.library)
    _, made = in_child(prepared)
    total: Counter[str] = Counter()
    print("| operation | allocations | faults | results | errors | no thread |")
    print("|---|---|---|---|---|---|")
    for name, run in operations(made):
        if options.only not in name or options.without in name:
            continue
        _, expected = in_child(run)
        status, clean = in_child(partial(outcome, faults, run, expected, ALL, ALL))
        if status or clean[0] != "result":
            print(f"{name} without a fault: {status}, {clean}", file=sys.stderr)
            total["wrong"] += 1
            continue
        found: Counter[str] = Counter()
        for first, end in ranges(name, clean[1], options.sample):
            status, seen = in_child(partial(outcome, faults, run, expected, first, end))
            kind = "alone" if end < ALL else "and all after it"
            what = status or seen[0]
            if what not in ("result", "error", "thread"):
                print(f"{name}, allocation {first} {kind}: {what}", file=sys.stderr)
                what = "wrong"
            found[what] += 1
        counts = (found[kind] for kind in ("result", "error", "thread"))
        row = (name, clean[1], found.total(), *counts)
        print(f"| {' | '.join(map(str, row))} |", flush=True)
        total += found
    print(f"{total.total()} faults: {total['result']} results, {total['error']} errors, ", end="")
    print(f"{total['thread']} without a thread, {total['wrong']} wrong")
    sys.exit(total["wrong"] > 0)


main()
