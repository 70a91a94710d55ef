"""Bodies in files: walked by their headers, coded frame by frame in bounded memory."""

from __future__ import annotations

import mmap
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from .. import s4_codec as _native
from ..s4_codec import (
    FRAME_HEADER_BYTES,
    PADDING_MAGIC,
    Codec,
    S4FrameError,
    num_threads,
)
from .signals import waiting
from .streams import PIECE, spool, spooling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .streams import Input

#: Frames of more than this go by way of a temporary file.
IN_MEMORY = 64 << 20

_PADDING_HEADER = len(PADDING_MAGIC) + 8
_ENCRYPTED = tuple(f"S4E{n}".encode() for n in range(1, 7))

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class StoredFrame:
    """A frame's header and its place in the body."""

    number: int
    offset: int
    header: dict[str, Any]

    @property
    def codec(self) -> str:
        return str(self.header["codec"])

    @property
    def original_size(self) -> int:
        return int(self.header["original_size"])

    @property
    def compressed_size(self) -> int:
        return int(self.header["compressed_size"])

    @property
    def end(self) -> int:
        return self.offset + FRAME_HEADER_BYTES + self.compressed_size


class Part:
    """Some frames of an input in memory, read like it."""

    def __init__(self, data: bytes, start: int) -> None:
        self._data = data
        self._start = start
        #: Where reading stands in the body, and where the part ends.
        self.offset = start
        self.size: int | None = start + len(data)

    def read(self, size: int) -> bytes:
        at = self.offset - self._start
        piece = self._data[at : at + size]
        self.offset += len(piece)
        return piece

    def skip(self, size: int) -> int:
        return len(self.read(size))


def frames_of(source: Input | Part, number: int = 0) -> Iterator[StoredFrame]:
    """Every frame of a body, with the input at its payload; paddings are passed over.

    The first frame has the number ``number``.

    Whoever takes a frame moves the input to its end before asking for the next.
    """

    def take(size: int) -> bytes:
        # What a file got while it is read is not part of the body.
        most = size if source.size is None else source.size - source.offset
        return source.read(min(size, most))

    while front := take(_PADDING_HEADER):
        at = source.offset - len(front)
        if at == 0 and front.startswith(_ENCRYPTED):
            msg = f"the body is SSE-encrypted ({front[:4].decode()}); use the S4 gateway"
            raise S4FrameError(msg)
        if front.startswith(PADDING_MAGIC):
            _skip_padding(source, number, at, front)
            continue
        header = front + take(FRAME_HEADER_BYTES - len(front))
        try:
            frame = StoredFrame(number, at, _native._frame_header(header))
        except S4FrameError as error:
            raise _at(number, at, str(error)) from None
        if source.size is not None and frame.end > source.size:
            raise _cut(frame, source.size - source.offset)
        yield frame
        number += 1


def skipped_frames(source: Input) -> Iterator[StoredFrame]:
    """Every frame, with its payload passed over."""
    for frame in frames_of(source):
        if (skipped := source.skip(frame.compressed_size)) < frame.compressed_size:
            raise _cut(frame, skipped)
        yield frame


def _skip_padding(source: Input | Part, number: int, at: int, front: bytes) -> None:
    if len(front) < _PADDING_HEADER:
        raise _at(number, at, "the padding's header is cut")
    size = int.from_bytes(front[4:], "little")
    if (skipped := source.skip(size)) < size:
        raise _at(number, at, f"the padding should have {size} bytes, but only {skipped} are left")


def _at(number: int, at: int, what: str) -> S4FrameError:
    hint = "; this may not be a framed S4 object" if number == 0 and at == 0 else ""
    return S4FrameError(f"frame {number} at byte {at}: {what}{hint}")


def payload_of(source: Input | Part, frame: StoredFrame) -> bytes | mmap.mmap:
    """The payload of the frame that a stream is at, in a temporary file if it is large."""
    return _payload(frame, source.read)


def payload_at(source: Input, frame: StoredFrame) -> bytes | mmap.mmap:
    """The same of a frame anywhere in a file."""
    offset = frame.offset + FRAME_HEADER_BYTES

    def read(size: int) -> bytes:
        nonlocal offset
        offset += size
        return source.read_at(offset - size, size)

    return _payload(frame, read)


def _payload(frame: StoredFrame, read: Callable[[int], bytes]) -> bytes | mmap.mmap:
    size = frame.compressed_size
    if size <= IN_MEMORY:
        payload = read(size)
        if len(payload) == size:
            return payload
        raise _cut(frame, len(payload))
    with spool() as descriptor:
        left = size
        while left and (piece := read(min(left, PIECE))):
            left -= len(piece)
            with spooling():
                while piece:
                    piece = piece[os.write(descriptor, piece) :]
        if left:
            raise _cut(frame, size - left)
        with spooling():
            return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)


def _cut(frame: StoredFrame, left: int) -> S4FrameError:
    msg = f"the payload should have {frame.compressed_size} bytes, but only {left} are left"
    return _at(frame.number, frame.offset, msg)


def decode_frame(
    codec: Codec, payload: bytes | mmap.mmap, frame: StoredFrame, max_size: int
) -> bytes | mmap.mmap:
    """The frame's original, verified; in a temporary file if it is large."""
    size, checksum = frame.original_size, frame.header["crc32c"]
    if size <= IN_MEMORY:
        return codec.decompress(payload, size, checksum, max_size=max_size)
    _native._admit(codec, payload, size, checksum, max_size)
    with spool() as descriptor, spooling():
        # Room that is there: writing to a mapping beyond it would end the process.
        os.posix_fallocate(descriptor, 0, size)
        room = mmap.mmap(descriptor, size)
    _native._decompress_into(codec, payload, size, checksum, room)
    return room


def in_order(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """``map`` on as many threads as columns have, with few results waiting.

    Whoever stops early does not wait for calls under way.
    """
    width = num_threads()
    pool = ThreadPoolExecutor(width)
    running: deque[Any] = deque()
    try:
        for item in items:
            running.append(pool.submit(work, item))
            if len(running) > width:
                yield waiting(running.popleft().result)
        while running:
            yield waiting(running.popleft().result)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
