"""Checks of arguments that the column functions have in common."""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING

from .dictionaries import DictionarySet, TrainedDictionary
from .s4_codec import Codec, CpuZstd, CpuZstdDict, Passthrough

if TYPE_CHECKING:
    from typing import SupportsIndex, TypeAlias

    from typing_extensions import Buffer

    #: A dictionary's bytes, what ``train`` returns, a codec that has one, or a set.
    DictionaryLike: TypeAlias = Buffer | TrainedDictionary | CpuZstdDict | DictionarySet

#: The codec of functions that decompress; an argument that is another object was passed.
DEFAULT_CODEC = CpuZstd()


def with_level(codec: Codec | str, level: SupportsIndex | None) -> Codec | str:
    """The argument ``codec``, at ``level`` where that is given beside a name."""
    if level is None:
        return codec
    if codec is DEFAULT_CODEC:
        return CpuZstd(level)
    if isinstance(codec, Codec):
        msg = (
            f'level={level!r} is for a codec by name, such as "cpu-zstd", not for {codec!r}; '
            f"make the object with that level"
        )
        raise ValueError(msg)
    # What is no name, the native functions refuse.
    return Codec.from_name(codec, level) if isinstance(codec, str) else codec


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


def dictionary_codec(dictionary: DictionaryLike | None) -> Codec | DictionarySet:
    """What carries the dictionaries, for frames that need one."""
    if dictionary is None:
        return Passthrough()
    if isinstance(dictionary, (CpuZstdDict, DictionarySet)):
        return dictionary
    if isinstance(dictionary, TrainedDictionary):
        return dictionary.codec()
    return CpuZstdDict(dictionary)


def decoder(codec: Codec | str, dictionary: DictionaryLike | None) -> Codec | str | DictionarySet:
    """What decodes payloads: the codec, or the dictionary that was passed in its place."""
    if dictionary is None:
        return codec
    if codec is not DEFAULT_CODEC:
        msg = "pass codec or dictionary, not both: dictionary stands for codec cpu-zstd-dict"
        raise ValueError(msg)
    return dictionary_codec(dictionary)
