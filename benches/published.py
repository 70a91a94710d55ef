"""The published s4-codec 1.5, in a process of its own: its import name is that of this package.

    pip install --no-deps --target FOLDER s4-codec==1.5.1
    python benches/columns.py --published FOLDER

This file is the client, and, run as a program, the server: it holds the rows of a column and
compresses or decompresses all of them, one call a row, whenever it is told to.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import polars as pl

#: The name of the codec to the class and its level.
CLASSES = {"cpu-zstd": "CpuZstd", "cpu-gzip": "CpuGzip"}


class Published:
    """The server's process, which ends with this object."""

    def __init__(self, folder: Path, codec: str, level: int, values: list[bytes]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(folder)},
        )
        self.version = self._call((codec, level, values))

    def compress(self) -> None:
        """Compresses the rows."""
        self._call("compress")

    def decompress(self) -> None:
        """Decompresses the rows' payloads."""
        self._call("decompress")

    def _call(self, message: object) -> object:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        pickle.dump(message, process.stdin)
        process.stdin.flush()
        return pickle.load(process.stdout)

    def __del__(self) -> None:
        self._process.kill()
        self._process.communicate()


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answers requests until they end."""
    import s4_codec

    def answer(value: object) -> None:
        pickle.dump(value, answers)
        answers.flush()

    name, level, rows = pickle.load(requests)
    codec = getattr(s4_codec, CLASSES[name])(level)
    values = pl.Series(rows, dtype=pl.Binary)
    sealed = [codec.compress(value) for value in rows]
    answer(s4_codec.__version__)
    while True:
        try:
            request = pickle.load(requests)
        except EOFError:
            return
        if request == "compress":
            made = [codec.compress(value) for value in values.to_list()]
            pl.Series([payload for payload, _, _ in made], dtype=pl.Binary)
        else:
            pl.Series([codec.decompress(*value) for value in sealed], dtype=pl.Binary)
        answer(None)


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
