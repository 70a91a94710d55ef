"""One value: every way to be wrong gets its typed error, and no memory near the claim."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from codecs_table import FORGERIES, LIMIT, Row, cut_class, error, forgery_class, text
from memory import touches_at_most

import s4_codec
from s4_codec import (
    Codec,
    S4BackendError,
    S4CrcMismatchError,
    S4Error,
    S4IoError,
    S4ManifestSizeExceedsLimitError,
    crc32c,
)

if TYPE_CHECKING:
    from collections.abc import Callable

TYPED = (S4Error, S4IoError, S4BackendError)


def test_the_exception_tree() -> None:
    data = [
        "S4CrcMismatchError",
        "S4SizeMismatchError",
        "S4CodecMismatchError",
        "S4UnregisteredCodecError",
        "S4ManifestSizeExceedsLimitError",
        "S4ManifestSizeMismatchError",
        "S4FrameError",
        "S4IndexError",
    ]
    bases = {"S4Error": ValueError, "S4BackendError": RuntimeError, "S4IoError": OSError}
    for name, base in bases.items() | {(name, S4Error) for name in data}:
        cls = error(name)
        assert cls.__bases__ == (base,)
        assert (cls.__module__, cls.__name__) == ("s4_codec", name)
        assert cls.__doc__
        assert str(cls("what")) == "what"
    assert S4IoError("what").errno is None


@pytest.mark.parametrize(("name", "forge", "expected"), FORGERIES, ids=[f[0] for f in FORGERIES])
def test_forged_rows(codec: Codec, name: str, forge: Callable, expected: str) -> None:
    expected = forgery_class(codec, name, expected)
    packed = forge(codec.compress(text(1000)))
    with touches_at_most(32), pytest.raises(error(expected)):
        codec.decompress(*packed)


def test_errors_name_what_was_wrong(codec: Codec) -> None:
    payload, size, checksum = codec.compress(text(1000))
    with pytest.raises(S4CrcMismatchError, match=f"{checksum:#010x}, expected 0x0000002a"):
        codec.decompress(payload, size, 42)
    with pytest.raises(S4ManifestSizeExceedsLimitError, match=r"1000 .* 999.*max_size"):
        codec.decompress(payload, size, checksum, max_size=999)


def test_every_cut_fails(codec: Codec) -> None:
    payload, size, checksum = codec.compress(text(300))
    for end in range(len(payload)):
        with pytest.raises(error(cut_class(codec))):
            codec.decompress(payload[:end], size, checksum)


def test_no_flip_gives_other_bytes(codec: Codec) -> None:
    value = text(100)
    payload, size, checksum = codec.compress(value)
    for bit in range(len(payload) * 8):
        flipped = bytearray(payload)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            assert codec.decompress(flipped, size, checksum) == value
        except TYPED:
            continue


def test_a_bomb_costs_nothing(row: Row) -> None:
    if row.bomb is None:
        is_alone = row.name == "passthrough" or row.on_gpu
        assert is_alone, "a codec that compresses on a CPU has a bomb in the table"
        return
    assert len(row.bomb) <= 1100
    with touches_at_most(32):
        for claim, expected in [
            (0, forgery_class(row.codec, "size 0", "S4IoError")),
            (100, forgery_class(row.codec, "size 100", "S4IoError")),
            (LIMIT, "S4SizeMismatchError"),
            (10 << 30, "S4ManifestSizeExceedsLimitError"),
        ]:
            with pytest.raises(error(expected)):
                row.codec.decompress(row.bomb, claim, 0)
        with pytest.raises(error("S4SizeMismatchError")):
            row.codec.decompress(row.bomb, 10 << 30, 0, max_size=20 << 30)


def test_max_size_may_be_raised_and_is_checked(codec: Codec) -> None:
    packed = codec.compress(b"abc")
    assert codec.decompress(*packed, max_size=2**64 - 1) == b"abc"
    with pytest.raises(OverflowError):
        codec.decompress(*packed, max_size=-1)
    with pytest.raises(TypeError):
        codec.decompress(*packed, max_size="1")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong", ["text", None, 5, [1, 2], {}, object()], ids=lambda each: type(each).__name__
)
def test_wrong_types(codec: Codec, wrong: object) -> None:
    with pytest.raises(TypeError, match="bytes-like"):
        codec.compress(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="bytes-like"):
        codec.decompress(wrong, 1, 1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="bytes-like"):
        crc32c(wrong)  # type: ignore[arg-type]


def test_closed_and_scattered_buffers(codec: Codec) -> None:
    view = memoryview(b"abcdef")
    with pytest.raises(BufferError, match="contiguous"):
        codec.compress(view[::2])
    with pytest.raises(BufferError, match="contiguous"):
        codec.decompress(view[::2], 3, 0)
    view.release()
    with pytest.raises(ValueError, match="released"):
        codec.compress(view)


def test_arrays_of_objects(codec: Codec) -> None:
    with pytest.raises(TypeError, match="Python objects"):
        codec.compress(np.array([b"a", "b"], dtype=object))


def test_numbers_that_do_not_fit(codec: Codec) -> None:
    for size, checksum in [(-1, 0), (2**64, 0), (0, -1), (0, 2**32)]:
        with pytest.raises(OverflowError):
            codec.decompress(b"", size, checksum)
    for size, checksum in [(1.0, 0), ("1", 0), (None, 0), (0, 1.5)]:
        with pytest.raises(TypeError):
            codec.decompress(b"", size, checksum)  # type: ignore[arg-type]


def test_levels_out_of_range(row: Row) -> None:
    if row.levels is None:
        with pytest.raises((TypeError, S4BackendError)):
            row.make(3)
        return
    low, high = row.levels
    for level in (low - 1, high + 1, -100, 10**6):
        with pytest.raises(ValueError, match=f"from {low} to {high}, got {level}"):
            row.make(level)
    with pytest.raises(OverflowError):
        row.make(2**63)
    for level in ("3", 3.0, None, b"3"):
        with pytest.raises(TypeError):
            row.make(level)
    with pytest.raises(TypeError):
        row.make(lvl=3)


def test_thread_counts() -> None:
    before = s4_codec.num_threads()
    for n in (0, -1, 1025, -(2**62)):
        with pytest.raises(ValueError, match=f"from 1 to 1024, got {n}"):
            s4_codec.set_num_threads(n)
    with pytest.raises(TypeError):
        s4_codec.set_num_threads("2")  # type: ignore[arg-type]
    assert s4_codec.num_threads() == before
