"""The raw libraries on all cores (the crate in benches/raw), called through ctypes."""

from __future__ import annotations

import ctypes
import functools
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pyarrow as pa

CODECS = {"cpu-zstd": 1, "cpu-gzip": 7}
_CRATE = Path(__file__).parent / "raw"


@functools.cache
def _build() -> ctypes.CDLL:
    target = Path(os.environ.get("CARGO_TARGET_DIR", _CRATE.parents[1] / "target"))
    command = ["cargo", "build", "--release", "--quiet", "--manifest-path"]
    print("building the raw driver ...", file=sys.stderr)
    subprocess.run(
        [*command, str(_CRATE / "Cargo.toml")],
        check=True,
        env=os.environ | {"CARGO_TARGET_DIR": str(target)},
    )
    library = ctypes.CDLL(str(target / "release" / "libs4_raw.so"))
    size, pointer = ctypes.c_size_t, ctypes.c_void_p
    library.raw_compress.argtypes = [
        ctypes.c_uint32,
        ctypes.c_int32,
        size,
        pointer,
        pointer,
        size,
        pointer,
    ]
    library.raw_compress.restype = pointer
    library.raw_decompress.argtypes = [
        ctypes.c_uint32,
        size,
        pointer,
        pointer,
        pointer,
        size,
        pointer,
    ]
    library.raw_prepare.argtypes = [ctypes.c_char_p, size, ctypes.c_int32]
    library.raw_prepare.restype = pointer
    library.raw_decompress.restype = pointer
    library.raw_len.argtypes = [pointer]
    library.raw_len.restype = size
    library.raw_free.argtypes = [pointer]
    return library


class Output:
    """The output of a call, which lives as long as this object."""

    def __init__(self, library: ctypes.CDLL, handle: int) -> None:
        self._library, self._handle = library, handle

    def __len__(self) -> int:
        return int(self._library.raw_len(self._handle))

    def __del__(self) -> None:
        self._library.raw_free(self._handle)


class Raw:
    """The libraries over whole columns, on ``threads`` threads."""

    def __init__(self, threads: int) -> None:
        self._library, self._threads = _build(), threads

    def rows(self, column: pl.Series) -> pa.LargeBinaryArray:
        """A Binary column as one contiguous array, which the driver reads."""
        array = column.cast(pl.Binary).rechunk().to_arrow()
        return array.cast(pa.large_binary())

    def prepare(self, dictionary: bytes, level: int) -> int:
        """A prepared dictionary for both directions; it is never freed."""
        return int(self._library.raw_prepare(dictionary, len(dictionary), level))

    def compress(
        self, codec: str, level: int, rows: pa.LargeBinaryArray, dictionary: int | None = None
    ) -> Output:
        _, offsets, values = rows.buffers()
        handle = self._library.raw_compress(
            CODECS[codec],
            level,
            self._threads,
            values.address,
            offsets.address,
            len(rows),
            dictionary,
        )
        return Output(self._library, handle)

    def decompress(
        self,
        codec: str,
        rows: pa.LargeBinaryArray,
        sizes: pa.Array,
        dictionary: int | None = None,
    ) -> Output:
        _, offsets, values = rows.buffers()
        handle = self._library.raw_decompress(
            CODECS[codec],
            self._threads,
            values.address,
            offsets.address,
            sizes.buffers()[1].address,
            len(rows),
            dictionary,
        )
        return Output(self._library, handle)
