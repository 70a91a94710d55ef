"""The peers from PyPI, each called the way that is fastest from Python.

Contexts are reused where a library has contexts, and the original size is passed where its API
takes one. Every call returns a new object, as this package does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness import CpuCodec, optional

ISAL_LEVEL = 3  # of 0 to 3
GZIP_WRAPPER = 31  # zlib's wbits for a gzip member


def _no_arguments(size: int) -> tuple[object, ...]:
    return ()


@dataclass(frozen=True)
class Peer:
    """A library at one level: functions of a value or a payload, and their further arguments."""

    name: str
    compress: Callable[..., bytes]
    decompress: Callable[..., bytes]
    compress_arguments: tuple[object, ...] = ()
    #: A function of the original size.
    decompress_arguments: Callable[[int], tuple[object, ...]] = _no_arguments
    #: Whether it decodes only its own payloads, not ours.
    own_payloads: bool = False
    #: Its level where it has no equivalent of ours: then only decompression compares.
    own_level: int | None = None


def _zstandard(module: Any, level: int) -> list[Peer]:
    plain = module.ZstdCompressor(level=level)
    summed = module.ZstdCompressor(level=level, write_checksum=True)
    decompress = module.ZstdDecompressor().decompress
    return [
        Peer("zstandard", plain.compress, decompress),
        Peer("zstandard+xxh64", summed.compress, decompress, own_payloads=True),
    ]


def _backports_zstd(module: Any, level: int) -> list[Peer]:
    compressor = module.ZstdCompressor(level)

    def decompress(payload: bytes, size: int) -> bytes:
        """A decompressor of this library handles one frame only."""
        return bytes(module.ZstdDecompressor().decompress(payload, size))

    flush = (compressor.FLUSH_FRAME,)
    return [Peer("backports.zstd", compressor.compress, decompress, flush, lambda n: (n,))]


def _cramjam_zstd(module: Any, level: int) -> list[Peer]:
    codec = module.zstd
    return [Peer("cramjam", codec.compress, codec.decompress, (level,), lambda n: (n,))]


def _cramjam_gzip(module: Any, level: int) -> list[Peer]:
    codec = module.gzip
    return [Peer("cramjam", codec.compress, codec.decompress, (level,), lambda n: (n,))]


def _numcodecs_zstd(module: Any, level: int) -> list[Peer]:
    codec = module.Zstd(level=level)
    return [Peer("numcodecs", codec.encode, codec.decode)]


def _numcodecs_gzip(module: Any, level: int) -> list[Peer]:
    codec = module.GZip(level=level)
    return [Peer("numcodecs", codec.encode, codec.decode)]


def _pyarrow_zstd(module: Any, level: int) -> list[Peer]:
    return [_pyarrow(module.Codec("zstd", level))]


def _pyarrow_gzip(module: Any, level: int) -> list[Peer]:
    return [_pyarrow(module.Codec("gzip", level))]


def _pyarrow(codec: Any) -> Peer:
    as_bytes = True
    return Peer("pyarrow", codec.compress, codec.decompress, (as_bytes,), lambda n: (n, as_bytes))


def _deflate(module: Any, level: int) -> list[Peer]:
    compress, decompress = module.gzip_compress, module.gzip_decompress
    return [Peer("deflate", compress, decompress, (level,), lambda n: (n,))]


def _zlib_ng(module: Any, level: int) -> list[Peer]:
    return [_zlib_like("zlib-ng", module, level, own_level=None)]


def _isal(module: Any, level: int) -> list[Peer]:
    return [_zlib_like("isal", module, ISAL_LEVEL, own_level=ISAL_LEVEL)]


def _zlib_like(name: str, module: Any, level: int, own_level: int | None) -> Peer:
    return Peer(
        name,
        module.compress,
        module.decompress,
        compress_arguments=(level, GZIP_WRAPPER),
        decompress_arguments=lambda n: (GZIP_WRAPPER, n),
        own_level=own_level,
    )


#: Distribution, module and constructor of peers, by codec.
_PEERS: dict[str, list[tuple[str, str, Callable[[Any, int], list[Peer]]]]] = {
    "cpu-zstd": [
        ("zstandard", "zstandard", _zstandard),
        ("backports.zstd", "backports.zstd", _backports_zstd),
        ("cramjam", "cramjam", _cramjam_zstd),
        ("numcodecs", "numcodecs.zstd", _numcodecs_zstd),
        ("pyarrow", "pyarrow", _pyarrow_zstd),
    ],
    "cpu-gzip": [
        ("deflate", "deflate", _deflate),
        ("isal", "isal.isal_zlib", _isal),
        ("zlib-ng", "zlib_ng.zlib_ng", _zlib_ng),
        ("cramjam", "cramjam", _cramjam_gzip),
        ("numcodecs", "numcodecs.gzip", _numcodecs_gzip),
        ("pyarrow", "pyarrow", _pyarrow_gzip),
    ],
}

DISTRIBUTIONS = sorted({name for entries in _PEERS.values() for name, _, _ in entries})


def peers(codec: CpuCodec) -> list[Peer]:
    """The installed peers of a codec, at the codec's level."""
    found = []
    for distribution, name, make in _PEERS[codec.name]:
        module = optional(name, distribution)
        if module is not None:
            found += make(module, codec.level)
    return found
