"""Registration of codecs as PyArrow compute functions: their names and types."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from ._arrow_arguments import is_list
from .arrow import COMPRESSED_TYPE, compress, decompress
from .s4_codec import Codec, CpuZstd, CpuZstdDict, NvcompBitcomp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_DESCRIPTION = "Registered by s4_codec.arrow.register_compute_functions."

# Reentrant, because a signal handler may register functions too.
_registering = threading.RLock()


def register_compute_functions(
    codec: Codec | str = CpuZstd(),
    input_type: pa.DataType | str | Iterable[pa.DataType | str] = "large_binary",
) -> list[str]:
    """Put a codec into PyArrow's registry of compute functions.

    A registered function accepts one exact type, so there are two functions for every value
    type ``T``, named after codec, level and type:

    - ``s4_compress_cpu_zstd_3__T`` from ``T`` to :data:`COMPRESSED_TYPE`;
    - ``s4_decompress_cpu_zstd_3__T`` from :data:`COMPRESSED_TYPE` to large_string if ``T`` is
      a string type or a dictionary of one, to ``T`` if it is lists of numbers, else to
      large_binary. It decompresses payloads of any level.

    Names contain all settings of a codec: the level, a dictionary's id, Bitcomp's data type if
    one is set, and ``gpu0`` for a codec on that GPU.

    For a struct type with the fields ``payload``, ``original_size`` and ``crc32c``, such as
    other engines write (with binary instead of large_binary, say) or :func:`compress` returns
    with ``payload_checksum``, there is one function, ``s4_decompress_cpu_zstd_3__struct<...>``,
    which decompresses it to large_binary. No function compresses with ``payload_checksum``:
    its name would have to tell more than the codec and the type of the values.

    PyArrow calls a function once for each chunk or batch, so the ``.row`` of an error counts
    within that, and a bad row always raises. Call :func:`decompress` where that matters.

    Parameters
    ----------
    codec
        A codec object, or the name of a codec with its default settings (and of a GPU's codec
        with ``device="auto"``).
    input_type
        One type, or several.

    Returns
    -------
    list of str
        The names for ``pyarrow.compute.call_function`` and dataset projections, in the order
        of the types. Names that are already registered stay as they are.

    Raises
    ------
    TypeError
        A type is not one that :func:`compress` or :func:`decompress` accepts.
    S4UnregisteredCodecError
        The codec's name is unknown.
    """
    compress(pa.array([], pa.binary()), codec)
    codec = Codec.from_name(codec) if isinstance(codec, str) else codec
    if isinstance(input_type, (str, pa.DataType)):
        input_type = [input_type]
    functions: list[_Function] = []
    for dtype in map(_value_type, input_type):
        compress_name, decompress_name = _names(codec, dtype)
        compressed = dtype if pa.types.is_struct(dtype) else COMPRESSED_TYPE
        if compressed is not dtype:
            functions.append(_Function(compress_name, compress, dtype, compressed))
        restored = _restored_type(dtype)
        functions.append(_Function(decompress_name, decompress, compressed, restored))
    _register(functions, codec)
    return [function.name for function in functions]


def _value_type(dtype: pa.DataType | str) -> pa.DataType:
    """An argument as a type of values, or of compressed data."""
    try:
        found = pa.lib.ensure_type(dtype)
        # An empty array shows whether the type is accepted.
        if not pa.types.is_struct(found):
            compress(pa.array([], found))
        elif all(found.get_field_index(field.name) >= 0 for field in COMPRESSED_TYPE):
            decompress(pa.array([], found))
        else:
            raise TypeError
    except (TypeError, ValueError, pa.ArrowNotImplementedError):
        msg = (
            f"input_type must be a binary or string type, lists of numbers, or a struct with the "
            f"fields of COMPRESSED_TYPE, not {dtype!r}"
        )
        raise TypeError(msg) from None
    return found


@dataclass(frozen=True)
class _Function:
    """A function to register, from one exact type to another."""

    name: str
    function: Callable[..., Any]
    source: pa.DataType
    target: pa.DataType


def _names(codec: Codec, dtype: pa.DataType) -> tuple[str, str]:
    """The names of the functions that compress and decompress values of a type."""
    level = getattr(codec, "level", None)
    name = codec.name.replace("-", "_") + ("" if level is None else f"_{level}")
    if isinstance(codec, CpuZstdDict):
        name += f"_{codec.dict_id[:8]}"
    if isinstance(codec, NvcompBitcomp) and codec.data_type is not None:
        name += f"_{codec.data_type}"
    if getattr(codec, "device", "auto") != "auto":
        name += f"_gpu{codec.device}"  # type: ignore[attr-defined]
    return f"s4_compress_{name}__{dtype}", f"s4_decompress_{name}__{dtype}"


def _restored_type(dtype: pa.DataType) -> pa.DataType:
    """The type that compressed values of a type decompress to."""
    storage = dtype.storage_type if isinstance(dtype, pa.BaseExtensionType) else dtype
    values = storage.value_type if pa.types.is_dictionary(storage) else storage
    if is_list(values):
        return values
    is_text = values in (pa.string(), pa.large_string(), pa.string_view())
    return pa.large_string() if is_text else pa.large_binary()


def _register(functions: list[_Function], codec: Codec) -> None:
    """Registers those that are not registered yet."""
    with _registering:
        for new in functions:
            # A second registration of a name would damage PyArrow's registry.
            if new.name in pc.list_functions():
                continue
            summary = f"{new.function.__name__} with {codec!r}"
            pc.register_scalar_function(
                _udf(new, codec),
                new.name,
                {"summary": summary, "description": _DESCRIPTION},
                {"data": new.source},
                new.target,
            )


def _udf(new: _Function, codec: Codec) -> Callable[[Any, Any], pa.Array | pa.Scalar]:
    """A function as PyArrow calls it."""
    function = new.function
    options = {} if pa.types.is_struct(new.target) else {"dtype": new.target}

    def call(_context: Any, data: pa.Array | pa.Scalar) -> pa.Array | pa.Scalar:
        if isinstance(data, pa.Scalar):
            return function(pa.array([data], data.type), codec, **options)[0]
        return function(data, codec, **options)

    return call
