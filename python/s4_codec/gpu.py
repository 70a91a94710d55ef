"""Columns in the memory of an NVIDIA GPU: decompressed there, verified there, without a copy home.

>>> import s4_codec.gpu as s4
>>> column = s4.decompress(packed, s4_codec.NvcompZstd())       # doctest: +SKIP
>>> embeddings = torch.from_dlpack(column.matrix("float32", 768))  # doctest: +SKIP

Input is Arrow data of any producer in the host's memory, as :mod:`s4_codec.arrow` takes it. Only
compressed bytes are uploaded. The GPU decodes each value where it stays and computes its crc32c,
and a column is returned only when every value is right. What no GPU can decode (payloads of CPU
codecs, unusual containers) is decoded on the CPU and uploaded, in the same call.

This module needs neither Polars nor PyArrow nor a package for GPUs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from . import s4_codec as _native
from ._arguments import dictionary_codec, flag, is_null_on_error, size_limit, with_level
from .s4_codec import DeviceArray, DeviceColumn

if TYPE_CHECKING:
    from typing import SupportsIndex

    import pyarrow as pa

    from ._arguments import DictionaryLike
    from .dictionaries import DictionarySet
    from .s4_codec import Codec

__all__ = ["DeviceArray", "DeviceColumn", "compress", "decode", "decompress", "encode"]


def decompress(
    data: Any,
    codec: Codec | str,
    *,
    dtype: Any = None,
    device: SupportsIndex = 0,
    on_error: Literal["raise", "null"] = "raise",
    max_size: SupportsIndex | None = None,
    stream: int | None = None,
) -> DeviceColumn:
    """Decompress a column to the memory of a GPU.

    Parameters
    ----------
    data
        Any object with ``__arrow_c_array__`` or ``__arrow_c_stream__``: what ``compress`` returns,
        or binary data of payloads without their sizes and checksums, as in
        :func:`s4_codec.arrow.decompress`. The chunks of a stream become one column. A payload that
        does not match its ``payload_crc32c`` is a bad row, and the GPU never sees it.
    codec
        The codec of the payloads, as an object or a name. Those of the GPU codecs are decoded on
        ``device``, whatever the codec's own device is, others on the CPU.
    dtype
        ``"large_binary"`` (the default) or ``"large_string"``, as a name or a PyArrow type. Text
        is checked to be UTF-8, on the GPU.
    device
        The number of the GPU.
    on_error
        ``"raise"``: the first bad row raises, and the exception's ``.row`` is its position.
        ``"null"``: damaged rows become null, with one warning.
    max_size
        The largest value in bytes; by default 5 GiB, or 1 GiB without a stated size.
    stream
        The CUDA stream on which the column will be used: None or 1 for the legacy default stream,
        2 for the per-thread default stream, -1 for none, or a stream's handle. The column is
        complete when the call returns, so that no stream has to wait for it.

    Returns
    -------
    DeviceColumn
        The values, with nulls where ``data`` has them.

    Raises
    ------
    S4Error, S4IoError
        A row is bad.
    S4BackendError
        A container of a GPU codec is damaged, and ``.row`` is its position. Or the GPU is missing
        or fails, or its memory is too small for what all rows state to need, which is said before
        anything is decoded, with both sizes; then ``.row`` is None.
    TypeError, ValueError, OverflowError
        An argument is wrong.
    """
    return _decompressed(data, codec, dtype, device, on_error, max_size, stream, is_frames=False)


def decode(
    frames: Any,
    *,
    dictionary: DictionaryLike | None = None,
    dtype: Any = None,
    device: SupportsIndex = 0,
    on_error: Literal["raise", "null"] = "raise",
    max_size: SupportsIndex | None = None,
    stream: int | None = None,
) -> DeviceColumn:
    """Decode a column of frames to the memory of a GPU.

    Parameters
    ----------
    frames
        Any object with ``__arrow_c_array__`` or ``__arrow_c_stream__`` of binary data: a frame in
        each row, or several, of any codecs. Rows whose frames are all of GPU codecs are decoded in
        place; of others each frame is decoded where its codec runs, and the row is uploaded.
    dictionary
        The dictionary of frames that need one, or a ``DictionarySet``.
    dtype, device, on_error, max_size, stream
        As for :func:`decompress`; ``device`` is a number here, too, not ``"auto"``.

    Returns
    -------
    DeviceColumn
        The values, with nulls where ``frames`` has them.

    Raises
    ------
    S4Error, S4IoError, S4BackendError, TypeError, ValueError, OverflowError
        As for :func:`decompress`.
    """
    codec = dictionary_codec(dictionary)
    return _decompressed(frames, codec, dtype, device, on_error, max_size, stream, is_frames=True)


def compress(
    data: Any,
    codec: Codec | str,
    *,
    level: SupportsIndex | None = None,
    payload_checksum: bool = False,
    stream: int | None = None,
) -> pa.StructArray:
    """Compress values in the memory of a GPU.

    Under a GPU codec the values stay on the GPU, which computes their crc32c, too; only compressed
    bytes are downloaded. Codecs of the CPU download the values first.

    Parameters
    ----------
    data
        Any object with ``__arrow_c_device_array__`` of binary, string or fixed-size binary data,
        such as a :class:`DeviceColumn`; or with ``__cuda_array_interface__`` or ``__dlpack__``,
        such as an array of CuPy or a tensor of PyTorch: C-contiguous and of two dimensions, each
        row a value.
    codec
        A codec object, or the name of a codec with its default settings. GPU codecs run on the
        GPU that has the data, whatever their own device is.
    level
        The level of a codec given by name: ``"cpu-zstd", level=9``. A codec object has its own.
    payload_checksum
        Whether to record the crc32c of every payload itself, so that :func:`decompress` finds
        damage before the GPU sees it: see "Damaged data" in docs/gpu.md.
    stream
        The CUDA stream whose work comes before the values are read: 1 for the legacy default
        stream, 2 for the per-thread default stream, -1 for none, or a stream's handle. None: the
        stream that ``data`` names; in DLPack the legacy default stream.

    Returns
    -------
    pyarrow.StructArray
        On the host, as :func:`s4_codec.arrow.compress` returns it.

    Raises
    ------
    S4BackendError
        The GPU is missing or fails. For one value, ``.row`` is its position.
    TypeError, ValueError, OverflowError, BufferError
        An argument is wrong.
    ImportError
        PyArrow, which holds the result, is not installed.
    """
    is_checksummed = flag(payload_checksum, "payload_checksum")
    codec = with_level(codec, level)
    return _compressed(
        data, codec, stream, is_frames=False, payload_checksum=is_checksummed, fallback=False
    )


def encode(
    data: Any,
    codec: Codec | str,
    *,
    level: SupportsIndex | None = None,
    fallback: bool = True,
    stream: int | None = None,
) -> pa.LargeBinaryArray:
    """Encode values in the memory of a GPU as frames, one for each value.

    Parameters
    ----------
    data, codec, level, stream
        As for :func:`compress`.
    fallback
        Store a value that its codec does not shrink in a frame of passthrough, so that no frame
        is longer than its value by more than 28 bytes. Such values are downloaded at the end.
        False: every frame is of ``codec``.

    Returns
    -------
    pyarrow.LargeBinaryArray
        On the host, as :func:`s4_codec.arrow.encode` returns it.

    Raises
    ------
    S4BackendError, TypeError, ValueError, OverflowError, BufferError, ImportError
        As for :func:`compress`.
    """
    codec = with_level(codec, level)
    falls_back = flag(fallback, "fallback")
    return _compressed(
        data, codec, stream, is_frames=True, payload_checksum=False, fallback=falls_back
    )


def _compressed(
    data: Any,
    codec: Codec | str,
    stream: int | None,
    *,
    is_frames: bool,
    payload_checksum: bool,
    fallback: bool,
) -> Any:
    _native._check_stream(stream)
    try:
        import pyarrow as pa
    except ImportError as error:
        msg = "the result is a PyArrow array: pip install pyarrow"
        raise ImportError(msg) from error
    result = _native._gpu_compress(data, codec, is_frames, payload_checksum, fallback, stream)
    return pa.array(result)


def _decompressed(
    data: Any,
    codec: Codec | str | DictionarySet,
    dtype: Any,
    device: SupportsIndex,
    on_error: str,
    max_size: SupportsIndex | None,
    stream: int | None,
    *,
    is_frames: bool,
) -> DeviceColumn:
    _native._check_stream(stream)
    options = {
        "codec": codec,
        "is_frames": is_frames,
        "utf8": _is_text(dtype),
        "lists": None,
        "max_size": size_limit(max_size),
        "max_total_size": None,
        "device": None,
    }
    return _native._gpu_decompress(data, options, is_null_on_error(on_error), device)


def _is_text(dtype: Any) -> bool:
    """Whether the argument ``dtype`` is large_string."""
    name = "large_binary" if dtype is None else str(dtype)
    if name not in ("large_binary", "large_string"):
        msg = f"dtype must be large_binary or large_string, not {dtype!r}; cast the result instead"
        raise TypeError(msg)
    return name == "large_string"
