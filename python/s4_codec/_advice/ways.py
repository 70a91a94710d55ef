"""The ways to store a column that are compared."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from ..s4_codec import (
    Codec,
    CpuGzip,
    CpuZstd,
    NvcompBitcomp,
    NvcompGDeflate,
    NvcompZstd,
    Passthrough,
    gpu_available,
)

#: Parquet's own compression: the alternative to a codec.
PARQUET = "parquet zstd level 3"


@dataclass(frozen=True)
class Trained:
    """zstd with a dictionary that is yet to be trained."""

    level: int


@dataclass(frozen=True)
class Way:
    """One way to store the column, and what it costs."""

    name: str
    #: None for Parquet's own compression.
    codec: Codec | None
    #: Projected bytes of the whole column, and original bytes divided by them.
    bytes: int
    ratio: float
    #: MB/s of original bytes, on all cores.
    compress: float
    decompress: float
    #: Projected seconds to read 1% of the whole column's rows.
    read: float
    #: The share of values whose payload is longer than they are; None for Parquet.
    grow: float | None
    #: The size that a dictionary was trained for; None without one, or if it was given.
    dictionary_size: int | None = None


def default_codecs(dtype: pl.DataType) -> list[Codec | Trained]:
    """The ways that are compared by default."""
    found: list[Codec | Trained] = [Passthrough()]
    found += [CpuZstd(level) for level in (1, 3, 9, 19)]
    found += [CpuGzip(level) for level in (1, 6, 9)]
    is_numbers = isinstance(dtype, (pl.List, pl.Array))
    if not is_numbers:
        found += [Trained(level) for level in (3, 9, 19)]
    if gpu_available():
        found += [NvcompZstd(), NvcompGDeflate()]
        if is_numbers:
            found.append(NvcompBitcomp())
    return found


def given_codecs(codecs: Iterable[Codec | str] | Codec | str) -> list[Codec | Trained]:
    """The ways that a caller names."""
    if isinstance(codecs, (Codec, str)):
        codecs = [codecs]
    if not isinstance(codecs, Iterable):
        msg = f"codecs must be codecs or their names, not {type(codecs).__name__} {codecs!r}"
        raise TypeError(msg)
    found: list[Codec | Trained] = []
    for codec in codecs:
        if isinstance(codec, str):
            # Only a trained dictionary has no bytes of its own yet.
            is_trained = codec == "cpu-zstd-dict"
            found.append(Trained(3) if is_trained else Codec.from_name(codec))
        elif isinstance(codec, Codec):
            found.append(codec)
        else:
            msg = f"codecs must hold codecs or their names, not {type(codec).__name__}"
            raise TypeError(msg)
    if not found:
        msg = "codecs is empty; pass at least one codec, or None for all that are usual"
        raise ValueError(msg)
    return list(dict.fromkeys(found))


def way_name(codec: Codec) -> str:
    """A codec's name and settings."""
    words = [codec.name]
    if isinstance(codec, NvcompBitcomp):
        words.append(str(codec.data_type))
    if (level := getattr(codec, "level", None)) is not None:
        words.append(f"level {level}")
    return " ".join(words)
