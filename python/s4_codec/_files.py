"""Bodies in files: walked by their headers, coded frame by frame in bounded memory."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import sys
import tempfile
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from . import s4_codec as _native
from .s4_codec import (
    FRAME_HEADER_BYTES,
    PADDING_MAGIC,
    Codec,
    S4FrameError,
    num_threads,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

#: Frames of more than this go by way of a temporary file.
IN_MEMORY = 64 << 20
#: Bytes that are copied at a time.
PIECE = 1 << 20

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


class Body:
    """A body that is read from front to back; ``size`` is None for a pipe."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.offset = 0
        #: Where the body begins in the file.
        self.start = 0
        self.size: int | None = None
        with contextlib.suppress(OSError, ValueError):
            if file.seekable():
                self.start = file.tell()
                self.size = file.seek(0, os.SEEK_END) - self.start
                file.seek(self.start)

    def read(self, size: int) -> bytes:
        """That many bytes, or fewer at the end."""
        pieces = []
        while size > 0 and (piece := self._piece(size)):
            pieces.append(piece)
            size -= len(piece)
            self.offset += len(piece)
        return b"".join(pieces)

    def _piece(self, size: int) -> bytes:
        piece = self.file.read(min(size, PIECE))
        if piece is None:
            raise BlockingIOError(errno.EAGAIN, "the input is non-blocking and has no data yet")
        return piece

    def skip(self, size: int) -> int:
        """Passes over that many bytes, or fewer at the end; how many."""
        if self.size is not None:
            size = min(size, self.size - self.offset)
            self.file.seek(size, os.SEEK_CUR)
            self.offset += size
            return size
        start = self.offset
        while size > 0 and (piece := self._piece(size)):
            size -= len(piece)
            self.offset += len(piece)
        return self.offset - start

    def frames(self) -> Iterator[StoredFrame]:
        """Every frame, with the file at its payload; paddings are passed over.

        Whoever takes a frame moves the file to its end before asking for the next.
        """
        number = 0
        while front := self.read(_PADDING_HEADER):
            if self.offset == len(front) and front.startswith(_ENCRYPTED):
                msg = f"the body is SSE-encrypted ({front[:4].decode()}); use the S4 gateway"
                raise S4FrameError(msg)
            at = self.offset - len(front)
            if front.startswith(PADDING_MAGIC):
                self._skip_padding(number, at, front)
                continue
            header = front + self.read(FRAME_HEADER_BYTES - len(front))
            try:
                frame = StoredFrame(number, at, _native._frame_header(header))
            except S4FrameError as error:
                raise _at(number, at, str(error)) from None
            if self.size is not None and frame.end > self.size:
                left = self.size - self.offset
                raise _cut(frame, left)
            yield frame
            number += 1

    def _skip_padding(self, number: int, at: int, front: bytes) -> None:
        if len(front) < _PADDING_HEADER:
            raise _at(number, at, "the padding's header is cut")
        size = int.from_bytes(front[4:], "little")
        if (skipped := self.skip(size)) < size:
            raise _at(
                number, at, f"the padding should have {size} bytes, but only {skipped} are left"
            )


def _at(number: int, at: int, what: str) -> S4FrameError:
    hint = "; this may not be a framed S4 object" if number == 0 and at == 0 else ""
    return S4FrameError(f"frame {number} at byte {at}: {what}{hint}")


def payload_of(body: Body, frame: StoredFrame) -> bytes | mmap.mmap:
    """The frame's payload, in a temporary file if it is large."""
    if frame.compressed_size <= IN_MEMORY:
        payload = body.read(frame.compressed_size)
        if len(payload) == frame.compressed_size:
            return payload
        raise _cut(frame, len(payload))
    with tempfile.TemporaryFile() as spool:
        left = frame.compressed_size
        while left and (piece := body.read(min(left, PIECE))):
            spool.write(piece)
            left -= len(piece)
        if left:
            raise _cut(frame, frame.compressed_size - left)
        spool.flush()
        return mmap.mmap(spool.fileno(), 0, access=mmap.ACCESS_READ)


