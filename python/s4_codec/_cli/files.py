"""The frames of files and streams, coded one by one in bounded memory."""

from __future__ import annotations

import mmap
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from .. import s4_codec as _native
from .._reader import PIECE, walked
from ..s4_codec import num_threads
from .signals import interruptible
from .streams import spool_errors, temporary_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .._reader import Reader
    from ..dictionaries import DictionarySet
    from ..s4_codec import Codec, _StoredFrame

#: Larger payloads and originals are kept in temporary files.
IN_MEMORY = 64 << 20

T = TypeVar("T")
R = TypeVar("R")


class Frames:
    """The frames of a body from its front to its end; the first has the number ``number``."""

    def __init__(self, source: Reader, number: int = 0) -> None:
        self._source = source
        self._walk = _native._FrameWalk(source.size, 0, source.offset, number)

    def __iter__(self) -> Iterator[_StoredFrame]:
        return walked(self._source, self._walk, self._walk.frames)

    def payload(self, frame: _StoredFrame) -> bytes | mmap.mmap:
        """The payload of the frame that came last; in a temporary file if it is large."""
        self._source.skip(frame.payload_offset - self._source.offset)
        size = frame.compressed_size
        if size <= IN_MEMORY:
            payload = self._source.read(size)
            if len(payload) < size:
                raise self._cut()
            return payload
        with temporary_file() as descriptor:
            while size and (piece := self._source.read(min(size, PIECE))):
                size -= len(piece)
                with spool_errors():
                    while piece:
                        piece = piece[os.write(descriptor, piece) :]
            if size:
                raise self._cut()
            with spool_errors():
                return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)

    def _cut(self) -> Exception:
        # Raises where a stream ends within its last frame.
        self._walk.end(self._source.offset)
        return self._source.changed()


def decode_frame(
    codec: Codec | DictionarySet, payload: bytes | mmap.mmap, frame: _StoredFrame, max_size: int
) -> bytes | mmap.mmap:
    """The frame's original, verified; in a temporary file if it is large."""
    size, checksum = frame.original_size, frame.crc32c
    if size <= IN_MEMORY:
        return codec.decompress(payload, size, checksum, max_size=max_size)
    _native._admit(codec, payload, size, checksum, max_size)
    with temporary_file() as descriptor, spool_errors():
        # Writing to a mapping whose blocks the disk lacks would end the process.
        os.posix_fallocate(descriptor, 0, size)
        original = mmap.mmap(descriptor, size)
    _native._decompress_into(codec, payload, size, checksum, original)
    return original


def in_order(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """``map`` on as many threads as columns use, with few results waiting.

    A caller that stops early does not wait for the calls that are running.
    """
    width = num_threads()
    pool = ThreadPoolExecutor(width)
    running: deque[Any] = deque()
    try:
        for item in items:
            running.append(pool.submit(work, item))
            if len(running) > width:
                yield interruptible(running.popleft().result)
        while running:
            yield interruptible(running.popleft().result)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
