"""Which of the measured ways is the best, why, and the code that uses it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import polars as pl

from ..s4_codec import CpuZstdDict, Passthrough
from .sample import Sample
from .ways import Way

#: What a way must save for twice the time to compress or to decompress; also for a dictionary,
#: which has to be kept with the data.
_GAIN = 0.05

#: What compression must save at all.
_LEAST_GAIN = 0.05


def cost(way: Way) -> float:
    """The projected bytes, weighted by the time to write and read them."""
    doublings = -math.log2(max(way.compress, 1e-6)) - math.log2(max(way.decompress, 1e-6))
    if isinstance(way.codec, CpuZstdDict):
        doublings += 1
    return way.bytes / math.pow(1 - _GAIN, doublings)


def best_of(ways: Sequence[Way]) -> Way:
    """The best of the ways that are codecs."""
    codecs = [way for way in ways if way.codec is not None]
    stored = [way for way in codecs if isinstance(way.codec, Passthrough)]
    packed = [way for way in codecs if not isinstance(way.codec, Passthrough)]
    if stored:
        packed = [way for way in packed if way.bytes < (1 - _LEAST_GAIN) * stored[0].bytes]
    return min(packed or stored or codecs, key=cost)


def size_text(size: float) -> str:
    """Bytes in words, in powers of 1000."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    digits = 0 if unit == "bytes" or size >= 100 else 1
    return f"{size:,.{digits}f} {unit}"


def seconds_text(seconds: float) -> str:
    """Seconds or milliseconds, with two significant digits."""
    number, unit = (seconds * 1e3, "ms") if seconds < 0.1 else (seconds, "s")
    digits = 2 if number < 1 else 1 if number < 10 else 0
    return f"{number:,.{digits}f} {unit}"


def reason_for(best: Way, ways: Sequence[Way], sample: Sample) -> str:
    """One sentence that names the trade between the best codec and Parquet's compression."""
    if sample.rows == 0:
        return "The column has no values, so there is nothing to measure."
    if sample.bytes == 0:
        return "All values are empty, so there is nothing to compress."
    (parquet,) = [way for way in ways if way.codec is None]
    name = "storing the values as they are" if best.name == "passthrough" else best.name
    ours, theirs = size_text(best.bytes), size_text(parquet.bytes)
    reading = f"1% of the rows take {seconds_text(best.read)} against {seconds_text(parquet.read)}"
    is_faster = best.read < parquet.read * 0.95
    saves_nothing = isinstance(best.codec, Passthrough) and len(ways) > 2
    if saves_nothing and parquet.bytes > (1 - _LEAST_GAIN) * best.bytes:
        return (
            f"No codec makes these values {_LEAST_GAIN:.0%} smaller, nor does Parquet's own zstd "
            f"({theirs} of {size_text(sample.bytes)}), so store them as they are."
        )
    if parquet.bytes < 0.98 * best.bytes:
        sentence = f"Parquet's own zstd is smaller here ({theirs} against {ours} with {name}); "
        if saves_nothing and not is_faster:
            return f"{sentence}no codec makes single values smaller, so leave it to Parquet."
        if is_faster:
            way = "store them as they are only" if saves_nothing else "choose s4"
            return f"{sentence}{way} if you read single rows: {reading}."
        return (
            f"{sentence}choose s4 only for values that are verified and readable one by one, "
            f"since reading at random is no faster: {reading}."
        )
    smaller = "about as small as" if best.bytes > 0.98 * parquet.bytes else "smaller than"
    sentence = f"{name} is {smaller} Parquet's own zstd here ({ours} against {theirs})"
    if is_faster:
        return f"{sentence} and reads single rows faster: {reading}."
    return f"{sentence}, and reading single rows is no faster: {reading}."


def code_for(best: Way, sample: Sample, origin: str, name: str, dtype: pl.DataType) -> str:
    """Code that compresses the column, stores it, and reads a few rows.

    ``origin`` is the expression of the table, or "df" for a table that is there.
    """
    codec = best.codec
    kind, key = type(codec).__name__, _quoted(name)
    is_trained = best.dictionary_size is not None
    names = "DictionarySet, train_dictionary" if is_trained else kind
    native = f"from s4_codec import {names}"
    lines = ["import polars as pl", "import s4_codec.polars as s4", native, ""]
    if origin == "df":
        lines.append(f"# df is the table with the column {key}.")
    else:
        lines.append(f"df = {origin}")
    # File names are short.
    stem = re.sub(r"\W+", "_", name).strip("_")[:40] or "column"
    if best.dictionary_size is not None and isinstance(codec, CpuZstdDict):
        # zstd's advice: train on a hundred times the dictionary's size.
        count = min(sample.rows, 100 * best.dictionary_size * sample.rows // sample.bytes + 1)
        lines += [
            f"samples = df[{key}].drop_nulls().sample({count}, seed=0)",
            f"dictionary = train_dictionary(samples, size={best.dictionary_size})",
            "dictionaries = DictionarySet([dictionary])",
            "# Keep them with the file: without its dictionary nobody can read the column.",
            f"dictionaries.save({_quoted(stem + '.s4dict')})",
            f"codec = dictionaries.codec(level={codec.level})",
        ]
    elif isinstance(codec, CpuZstdDict):
        lines += [
            f"# This file has the bytes of your dictionary, whose id is {codec.dict_id}.",
            f'with open({_quoted(stem + ".dict")}, "rb") as file:',
            f"    codec = CpuZstdDict(file.read(), level={codec.level})",
        ]
    else:
        lines.append(f"codec = {codec!r}")
    path = f"{stem}.s4.parquet"
    decoder = "dictionary=dictionaries" if is_trained else "codec"
    restored = f"s4.decompress({key}, {decoder}"
    if dtype == pl.String:
        restored += ", dtype=pl.String"
    elif isinstance(dtype, (pl.List, pl.Array)):
        restored += f", dtype=df.schema[{key}]"
    lines += [
        f"packed = df.with_columns(s4.compress({key}, codec))",
        "# The payloads are compressed already.",
        f'packed.write_parquet({_quoted(path)}, compression="uncompressed")',
        "",
        f"few = pl.scan_parquet({_quoted(path)}).head(5).with_columns({restored}))",
        "print(few.collect())",
    ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A string literal, in double quotes where that takes no escapes."""
    literal = repr(text)
    is_plain = literal[0] == "'" and '"' not in literal and "\\" not in literal
    return f'"{literal[1:-1]}"' if is_plain else literal
