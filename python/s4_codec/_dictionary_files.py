"""Dictionaries in folders, and in the metadata of Parquet files."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
from pathlib import Path
from typing import IO, TYPE_CHECKING

from .s4_codec import S4Error, dict_id

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Lists the dictionaries that were saved, oldest first, and names the current one.
INDEX = "index.json"

_ID = re.compile(r"[0-9a-f]{16}")

#: The most bytes of a dictionary's file and of the index. Both are claims of the folder's until
#: they are checked.
_MAX_BYTES = 256 << 20
_MAX_INDEX_BYTES = 1 << 20


def save(folder: str | os.PathLike[str], contents: Mapping[str, bytes], current: str) -> None:
    """Writes each dictionary to the file of its id, and then the index."""
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        file = path / name
        if not file.is_file() or file.read_bytes() != content:
            _write(file, content)
    listing = {"dictionaries": list(contents), "current": current}
    _write(path / INDEX, (json.dumps(listing, indent=2) + "\n").encode())


def _write(file: Path, content: bytes) -> None:
    """Writes a file that appears when it is complete."""
    scratch = file.with_name(f".{file.name}-{secrets.token_hex(4)}.tmp")
    try:
        with scratch.open("xb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        os.replace(scratch, file)
    except BaseException:
        with contextlib.suppress(OSError):
            scratch.unlink()
        raise


def load(folder: str | os.PathLike[str]) -> tuple[list[bytes], str]:
    """The dictionaries of a folder, oldest first, and the id of the current one."""
    path = Path(folder)
    # A pipe or a device would not end.
    found = {
        file.name: file for file in path.iterdir() if _ID.fullmatch(file.name) and file.is_file()
    }
    if not found:
        reason = "no dictionary is in the folder: no file is named by 16 hex digits"
        raise FileNotFoundError(errno.ENOENT, reason, os.fspath(path))
    listed, current = _listed(path / INDEX)
    for name in listed:
        if name not in found:
            msg = f"{path / INDEX} lists the dictionary {name}, but its file is missing"
            raise S4Error(msg)
    others = sorted(found.keys() - listed, key=lambda name: (found[name].stat().st_mtime_ns, name))
    names = [*others, *listed]
    contents = [_read(found[name], _MAX_BYTES) for name in names]
    for name, content in zip(names, contents, strict=True):
        if (actual := dict_id(content)) != name:
            msg = f"{found[name]} is damaged: expected the dictionary {name}, found {actual}"
            raise S4Error(msg)
    return contents, current or names[-1]


def _read(file: Path, most: int) -> bytes:
    """The bytes of a file of at most ``most`` bytes."""
    with file.open("rb") as source:
        content = source.read(most + 1)
    if len(content) > most:
        msg = f"{file} has more than the maximum of {most} bytes"
        raise S4Error(msg)
    return content


def _listed(file: Path) -> tuple[list[str], str | None]:
    """What an index lists, and its current dictionary; nothing if there is none."""
    if not file.exists():
        return [], None
    if not file.is_file():
        msg = f"{file} is not a regular file"
        raise S4Error(msg)
    try:
        listing = json.loads(_read(file, _MAX_INDEX_BYTES))
    except S4Error:
        raise
    except (ValueError, RecursionError) as error:
        msg = f"{file} is damaged: {error}"
        raise S4Error(msg) from None
    names = listing.get("dictionaries") if isinstance(listing, dict) else None
    if (
        not isinstance(names, list)
        or not all(isinstance(name, str) for name in names)
        or len(set(names)) < len(names)
        or listing.get("current") not in names
    ):
        msg = f"{file} is damaged: expected ids under dictionaries, and one of them under current"
        raise S4Error(msg)
    return names, listing["current"]


def parquet_metadata(source: str | os.PathLike[str] | IO[bytes]) -> Mapping[object, object] | None:
    """The key-value metadata of a Parquet file."""
    import polars as pl

    if hasattr(pl, "read_parquet_metadata"):
        return pl.read_parquet_metadata(source)  # type: ignore[arg-type, return-value]
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        msg = "reading Parquet metadata needs PyArrow, or Polars with read_parquet_metadata"
        raise ImportError(msg) from error
    metadata: Mapping[object, object] | None = pq.read_metadata(source).metadata
    return metadata
