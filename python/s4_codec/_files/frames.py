"""Where the frames of a body are, and what they decode to.

A frame's header is not covered by a checksum, so where its original begins is known only if the
frames before it were decoded, or if a sidecar or the metadata confirms their sizes. Until then the
body is read from front to back, as a gzip file is.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from .. import s4_codec as _native
from .._reader import walked
from ..s4_codec import (
    FRAME_HEADER_BYTES,
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

#: The most original or stored bytes of frames that are decoded together, which is in parallel,
#: unless they are one frame.
READ_AHEAD = 64 << 20
#: And the most of such frames.
MOST_FRAMES = 4096

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


@dataclass(frozen=True, slots=True)
class Place:
    """Where a frame is in the body, and its original in the whole original."""

    start: int
    end: int
    offset: int
    stop: int


class Frames:
    """The frames of a body whose places are known; those after them are found in turn.

    A call that fails or is interrupted may leave anything but ``_places`` half done, so the next
    one begins with what those say.
    """

    def __init__(self, body: Body, decoding: Decoding, stated: int | None) -> None:
        self._body = body
        self._decoding = decoding
        #: The length of the original, as the metadata states it.
        self._stated = stated
        #: The frames that are known; of a stream, the last one.
        self._places: list[Place] = []
        self._is_complete = False
        self._more = self._walk()
        self._waiting: _StoredFrame | None = None
        #: Whether a call is in progress, or did not end.
        self._is_busy = False
        #: Why a stream cannot be read on.
        self._lost: Exception | None = None

    def _walk(self, number: int = 0) -> Iterator[_StoredFrame]:
        """The frames after those that are known."""
        offset = self._places[-1].stop if self._places else 0
        walk = _native._FrameWalk(self._body.size, 0, offset, number)
        return walked(self._body, walk, walk.frames)

    @property
    def end(self) -> int:
        """Where the original of the known frames ends."""
        return self._places[-1].end if self._places else 0

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
        places: list[Place] = []
        end = stop = 0
        for entry in index["entries"]:
            start, size, offset, stored = entry.values()
            if start != end or offset < stop:
                msg = f"the sidecar leaves out bytes before {start} of the original; rebuild it"
                raise S4IndexError(msg)
            end, stop = start + size, offset + stored
            places.append(Place(start, end, offset, stop))
        if end != index["total_original_size"]:
            msg = f"the sidecar states {index['total_original_size']} bytes, its entries {end}"
            raise S4IndexError(msg)
        self._places, self._is_complete = places, True

    def add_headers(self) -> None:
        """Takes the places of all frames from their headers, if the metadata confirms their sum."""
        if self._stated is None or self._body.size is None or self._places or self._is_complete:
            return
        self._begin()
        places: list[Place] = []
        for frame in self._more:
            start = places[-1].end if places else 0
            places.append(_place(frame, start))
        if places and places[-1].end == self._stated:
            self._places, self._is_complete = places, True
        # Else the frames are decoded in turn, which shows what is wrong.
        self._restart()
        self._is_busy = False

    def read(self, position: int, ahead: int) -> Piece | None:
        """The part of the original around ``position``, which is a frame, or several if they hold
        ``ahead`` bytes or less; None at the end."""
        self._begin()
        try:
            piece = self._read(position, ahead)
        except Exception as error:
            self._lost = error
            raise
        self._is_busy = False
        return piece

    def _begin(self) -> None:
        """Begins a call; after one that did not end, with the frames that are known."""
        if self._is_busy:
            if self._body.size is None:
                raise self._lost or S4IoError("an earlier read of the stream was interrupted")
            self._restart()
        self._is_busy = True

    def _restart(self) -> None:
        self._waiting = None
        self._body.seek(self._places[-1].stop if self._places else 0)
        self._more = self._walk(len(self._places))

    def _read(self, position: int, ahead: int) -> Piece | None:
        if self._body.size is None and position < self.end:
            msg = "an earlier read of the stream was interrupted"
            raise S4IoError(msg)
        while position >= self.end:
            if self._is_complete:
                self._check_end()
                return None
            piece = self._next(ahead)
            if piece is not None and position < piece.end:
                return piece
        places = self._places
        first = bisect_right(places, position, key=lambda place: place.start) - 1
        last = first + 1
        limit = places[first].start + ahead
        # What lies between frames is not read.
        while (
            last < len(places)
            and places[last].end <= limit
            and places[last].offset == places[last - 1].stop
        ):
            last += 1
        found = places[first:last]
        for number, place in enumerate(found, first):
            self._decoding.admit(number, place.offset, place.end - place.start)
        start, offset = found[0].start, found[0].offset
        self._check_gap(places[first - 1].stop if first else 0, offset)
        body = self._body.read_at(offset, found[-1].stop - offset)
        return Piece(start, self._decoding.decode(body, found[-1].end - start, first, offset))

    def _next(self, ahead: int) -> Piece | None:
        """The next frames, which are known from then on."""
        found: list[_StoredFrame] = []
        stored: list[bytes] = []
        size = stored_size = 0
        while (frame := self._take()) is not None:
            self._decoding.admit(frame.number, frame.offset, frame.original_size)
            if found and size + frame.original_size > ahead:
                self._waiting = frame
                break
            stored.append(self._body.read_at(frame.offset, frame.end - frame.offset))
            found.append(frame)
            size += frame.original_size
            stored_size += len(stored[-1])
            if stored_size >= READ_AHEAD or len(found) == MOST_FRAMES:
                break
            if self._body.size is None and size >= ahead:
                # What follows may not be there yet.
                break
        if not found:
            self._is_complete = True
            return None
        first, start = found[0], self.end
        data = self._decoding.decode(b"".join(stored), size, first.number, first.offset)
        for frame in found:
            self._places.append(_place(frame, self.end))
        if self._body.size is None:
            del self._places[:-1]
        return Piece(start, data)

    def _take(self) -> _StoredFrame | None:
        frame, self._waiting = self._waiting, None
        return next(self._more, None) if frame is None else frame

    def _check_gap(self, start: int, end: int) -> None:
        """Checks that a sidecar leaves out nothing but paddings."""
        walk = _native._FrameWalk(end, 0, start)
        while walk.offset < end:
            front = min(FRAME_HEADER_BYTES, end - walk.offset)
            if walk.frames(self._body.read_at(walk.offset, front)):
                msg = f"the sidecar leaves out a frame before byte {end} of the body; rebuild it"
                raise S4IndexError(msg)

    def _check_end(self) -> None:
        """Checks the whole, once all frames are known."""
        size = self._body.size
        if not self._places and (size or self._body.offset):
            msg = f"{self._body.name} has no S4F2 data frames, only paddings"
            raise S4FrameError(msg)
        if self._stated not in (None, self.end):
            msg = f"the metadata states {self._stated} bytes, the frames hold {self.end}"
            raise S4SizeMismatchError(msg)
        if size is not None and self._places:
            self._check_gap(self._places[-1].stop, size)


def _place(frame: _StoredFrame, start: int) -> Place:
    """The place of a frame whose original begins at ``start``."""
    return Place(start, start + frame.original_size, frame.offset, frame.end)
