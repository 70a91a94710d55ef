"""The bytes of a body, in any file object."""

from __future__ import annotations

import io
from typing import Any

from .._reader import Reader
from ..s4_codec import S4FrameError

#: What one request to a file of known length may ask for.
_REQUEST = 64 << 20


class Body(Reader):
    """What a file object holds from its position on.

    A file that can seek is read at any position, with one request for each part; any other from
    front to back.
    """

    def __init__(self, file: Any, name: str) -> None:
        size = None
        self._file = file
        self._start = 0
        if _can_seek(file):
            self._start = file.tell()
            size = max(0, file.seek(0, io.SEEK_END) - self._start)
            file.seek(self._start)
        super().__init__(name, 0, size)
        # Devices and files of /proc say that they have no length.
        if size == 0 and (front := self._file.read(1)):
            self.size, self._ahead = None, bytes(front)
        if self.size is not None:
            self.piece = _REQUEST

    def _fetch(self, offset: int, size: int) -> bytes:
        if self.size is not None:
            # Somebody else may have moved the file, or an interrupt have kept this from it.
            self._file.seek(self._start + offset)
        piece = self._file.read(size)
        if piece is None:
            msg = f"{self.name} is non-blocking and has no data yet; pass a blocking file"
            raise BlockingIOError(msg)
        if isinstance(piece, str):
            msg = f"expected a binary file object, but {self.name} is one of text"
            raise TypeError(msg)
        # Files of object stores return buffers of their own.
        return bytes(piece)

    def seek(self, offset: int) -> None:
        """Continues at ``offset``, in a file of known length."""
        self._ahead, self._used = b"", 0
        self.offset = offset

    def read_at(self, offset: int, size: int) -> bytes:
        """``size`` bytes from ``offset`` on, which is no earlier than a stream's position."""
        ahead = offset - self.offset
        if self.size is None or 0 <= ahead < len(self.peek(0)):
            self.skip(ahead)
        elif ahead:
            self.seek(offset)
        found = self.read(size)
        if len(found) < size:
            msg = (
                f"{self.name}: expected {size} bytes from byte {offset} on, found {len(found)}; "
                "the body is truncated, or changed while it was read"
            )
            raise S4FrameError(msg)
        return found

    def read_all(self) -> bytes:
        """All bytes that are left."""
        return b"".join(iter(lambda: self.read(self.piece), b""))


def _can_seek(file: Any) -> bool:
    seekable = getattr(file, "seekable", None)
    return bool(seekable()) if seekable is not None else hasattr(file, "seek")


def name_of(file: Any) -> str:
    """What messages call a file object."""
    name = getattr(file, "name", None) or getattr(file, "path", None)
    return name if isinstance(name, str) else "the file"
