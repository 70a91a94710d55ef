"""Make seeds for every fuzz target, from the test vectors and from what the package writes.

Each law reads settings from the front of its input (`tests/laws`); the seeds state them so that
the data that follows means something.
"""

from __future__ import annotations

import gzip
import json
import pickle
import struct
from collections.abc import Iterator
from pathlib import Path

import s4_codec

VECTORS = Path(__file__).parents[1] / "tests" / "vectors"
# As long as inputs get.
MOST = 4096


def payloads() -> Iterator[tuple[str, bytes, int, int]]:
    """The codec, payload, size and checksum of each vector."""
    for vector in json.loads((VECTORS / "manifest.json").read_text()):
        payload = (VECTORS / vector["file"]).read_bytes()
        yield vector["codec"], payload, vector["original_size"], vector["crc32c"]


def originals() -> list[bytes]:
    texts = [payload for codec, payload, _, _ in payloads() if codec == "passthrough"]
    noise = bytes(n * n % 251 ^ n >> 3 for n in range(300))
    return [*(text[:1500] for text in texts), noise, bytes(1000), noise[:40] * 20]


def body() -> bytes:
    """Frames of three codecs, the last one after a padding."""
    text = originals()[2]
    frames = [codec.encode(text) for codec in (s4_codec.CpuZstd(), s4_codec.CpuGzip())]
    padding = b"S4P1" + (5).to_bytes(8, "little") + b"other"
    return b"".join(frames) + padding + s4_codec.Passthrough().encode(text[:20])


def values() -> Iterator[bytes]:
    for codec in range(9):
        for value in originals():
            yield bytes([codec, 0]) + value


def all_payloads() -> Iterator[bytes]:
    for codec, payload, _, _ in payloads():
        if codec == "cpu-zstd":
            yield bytes([0, 1]) + payload
        elif codec == "cpu-gzip":
            yield bytes([1, 1]) + payload
    # Libzstd's decoders differ: an RLE block larger than its window, a compressed block of nothing.
    yield b"\x00\x01" + b"\x28\xb5\x2f\xfd\x00\x00\xe3\x01\x01\x1f"
    yield b"\x00\x01" + b"\x28\xb5\x2f\xfd\x00\x00\x08\x00\x00a\x05\x00\x00"
    for level in (1, 6, 9):
        for value in originals():
            yield bytes([2, 1]) + gzip.compress(value, level)[10:-8]


def gdeflate() -> Iterator[bytes]:
    for style in range(7):
        for value in originals():
            yield bytes([style * 2 + 1]) + struct.pack("<HHBHB", 0, 200, 1, 150, 4) + value


def containers() -> Iterator[bytes]:
    codec = s4_codec.Codec.from_name("nvcomp-zstd")
    for value in originals():
        yield bytes([0, 0]) + codec.compress(value)[0]
        yield bytes([0, 1]) + codec.compress(value)[0]


def bodies() -> Iterator[bytes]:
    settings = struct.pack("<HHH", 3, 50, 40)
    for codec, payload, size, crc in payloads():
        number = s4_codec.Codec.from_name(codec).id
        header = b"S4F2" + struct.pack("<IQQI", number, size, len(payload), crc)
        yield b"\1" + settings + header + payload
    yield b"\0" + settings + body()
    yield b"\1" + settings + body()


def sidecars() -> Iterator[bytes]:
    sidecar = s4_codec.build_index(body())
    bound = s4_codec.bind_index(sidecar, 100, '"an etag"')
    encrypted = bound[:4] + b"\3" + bound[5:53] + bytes(range(30)) + bound[53:]
    old = b"S4IX\1" + sidecar[5:32] + sidecar[44:]
    for each in (sidecar, bound, encrypted, old):
        yield b"\0" + struct.pack("<II", 10, 100) + each
        yield b"\1" + struct.pack("<II", 10, 100) + each


def objects() -> Iterator[bytes]:
    def seed(keys: int, codec: int, size: int, crc: int, sidecar: bytes, body: bytes) -> bytes:
        settings = struct.pack("<BBBHIHHH", keys, 0, codec, size, crc, 3, 50, len(sidecar))
        return settings + sidecar + body

    for codec, payload, size, crc in payloads():
        number = ["passthrough", "cpu-zstd", "cpu-gzip"].index(codec)
        yield seed(0b1111, number, size, crc, b"", payload)
    for sidecar in (b"", s4_codec.build_index(body())):
        yield seed(0b10_0000, 0, 0, 0, sidecar, body())
        yield seed(0, 0, 0, 0, sidecar, body())


def trained() -> bytes:
    samples = [b'{"id": %d, "name": "user %d"}' % (n, n * 7) for n in range(2000)]
    return s4_codec.train_dictionary(samples, 1000)


def dictionaries() -> Iterator[bytes]:
    text = originals()[2]
    for dictionary in (text, trained()):
        for level in range(3):
            settings = bytes([level]) + struct.pack("<H", len(dictionary))
            yield settings + dictionary + text[:50]
            payload = s4_codec.CpuZstdDict(dictionary).compress(text[10:90])[0]
            yield settings + dictionary + payload


def dictionary_sets() -> Iterator[bytes]:
    one = trained()
    other = one[:4] + bytes([one[4] ^ 1]) + one[5:]
    for members in ([one], [one, other]):
        stored = b"S4DS" + struct.pack("<III", 1, len(members), 0)
        stored += b"".join(struct.pack("<I", len(member)) for member in members)
        stored += b"".join(members)
        stored += s4_codec.crc32c(stored).to_bytes(4, "little")
        yield b"\0" + stored
        yield b"\1" + stored


def arguments() -> Iterator[bytes]:
    for options in (
        {},
        {"codec": "cpu-zstd", "level": 3, "dictionary": b"\0\1", "max_size": 2**32},
        {"least": -(2**63), "small": -2, "wide": 70000, "utf8": True, "again": "cpu-zstd"},
        {f"a{n}": n for n in range(64)},
    ):
        for protocol in (4, 5):
            yield pickle.dumps(options, protocol)


def arrow() -> Iterator[bytes]:
    # A description of arrays: any bytes are one.
    for n in range(64):
        yield bytes((n * 7 + k * k * (n + 1)) % 256 for k in range(60 + 4 * n))


SEEDS = {
    "arguments": arguments,
    "arrow": arrow,
    "bodies": bodies,
    "containers": containers,
    "dictionaries": dictionaries,
    "dictionary_sets": dictionary_sets,
    "gdeflate": gdeflate,
    "objects": objects,
    "payloads": all_payloads,
    "sidecars": sidecars,
    "values": values,
}
