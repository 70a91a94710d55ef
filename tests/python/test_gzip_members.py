"""Every kind of gzip member, wherever it stands and however it is read: one answer."""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from dataclasses import dataclass, field

import polars as pl
import pyarrow as pa
import pytest
from codecs_table import text

import s4_codec.arrow as s4_arrow
import s4_codec.polars as s4
from s4_codec import CpuGzip, S4IoError, crc32c, decode

TEXT = text(3000)


def deflate(value: bytes) -> bytes:
    compressor = zlib.compressobj(6, wbits=-15)
    return compressor.compress(value) + compressor.flush()


def stored(value: bytes) -> bytes:
    """One stored block."""
    return b"\x01" + struct.pack("<HH", len(value), len(value) ^ 0xFFFF) + value


def coded(literals: int, distances: int) -> bytes:
    """A block of 40 times ``a`` whose header states so many code lengths."""
    bits: list[int] = []

    def put(number: int, width: int) -> None:
        bits.extend(number >> i & 1 for i in range(width))

    put(1, 1)  # the last block
    put(2, 2)  # with codes of its own
    put(literals - 257, 5)
    put(distances - 1, 5)
    # Lengths are 0 or 1 and take a bit each: of the codes' order, the fourth and the last but one.
    put(18 - 4, 4)
    for place in range(18):
        put(int(place in (3, 17)), 3)
    for symbol in range(literals):
        put(int(symbol in (ord("a"), 256)), 1)
    for symbol in range(distances):
        put(int(symbol in (0, distances - 1)), 1)
    put(0, 40)
    put(1, 1)
    bits += [0] * (-len(bits) % 8)
    return bytes(
        sum(bit << i for i, bit in enumerate(bits[at : at + 8])) for at in range(0, len(bits), 8)
    )


def member(
    value: bytes = TEXT,
    stream: bytes | None = None,
    *,
    flags: int = 0,
    fields: bytes = b"",
    header_crc: int | None = None,
    crc: int = 0,
    size: int = 0,
    start: bytes = b"\x1f\x8b\x08",
) -> bytes:
    """A member by hand; ``crc``, ``size`` and ``header_crc`` are what the right ones are off by."""
    header = start + bytes([flags]) + b"\x01\x02\x03\x04\x02\x03" + fields
    if header_crc is not None:
        header += struct.pack("<H", zlib.crc32(header) & 0xFFFF ^ header_crc)
    trailer = struct.pack("<II", zlib.crc32(value) ^ crc, (len(value) + size) % 2**32)
    return header + (deflate(value) if stream is None else stream) + trailer


CRC, EXTRA, NAME, COMMENT = 2, 4, 8, 16
CUT = "a truncated or damaged member|a cut member|wrong CRC-32|wrong length"


@dataclass(frozen=True)
class Kind:
    """A kind of member, what it decodes to, and else what is wrong with it."""

    name: str
    member: bytes
    value: bytes = TEXT
    #: Of the message, before the member's place.
    wrong: str | None = None
    #: Whether the standard library gives the same answer.
    is_common: bool = field(default=True)

    def __str__(self) -> str:
        return self.name


def extra(size: int) -> bytes:
    return struct.pack("<H", size) + bytes(size)


FIELDS = extra(9) + b"a.log\0" + b"a comment\0"
A40 = b"a" * 40

KINDS = [
    Kind("plain", member()),
    Kind("empty", member(b""), b""),
    Kind("empty and stored", member(b"", stored(b"")), b""),
    Kind("stored", member(stream=stored(TEXT))),
    Kind("text flag", member(flags=1)),
    Kind("header CRC", member(flags=CRC, header_crc=0)),
    Kind("extra field, empty", member(flags=EXTRA, fields=extra(0))),
    Kind("extra field, longest", member(flags=EXTRA, fields=extra(65_535))),
    Kind("name", member(flags=NAME, fields=b"a.log\0")),
    Kind("name, empty", member(flags=NAME, fields=b"\0")),
    Kind("name of 100 kB", member(flags=NAME, fields=b"n" * 100_000 + b"\0")),
    Kind("comment of 100 kB", member(flags=COMMENT, fields=b"c" * 100_000 + b"\0")),
    Kind("all fields", member(flags=31, fields=FIELDS, header_crc=0)),
    Kind("257 and 1 codes", member(A40, coded(257, 1)), A40),
    Kind("286 and 30 codes", member(A40, coded(286, 30)), A40),
    # zlib refuses these by its own choice: RFC 1951 gives each distance count a meaning.
    Kind("31 distance codes", member(A40, coded(257, 31)), A40, is_common=False),
    Kind("32 distance codes", member(A40, coded(257, 32)), A40, is_common=False),
    Kind("288 literal codes", member(A40, coded(288, 30)), A40, is_common=False),
    Kind("CRC-32 wrong", member(crc=1), wrong="wrong CRC-32 in the member"),
    Kind("length wrong", member(size=1), wrong=r"wrong length \(ISIZE\) in the member"),
    Kind("length 0", member(size=-len(TEXT)), wrong=r"wrong length \(ISIZE\) in the member"),
    Kind(
        "header CRC wrong",
        member(flags=CRC, header_crc=1),
        wrong="wrong header CRC-16 in the member",
        # Python passes it over; gzip and zlib do not.
        is_common=False,
    ),
    Kind(
        "header CRC wrong after all fields",
        member(flags=31, fields=FIELDS, header_crc=0x8000),
        wrong="wrong header CRC-16 in the member",
        is_common=False,
    ),
    *[
        Kind(
            f"reserved flag {flag:#x}",
            member(flags=flag),
            wrong="reserved flags are set in the member",
            is_common=False,
        )
        for flag in (0x20, 0x40, 0x80)
    ],
    Kind(
        "method 7",
        member(start=b"\x1f\x8b\x07"),
        wrong="unknown compression method in the member",
    ),
    Kind("no magic", member(start=b"\x1f\x8a\x08"), wrong="no gzip member"),
    Kind("name without an end", member(flags=NAME)[:8].ljust(30, b"n"), wrong=CUT),
    Kind("extra field without an end", member(flags=EXTRA)[:10] + b"\xff\xff", wrong=CUT),
    Kind("cut in the trailer", member()[:-3], wrong=CUT),
    Kind("cut in the stream", member()[:-300], wrong=CUT),
    Kind("cut in the header", member()[:7], wrong=CUT),
    Kind("block type 3", member(stream=b"\x07"), wrong="a truncated or damaged member"),
    Kind(
        "stored length wrong",
        member(stream=b"\x01\1\0\1\0a"),
        wrong="a truncated or damaged member",
    ),
    Kind("distance too far", member(stream=bytes.fromhex("4b04060000")), wrong=CUT),
]

