"""Bare payloads: what other writers make, whose length is stated wrongly or not at all."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
import pytest
from codecs_table import VALUES, Row, noise, text, texts
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import touches_at_most
from polars.exceptions import ComputeError

import s4_codec.arrow
import s4_codec.polars
from s4_codec import Codec, CpuGzip, CpuZstd, S4Error, S4IoError, S4ManifestSizeExceedsLimitError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ZSTD_MAGIC = bytes.fromhex("28b52ffd")
#: No content size, no checksum, a window of 8 MiB.
ZSTD_HEADER = ZSTD_MAGIC + b"\x00\x68"
SKIPPABLE = bytes.fromhex("502a4d18") + b"\x03\0\0\0abc"

Values = list[bytes | None]


def zstd_without_size(value: bytes) -> bytes:
    """The frame of CpuZstd with another header."""
    frame = CpuZstd().compress(value)[0]
    descriptor = frame[4]
    is_single_segment = descriptor & 0x20 != 0
    size_bytes = (1 if is_single_segment else 0, 2, 4, 8)[descriptor >> 6]
    return ZSTD_HEADER + frame[5 + (not is_single_segment) + size_bytes :]


def thirds(value: bytes) -> list[bytes]:
    step = len(value) // 3 + 1
    return [value[start : start + step] for start in range(0, len(value), step)] or [b""]


def zstd_frames(value: bytes) -> bytes:
    return SKIPPABLE.join(CpuZstd().compress(part)[0] for part in thirds(value))


def zstd_frames_without_size(value: bytes) -> bytes:
    return b"".join(map(zstd_without_size, thirds(value)))


def member(value: bytes) -> bytes:
    return gzip.compress(value, 1)


def gzip_members(value: bytes) -> bytes:
    return b"".join(map(member, thirds(value)))


def padded_gzip(value: bytes) -> bytes:
    """What states a length of 0: the last four bytes are not the member's."""
    return member(value) + bytes(512)


def gzip_before_an_empty_member(value: bytes) -> bytes:
    return member(value) + member(b"")


@dataclass(frozen=True)
class Writer:
    """How another program writes payloads of a codec."""

    codec: Codec
    pack: Callable[[bytes], bytes]

    def __str__(self) -> str:
        return self.pack.__name__


WRITERS = [
    Writer(CpuZstd(), zstd_without_size),
    Writer(CpuZstd(), zstd_frames),
    Writer(CpuZstd(), zstd_frames_without_size),
    Writer(CpuGzip(), member),
    Writer(CpuGzip(), gzip_members),
    Writer(CpuGzip(), padded_gzip),
    Writer(CpuGzip(), gzip_before_an_empty_member),
]


def by_polars(payloads: Sequence[bytes | None], codec: Codec, **how: object) -> Values:
    series = pl.Series("body", payloads, dtype=pl.Binary)
    return series.s4.decompress(codec, **how).to_list()  # type: ignore[no-any-return]


def by_arrow(payloads: Sequence[bytes | None], codec: Codec, **how: object) -> Values:
    array = pa.array(payloads, pa.large_binary())
    return s4_codec.arrow.decompress(array, codec, **how).to_pylist()  # type: ignore[arg-type]


READERS = {"Polars": by_polars, "Arrow": by_arrow}
Reader = Callable[..., Values] if TYPE_CHECKING else object


@pytest.fixture(params=READERS.values(), ids=READERS)
def read(request: pytest.FixtureRequest) -> Reader:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(params=WRITERS, ids=str)
def writer(request: pytest.FixtureRequest) -> Writer:
    return request.param  # type: ignore[no-any-return]


#: Longer than rows that share memory with others, and shorter.
LONG = [text(3 << 20), b"x", noise(1 << 20), text((5 << 20) + 1), bytes(9 << 20)]


def test_any_writer_is_read(read: Reader, writer: Writer) -> None:
    values = [*VALUES, *texts(300), None, *LONG, *VALUES]
    payloads = [None if value is None else writer.pack(value) for value in values]
    assert read(payloads, writer.codec) == values


@settings(max_examples=15, deadline=None)
@given(sizes=st.lists(st.none() | st.integers(0, 5000) | st.integers(0, 1 << 21), max_size=6))
def test_bare_rows_are_what_sealed_ones_are(row: Row, sizes: list[int | None]) -> None:
    codec = row.codec
    values = [None if size is None else text(size) for size in sizes]
    series = pl.Series("body", values, dtype=pl.Binary)
    packed = series.s4.compress(codec)
    payloads = packed.struct.field("payload")
    assert payloads.s4.decompress(codec).to_list() == packed.s4.decompress(codec).to_list()
    sealed = s4_codec.arrow.decompress(packed, codec)
    assert s4_codec.arrow.decompress(payloads, codec).equals(sealed)
    assert sealed.to_pylist() == values


