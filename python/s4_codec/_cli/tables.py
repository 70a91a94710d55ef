"""Columns of table files: Parquet, Arrow IPC, CSV and NDJSON; the lines of any other text."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable
from functools import partial

import polars as pl

from .. import polars as s4
from .inputs import Input
from .signals import interruptible
from .streams import Failure

#: The name of the column that lines of text become.
LINE = "line"

_SUFFIXES = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "ipc",
    ".feather": "ipc",
    ".ipc": "ipc",
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "ndjson",
    ".ndjson": "ndjson",
}

_SCANS: dict[str, Callable[..., pl.LazyFrame]] = {
    "parquet": pl.scan_parquet,
    "ipc": pl.scan_ipc,
    "csv": pl.scan_csv,
    "tsv": partial(pl.scan_csv, separator="\t"),
    # Fields may appear late in the file.
    "ndjson": partial(pl.scan_ndjson, infer_schema_length=None),
}

#: What files begin with. It outweighs the suffix.
_MAGICS = {
    b"PAR1": "parquet",
    b"ARROW1": "ipc",
    b"\xff\xff\xff\xff": "ipc stream",
}

_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ\0": "xz",
    b"BZh": "bzip2",
    b"PK\x03\x04": "zip",
    b"S4F2": "s4-codec",
}

#: The bytes that tell a binary file, as Git does it: one of the first is zero.
_HEAD = 8000

#: Bytes of text that become lines at a time.
_TEXT_PIECE = 16 << 20

_Source = str | io.BytesIO


def read_column(path: str, column: str | None = None) -> pl.Series:
    """Reads one column of a file.

    Parameters
    ----------
    path
        A Parquet, Arrow IPC (file or stream), CSV, TSV or NDJSON file: Parquet and Arrow are
        known by their content, the others by their suffix. Any other text is read line by
        line, as Binary, without line ends. ``-`` is standard input.
    column
        The column's name; may be None where exactly one column is String or Binary. Columns of
        CSV and NDJSON are read as String if they are named.

    Raises
    ------
    Failure
        The file cannot be read, is compressed, or has no such column; or ``column`` is None and
        several columns, or none, are String or Binary; or the column's type cannot be
        compressed.
    """
    with Input(path) as file:
        head = file.peek(_HEAD)
        kind = _kind(file.name, head)
        if kind == "text":
            if column not in (None, LINE):
                msg = f"{file.name} is read as lines of text, which are the one column {LINE!r}, "
                raise Failure(msg + f"not {column!r}; tables end in {', '.join(_SUFFIXES)}")
            return interruptible(_lines, file)
        # Polars expands patterns in paths, and opens by itself only what it can map.
        is_plain = stat.S_ISREG(file.status.st_mode) and not file.is_standard
        by_path = is_plain and not set(path) & set("*?[]{}~") and "://" not in path
        source = os.path.abspath(path) if by_path else io.BytesIO(file.read_all())
        try:
            return interruptible(_read_table, file.name, source, kind, column)
        except (pl.exceptions.PolarsError, OSError) as error:
            msg = f"{file.name}: cannot be read as {kind.upper()}: {error}"
            raise Failure(msg) from error


def _kind(name: str, head: bytes) -> str:
    for magic, program in _COMPRESSED.items():
        if head.startswith(magic):
            msg = f"{name} is compressed with {program}; decompress it first"
            raise Failure(msg)
    for magic, kind in _MAGICS.items():
        if head.startswith(magic):
            return kind
    if suffix := _SUFFIXES.get(os.path.splitext(name)[1].lower()):
        return suffix
    if b"\0" in head[:_HEAD]:
        msg = f"{name} is a binary file; expected Parquet, Arrow IPC, CSV, NDJSON or text"
        raise Failure(msg)
    return "text"


def _lines(file: Input) -> pl.Series:
    """The lines of a file, made a piece at a time to hold few of them as Python objects."""
    pieces = [pl.Series(LINE, [], dtype=pl.Binary)]
    rest = b""
    while piece := file.read(_TEXT_PIECE):
        whole, end, rest = (rest + piece).rpartition(b"\n")
        if end:
            pieces.append(pl.Series(LINE, (whole + end).splitlines(), dtype=pl.Binary))
    if rest:
        pieces.append(pl.Series(LINE, rest.splitlines(), dtype=pl.Binary))
    return pl.concat(pieces, rechunk=False)


def _read_table(name: str, source: _Source, kind: str, column: str | None) -> pl.Series:
    if kind == "ipc stream":
        table = pl.read_ipc_stream(source)
        return table[_chosen(name, table.schema, column)]
    scan = _SCANS[kind]
    schema = scan(source).collect_schema()
    if kind in ("csv", "tsv", "ndjson") and column in schema:
        # It is text in the file, whatever its first rows look like.
        text = {column: pl.String}
        return scan(source, schema_overrides=text).select(column).collect().to_series()
    column = _chosen(name, schema, column)
    return scan(source).select(column).collect().to_series()


def _chosen(name: str, schema: pl.Schema, column: str | None) -> str:
    """The column's name; without one, that of the only String or Binary column."""
    columns = ", ".join(f"{each} ({dtype})" for each, dtype in schema.items()) or "none"
    if column is None:
        usable = [each for each, dtype in schema.items() if dtype in (pl.String, pl.Binary)]
        if len(usable) != 1:
            found = f"{len(usable)} columns are" if usable else "no column is"
            msg = f"{name}: {found} String or Binary; pass --column NAME; columns: {columns}"
            raise Failure(msg)
        return usable[0]
    if column not in schema:
        msg = f"{name} has no column {column!r}; columns: {columns}"
        raise Failure(msg)
    if not _is_compressible(schema[column]):
        msg = f"{name}: column {column!r} is {schema[column]}; expected String or Binary; "
        raise Failure(msg + f"columns: {columns}")
    return column


def _is_compressible(dtype: pl.DataType) -> bool:
    try:
        pl.LazyFrame(schema={"": dtype}).select(s4.compress("")).collect_schema()
    except pl.exceptions.ComputeError:
        return False
    return True
