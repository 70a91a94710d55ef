"""Runs every codec through every door over memory that another thread changes meanwhile, as
no caller should. Results may be wrong then, and errors typed; the process must live. Run by
``test_changing_memory.py`` in a process of its own: ``python changing_memory.py SECONDS``.
"""

from __future__ import annotations

import random
import struct
import sys
import threading
import time
from functools import cache
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
from codecs_table import DICTIONARY, ROWS, text

import s4_codec
import s4_codec.arrow as s4_arrow
import s4_codec.polars as s4
from s4_codec import Codec, CpuGzip, CpuZstd, S4BackendError, S4Error, S4IoError

if TYPE_CHECKING:
    from collections.abc import Callable

#: Beyond the length up to which input is copied, and the blocks that a codec sees at once.
SIZE = 3 << 19
ROWS_OF_ARRAYS = 1000

#: ``ValueError``: Arrow data that is malformed when it is imported.
TYPED = (S4Error, S4BackendError, S4IoError, ValueError, MemoryError, pl.exceptions.ComputeError)


@cache
def usual(size: int) -> bytes:
    """Bytes below 64, and seldom each of the others, whose codes are long."""
    stretches = random.Random(1).randbytes(size).translate(bytes(i % 64 for i in range(256)))
    every = bytes(range(256))
    return b"".join(stretches[at : at + 20_000] + every for at in range(0, size, 20_256))[:size]


@cache
def unusual(size: int) -> bytes:
    """The others."""
    return random.Random(2).randbytes(size).translate(bytes(64 + i % 192 for i in range(256)))


class Changing:
    """A buffer that a thread fills with one content and the other by turns."""

    def __init__(self, *contents: bytes) -> None:
        self.contents = contents
        self.memory = bytearray(contents[0])
        self.ends = threading.Event()
        self.thread = threading.Thread(target=self.change)

    def change(self) -> None:
        while not self.ends.is_set():
            for content in self.contents:
                self.memory[:] = content
                time.sleep(0)

    def __enter__(self) -> bytearray:
        self.thread.start()
        return self.memory

    def __exit__(self, *_: object) -> None:
        self.ends.set()
        self.thread.join()


def survive(seconds: float, call: Callable[[], Any]) -> None:
    """Calls again and again; errors must be of our own kinds, and none our own fault."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            call()
        except TYPED as error:
            if "internal error" in str(error):
                raise AssertionError from error


def binary(offsets: Any, values: Any, rows: int, dtype: pa.DataType) -> pa.Array:
    return pa.Array.from_buffers(dtype, rows, [None, pa.py_buffer(offsets), pa.py_buffer(values)])


def compressing(codec: Codec, seconds: float) -> None:
    half = SIZE // 2
    with Changing(usual(SIZE), unusual(SIZE)) as memory:
        small, single = memoryview(memory)[:300_000], (0, SIZE)
        column = binary(struct.pack("<2q", *single), memory, 1, pa.large_binary())
        halves = binary(struct.pack("<3i", 0, half, SIZE), memory, 2, pa.binary())
        frame = pl.DataFrame({"b": pl.from_arrow(halves)})
        for call in (
            lambda: codec.compress(memory),
            lambda: codec.compress(small),
            lambda: codec.encode(memory),
            lambda: s4_arrow.compress(column, codec),
            lambda: s4_arrow.encode(halves, codec),
            lambda: frame.select(s4.compress("b", codec)),
            lambda: frame.select(s4.encode("b", codec)),
        ):
            survive(seconds, call)


def decompressing(codec: Codec, seconds: float) -> None:
    value = usual(SIZE)
    payload, size, crc = codec.compress(value)
    frame = codec.encode(value)
    damaged = bytearray(payload)
    some = random.Random(3)
    for _ in range(200):
        damaged[some.randrange(len(damaged))] = some.randrange(256)
    header = frame[: len(frame) - len(payload)]
    with (
        Changing(payload, bytes(damaged), unusual(len(payload))) as memory,
        Changing(frame, header + bytes(damaged), unusual(len(frame))) as frames,
    ):
        ends = struct.pack("<2q", 0, len(payload))
        column = binary(ends, memory, 1, pa.large_binary())
        sealed = pa.StructArray.from_arrays(
            [column, pa.array([size]), pa.array([crc])], ["payload", "original_size", "crc32c"]
        )
        bodies = binary(struct.pack("<2q", 0, len(frame)), frames, 1, pa.large_binary())
        for call in (
            lambda: codec.decompress(memory, size, crc),
            lambda: s4_arrow.decompress(sealed, codec),
            lambda: s4_arrow.decompress(column, codec, max_size=2 * SIZE),
            lambda: s4_codec.decode(frames, dictionary=DICTIONARY),
            lambda: s4_arrow.decode(bodies, dictionary=DICTIONARY),
            lambda: s4_arrow.frame_info(bodies),
            lambda: s4_codec.build_index(frames),
            lambda: s4_codec.frame_iter(frames),
        ):
            survive(seconds, call)


def misplaced(codec: Codec, seconds: float) -> None:
    """Offsets, views and keys that lie anywhere, once they have been checked."""
    values = text(20 * ROWS_OF_ARRAYS)
    some, n = random.Random(4), ROWS_OF_ARRAYS
    good = struct.pack(f"<{n + 1}i", *range(0, 20 * n + 1, 20))
    anywhere = [some.randrange(-(2**31), 2**31) for _ in range(n - 1)]
    bad = struct.pack(f"<{n + 1}i", 0, *anywhere, 20 * n)
    views = b"".join(
        struct.pack("<i4sii", 20, values[at : at + 4], 0, at) for at in range(0, 20 * n, 20)
    )
    keys = bytes(i % 100 for i in range(n))
    with (
        Changing(good, bad) as offsets,
        Changing(views, some.randbytes(len(views))) as elsewhere,
        Changing(keys, some.randbytes(n)) as other,
    ):
        arrays = [
            binary(offsets, values, n, pa.binary()),
            pa.Array.from_buffers(
                pa.binary_view(), n, [None, pa.py_buffer(elsewhere), pa.py_buffer(values)]
            ),
            pa.DictionaryArray.from_arrays(
                pa.Array.from_buffers(pa.int8(), n, [None, pa.py_buffer(other)]),
                pa.array([value.encode() for value in map(str, range(100))], pa.binary()),
                safe=False,
            ),
        ]
        for array in arrays:
            survive(seconds, lambda array=array: s4_arrow.compress(array, codec))
            survive(seconds, lambda array=array: s4_arrow.decompress(array, codec, on_error="null"))
            survive(seconds, lambda array=array: s4_arrow.frame_info(array, on_error="null"))


def main() -> None:
    seconds = float(sys.argv[1])
    codecs = [row.codec for row in ROWS if not row.on_gpu]
    codecs += [CpuGzip(0), CpuGzip(1), CpuZstd(1), CpuZstd(13)]
    # Those that go through their input twice, most of all.
    compressing(CpuGzip(9), 10 * seconds)
    for codec in codecs:
        compressing(codec, seconds)
        decompressing(codec, seconds)
    for codec in codecs[:2]:
        misplaced(codec, seconds)
    print("alive")


main()