def _cut(frame: StoredFrame, left: int) -> S4FrameError:
    msg = f"the payload should have {frame.compressed_size} bytes, but only {left} are left"
    return _at(frame.number, frame.offset, msg)


def decode_frame(codec: Codec, payload: bytes | mmap.mmap, frame: StoredFrame) -> bytes | mmap.mmap:
    """The frame's original, verified; in a temporary file if it is large."""
    size, checksum = frame.original_size, frame.header["crc32c"]
    if size <= IN_MEMORY:
        return codec.decompress(payload, size, checksum)
    _native._admit(codec, payload, size, checksum)
    with tempfile.TemporaryFile() as spool:
        # Room that is there: writing to a mapping beyond it would end the process.
        os.posix_fallocate(spool.fileno(), 0, size)
        room = mmap.mmap(spool.fileno(), size)
    _native._decompress_into(codec, payload, size, checksum, room)
    return room


def write_pieces(file: BinaryIO, data: bytes | mmap.mmap) -> None:
    """Writes all of ``data``, a piece at a time."""
    with memoryview(data) as view:
        for start in range(0, len(view), PIECE):
            file.write(view[start : start + PIECE])


def in_order(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """``map`` on as many threads as columns have, with few results waiting."""
    width = num_threads()
    with ThreadPoolExecutor(width) as pool:
        waiting: deque[Any] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > width:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@contextlib.contextmanager
def output(path: str, source: str | None = None) -> Iterator[BinaryIO]:
    """A file that appears under its name only when it is complete; ``-`` is standard output.

    It gets the permissions of the file that it replaces, else those of ``source``. What is no
    regular file, such as a device or a named pipe, is written as it is.
    """
    if path in STANDARD_OUTPUT:
        with standard_stream("output") as file:
            yield file
        return
    target = Path(path)
    if target.exists() and not target.is_file():
        with target.open("wb") as file:
            yield file
        return
    target = target.resolve()
    descriptor, name = tempfile.mkstemp(prefix=".s4-", dir=_existing(target.parent))
    scratch = Path(name)
    try:
        with open(descriptor, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        scratch.chmod(_permissions(target, source))
        scratch.replace(target)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(folder))
    return folder


def _permissions(target: Path, source: str | None) -> int:
    for like in (target, None if source in (None, "-") else Path(str(source))):
        if like is not None and like.is_file():
            return like.stat().st_mode & 0o777
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


#: Names of standard output.
STANDARD_OUTPUT = ("-", "/dev/stdout", "/dev/fd/1")


def standard_stream(which: str) -> BinaryIO:
    """Standard input or output, as bytes and buffered, so that no write is cut short."""
    stream, mode = (sys.stdin, "rb") if which == "input" else (sys.stdout, "wb")
    if stream is None:
        msg = f"standard {which} is closed"
        raise OSError(msg)
    return open(stream.fileno(), mode, closefd=False)  # type: ignore[return-value]


class Progress:
    """A bar on standard error, where that is a terminal."""

    def __init__(self, total: int | None) -> None:
        self.total = total
        self.done = 0
        self._shown = -1
        self._on = sys.stderr.isatty()

    def advance(self, size: int) -> None:
        self.done += size
        if not self._on:
            return
        step = self.done * 200 // self.total if self.total else self.done >> 24
        if step == self._shown:
            return
        self._shown = step
        if self.total:
            share = min(self.done / self.total, 1)
            bar = "#" * round(share * 40)
            text = f"[{bar:<40}] {share:4.0%}  {self.done >> 20:,} of {self.total >> 20:,} MiB"
        else:
            text = f"{self.done >> 20:,} MiB"
        print(f"\r{text}", end="", file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._on and self._shown >= 0:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
