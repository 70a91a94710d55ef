"""Where the frames of a body are, and what they decode to.

A frame's header is not covered by a checksum, so where its original begins is known only if the
frames before it were decoded, or if a sidecar or the metadata confirms their sizes. Until then the
body is read from front to back, as a gzip file is.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from .. import s4_codec as _native
from .._reader import walked
from ..s4_codec import (
    S4BackendError,
    S4Error,
    S4FrameError,
    S4IndexError,
    S4IoError,
    S4ManifestSizeExceedsLimitError,
    S4ManifestSizeMismatchError,
    S4SizeMismatchError,
    decode,
    decode_index,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..dictionaries import DictionarySet
    from ..s4_codec import CpuZstdDict, _StoredFrame
    from .body import Body

#: The most original bytes of frames that are decoded together, which is in parallel.
READ_AHEAD = 64 << 20

_FRAME = re.compile(r"frame (\d+)((?: \([\w-]+)?, at byte )(\d+)")


@dataclass(frozen=True)
class Decoding:
    """How frames are decoded."""

    dictionary: bytes | CpuZstdDict | DictionarySet | None
    #: The most bytes that one frame may decode to.
    max_size: int
    device: int | Literal["auto"] | None

    def decode(self, body: bytes, size: int, number: int, offset: int) -> bytes:
        """The original of adjacent frames, ``size`` bytes; the first is frame ``number`` of the
        whole, ``offset`` bytes from its front."""
        try:
            found = decode(body, self.dictionary, max_size=size, device=self.device)
        except (S4Error, S4IoError, S4BackendError) as error:
            raise type(error)(_moved(str(error), number, offset)) from None
        if len(found) != size:
            msg = (
                f"frames from byte {offset} on hold {len(found)} bytes, but the sidecar says "
                f"{size}; rebuild the sidecar"
            )
            raise S4IndexError(msg)
        return found

    def admit(self, number: int, offset: int, size: int) -> None:
        """Refuses a frame that is too large."""
        if size > self.max_size:
            msg = (
                f"frame {number}, at byte {offset}: {size} bytes exceed the limit of "
                f"{self.max_size}; raise max_size if the data is trusted"
            )
            raise S4ManifestSizeExceedsLimitError(msg)


def _moved(message: str, number: int, offset: int) -> str:
    """A message about a frame, counted from the front of the whole body."""

    def move(found: re.Match[str]) -> str:
        return f"frame {int(found[1]) + number}{found[2]}{int(found[3]) + offset}"

    return _FRAME.sub(move, message, count=1)


@dataclass(frozen=True)
class Piece:
    """A part of the original."""

    start: int
    data: bytes

    @property
    def end(self) -> int:
        return self.start + len(self.data)


class Frames:
    """The frames of a body whose places are known; those after them are found in turn."""

    def __init__(self, body: Body, decoding: Decoding, stated: int | None) -> None:
        self._body = body
        self._decoding = decoding
        #: The length of the original, as the metadata states it.
        self._stated = stated
        #: Of each frame, where its original begins, and then where the last one ends.
        self._starts = array("Q", [0])
        #: Where each frame begins in the body, and where it ends.
        self._places: list[tuple[int, int]] = []
        #: The frames that are not known yet; None once all are.
        self._more: Iterator[_StoredFrame] | None = self._walk()
        self._waiting: _StoredFrame | None = None
        #: Why a stream cannot be read on.
        self._lost: Exception | None = None

    def _walk(self) -> Iterator[_StoredFrame]:
        """The frames after those that are known."""
        offset = self._places[-1][1] if self._places else 0
        walk = _native._FrameWalk(self._body.size, 0, offset, len(self._places))
        return walked(self._body, walk, walk.frames)

    @property
    def end(self) -> int:
        """Where the original of the known frames ends."""
        return self._starts[-1]

    def add_sidecar(self, sidecar: bytes) -> None:
        """Takes the places of all frames from a sidecar that fits the body."""
        index = decode_index(sidecar)
        if index["sse"] is not None:
            msg = "the sidecar is of an encrypted object; only the gateway reads it"
            raise S4FrameError(msg)
        expected = index["source_compressed_size"] or index["total_padded_size"]
        if expected != self._body.size:
            found = "a stream" if self._body.size is None else f"{self._body.size} bytes"
            msg = (
                f"the sidecar describes a body of {expected} bytes, but {self._body.name} is "
                f"{found}: the body is truncated, or the sidecar is stale; rebuild it"
            )
            raise S4ManifestSizeMismatchError(msg)
        starts, places = array("Q", [0]), list[tuple[int, int]]()
        for entry in index["entries"]:
            start, size, offset, stored = entry.values()
            if start != starts[-1] or (places and offset < places[-1][1]):
                msg = f"the sidecar leaves out bytes before {start} of the original"
                raise S4IndexError(msg)
            starts.append(start + size)
            places.append((offset, offset + stored))
        if starts[-1] != index["total_original_size"]:
            msg = f"the sidecar states {index['total_original_size']} bytes, its entries "
            raise S4IndexError(f"{msg}{starts[-1]}")
        self._starts, self._places, self._more = starts, places, None

    def add_headers(self) -> None:
        """Takes the places of all frames from their headers, if the metadata confirms them."""
        if self._stated is None or self._body.size is None or self._places or self._more is None:
            return
        self._body.seek(0)
        frames = list(self._walk())
        total = sum(frame.original_size for frame in frames)
        if total == self._stated:
            for frame in frames:
                self._add(frame)
            self._more = None
        else:
            # The frames are decoded in turn, which shows what is wrong.
            self._body.seek(0)

    def read(self, position: int, ahead: int) -> Piece | None:
        """The part of the original around ``position``, which is a frame, or several if they hold
        ``ahead`` bytes or less; None at the end."""
        while position >= self.end:
            if self._more is None:
                self._check_end()
                return None
            piece = self._next(ahead)
            if piece is not None and position < piece.end:
                return piece
        first = bisect_right(self._starts, position) - 1
        last = first + 1
        limit = self._starts[first] + ahead
        while last < len(self._places) and self._starts[last + 1] <= limit:
            last += 1
        sizes = [self._starts[i + 1] - self._starts[i] for i in range(first, last)]
        for i, size in enumerate(sizes, first):
            self._decoding.admit(i, self._places[i][0], size)
        offset, end = self._places[first][0], self._places[last - 1][1]
        body = self._body.read_at(offset, end - offset)
        data = self._decoding.decode(body, sum(sizes), first, offset)
        return Piece(self._starts[first], data)

    def _next(self, ahead: int) -> Piece | None:
        """The next frames, which are known from then on."""
        if self._lost is not None:
            raise self._lost
        try:
            return self._decode_next(ahead)
        except BaseException as error:
            # Another try begins with the same frames.
            self._waiting = None
            if self._body.size is not None:
                self._body.seek(self._places[-1][1] if self._places else 0)
                self._more = self._walk()
            elif isinstance(error, Exception):
                self._lost = error
            else:
                self._lost = S4IoError("an earlier read of the stream was interrupted")
            raise

    def _decode_next(self, ahead: int) -> Piece | None:
        found: list[_StoredFrame] = []
        stored: list[bytes] = []
        size = 0
        while (frame := self._take()) is not None:
            self._decoding.admit(frame.number, frame.offset, frame.original_size)
            if found and size + frame.original_size > ahead:
                self._waiting = frame
                break
            stored.append(self._body.read_at(frame.offset, frame.end - frame.offset))
            found.append(frame)
            size += frame.original_size
            if self._body.size is None and size >= ahead:
                # What follows may not be there yet.
                break
        else:
            self._more = None
        if not found:
            return None
        first, start = found[0], self.end
        data = self._decoding.decode(b"".join(stored), size, first.number, first.offset)
        for frame in found:
            self._add(frame)
        return Piece(start, data)

    def _take(self) -> _StoredFrame | None:
        frame, self._waiting = self._waiting, None
        if frame is None and self._more is not None:
            frame = next(self._more, None)
        return frame

    def _add(self, frame: _StoredFrame) -> None:
        self._starts.append(self.end + frame.original_size)
        self._places.append((frame.offset, frame.end))

    def _check_end(self) -> None:
        """Checks the whole, once all frames are known."""
        if not self._places and (self._body.size or self._body.offset):
            msg = f"{self._body.name} has no S4F2 data frames, only paddings"
            raise S4FrameError(msg)
        if self._stated not in (None, self.end):
            msg = f"the metadata states {self._stated} bytes, the frames hold {self.end}"
            raise S4SizeMismatchError(msg)
