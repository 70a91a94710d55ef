"""The table that enrols a codec in every test, and rows to use it on."""

from __future__ import annotations

import gzip
import random
import struct
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import s4_codec
from s4_codec import (
    Codec,
    CpuGzip,
    CpuZstd,
    CpuZstdDict,
    NvcompBitcomp,
    NvcompGDeflate,
    NvcompZstd,
    Passthrough,
)

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Row:
    """One codec: how it is made, what it is called, and what its format can do."""

    make: Callable[..., Codec]
    name: str
    id: int
    levels: tuple[int, int] | None
    default_level: int | None
    # 1 KiB or so that decodes to 10 GiB or as near as the format comes, or None.
    bomb: bytes | None
    on_gpu: bool = False

    @property
    def needs_dictionary(self) -> bool:
        return isinstance(self.codec, CpuZstdDict)

    @property
    def codec(self) -> Codec:
        return self.make()

    def __str__(self) -> str:
        return f"{self.name} on a GPU" if self.on_gpu else self.name


def zstd_bomb() -> bytes:
    """260 RLE blocks of 128 KiB in 1 KiB: the densest frame there is."""
    header, block, last = "28b52ffd0058", "02001041", "03001041"
    return bytes.fromhex(header + block * 259 + last)


def gzip_bomb() -> bytes:
    """As dense as deflate gets: 1 MiB in 1 KiB."""
    return gzip.compress(bytes(1 << 20), 9)


def container_bomb() -> bytes:
    """One zstd chunk of 16 MiB in an nvCOMP container."""
    chunk = bytes.fromhex("28b52ffd0058" + "02001041" * 127 + "03001041")
    return b"FCG1\x03\0\0\0" + struct.pack("<QIII", 16 << 20, 16 << 20, 1, len(chunk)) + chunk


DICTIONARY = s4_codec.train_dictionary(
    [f"{n} GET /item/{n * 37 % 101} 200 {n * n % 977}\n".encode() * 3 for n in range(2000)], 4096
)


def dict_codec(level: int = 3, **settings: int) -> CpuZstdDict:
    return CpuZstdDict(DICTIONARY, level, **settings)


ROWS = [
    Row(Passthrough, "passthrough", 0, None, None, None),
    Row(CpuZstd, "cpu-zstd", 1, (1, 22), 3, zstd_bomb()),
    Row(CpuGzip, "cpu-gzip", 7, (0, 9), 6, gzip_bomb()),
    Row(dict_codec, "cpu-zstd-dict", 8, (1, 22), 3, zstd_bomb()),
    Row(partial(NvcompZstd, device="auto"), "nvcomp-zstd", 2, None, None, container_bomb()),
    Row(NvcompZstd, "nvcomp-zstd", 2, None, None, container_bomb(), on_gpu=True),
    Row(NvcompGDeflate, "nvcomp-gdeflate", 6, None, None, None, on_gpu=True),
    Row(NvcompBitcomp, "nvcomp-bitcomp", 3, None, None, None, on_gpu=True),
]


def text(size: int) -> bytes:
    """Text that compresses, of any length."""
    lines = (f"{n} GET /item/{n * 37 % 101} 200 {n * n % 977}\n" for n in range(size // 8 + 1))
    return "".join(lines).encode()[:size]


def noise(size: int) -> bytes:
    """Bytes that no codec shrinks."""
    return random.Random(size).randbytes(size)


@cache
def texts(count: int) -> list[bytes]:
    """Texts of 0 to ``count`` - 1 bytes."""
    return [text(size) for size in range(count)]


VALUES = [
    b"",
    b"a",
    b"\0" * 12,
    text(13),
    text(100),
    text(4096),
    text(65_537),
    "größe ".encode() * 50,
    bytes(range(256)) * 300,
    bytes(1_000_000),
]

LIMIT = 5 << 30

# What a hostile writer makes of a good row: a name, a change, and the class that says so.
Manifested = tuple[bytes, int, int]


def _size(size: int) -> Callable[[Manifested], Manifested]:
    return lambda row: (row[0], size, row[2])


FORGERIES: list[tuple[str, Callable[[Manifested], Manifested], str]] = [
    ("crc wrong", lambda r: (r[0], r[1], r[2] ^ 1), "S4CrcMismatchError"),
    ("size 0", _size(0), "S4IoError"),
    ("size one less", lambda r: (r[0], r[1] - 1, r[2]), "S4IoError"),
    ("size one more", lambda r: (r[0], r[1] + 1, r[2]), "S4SizeMismatchError"),
    ("size 4 GiB - 2", _size(2**32 - 2), "S4SizeMismatchError"),
    ("size 5 GiB + 1", _size(LIMIT + 1), "S4ManifestSizeExceedsLimitError"),
    ("size 2^63", _size(2**63), "S4ManifestSizeExceedsLimitError"),
    ("size 2^64 - 1", _size(2**64 - 1), "S4ManifestSizeExceedsLimitError"),
    ("bytes after the end", lambda r: (r[0] + b"more", r[1], r[2]), "S4IoError"),
]


def is_container(codec: Codec) -> bool:
    """Whether payloads are nvCOMP containers, which state their size themselves."""
    return codec.name.startswith("nvcomp-")


def own_frame(codec: Codec, value: bytes) -> bytes:
    """The codec's own frame of a value, even if that is not shrunk."""
    return codec.encode(value, fallback=False)


def decoding(codec: Codec) -> dict[str, Any]:
    """What decode takes for frames of any codec, and of this one."""
    device = getattr(codec, "device", "auto")
    return {"dictionary": DICTIONARY} | ({} if device == "auto" else {"device": device})


def forgery_class(codec: Codec, name: str, expected: str) -> str:
    """What a forgery is to this codec: containers disagree with any other size than theirs."""
    if not is_container(codec) or expected != "S4IoError":
        return expected
    return "S4SizeMismatchError" if name.startswith("size") else "S4BackendError"


def cut_class(codec: Codec) -> str:
    """What a cut payload is: passthrough cannot tell it from a wrong size."""
    if is_container(codec):
        return "S4BackendError"
    return "S4SizeMismatchError" if isinstance(codec, Passthrough) else "S4IoError"


def error(name: str) -> type[Exception]:
    """The exception of that name."""
    return getattr(s4_codec, name)  # type: ignore[no-any-return]
