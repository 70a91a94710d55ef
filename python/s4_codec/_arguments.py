"""Checks of arguments that the column functions have in common."""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING

from .s4_codec import Codec, CpuZstdDict, Passthrough

if TYPE_CHECKING:
    from typing import SupportsIndex

    from typing_extensions import Buffer


def is_null_on_error(on_error: str) -> bool:
    """Whether the argument ``on_error`` is "null"."""
    if on_error not in ("raise", "null"):
        msg = f'on_error must be "raise" or "null", not {on_error!r}'
        raise ValueError(msg)
    return on_error == "null"


def flag(value: bool, name: str) -> bool:
    """The argument ``name``, which is a bool."""
    if not isinstance(value, bool):
        msg = f"{name} must be True or False, not {value!r}"
        raise TypeError(msg)
    return value


def size_limit(max_size: SupportsIndex | None, name: str = "max_size") -> int | None:
    """The argument ``name`` as a number of bytes."""
    if max_size is None:
        return None
    try:
        size = index(max_size)
    except TypeError:
        msg = f"{name} must be a whole number of bytes, not {max_size!r}"
        raise TypeError(msg) from None
    if not 0 <= size < 2**64:
        msg = f"{name} must be a number of bytes from 0 to below 2^64, not {size}"
        raise ValueError(msg)
    return size


def dictionary_codec(dictionary: Buffer | CpuZstdDict | None) -> Codec:
    """The codec that carries the dictionary, for frames that need one."""
    if dictionary is None:
        return Passthrough()
    return dictionary if isinstance(dictionary, CpuZstdDict) else CpuZstdDict(dictionary)
