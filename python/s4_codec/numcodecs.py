"""Codecs for numcodecs, and so for Zarr format 2: each chunk is one S4F2 frame.

>>> import numcodecs
>>> codec = numcodecs.get_codec({"id": "s4-zstd", "level": 3})
>>> codec.decode(codec.encode(b"a fine body"))
b'a fine body'

The package registers them as entry points, so numcodecs and Zarr find them by their ids. Needs
numcodecs: ``pip install 's4-codec[numcodecs]'``. :mod:`s4_codec.zarr` has the codecs of Zarr
format 3.

A frame names its codec, length and crc32c, so damage is an error, and ``s4_codec.decode`` reads
the chunks as well.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

try:
    from numcodecs.abc import Codec as Numcodec
    from numcodecs.compat import ensure_contiguous_ndarray, ndarray_copy
except ImportError as error:
    msg = "s4_codec.numcodecs needs numcodecs: pip install 's4-codec[numcodecs]'"
    raise ImportError(msg) from error

from .s4_codec import (
    Codec,
    CpuGzip,
    CpuZstd,
    CpuZstdDict,
    NvcompBitcomp,
    NvcompGDeflate,
    NvcompZstd,
    decode,
)

if TYPE_CHECKING:
    from typing import ClassVar, Literal, TypeAlias

    Device: TypeAlias = int | Literal["auto"]

__all__ = ["S4Gzip", "S4NvcompBitcomp", "S4NvcompGDeflate", "S4NvcompZstd", "S4Zstd", "S4ZstdDict"]


class S4Frames(Numcodec):  # type: ignore[misc]
    """The base of the codecs: encodes a chunk as one frame, and decodes frames of any codec."""

    codec_id: ClassVar[str]

    def __init__(self, codec: Codec, **settings: Any) -> None:
        self._codec = codec
        #: The arguments that recreate this, as JSON can hold them.
        self._settings = settings

    def encode(self, buf: Any) -> bytes:
        """Compress the bytes of ``buf``, in the order in which they lie in memory."""
        return self._codec.encode(ensure_contiguous_ndarray(buf))

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Decode and verify frames; to ``out`` if it is given, a writable buffer of that size.

        Raises
        ------
        S4FrameError, S4CrcMismatchError, S4SizeMismatchError, S4IoError, S4BackendError
            The frames are damaged; see :func:`s4_codec.decode`.
        S4ManifestSizeExceedsLimitError
            The frames decode to more than ``out``, or to more than 5 GiB.
        """
        frames = ensure_contiguous_ndarray(buf)
        out = None if out is None else ensure_contiguous_ndarray(out)
        original = decode(
            frames,
            dictionary=self._codec if isinstance(self._codec, CpuZstdDict) else None,
            max_size=None if out is None else out.nbytes,
            device=self._decoding_device(),
        )
        return ndarray_copy(original, out)

    def _decoding_device(self) -> Device | None:
        """None for the CPU: where an array comes from elsewhere, its author chose the codec."""
        return None

    def get_config(self) -> dict[str, Any]:
        """The id and the settings, for ``numcodecs.get_codec``."""
        return {"id": self.codec_id, **self._settings}

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self._settings.items())
        return f"{type(self).__name__}({settings})"


class S4Zstd(S4Frames):
    """``s4-zstd``: frames of cpu-zstd.

    Parameters
    ----------
    level
        1 (fastest) to 22 (smallest).

    Raises
    ------
    ValueError
        The level is out of range.
    """

    codec_id = "s4-zstd"

    def __init__(self, level: int = 3) -> None:
        super().__init__(CpuZstd(level), level=level)


class S4Gzip(S4Frames):
    """``s4-gzip``: frames of cpu-gzip.

    Parameters
    ----------
    level
        0 (stored) to 9 (smallest).

    Raises
    ------
    ValueError
        The level is out of range.
    """

    codec_id = "s4-gzip"

    def __init__(self, level: int = 6) -> None:
        super().__init__(CpuGzip(level), level=level)


class S4ZstdDict(S4Frames):
    """``s4-zstd-dict``: frames of cpu-zstd-dict. The settings contain the dictionary.

    Parameters
    ----------
    dictionary
        The dictionary's bytes; or base64 text of them, as it stands in the settings.
    level
        1 (fastest) to 22 (smallest).

    Raises
    ------
    ValueError
        The level is out of range, or the text is not base64.
    S4BackendError
        The dictionary is empty or damaged.
    """

    codec_id = "s4-zstd-dict"

    def __init__(self, dictionary: bytes | str, level: int = 3) -> None:
        if isinstance(dictionary, str):
            try:
                dictionary = base64.b64decode(dictionary, validate=True)
            except ValueError as error:
                msg = f"dictionary must be bytes or base64 text: {error}"
                raise ValueError(msg) from error
        text = base64.b64encode(dictionary).decode()
        super().__init__(CpuZstdDict(dictionary, level), dictionary=text, level=level)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._codec!r})"


class S4NvcompZstd(S4Frames):
    """``s4-nvcomp-zstd``: frames of nvcomp-zstd. Any machine reads and writes them.

    Parameters
    ----------
    device
        Where chunks are compressed: the number of a GPU, or ``"auto"`` for a GPU where there is
        one and it pays, else the CPU. It is no part of the settings. The CPU decodes chunks.

    Raises
    ------
    S4BackendError
        There is no such GPU.
    """

    codec_id = "s4-nvcomp-zstd"

    def __init__(self, device: Device = "auto") -> None:
        super().__init__(NvcompZstd(device=device))


class S4NvcompGDeflate(S4Frames):
    """``s4-nvcomp-gdeflate``: frames of nvcomp-gdeflate. Any machine reads them, a GPU writes.

    Parameters
    ----------
    device
        Where chunks are compressed: the number of a GPU, or ``"auto"`` for the first. It is no
        part of the settings. The CPU decodes chunks.

    Raises
    ------
    S4BackendError
        There is no such GPU.
    """

    codec_id = "s4-nvcomp-gdeflate"

    def __init__(self, device: Device = "auto") -> None:
        super().__init__(NvcompGDeflate(device=device))


class S4NvcompBitcomp(S4Frames):
    """``s4-nvcomp-bitcomp``: frames of nvcomp-bitcomp. A GPU reads and writes them.

    A damaged chunk can end the use of the GPU in this process, so read only arrays that you
    trust.

    Parameters
    ----------
    data_type
        The type of the numbers in the chunks, such as ``"u32"``; None for bytes.
    device
        The number of a GPU, or ``"auto"`` for the first. It is no part of the settings.

    Raises
    ------
    ValueError
        The data type is unknown.
    S4BackendError
        There is no such GPU.
    """

    codec_id = "s4-nvcomp-bitcomp"

    def __init__(self, data_type: str | None = None, device: Device = "auto") -> None:
        codec = NvcompBitcomp(data_type, device=device)  # type: ignore[arg-type]
        super().__init__(codec, data_type=data_type)
        self._device = device

    def _decoding_device(self) -> Device:
        return self._device
