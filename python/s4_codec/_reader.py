"""Bodies that are read from front to back: bytes ahead of need, and the frames in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from .s4_codec import FRAME_HEADER_BYTES, S4FrameError, S4IoError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .s4_codec import _FrameWalk

T = TypeVar("T")

#: The most bytes that are read or written at a time.
PIECE = 1 << 20

#: Bytes that are read from a stream at a time, as many as a pipe holds, and read ahead of a file.
WINDOW = 64 << 10


class Reader:
    """Bytes that are read from front to back, some of them ahead of need."""

    #: The class of an error about the file, which takes a message.
    error: Callable[[str], Exception] = S4IoError
    #: The most bytes that are fetched at a time.
    piece = PIECE

    def __init__(self, name: str, offset: int, size: int | None) -> None:
        self.name = name
        #: The position of the next byte.
        self.offset = offset
        #: The position of the end; None for a stream.
        self.size = size
        #: Bytes read ahead; those before ``_used`` have been handed out.
        self._ahead = b""
        self._used = 0

    def _fetch(self, offset: int, size: int) -> bytes:
        """At most ``size`` bytes from ``offset`` on; none at the end. Of a stream, the next."""
        raise NotImplementedError

    def peek(self, least: int) -> bytes:
        """The bytes read ahead, which stay unread: ``least`` or more, or fewer at the end."""
        if len(self._ahead) - self._used < least:
            self._ahead, self._used = self._ahead[self._used :], 0
            while (held := len(self._ahead)) < least:
                start = self.offset + held
                # What a file gained while it was read is not part of the body.
                most = WINDOW if self.size is None else min(WINDOW, self.size - start)
                if not (piece := self._fetch(start, most)):
                    break
                self._ahead += piece
        return self._ahead[self._used :]

    def read(self, size: int) -> bytes:
        """The next ``size`` bytes, or fewer at the end."""
        piece = self._ahead[self._used : self._used + size]
        self._used += len(piece)
        self.offset += len(piece)
        if len(piece) == size:
            return piece
        pieces = [piece] if piece else []
        size -= len(piece)
        while size > 0 and (piece := self._fetch(self.offset, min(size, self.piece))):
            pieces.append(piece)
            size -= len(piece)
            self.offset += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def skip(self, size: int) -> None:
        """Passes over ``size`` bytes, or fewer at the end."""
        ahead = min(size, len(self._ahead) - self._used)
        self._used += ahead
        self.offset += ahead
        size -= ahead
        if self.size is not None:
            self.offset = min(self.offset + size, max(self.offset, self.size))
            return
        while size > 0 and (piece := self._fetch(self.offset, min(size, self.piece))):
            size -= len(piece)
            self.offset += len(piece)

    def changed(self) -> Exception:
        return self.error(f"{self.name} changed while it was read")


def walked(source: Reader, walk: _FrameWalk, step: Callable[[bytes], list[T]]) -> Iterator[T]:
    """What ``step``, a method of ``walk``, finds in all pieces of a body.

    Whoever takes an item may read from ``source`` up to the end of it.
    """
    piece: bytes | None = None
    while piece != b"":
        piece = source.peek(FRAME_HEADER_BYTES)
        if len(piece) < FRAME_HEADER_BYTES:
            walk.end(source.offset + len(piece))
        try:
            found = step(piece)
        except S4FrameError as error:
            if not str(error).startswith("frame 0, at byte 0: expected"):
                raise
            msg = f"{error}; this may not be a framed S4 object"
            raise S4FrameError(msg) from None
        yield from found
        source.skip(walk.offset - source.offset)
