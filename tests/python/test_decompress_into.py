"""Decompressing to the caller's buffer."""

from __future__ import annotations

import array
import ctypes
import mmap
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from codecs_table import FORGERIES, VALUES, cut_class, error, forgery_class, text
from memory import touches_at_most

from s4_codec import Codec, CpuZstd, Passthrough, S4CrcMismatchError

if TYPE_CHECKING:
    from collections.abc import Callable

#: What stands in the buffer before a call.
FILL = 0xA5

#: Writable buffers of ``size`` bytes.
BUFFERS: dict[str, Callable[[int], Any]] = {
    "bytearray": bytearray,
    "memoryview": lambda size: memoryview(bytearray(size + 9))[5 : size + 5],
    "NumPy": lambda size: np.empty(size, np.uint8),
    "NumPy, other items": lambda size: np.empty((size // 16, 4), np.float32),
    "array": lambda size: array.array("q", bytes(size)),
    "mmap": lambda size: mmap.mmap(-1, size),
    "ctypes": lambda size: (ctypes.c_char * size)(),
}


def filled(size: int) -> bytearray:
    return bytearray([FILL]) * size


@pytest.mark.parametrize("more", [0, 1, 1000])
def test_round_trip(codec: Codec, more: int) -> None:
    for value in VALUES:
        out = filled(len(value) + more)
        assert codec.decompress_into(*with_out(codec.compress(value), out)) == len(value)
        assert out == value + filled(more), "nothing past the value"


def with_out(packed: tuple[bytes, int, int], out: Any) -> tuple[bytes, Any, int, int]:
    return packed[0], out, *packed[1:]


@pytest.mark.parametrize("make", BUFFERS.values(), ids=BUFFERS)
def test_buffers(codec: Codec, make: Callable[[int], Any]) -> None:
    value = text(64_000)
    out = make(len(value))
    assert codec.decompress_into(*with_out(codec.compress(value), out)) == len(value)
    assert bytes(memoryview(out).cast("B")) == value


def test_arguments_go_by_keyword_too(codec: Codec) -> None:
    payload, size, checksum = codec.compress(text(100))
    out = bytearray(size)
    arguments: dict[str, Any] = {"original_size": np.uint64(size), "crc32c": checksum}
    assert codec.decompress_into(payload=payload, out=out, max_size=100, **arguments) == size
    assert out == text(100)
    with pytest.raises(error("S4ManifestSizeExceedsLimitError"), match=r"100 .* 99.*max_size"):
        codec.decompress_into(payload=payload, out=out, max_size=99, **arguments)


@pytest.mark.parametrize(("name", "forge", "expected"), FORGERIES, ids=[f[0] for f in FORGERIES])
def test_forged_rows(codec: Codec, name: str, forge: Callable, expected: str) -> None:
    packed = forge(codec.compress(text(1000)))
    out = filled(2000)
    with touches_at_most(32), pytest.raises(error(forgery_class(codec, name, expected))):
        codec.decompress_into(*with_out(packed, out))
    assert out[min(packed[1], 1001) :] == filled(2000)[min(packed[1], 1001) :]


def test_every_cut_fails(codec: Codec) -> None:
    payload, size, checksum = codec.compress(text(300))
    for end in range(len(payload)):
        out = filled(400)
        with pytest.raises(error(cut_class(codec))):
            codec.decompress_into(payload[:end], out, size, checksum)
        assert out[300:] == filled(100)


def test_no_flip_writes_past_the_value(codec: Codec) -> None:
    payload, size, checksum = codec.compress(text(200))
    for bit in range(len(payload) * 8):
        flipped = bytearray(payload)
        flipped[bit // 8] ^= 1 << bit % 8
        out = filled(300)
        try:
            codec.decompress_into(flipped, out, size, checksum)
        except (ValueError, OSError, RuntimeError):
            pass
        else:
            assert out[:200] == text(200)
        assert out[200:] == filled(100)


def test_out_that_is_too_small(codec: Codec) -> None:
    packed = codec.compress(text(1000))
    for size in (0, 999):
        out = filled(size)
        words = f"at least original_size = 1000 bytes, but has {size};"
        with pytest.raises(ValueError, match=words):
            codec.decompress_into(*with_out(packed, out))
        assert out == filled(size)


def test_what_out_cannot_be(codec: Codec) -> None:
    packed = codec.compress(text(16))
    fixed = np.zeros(16, np.uint8)
    fixed.flags.writeable = False
    for out in (
        bytes(16),
        memoryview(bytes(16)),
        fixed,
        mmap.mmap(-1, 16, access=mmap.ACCESS_READ),
    ):
        with pytest.raises(BufferError, match="out is read-only"):
            codec.decompress_into(*with_out(packed, out))
    for out in (memoryview(bytearray(32))[::2], np.zeros((4, 4), np.uint8).T[:, ::-1]):
        with pytest.raises(BufferError, match="out is not C-contiguous"):
            codec.decompress_into(*with_out(packed, out))
    with pytest.raises(TypeError, match="Python objects"):
        codec.decompress_into(*with_out(packed, np.empty(2, object)))
    for wrong in ("text", None, 5, [1], object()):
        with pytest.raises(TypeError, match="bytes-like"):
            codec.decompress_into(*with_out(packed, wrong))
    closed = memoryview(bytearray(16))
    closed.release()
    with pytest.raises(ValueError, match="released"):
        codec.decompress_into(*with_out(packed, closed))


def test_payload_and_out_in_one_buffer(codec: Codec) -> None:
    value = text(5000)
    payload, size, checksum = codec.compress(value)
    memory = bytearray(size) + payload
    both = memoryview(memory)
    with pytest.raises(ValueError, match="share memory"):
        codec.decompress_into(both[size:], both[1:], size, checksum)
    behind = memoryview(bytearray(payload) + bytearray(size))
    with pytest.raises(ValueError, match="share memory"):
        codec.decompress_into(behind[: len(payload)], behind[len(payload) - 1 :], size, checksum)
    assert behind[: len(payload)] == payload
    assert memory[size:] == payload
    assert codec.decompress_into(both[size:], both, size, checksum) == size, "they only meet"
    assert memory == value + payload


def test_out_is_held_during_the_call() -> None:
    """A buffer cannot be resized while it is written to."""
    value = bytes(64 << 20)
    packed = CpuZstd().compress(value)
    out = bytearray(len(value))
    ended = threading.Event()
    refused = 0

    def resize() -> None:
        nonlocal refused
        while not ended.is_set():
            try:
                out.append(1)
            except BufferError:
                refused += 1

    thread = threading.Thread(target=resize)
    thread.start()
    for _ in range(3):
        CpuZstd().decompress_into(*with_out(packed, out))
    ended.set()
    thread.join()
    assert refused, "the GIL is released, and the buffer is held"
    assert out[: len(value)] == value


#: In a process of its own: Polars' handler, once installed, may take the signal.
INTERRUPTED = """
import signal, threading, time
from s4_codec import CpuZstd

payload, size, crc32c = CpuZstd().compress(bytes(64 << 20))
out, filled = bytearray(size), bytes([7]) * size
threading.Timer(0.05, signal.pthread_kill, (threading.get_ident(), signal.SIGINT)).start()
try:
    while True:
        CpuZstd().decompress_into(payload, out, size, crc32c)
except KeyboardInterrupt:
    out[:] = filled
time.sleep(0.3)
assert out == filled
"""


def test_an_interrupt_waits_until_nothing_writes_to_out() -> None:
    """Work in the background would write to memory that its caller uses again."""
    subprocess.run([sys.executable, "-c", INTERRUPTED], check=True, timeout=60)


def test_damage_is_found_in_place() -> None:
    out = bytearray(3)
    with pytest.raises(S4CrcMismatchError):
        Passthrough().decompress_into(b"abc", out, 3, 0)
