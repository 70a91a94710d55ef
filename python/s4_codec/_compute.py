"""PyArrow's registry of compute functions: names and types of ours, and how they get there."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from .s4_codec import CpuZstdDict, NvcompBitcomp

if TYPE_CHECKING:
    from collections.abc import Callable

    from .s4_codec import Codec

_DESCRIPTION = "Registered by s4_codec.arrow.register_compute_functions."

# Reentrant, for signal handlers may register too.
_registering = threading.RLock()


@dataclass(frozen=True)
class Function:
    """What is to be registered: a verb from one exact type to another."""

    name: str
    verb: Callable[..., Any]
    source: pa.DataType
    target: pa.DataType


def names(codec: Codec, dtype: pa.DataType) -> tuple[str, str]:
    """What compressing and decompressing values of a type with a codec are called."""
    level = getattr(codec, "level", None)
    name = codec.name.replace("-", "_") + ("" if level is None else f"_{level}")
    if isinstance(codec, CpuZstdDict):
        name += f"_{codec.dict_id[:8]}"
    if isinstance(codec, NvcompBitcomp):
        name += f"_{codec.data_type}"
    if getattr(codec, "device", "auto") != "auto":
        name += f"_gpu{codec.device}"  # type: ignore[attr-defined]
    return f"s4_compress_{name}__{dtype}", f"s4_decompress_{name}__{dtype}"


def restored(dtype: pa.DataType) -> pa.DataType:
    """What values of a type, or structs that were made of some, decompress to."""
    storage = dtype.storage_type if isinstance(dtype, pa.BaseExtensionType) else dtype
    values = storage.value_type if pa.types.is_dictionary(storage) else storage
    is_text = values in (pa.string(), pa.large_string(), pa.string_view())
    return pa.large_string() if is_text else pa.large_binary()


def register(functions: list[Function], codec: Codec) -> None:
    """Registers those that are not registered yet."""
    with _registering:
        for function in functions:
            # A second registration of a name would damage PyArrow's registry.
            if function.name in pc.list_functions():
                continue
            summary = f"{function.verb.__name__} with {codec!r}"
            pc.register_scalar_function(
                _udf(function, codec),
                function.name,
                {"summary": summary, "description": _DESCRIPTION},
                {"data": function.source},
                function.target,
            )


def _udf(function: Function, codec: Codec) -> Callable[[Any, Any], pa.Array | pa.Scalar]:
    """The verb as PyArrow calls it."""
    verb = function.verb
    # To values the type matters; to compressed data there is one.
    options = {} if pa.types.is_struct(function.target) else {"dtype": function.target}

    def call(_context: Any, data: pa.Array | pa.Scalar) -> pa.Array | pa.Scalar:
        if isinstance(data, pa.Scalar):
            return verb(pa.array([data], data.type), codec, **options)[0]
        return verb(data, codec, **options)

    return call