HEAD, TAIL = member(text(5000)), member(b"tail")

#: What stands before and after a member. Where little or nothing stands last, the payload
#: decodes to more than the length in its last bytes.
COMPANY = {
    "alone": (b"", b"", b"", b""),
    "first": (b"", b"", TAIL, b"tail"),
    "last": (HEAD, text(5000), b"", b""),
    "between": (HEAD, text(5000), TAIL, b"tail"),
    "padded": (b"", b"", bytes(1), b""),
    "padded to a block": (HEAD, text(5000), bytes(512), b""),
    "before an empty member": (b"", b"", member(b""), b""),
}


def from_polars(column: str, row: object, dtype: pl.DataType) -> bytes:
    frame = pl.DataFrame({column: pl.Series([row], dtype=dtype)})
    return frame.select(s4.decompress(column, CpuGzip())).item()  # type: ignore[no-any-return]


def from_arrow(row: object, dtype: pa.DataType) -> bytes:
    (value,) = s4_arrow.decompress(pa.array([row], dtype), CpuGzip()).to_pylist()
    return value  # type: ignore[no-any-return]


SEALED = {"payload": pl.Binary(), "original_size": pl.Int64(), "crc32c": pl.Int64()}
ARROW_SEALED = pa.struct(
    [("payload", pa.binary()), ("original_size", pa.int64()), ("crc32c", pa.int64())]
)

Sealed = tuple[bytes, int, int]


def as_frame(sealed: Sealed) -> bytes:
    payload, size, crc = sealed
    return decode(b"S4F2" + struct.pack("<IQQI", 7, size, len(payload), crc) + payload)


def named(sealed: Sealed) -> dict[str, object]:
    return dict(zip(SEALED, sealed, strict=True))


DOORS = {
    "value": lambda sealed: CpuGzip().decompress(*sealed),
    "frame": as_frame,
    "Polars": lambda sealed: from_polars("s", named(sealed), pl.Struct(SEALED)),
    "Polars, bare": lambda sealed: from_polars("b", sealed[0], pl.Binary()),
    "Arrow": lambda sealed: from_arrow(named(sealed), ARROW_SEALED),
    "Arrow, bare": lambda sealed: from_arrow(sealed[0], pa.large_binary()),
}


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("company", COMPANY)
def test_a_member_gets_one_answer(kind: Kind, company: str) -> None:
    before, head, after, tail = COMPANY[company]
    payload, value = before + kind.member + after, head + kind.value + tail
    sealed = payload, len(value), crc32c(value)
    for door, read in DOORS.items():
        if kind.wrong is None:
            assert read(sealed) == value, door
            continue
        place = rf"({kind.wrong}).* at byte {len(before)}\b"
        with pytest.raises((S4IoError, pl.exceptions.ComputeError)) as failed:
            read(sealed)
        # What is cut goes on in what follows it, so that this may be too long first.
        sized = kind.wrong == CUT and "bare" not in door
        place += "|decodes to more than" if sized else ""
        assert re.search(place, str(failed.value)), (door, str(failed.value))
        assert "S4IoError" in f"{type(failed.value).__name__} {failed.value}", door


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.is_common], ids=str)
def test_the_standard_library_agrees(kind: Kind) -> None:
    for before, head, after, tail in COMPANY.values():
        payload = before + kind.member + after
        if kind.wrong is None:
            assert gzip.decompress(payload) == head + kind.value + tail
        else:
            with pytest.raises((OSError, EOFError, zlib.error)):
                gzip.decompress(payload)


@pytest.mark.parametrize(
    ("after", "at"),
    [
        (b"x", 0),
        (b"trailing garbage", 0),
        (b"\x1f", 0),
        (b"\0x", 1),
        (bytes(511) + b"x", 511),
        # gzip, too, reads no member behind padding.
        (bytes(512) + TAIL, 512),
    ],
)
def test_other_bytes_after_the_last_member_are_placed(after: bytes, at: int) -> None:
    payload = HEAD + member() + after
    value = text(5000) + TEXT
    for door, read in DOORS.items():
        with pytest.raises((S4IoError, pl.exceptions.ComputeError)) as failed:
            read((payload, len(value), crc32c(value)))
        place = rf"at byte {len(HEAD + member()) + at}\b"
        assert re.search(place, str(failed.value)), (door, str(failed.value))


def test_padding_alone_is_no_payload() -> None:
    for door, read in DOORS.items():
        with pytest.raises((S4IoError, pl.exceptions.ComputeError)) as failed:
            read((bytes(512), 0, 0))
        assert "no gzip member at byte 0" in str(failed.value), door
