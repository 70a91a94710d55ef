"""Compression codecs for values and columns, in the S4 wire format.

- Values: the codec classes, and :func:`decode` for frames.
- Stored objects: :func:`encode_s4_object` and :func:`decode_s4_object`.
- Files: :func:`open`, to read and write bodies as file objects.
- Polars columns: ``s4_codec.polars``.
- Arrow data: ``s4_codec.arrow``.
- Spark columns: ``s4_codec.spark``.
- DuckDB's SQL: ``s4_codec.duckdb``.
- Chunks of arrays: ``s4_codec.zarr`` and ``s4_codec.numcodecs``.
- Dictionaries: :func:`train`, and :class:`DictionarySet` for those of data that changes.
- Which codec pays for a column: :func:`advise`.
"""

import typing as _typing

from .dictionaries import DictionarySet, TrainedDictionary, train
from .s4_codec import (
    FRAME_HEADER_BYTES,
    FRAME_MAGIC,
    PADDING_MAGIC,
    SIDECAR_SUFFIX,
    Codec,
    CpuGzip,
    CpuZstd,
    CpuZstdDict,
    NvcompBitcomp,
    NvcompGDeflate,
    NvcompZstd,
    Passthrough,
    S4BackendError,
    S4CodecMismatchError,
    S4CrcMismatchError,
    S4Error,
    S4FrameError,
    S4IndexError,
    S4IoError,
    S4ManifestSizeExceedsLimitError,
    S4ManifestSizeMismatchError,
    S4SizeMismatchError,
    S4UnregisteredCodecError,
    __version__,
    bind_index,
    build_index,
    crc32c,
    decode,
    decode_index,
    decode_s4_object,
    dict_id,
    encode_s4_object,
    frame_iter,
    gpu_available,
    gpu_status,
    iter_frames,
    lookup_range,
    num_threads,
    pick_chunk_size,
    read_frame,
    release_gpu_memory,
    set_num_threads,
    train_dictionary,
)

if _typing.TYPE_CHECKING:
    from ._files import open as open
    from .advice import Advice, advise

#: Without ``open``, which ``import *`` would put in the place of Python's.
__all__ = [
    "FRAME_HEADER_BYTES",
    "FRAME_MAGIC",
    "PADDING_MAGIC",
    "SIDECAR_SUFFIX",
    "Advice",
    "Codec",
    "CpuGzip",
    "CpuZstd",
    "CpuZstdDict",
    "DictionarySet",
    "NvcompBitcomp",
    "NvcompGDeflate",
    "NvcompZstd",
    "Passthrough",
    "S4BackendError",
    "S4CodecMismatchError",
    "S4CrcMismatchError",
    "S4Error",
    "S4FrameError",
    "S4IndexError",
    "S4IoError",
    "S4ManifestSizeExceedsLimitError",
    "S4ManifestSizeMismatchError",
    "S4SizeMismatchError",
    "S4UnregisteredCodecError",
    "TrainedDictionary",
    "__version__",
    "advise",
    "bind_index",
    "build_index",
    "crc32c",
    "decode",
    "decode_index",
    "decode_s4_object",
    "dict_id",
    "encode_s4_object",
    "frame_iter",
    "gpu_available",
    "gpu_status",
    "iter_frames",
    "lookup_range",
    "num_threads",
    "pick_chunk_size",
    "read_frame",
    "release_gpu_memory",
    "set_num_threads",
    "train",
    "train_dictionary",
]

#: Names that are imported at first use, with the modules that have them: those import Polars, or
#: what only some systems have.
_LAZY = {"Advice": "advice", "advise": "advice", "open": "_files"}


def __getattr__(name: str) -> object:
    if module := _LAZY.get(name):
        from importlib import import_module

        return getattr(import_module(f".{module}", __name__), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
