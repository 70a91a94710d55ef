"""The original of a body as a raw file, which ``io.BufferedReader`` buffers."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from .frames import READ_AHEAD, Frames

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

    from .frames import Piece


class OriginalReader(io.RawIOBase):
    """Reads the original of a body; holds the frames that were decoded last.

    The first read after a seek decodes one frame. Reads that go on from there decode twice as much
    each time, up to ``READ_AHEAD``, so that all cores work.
    """

    mode = "rb"

    def __init__(
        self, frames: Frames, name: Any, can_seek: bool, close: Callable[[], None]
    ) -> None:
        self.name = name
        self._frames = frames
        self._can_seek = can_seek
        self._close = close
        self._position = 0
        self._piece: Piece | None = None
        self._ahead = 0

    def readable(self) -> bool:
        self._check_open()
        return True

    def seekable(self) -> bool:
        self._check_open()
        return self._can_seek

    def tell(self) -> int:
        self._check_open()
        return self._position

    def readinto(self, buffer: Buffer) -> int:
        self._check_open()
        with memoryview(buffer) as whole, whole.cast("B") as view:
            piece = self._here() if len(view) else None
            if piece is None:
                return 0
            start = self._position - piece.start
            data = memoryview(piece.data)[start : start + len(view)]
            view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def readall(self) -> bytes:
        self._check_open()
        pieces = []
        while (piece := self._here()) is not None:
            start = self._position - piece.start
            pieces.append(piece.data if start == 0 else piece.data[start:])
            self._position = piece.end
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._check_open()
        if not self._can_seek:
            msg = "the file below cannot seek, so its original is read from front to back only"
            raise io.UnsupportedOperation(msg)
        if whence == io.SEEK_CUR:
            offset += self._position
        elif whence == io.SEEK_END:
            offset += self._end()
        elif whence != io.SEEK_SET:
            msg = f"expected a whence of 0, 1 or 2, got {whence}"
            raise ValueError(msg)
        if offset < 0:
            msg = f"negative seek position {offset}"
            raise ValueError(msg)
        if offset > self._frames.end:
            self._frames.add_headers()
        self._position = offset
        return offset

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._piece = None
            self._close()

    def _here(self) -> Piece | None:
        """The decoded piece at the position; None at the end."""
        piece = self._piece
        if piece is None or not piece.start <= self._position < piece.end:
            goes_on = piece is not None and piece.end == self._position
            self._ahead = (
                min(max(2 * self._ahead, len(piece.data)), READ_AHEAD)
                if (piece is not None and goes_on)
                else 0
            )
            # Both at once would take twice the memory.
            self._piece = piece = None
            self._piece = piece = self._frames.read(self._position, self._ahead)
        return piece

    def _end(self) -> int:
        """The length of the original, for which all frames must be known."""
        self._frames.add_headers()
        while (piece := self._frames.read(self._frames.end, READ_AHEAD)) is not None:
            self._piece = piece
        return self._frames.end

    def _check_open(self) -> None:
        if self.closed:
            msg = "I/O operation on closed file"
            raise ValueError(msg)
