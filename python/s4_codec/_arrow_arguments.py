"""Arguments of ``s4_codec.arrow``: their types and their checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, TypedDict

import pyarrow as pa

from ._arguments import size_limit

if TYPE_CHECKING:
    from typing import SupportsIndex

    from ._arguments import DictionaryLike
    from .dictionaries import DictionarySet
    from .s4_codec import Codec


class ArrowArray(Protocol):
    """Data in one chunk: a PyArrow array or record batch, a nanoarrow or arro3 array."""

    def __arrow_c_array__(self, requested_schema: Any = None) -> tuple[Any, Any]: ...


class ArrowStream(Protocol):
    """Data in chunks: a PyArrow chunked array or table, a Polars series, a DuckDB relation."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any: ...


class VerifyOptions(TypedDict, total=False):
    """Options of ``verify``."""

    dictionary: DictionaryLike | None
    dtype: pa.DataType | str | None
    max_size: SupportsIndex | None


class DecompressOptions(VerifyOptions, total=False):
    """Options of ``decompress``."""

    on_error: Literal["raise", "null"]
    max_total_size: SupportsIndex | None


class FrameOptions(TypedDict, total=False):
    """Options of functions that decode frames."""

    device: SupportsIndex | Literal["auto"] | None


class VerifyFramesOptions(VerifyOptions, FrameOptions, total=False):
    """Options of ``verify_frames``."""


class DecodeOptions(DecompressOptions, FrameOptions, total=False):
    """Options of ``decode``."""


def decompress_options(
    codec: Codec | str | DictionarySet,
    dtype: pa.DataType | str | None,
    max_size: SupportsIndex | None,
    max_total_size: SupportsIndex | None = None,
    *,
    is_frames: bool = False,
    device: SupportsIndex | Literal["auto"] | None = None,
) -> dict[str, Any]:
    """The options of the native functions that decompress payloads or decode frames."""
    result = result_type(dtype)
    return {
        "codec": codec,
        "is_frames": is_frames,
        "utf8": result == pa.large_string(),
        "lists": result if is_list(result) else None,
        "max_size": size_limit(max_size),
        "max_total_size": size_limit(max_total_size, "max_total_size"),
        "device": device,
    }


def result_type(dtype: pa.DataType | str | None) -> pa.DataType:
    """The Arrow type of an argument ``dtype``."""
    results = {"large_binary": pa.large_binary(), "large_string": pa.large_string()}
    found = "large_binary" if dtype is None else str(dtype)
    if found in results and isinstance(dtype, (str, pa.DataType, type(None))):
        return results[found]
    if isinstance(dtype, pa.DataType) and is_list(dtype):
        return dtype
    msg = (
        f"dtype must be large_binary or large_string, or the type of lists of numbers, not "
        f"{dtype!r}; cast the result instead"
    )
    raise TypeError(msg)


def is_list(dtype: pa.DataType) -> bool:
    """Whether a type is one of lists that values can become."""
    kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(is_kind(dtype) for is_kind in kinds)
