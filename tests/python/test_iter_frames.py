"""The frames of a body one by one: the same as in a list, in little memory, of any buffer."""

from __future__ import annotations

import array
import gc
import mmap
import struct
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from codecs_table import VALUES, Row, text
from memory import touches_at_most

import s4_codec
from s4_codec import CpuGzip, CpuZstd, Passthrough, S4FrameError, frame_iter, iter_frames

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PADDING = s4_codec.PADDING_MAGIC + struct.pack("<Q", 5) + b"xxxxx"
FIRST = CpuZstd().encode(b"first", fallback=False)
SECOND = CpuGzip().encode(b"second", fallback=False)


def test_the_frames_are_those_of_the_list(row: Row) -> None:
    body = PADDING.join([b"", *map(row.codec.encode, VALUES), b""])
    frames = iter_frames(body)
    assert iter(frames) is frames
    assert list(frames) == frame_iter(body)
    assert list(frames) == [], "an iterator that is used up stays so"
    first, *_ = iter_frames(body)
    assert first == s4_codec.read_frame(body[len(PADDING) :])[:2]
    assert list(first[0]) == ["codec", "original_size", "compressed_size", "crc32c"]


@pytest.mark.parametrize("body", [b"", PADDING, PADDING * 3])
def test_there_may_be_none(body: bytes) -> None:
    assert list(iter_frames(body)) == []


BUFFERS: list[Callable[[bytes], Any]] = [
    bytes,
    bytearray,
    memoryview,
    lambda body: memoryview(b"xx" + body)[2:],
    lambda body: array.array("b", body),
    lambda body: np.frombuffer(body, np.uint8),
]


@pytest.mark.parametrize("buffer", BUFFERS)
def test_any_buffer(buffer: Callable[[bytes], Any]) -> None:
    # Nobody else knows the buffer: the iterator alone keeps it.
    frames = iter_frames(buffer(FIRST + PADDING + SECOND))
    gc.collect()
    assert list(frames) == frame_iter(FIRST + SECOND)


def test_what_is_no_buffer() -> None:
    for wrong in ("text", None, 3, [FIRST]):
        with pytest.raises(TypeError, match="bytes-like"):
            iter_frames(wrong)  # type: ignore[arg-type]
    with pytest.raises(BufferError, match="not C-contiguous"):
        iter_frames(memoryview(FIRST)[::2])


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        (b"S4", "frame 2, at byte .*of 28 bytes, but only 2 are left"),
        (b"S4F1" + bytes(40), "frame 2, at byte .*S4F2"),
        (SECOND[:-1], "frame 2, at byte .*but only"),
        (FIRST[:4] + b"\x63" + FIRST[5:], "frame 2, at byte .*unknown codec id 99"),
        (PADDING[:-1], "frame 2, at byte .*padding"),
        (PADDING + PADDING[:11], "frame 2, at byte .*padding"),
    ],
)
def test_an_error_comes_where_it_is(rest: bytes, words: str) -> None:
    frames = iter_frames(FIRST + SECOND + rest)
    assert [next(frames), next(frames)] == frame_iter(FIRST + SECOND)
    with pytest.raises(S4FrameError, match=words):
        next(frames)
    assert list(frames) == [], "nothing is tried again"
    with pytest.raises(S4FrameError, match=words):
        frame_iter(FIRST + SECOND + rest)


@pytest.mark.parametrize("walk", [frame_iter, lambda body: next(iter_frames(body))])
def test_encrypted_bodies_are_refused(walk: Callable[[bytes], Any]) -> None:
    for magic in (b"S4E1", b"S4E6"):
        with pytest.raises(S4FrameError, match=f"encrypted .{magic.decode()}"):
            walk(magic + bytes(100))


def test_the_buffer_is_held_until_the_end() -> None:
    body = bytearray(FIRST + SECOND)
    frames = iter_frames(body)
    for _ in range(2):
        with pytest.raises(BufferError):
            body.append(1)
        next(frames)
    assert next(frames, None) is None
    body.append(1)
    frames = iter_frames(body)
    del frames
    body.append(2)
    damaged = iter_frames(body)
    with pytest.raises(S4FrameError):
        list(damaged)
    body.append(3)


def test_a_mapped_file(tmp_path: Path) -> None:
    path = tmp_path / "body.s4"
    path.write_bytes(FIRST + PADDING + SECOND)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        frames = iter_frames(mapped)
        next(frames)
        with pytest.raises(BufferError):
            mapped.close()
        assert len(list(frames)) == 1


def test_bytes_may_change_between_frames() -> None:
    """Each header is read when its turn comes; what it says then is checked again."""
    body = bytearray(FIRST + FIRST + SECOND)
    at = len(FIRST)
    frames = iter_frames(body)
    next(frames)
    body[at:] = SECOND + FIRST
    assert list(frames) == frame_iter(SECOND + FIRST)
    frames = iter_frames(body)
    next(frames)
    body[at + 16 : at + 24] = struct.pack("<Q", 2**64 - 1)
    with pytest.raises(S4FrameError, match=f"frame 1, at byte {at}"):
        next(frames)


def test_bytes_may_change_meanwhile() -> None:
    """What comes may be neither the one nor the other, but never from outside of the buffer."""
    one, other = (
        np.frombuffer(codec.encode(text(1 << 16)) * 20, np.uint8)
        for codec in (Passthrough(), CpuZstd())
    )
    shared, done = one.copy(), threading.Event()

    def change() -> None:
        while not done.is_set():
            shared[: len(other)] = other
            shared[:] = one

    thread = threading.Thread(target=change)
    thread.start()
    for _ in range(50):
        seen = 0
        try:
            for header, payload in iter_frames(shared):
                assert header["compressed_size"] == len(payload)
                seen += s4_codec.FRAME_HEADER_BYTES + len(payload)
        except S4FrameError:
            pass
        assert seen <= len(shared)
    done.set()
    thread.join()


def test_threads_share_the_frames_of_one() -> None:
    value = text(200_000)
    codec = Passthrough()
    body = b"".join(codec.encode(bytes([n]) + value) for n in range(100))
    frames, seen = iter_frames(body), []

    def take() -> None:
        for _, payload in frames:
            seen.append(payload[0])

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == list(range(100)), "each comes once"


def test_one_payload_is_held_at_a_time() -> None:
    body = Passthrough().encode(bytes(4 << 20)) * 30
    with touches_at_most(16):
        assert sum(len(payload) for _, payload in iter_frames(body)) == 120 << 20


def test_cycles_are_collected() -> None:
    class Body(bytearray):
        frames: Any
        __slots__ = ("__weakref__", "frames")

    body = Body(FIRST)
    body.frames = iter_frames(body)
    gone = weakref.ref(body)
    del body
    gc.collect()
    assert gone() is None


def test_references_are_given_back() -> None:
    body = b"".join([FIRST] * 3)
    before = sys.getrefcount(body)
    for _ in range(10):
        list(iter_frames(body))
        next(iter_frames(body))
    assert sys.getrefcount(body) == before
