"""Write the frozen payloads and their manifest.json. Run once per format addition.

Payloads that exist stay as they are: a frozen vector proves that bytes written long ago
still decode, so this only adds what is missing.
"""

from __future__ import annotations

import gzip
import io
import json
import zlib
from pathlib import Path

import zstandard

import s4_codec

HERE = Path(__file__).parent


def text(size: int) -> bytes:
    """Text that compresses, of any length."""
    lines = (f"{n} GET /item/{n * 37 % 101} 200 {n * n % 977}\n" for n in range(size))
    return "".join(lines).encode()[:size]


ORIGINALS = {"empty": b"", "1b": b"a", "100b": text(100), "20k": text(20_000)}


def gzip_named(data: bytes) -> bytes:
    out = io.BytesIO()
    with gzip.GzipFile("a name.log", "wb", fileobj=out, mtime=1) as file:
        file.write(data)
    return out.getvalue()


def zstd(data: bytes, **options: bool) -> bytes:
    return zstandard.ZstdCompressor(**options).compress(data)


def halves(data: bytes) -> tuple[bytes, bytes]:
    return data[: len(data) // 2], data[len(data) // 2 :]


SKIPPABLE = b"\x50\x2a\x4d\x18\x05\x00\x00\x00abcde"

# name -> (codec, writer)
WRITERS = {
    "passthrough": ("passthrough", lambda d: s4_codec.Passthrough().compress(d)[0]),
    "cpu-zstd": ("cpu-zstd", lambda d: s4_codec.CpuZstd().compress(d)[0]),
    "cpu-zstd-19": ("cpu-zstd", lambda d: s4_codec.CpuZstd(19).compress(d)[0]),
    "cpu-gzip": ("cpu-gzip", lambda d: s4_codec.CpuGzip().compress(d)[0]),
    "cpu-gzip-0": ("cpu-gzip", lambda d: s4_codec.CpuGzip(0).compress(d)[0]),
    "zstd-without-size": ("cpu-zstd", lambda d: zstd(d, write_content_size=False)),
    "zstd-with-checksum": ("cpu-zstd", lambda d: zstd(d, write_checksum=True)),
    "zstd-two-frames": ("cpu-zstd", lambda d: b"".join(map(zstd, halves(d)))),
    "zstd-skippable": ("cpu-zstd", lambda d: SKIPPABLE + zstd(d) + SKIPPABLE),
    "gzip-named": ("cpu-gzip", gzip_named),
    "gzip-two-members": ("cpu-gzip", lambda d: b"".join(map(gzip.compress, halves(d)))),
    "gzip-zlib-1": ("cpu-gzip", lambda d: zlib.compress(d, 1, wbits=31)),
}


def main() -> None:
    entries = []
    for size, original in ORIGINALS.items():
        for name, (codec, write) in WRITERS.items():
            path = HERE / f"{name}.{size}"
            if not path.exists():
                path.write_bytes(write(original))
            entry = {
                "file": path.name,
                "codec": codec,
                "original_size": len(original),
                "crc32c": s4_codec.crc32c(original),
            }
            entries.append(entry)
    (HERE / "manifest.json").write_text(json.dumps(entries, indent=1) + "\n")


if __name__ == "__main__":
    main()
