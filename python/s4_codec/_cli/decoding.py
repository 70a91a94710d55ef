"""Decodes bodies frame by frame or in batches, in parallel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from .. import s4_codec as _native
from .._reader import walked
from ..s4_codec import (
    Codec,
    CpuZstdDict,
    S4BackendError,
    S4CrcMismatchError,
    S4Error,
    S4FrameError,
    S4IoError,
    S4ManifestSizeExceedsLimitError,
)
from ..s4_codec import decode as decode_body
from .files import IN_MEMORY, Frames, decode_frame, in_order
from .inputs import Part
from .streams import Failure, choose_temporary_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..dictionaries import DictionarySet
    from ..s4_codec import _StoredFrame
    from .inputs import Input

_BAD_DATA = (S4Error, S4IoError, S4BackendError)

#: The most bytes, stored and original, of frames that are decoded together.
BATCH = 16 << 20


class Decoders:
    """The codecs that decode frames, by name."""

    def __init__(self, dictionary: CpuZstdDict | DictionarySet | None, device: str | None) -> None:
        self.dictionary = dictionary
        #: The number of a GPU, "auto", or None for the CPU.
        self.device: int | Literal["auto"] | None = None
        if device is not None:
            self.device = int(device) if device.isdecimal() else cast("Any", device)
            _native._device_option(self.device)
        self._known: dict[str, Codec | DictionarySet] = {}
        if dictionary is not None:
            self._known["cpu-zstd-dict"] = dictionary

    def get(self, name: str) -> Codec | DictionarySet:
        if name not in self._known:
            if name == "cpu-zstd-dict":
                msg = f"frames of {name} need their dictionary; pass --dict FILE"
                raise Failure(msg)
            codec = Codec.from_name(name)
            if name.startswith("nvcomp-"):
                # The data names its codec; only the user may send it to a GPU.
                device = "cpu" if self.device is None else str(self.device)
                codec = _native._nvcomp_codec(name, "char", device)
            self._known[name] = codec
        return self._known[name]


@dataclass
class Limits:
    """The most bytes that one frame may decode to, and all frames together."""

    max_size: int
    max_total_size: int | None
    #: Totals so far.
    frames: int = 0
    original: int = 0

    def admit(self, frames: int, original: int) -> None:
        """Counts frames with ``original`` bytes, or refuses them if that exceeds the limit."""
        limit = self.max_total_size
        if limit is not None and self.original + original > limit:
            what = f"frame {self.frames} brings" if frames == 1 else "the next frames bring"
            msg = (
                f"{what} the total to {self.original + original} original bytes, which exceeds "
                f"the limit of {limit} ({self.frames} frame(s) so far with {self.original} "
                f"bytes); --max-total-size SIZE raises the limit"
            )
            raise Failure(msg)
        if original > IN_MEMORY:
            choose_temporary_folder()
        self.frames += frames
        self.original += original


#: Adjacent frames: where they begin and end in the body, their count, the bytes of their
#: payloads and of their originals.
_Batch = tuple[int, int, int, int, int]

#: Where a piece ends in the body; the count of its frames, their payload bytes and original
#: bytes; the original.
_Piece = tuple[int, tuple[int, int, int], Any]


def decoded_pieces(
    source: Input, decoders: Decoders, limits: Limits, allow_empty: bool
) -> Iterator[_Piece]:
    """The original of a body, piece by piece."""
    if source.size is None:
        found = False
        for frame, data in in_order(
            lambda job: (job[0], decoded(*job, decoders, limits)), stored_frames(source, limits)
        ):
            found = True
            yield frame.end, (1, frame.compressed_size, frame.original_size), data
        if not found and not (allow_empty and source.offset == 0):
            raise Failure(_nothing(source.offset))
        return
    # All headers are read first, so that a structural error writes nothing.
    walk = _native._FrameWalk(source.size, min(BATCH, limits.max_size))
    batches = list(walked(source, walk, walk.batches))
    if not batches:
        raise Failure(_nothing(source.size))
    for name in walk.codecs:
        decoders.get(name)
    number, jobs = 0, []
    for batch in batches:
        _admit(batch, source, number, limits)
        jobs.append((number, batch))
        number += batch[2]
    for _, (_, end, *counts), data in in_order(
        lambda job: (*job, _decoded_batch(source, *job, decoders, limits)), jobs
    ):
        yield end, (counts[0], counts[1], counts[2]), data
    source.check_length()


def _admit(batch: _Batch, source: Input, number: int, limits: Limits) -> None:
    start, end, frames, _, original = batch
    try:
        limits.admit(frames, original)
    except Failure:
        # One by one, to name the frame that exceeds the limit.
        for frame in Frames(Part(source, start, end), number):
            limits.admit(1, frame.original_size)
        raise


def _decoded_batch(
    source: Input, number: int, batch: _Batch, decoders: Decoders, limits: Limits
) -> Any:
    """The original of a batch. If a frame of it is bad, the error names that frame."""
    start, end, _, payload_size, original = batch
    if original > IN_MEMORY or payload_size > IN_MEMORY:
        # Larger than a batch of several frames can be.
        return _decoded_large(source, number, batch, decoders, limits)
    body = source.read_at(start, end - start)
    device = decoders.device
    try:
        data = decode_body(body, decoders.dictionary, max_size=limits.max_size, device=device)
    except _BAD_DATA as error:
        frames = Frames(Part(source, start, end, body), number)
        for frame in frames:
            decoded(frame, frames.payload(frame), decoders, limits)
        raise Failure(str(error)) from None
    if len(data) != original:
        raise source.changed()
    return data


def _decoded_large(
    source: Input, number: int, batch: _Batch, decoders: Decoders, limits: Limits
) -> Any:
    """The original of a batch of one frame."""
    start, end, _, _, original = batch
    frames = Frames(Part(source, start, end), number)
    try:
        frame = next(iter(frames), None)
    except S4FrameError:
        frame = None
    if frame is None or (frame.offset, frame.end, frame.original_size) != (start, end, original):
        raise source.changed()
    return decoded(frame, frames.payload(frame), decoders, limits)


def _nothing(size: int) -> str:
    if size == 0:
        return "the input is empty; --allow-empty decodes it to an empty object"
    return "the input has no S4F2 data frames, only paddings"


def stored_frames(source: Input, limits: Limits) -> Iterator[tuple[_StoredFrame, Any]]:
    """Every frame with its payload, from front to back."""
    frames = Frames(source)
    for frame in frames:
        limits.admit(1, frame.original_size)
        yield frame, frames.payload(frame)


def decoded(frame: _StoredFrame, payload: Any, decoders: Decoders, limits: Limits) -> Any:
    """The original of a frame."""
    try:
        return decode_frame(decoders.get(frame.codec), payload, frame, limits.max_size)
    except _BAD_DATA as error:
        what = "crc32c mismatch: " if isinstance(error, S4CrcMismatchError) else ""
        is_large = isinstance(error, S4ManifestSizeExceedsLimitError)
        hint = " (--max-size SIZE)" if is_large else ""
        msg = f"frame {frame.number} ({frame.codec}, at byte {frame.offset}): {what}{error}{hint}"
        raise Failure(msg) from None
