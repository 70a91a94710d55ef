"""Compression codecs for values and columns, in the bytes of the S4 gateway.

Values: the codec classes. Polars columns: ``s4_codec.polars``. Arrow data:
``s4_codec.arrow``.
"""

from .s4_codec import (
    Codec,
    CpuGzip,
    CpuZstd,
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
    crc32c,
    gpu_available,
    gpu_status,
    num_threads,
    set_num_threads,
)

__all__ = [
    "Codec",
    "CpuGzip",
    "CpuZstd",
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
    "__version__",
    "crc32c",
    "gpu_available",
    "gpu_status",
    "num_threads",
    "set_num_threads",
]
