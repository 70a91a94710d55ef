"""Bodies, and the ways in which they are handed over, for the tests of `s4_codec.open`."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import s4_codec
from s4_codec import CpuGzip, CpuZstd, Passthrough

TEXT = b"".join(b"line %d of a fine body\n" % i for i in range(4000))
DICTIONARY = s4_codec.train_dictionary([TEXT[i : i + 200] for i in range(0, 60000, 100)], 4096)
FRAME = 5000


def body_of(data: bytes = TEXT, frame: int = FRAME, codec: s4_codec.Codec | None = None) -> bytes:
    """A body of frames of several codecs, or of one, with a padding in it."""
    codecs = [codec] if codec else [CpuZstd(), CpuGzip(), Passthrough()]
    chunks = [data[i : i + frame] for i in range(0, len(data), frame)]
    frames = [
        codecs[i % len(codecs)].encode(chunk, fallback=False) for i, chunk in enumerate(chunks)
    ]
    if frames:
        frames.insert(1, b"S4P1" + (7).to_bytes(8, "little") + b"padding")
    return b"".join(frames)


class Counting(io.BytesIO):
    """Counts what is read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.read_bytes = self.requests = 0

    def read(self, size: int | None = -1, /) -> bytes:
        found = super().read(size)
        self.read_bytes += len(found)
        self.requests += 1
        return found


class Stream(io.RawIOBase):
    """Bytes that come a few at a time, and cannot be sought."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        return self._data.read(min(size, 777) if size >= 0 else 777)


class Minimal:
    """An object with nothing but a read method."""

    def __init__(self, data: bytes) -> None:
        self.read = io.BytesIO(data).read


#: How the bytes of a body are handed over.
SOURCES: dict[str, Callable[[bytes, Path], Any]] = {
    "path": lambda body, folder: written(folder / "body.s4", body),
    "str": lambda body, folder: str(written(folder / "body.s4", body)),
    "BytesIO": lambda body, folder: io.BytesIO(body),
    "stream": lambda body, folder: Stream(body),
    "read alone": lambda body, folder: Minimal(body),
}


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
