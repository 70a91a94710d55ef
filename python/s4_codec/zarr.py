"""Codecs for Zarr format 3, from bytes to bytes: each chunk is one S4F2 frame.

>>> import numpy as np
>>> import zarr
>>> from s4_codec.zarr import S4ZstdCodec
>>> array = zarr.create_array({}, data=np.arange(9), compressors=S4ZstdCodec(level=9))
>>> array[4:]
array([4, 5, 6, 7, 8])

The package registers them as entry points, so Zarr finds them by name when it opens an array.
Needs zarr 3: ``pip install 's4-codec[zarr]'``. The settings, and the errors of damaged chunks,
are those of :mod:`s4_codec.numcodecs`, whose codecs are for Zarr format 2.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

try:
    from zarr.abc.codec import BytesBytesCodec
except ImportError as error:
    msg = "s4_codec.zarr needs zarr 3 or later: pip install 's4-codec[zarr]'"
    raise ImportError(msg) from error

from . import numcodecs

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ClassVar, Self

    from zarr.abc.buffer import Buffer

__all__ = [
    "S4GzipCodec",
    "S4NvcompBitcompCodec",
    "S4NvcompGDeflateCodec",
    "S4NvcompZstdCodec",
    "S4ZstdCodec",
    "S4ZstdDictCodec",
]


@dataclass(frozen=True, init=False, eq=False, repr=False)
class S4FramesCodec(BytesBytesCodec):  # type: ignore[misc]
    """The base of the codecs: one of numcodecs, under the same name and with its settings."""

    is_fixed_size = False

    _numcodec: ClassVar[type[numcodecs.S4Frames]]
    _frames: numcodecs.S4Frames

    def __init__(self, *args: Any, **settings: Any) -> None:
        object.__setattr__(self, "_frames", self._numcodec(*args, **settings))

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The codec that the metadata of an array describe."""
        return cls(**data.get("configuration", {}))

    def to_dict(self) -> dict[str, Any]:
        """What describes the codec in the metadata of an array."""
        settings = self._frames.get_config()
        return {"name": settings.pop("id"), "configuration": settings}

    async def _encode_single(self, chunk_bytes: Buffer, chunk_spec: Any) -> Buffer:
        return await asyncio.to_thread(_convert, self._frames.encode, chunk_bytes, chunk_spec)

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: Any) -> Buffer:
        return await asyncio.to_thread(_convert, self._frames.decode, chunk_bytes, chunk_spec)

    def compute_encoded_size(self, _input_byte_length: int, _chunk_spec: Any) -> int:
        """Unknown before a chunk is encoded."""
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self._frames == other._frames

    def __hash__(self) -> int:
        return hash(repr(self.to_dict()))

    def __repr__(self) -> str:
        return repr(self._frames).replace(self._numcodec.__name__, type(self).__name__, 1)


def _convert(function: Callable[[Any], bytes], chunk: Buffer, spec: Any) -> Buffer:
    """What the function makes of a chunk, in memory of the kind that the array asks for."""
    return spec.prototype.buffer.from_bytes(function(chunk.as_numpy_array()))


class S4ZstdCodec(S4FramesCodec):
    """``s4-zstd``; with the arguments of :class:`s4_codec.numcodecs.S4Zstd`."""

    _numcodec = numcodecs.S4Zstd


class S4GzipCodec(S4FramesCodec):
    """``s4-gzip``; with the arguments of :class:`s4_codec.numcodecs.S4Gzip`."""

    _numcodec = numcodecs.S4Gzip


class S4ZstdDictCodec(S4FramesCodec):
    """``s4-zstd-dict``; with the arguments of :class:`s4_codec.numcodecs.S4ZstdDict`."""

    _numcodec = numcodecs.S4ZstdDict


class S4NvcompZstdCodec(S4FramesCodec):
    """``s4-nvcomp-zstd``; with the arguments of :class:`s4_codec.numcodecs.S4NvcompZstd`."""

    _numcodec = numcodecs.S4NvcompZstd


class S4NvcompGDeflateCodec(S4FramesCodec):
    """``s4-nvcomp-gdeflate``; with those of :class:`s4_codec.numcodecs.S4NvcompGDeflate`."""

    _numcodec = numcodecs.S4NvcompGDeflate


class S4NvcompBitcompCodec(S4FramesCodec):
    """``s4-nvcomp-bitcomp``; with those of :class:`s4_codec.numcodecs.S4NvcompBitcomp`."""

    _numcodec = numcodecs.S4NvcompBitcomp
