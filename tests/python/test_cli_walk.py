"""The command's walk over frames, in pieces of any length."""

from __future__ import annotations

import random

import pytest
from codecs_table import text

import s4_codec
from s4_codec import CpuGzip, CpuZstd, Passthrough, S4FrameError
from s4_codec._cli.files import Frames, walked
from s4_codec._cli.inputs import Reader
from s4_codec.s4_codec import _FrameWalk


def padding(size: int) -> bytes:
    return s4_codec.PADDING_MAGIC + size.to_bytes(8, "little") + bytes(size)


BODY = b"".join(
    [
        *(padding(0), CpuZstd().encode(text(300)), padding(5), padding(70_000)),
        *(Passthrough().encode(b""), Passthrough().encode(b"S4F2"), padding(40)),
        *(CpuGzip().encode(text(2000)), Passthrough().encode(text(90_000)), padding(3)),
    ]
)


class Pieces(Reader):
    """A file or a stream that comes in pieces of random lengths."""

    def __init__(self, body: bytes, is_stream: bool, longest: int) -> None:
        super().__init__("pieces", 0, None if is_stream else len(body))
        self._body, self._at = body, 0
        self._random, self._longest = random.Random(longest), longest

    def _fetch(self, offset: int, size: int) -> bytes:
        assert self.size is not None or offset == self._at, "streams are read in order"
        piece = self._body[offset : offset + min(size, self._random.randint(1, self._longest))]
        self._at = offset + len(piece)
        return piece


#: What the command adds to an error at the front of its input.
HINT = "; this may not be a framed S4 object"

Found = list[tuple[dict[str, object], bytes]]


def expected(body: bytes) -> tuple[Found, str]:
    """The frames of the body up to the first error, and that."""
    found: Found = []
    try:
        found.extend(s4_codec.iter_frames(body))
    except S4FrameError as error:
        return found, str(error)
    return found, ""


#: Lengths around each header, and some others.
CUTS = sorted(
    {
        *(at + n for at in range(len(BODY)) if BODY[at : at + 2] == b"S4" for n in range(-2, 32)),
        *range(0, len(BODY), 9973),
        *range(len(BODY) - 20, len(BODY) + 1),
    }
    & set(range(len(BODY) + 1))
)


@pytest.mark.parametrize("longest", [1, 100, 1 << 20])
@pytest.mark.parametrize("is_stream", [False, True])
def test_walks_in_pieces_find_what_a_whole_body_has(is_stream: bool, longest: int) -> None:
    for cut in CUTS[:: 20 if longest == 1 else 1]:
        body = BODY[:cut]
        frames, error = expected(body)
        source = Pieces(body, is_stream, longest)
        walk = Frames(source)
        found: Found = []
        said = ""
        try:
            for frame in walk:
                assert frame.number == len(found)
                assert body.startswith(b"S4F2", frame.offset)
                found.append((frame.header(), bytes(walk.payload(frame))))
                assert source.offset == frame.end
        except S4FrameError as raised:
            said = str(raised).removesuffix(HINT)
        assert (found, said) == (frames, error), cut
        assert error or source.offset == cut


@pytest.mark.parametrize("is_stream", [False, True])
def test_payloads_may_be_passed_over(is_stream: bool) -> None:
    for cut in CUTS:
        body = BODY[:cut]
        frames, error = expected(body)
        found = []
        said = ""
        try:
            found.extend(frame.header() for frame in Frames(Pieces(body, is_stream, 1 << 16)))
        except S4FrameError as raised:
            said = str(raised).removesuffix(HINT)
        assert said == error, cut
        # That the last payload of a stream is cut shows at its end.
        assert found[: len(frames)] == [header for header, _ in frames]
        assert len(found) <= len(frames) + is_stream


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("most", [0, 3000, 1 << 30])
def test_batches(is_stream: bool, most: int) -> None:
    source = Pieces(BODY, is_stream, 1000)
    walk = _FrameWalk(source.size, most)
    batches = list(walked(source, walk, walk.batches))
    frames = list(Frames(Pieces(BODY, is_stream, 1000)))
    counts = {0: [1] * 5, 3000: [1, 3, 1], 1 << 30: [5]}
    assert [count for _, _, count, _, _ in batches] == counts[most]
    for start, end, count, payload, original in batches:
        batch, frames = frames[:count], frames[count:]
        assert (start, end) == (batch[0].offset, batch[-1].end)
        assert payload == sum(frame.compressed_size for frame in batch)
        assert original == sum(frame.original_size for frame in batch)
    assert walk.codecs == ["cpu-zstd", "passthrough", "cpu-gzip"]


def test_sizes_beyond_what_a_stream_can_have() -> None:
    frame = Passthrough().encode(text(100))
    for size in (2**63, 2**64 - 30, 2**64 - 1):
        claim = size.to_bytes(8, "little")
        for body in (
            frame + frame[:16] + claim + frame[24:],
            frame + s4_codec.PADDING_MAGIC + claim + bytes(50),
        ):
            with pytest.raises(S4FrameError) as whole:
                s4_codec.frame_iter(body)
            with pytest.raises(S4FrameError, match=f"should have {size} bytes") as pieces:
                list(Frames(Pieces(body, True, 1000)))
            assert str(pieces.value) == str(whole.value)
            walk = _FrameWalk(None, 0)
            with pytest.raises(S4FrameError, match=f"should have {size} bytes"):
                list(walked(Pieces(body, True, 1000), walk, walk.batches))
