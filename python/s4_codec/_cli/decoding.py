"""Decoding a body frame by frame or in batches, in parallel, for the command's verbs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from .. import s4_codec as _native
from ..s4_codec import (
    FRAME_HEADER_BYTES,
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
from .files import (
    IN_MEMORY,
    Part,
    StoredFrame,
    decode_frame,
    frames_of,
    in_order,
    payload_at,
    payload_of,
)
from .streams import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .streams import Input

_BAD_DATA = (S4Error, S4IoError, S4BackendError)

#: Frames are decoded together up to so many bytes, stored and of their originals.
BATCH = 16 << 20
#: Bytes that are read at a time where only headers are looked at.
_WINDOW = 64 << 10


class Decoders:
    """The codecs of a body's frames."""

    def __init__(self, dictionary: CpuZstdDict | None, device: str | None) -> None:
        self.dictionary = dictionary
        #: A GPU's number or "auto", where one is asked for.
        self.device: int | Literal["auto"] | None = None
        if device is not None:
            self.device = int(device) if device.isdecimal() else cast("Any", device)
            _native._device_option(self.device)
        self._known: dict[str, Codec] = {}
        if dictionary is not None:
            self._known[dictionary.name] = dictionary

    def get(self, name: str) -> Codec:
        if name not in self._known:
            if name == "cpu-zstd-dict":
                msg = f"there are frames of {name}, which need their dictionary: --dict FILE"
                raise Failure(msg)
            codec = Codec.from_name(name)
            if name.startswith("nvcomp-"):
                # Data that names its codec goes to a GPU only where that is asked for.
                device = "cpu" if self.device is None else str(self.device)
                codec = _native._nvcomp_codec(name, "char", device)
            self._known[name] = codec
        return self._known[name]


@dataclass
class Limits:
    """The most bytes that a frame may decode to, and all frames together."""

    max_size: int
    max_total_size: int | None
    #: What came so far.
    frames: int = 0
    original: int = 0

    def admit(self, frames: int, original: int) -> None:
        """Counts some frames, unless they are too much."""
        limit = self.max_total_size
        if limit is not None and self.original + original > limit:
            what = f"frame {self.frames} makes" if frames == 1 else "the next frames make"
            msg = (
                f"{what} {self.original + original} original bytes, which exceed the limit of "
                f"{limit}; {self.frames} frame(s) with {self.original} bytes came so far; "
                f"{original} more are next; --max-total-size SIZE raises the limit"
            )
            raise Failure(msg)
        self.frames += frames
        self.original += original


#: Frames in a row: where they begin and end in the body, how many they are, the bytes of their
#: payloads and of their originals.
_Batch = tuple[int, int, int, int, int]

#: Where a piece ends in the body; its frames, payload bytes and original bytes; its original.
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
    # All headers are walked first, so that a structural error writes nothing.
    batches, codecs = _walked(source, min(BATCH, limits.max_size))
    if not batches:
        raise Failure(_nothing(source.size))
    for name in codecs:
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


def walk(source: Input, batch_bytes: int) -> Iterator[tuple[list[_Batch], list[str]]]:
    """Batches of a file's frames, and the codecs so far; payloads are passed over."""
    size = source.size or 0
    native = _native._FrameWalk(size, batch_bytes)
    while (offset := native.offset) < size:
        window = source.read_at(offset, min(_WINDOW, size - offset))
        yield native.feed(window), native.codecs


def _walked(source: Input, batch_bytes: int) -> tuple[list[_Batch], list[str]]:
    batches: list[_Batch] = []
    codecs: list[str] = []
    for complete, codecs in walk(source, batch_bytes):  # noqa: B007
        batches += complete
    return batches, codecs


def _admit(batch: _Batch, source: Input, number: int, limits: Limits) -> None:
    try:
        limits.admit(batch[2], batch[4])
    except Failure:
        # One by one, for the one that is too much.
        for frame in _batch_frames(batch, source, number):
            limits.admit(1, frame.original_size)
        raise


def _batch_frames(batch: _Batch, source: Input, number: int) -> Iterator[StoredFrame]:
    """The frames of a batch; the input moves with them."""
    source.offset = batch[0]
    for frame in frames_of(source, number):
        yield frame
        source.offset = frame.end
        if frame.end >= batch[1]:
            return


def _decoded_batch(
    source: Input, number: int, batch: _Batch, decoders: Decoders, limits: Limits
) -> Any:
    """Frames in a row; if one is bad, that one by its number."""
    start, end, _, payload_size, original = batch
    if original > IN_MEMORY or payload_size > IN_MEMORY:
        # Only a batch of one frame is larger than what is decoded at once.
        try:
            header = _native._frame_header(source.read_at(start, FRAME_HEADER_BYTES))
        except S4FrameError:
            raise source.changed() from None
        frame = StoredFrame(number, start, header)
        if frame.end != end or frame.original_size != original:
            raise source.changed()
        return decoded(frame, payload_at(source, frame), decoders, limits)
    body = source.read_at(start, end - start)
    device = decoders.device
    try:
        data = decode_body(body, decoders.dictionary, max_size=limits.max_size, device=device)
    except _BAD_DATA as error:
        part = Part(body, start)
        for frame in frames_of(part, number):
            decoded(frame, payload_of(part, frame), decoders, limits)
        raise Failure(str(error)) from None
    if len(data) != original:
        raise source.changed()
    return data


def _nothing(size: int) -> str:
    if size == 0:
        return "the input is empty; --allow-empty takes it for the empty object"
    return "no S4F2 data frames, only paddings"


def stored_frames(source: Input, limits: Limits) -> Iterator[tuple[StoredFrame, Any]]:
    """Every frame with its payload, from front to back."""
    for frame in frames_of(source):
        limits.admit(1, frame.original_size)
        yield frame, payload_of(source, frame)


def decoded(frame: StoredFrame, payload: Any, decoders: Decoders, limits: Limits) -> Any:
    """The original of a frame."""
    try:
        return decode_frame(decoders.get(frame.codec), payload, frame, limits.max_size)
    except _BAD_DATA as error:
        what = "crc32c mismatch: " if isinstance(error, S4CrcMismatchError) else ""
        is_large = isinstance(error, S4ManifestSizeExceedsLimitError)
        hint = " (--max-size SIZE)" if is_large else ""
        msg = f"frame {frame.number} ({frame.codec}) at byte {frame.offset}: {what}{error}{hint}"
        raise Failure(msg) from None
