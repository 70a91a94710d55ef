"""Decoding a body frame by frame or in batches, in parallel, for the command's verbs."""

from __future__ import annotations

import contextlib
import io
import mmap
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast

from . import s4_codec as _native
from ._files import IN_MEMORY, Body, StoredFrame, decode_frame, in_order, payload_of
from .s4_codec import (
    FRAME_HEADER_BYTES,
    Codec,
    CpuZstdDict,
    S4BackendError,
    S4CrcMismatchError,
    S4Error,
    S4IoError,
)
from .s4_codec import decode as decode_body

if TYPE_CHECKING:
    from collections.abc import Iterator

_BAD_DATA = (S4Error, S4IoError, S4BackendError)

#: Frames are decoded together up to so many bytes of their originals.
BATCH = 16 << 20


class Failure(Exception):
    """What ends a command with a message and exit status 1."""


@contextlib.contextmanager
def mapped(file: BinaryIO, start: int) -> Iterator[memoryview]:
    """A file that is not empty from there on."""
    with (
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory,
        memoryview(memory) as whole,
        whole[start:] as view,
    ):
        yield view


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


#: Where a piece ends in the body; its frames, payload bytes and original bytes; its original.
_Piece = tuple[int, tuple[int, int, int], Any]


def decoded_pieces(body: Body, decoders: Decoders, allow_empty: bool) -> Iterator[_Piece]:
    """The original of a body, piece by piece."""
    if body.size is None:
        found = False
        for frame, data in in_order(
            lambda job: (job[0], decoded(*job, decoders)), stored_frames(body)
        ):
            found = True
            yield frame.end, (1, frame.compressed_size, frame.original_size), data
        if not found and not (allow_empty and body.offset == 0):
            raise Failure(_nothing(body.offset))
        return
    if body.size == 0:
        if not allow_empty:
            raise Failure(_nothing(0))
        return
    with mapped(body.file, body.start) as view:
        # All headers are walked first, so that a structural error writes nothing.
        batches, codecs = _native._frame_batches(view, BATCH)
        if not batches:
            raise Failure(_nothing(body.size))
        for name in codecs:
            decoders.get(name)
        number, jobs = 0, []
        for batch in batches:
            jobs.append((number, batch))
            number += batch[2]
        for _, (_, end, *counts), data in in_order(
            lambda job: (*job, _decoded_batch(view, *job, decoders)), jobs
        ):
            yield end, (counts[0], counts[1], counts[2]), data


def _decoded_batch(
    view: memoryview, number: int, batch: tuple[int, int, int, int, int], decoders: Decoders
) -> Any:
    """Frames in a row; if one is bad, that one by its number."""
    start, end, _, _, original = batch
    if original > IN_MEMORY:
        # Only a batch of one frame is larger than what is decoded at once.
        with view[start : start + FRAME_HEADER_BYTES] as header:
            frame = StoredFrame(number, start, _native._frame_header(header))
        with view[start + FRAME_HEADER_BYTES : end] as payload:
            return decoded(frame, payload, decoders)
    with view[start:end] as body:
        try:
            return decode_body(body, decoders.dictionary, device=decoders.device)
        except _BAD_DATA as error:
            frames = Body(io.BytesIO(body))
            for frame in frames.frames():
                placed = StoredFrame(number + frame.number, start + frame.offset, frame.header)
                decoded(placed, payload_of(frames, frame), decoders)
            raise Failure(str(error)) from None


def _nothing(size: int) -> str:
    if size == 0:
        return "the input is empty; --allow-empty takes it for the empty object"
    return "no S4F2 data frames, only paddings"


def stored_frames(body: Body) -> Iterator[tuple[StoredFrame, Any]]:
    """Every frame with its payload, from front to back."""
    for frame in body.frames():
        yield frame, payload_of(body, frame)


def decoded(frame: StoredFrame, payload: Any, decoders: Decoders) -> Any:
    """The original of a frame."""
    try:
        return decode_frame(decoders.get(frame.codec), payload, frame)
    except _BAD_DATA as error:
        what = "crc32c mismatch: " if isinstance(error, S4CrcMismatchError) else ""
        msg = f"frame {frame.number} ({frame.codec}) at byte {frame.offset}: {what}{error}"
        raise Failure(msg) from None