def test_text_is_checked(read: Reader, writer: Writer) -> None:
    dtype = pl.String if read is by_polars else "large_string"
    payloads = [writer.pack(b"good"), writer.pack(text(5000) + b"\xff")]
    with pytest.raises((ComputeError, S4Error), match="invalid UTF-8 at byte 5000"):
        read(payloads, writer.codec, dtype=dtype)
    assert read(payloads, writer.codec, dtype=dtype, on_error="null") == ["good", None]


def test_the_limit_holds(read: Reader, writer: Writer) -> None:
    value = text(3 << 20)
    payloads = [writer.pack(b"good"), writer.pack(value)]
    assert read(payloads, writer.codec, max_size=len(value)) == [b"good", value]
    errors = (ComputeError, S4ManifestSizeExceedsLimitError)
    for max_size in (len(value) - 1, 2 << 20, 100):
        with pytest.raises(errors, match=f"limit of {max_size}") as raised:
            read(payloads, writer.codec, max_size=max_size)
        assert "row 1" in str(raised.value)
        assert read(payloads, writer.codec, max_size=max_size, on_error="null") == [b"good", None]


def with_isize(member: bytes, isize: int) -> bytes:
    return member[:-4] + (isize % 2**32).to_bytes(4, "little")


@pytest.mark.parametrize("isize", [0, 1, 299, 99_999, 100_001, 1 << 30, 2**32 - 1])
@pytest.mark.parametrize("front", [b"", gzip.compress(text(70_000))], ids=["alone", "second"])
def test_a_wrong_isize_is_damage(read: Reader, isize: int, front: bytes) -> None:
    good, value = gzip.compress(b"good"), text(100_000)
    payloads = [good, None, front + with_isize(gzip.compress(value), isize), good]
    with touches_at_most(48):
        errors = (ComputeError, S4IoError)
        with pytest.raises(errors, match=r"row 2.*wrong length \(ISIZE\) in the member"):
            read(payloads, CpuGzip())
        assert read(payloads, CpuGzip(), on_error="null") == [b"good", None, None, b"good"]


#: A compressed block of one literal, which may hold 128 KiB; then the last one.
SMALL_BLOCK = bytes.fromhex("1c0000 096100")
LAST_BLOCK = bytes.fromhex("1d0000 096100")

#: Payloads that may be, or state to be, far longer than what they decode to.
LIARS = {
    "gzip that states 1 GiB": (CpuGzip(), with_isize(gzip.compress(text(100)), 1 << 30), None),
    "larger gzip that states 1 GiB": (
        CpuGzip(),
        with_isize(gzip.compress(noise(3000)), 1 << 30),
        None,
    ),
    "zstd of many small blocks": (
        CpuZstd(),
        ZSTD_HEADER + SMALL_BLOCK * 999 + LAST_BLOCK,
        b"a" * 1000,
    ),
    "zstd of many small frames": (CpuZstd(), zstd_without_size(b"abc") * 500, b"abc" * 500),
}


@pytest.mark.parametrize(("codec", "payload", "value"), LIARS.values(), ids=LIARS)
def test_claims_take_no_memory(
    read: Reader, codec: Codec, payload: bytes, value: bytes | None
) -> None:
    with touches_at_most(64):
        assert read([payload] * 2000, codec, on_error="null") == [value] * 2000


@pytest.mark.parametrize("pack", [gzip_members, padded_gzip, zstd_without_size])
def test_a_long_value_is_held_once(pack: Callable[[bytes], bytes]) -> None:
    """Input and output, and a constant: also where values outgrow what they state."""
    codec = CpuZstd() if pack is zstd_without_size else CpuGzip()
    value = bytes(range(256)) * (96 << 12)
    payloads = [pack(value)] * 2
    series, array = pl.Series("body", payloads, dtype=pl.Binary), pa.array(payloads)
    with touches_at_most(192 + 48):
        restored = series.s4.decompress(codec)
    assert restored[1] == value
    del restored
    with touches_at_most(192 + 48):
        column = s4_codec.arrow.decompress(array, codec)
    assert column[1].as_buffer() == value
