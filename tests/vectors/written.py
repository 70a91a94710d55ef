"""The bytes that each codec writes, as lengths and SHA-256 in ``written.json``.

Without arguments, prints what this machine writes now. ``--freeze`` replaces ``written.json``: only
after a library changed what it writes, which older readers must still decode.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from pathlib import Path

from s4_codec import Codec, CpuGzip, CpuZstd, CpuZstdDict, NvcompZstd, Passthrough

FROZEN = Path(__file__).with_suffix(".json")


def text(size: int) -> bytes:
    """Text that compresses, of any length."""
    lines = (f"{n} GET /item/{n * 37 % 101} 200 {n * n % 977}\n" for n in range(size // 8 + 1))
    return "".join(lines).encode()[:size]


VALUES = {
    "empty": b"",
    "text of 1": text(1),
    "text of 100": text(100),
    "text of 10000": text(10_000),
    "text of 300000": text(300_000),
    "noise of 1000": random.Random(1).randbytes(1000),
    "noise of 200000": random.Random(2).randbytes(200_000),
    "zeros of 300000": bytes(300_000),
    "integers": b"".join((n * n).to_bytes(4, "little") for n in range(20_000)),
}

#: Raw content, so that it depends on no training.
DICTIONARY = text(6000)[2000:]

CODECS: dict[str, Codec] = {
    "passthrough": Passthrough(),
    **{f"cpu-zstd {level}": CpuZstd(level) for level in (1, 3, 9, 15, 19, 22)},
    **{f"cpu-gzip {level}": CpuGzip(level) for level in (0, 1, 6, 9)},
    **{f"cpu-zstd-dict {level}": CpuZstdDict(DICTIONARY, level) for level in (3, 19)},
    "nvcomp-zstd on the CPU": NvcompZstd(device="auto"),
}


def digest(payload: bytes) -> str:
    return f"{len(payload)} {hashlib.sha256(payload).hexdigest()}"


def written() -> dict[str, dict[str, str]]:
    """Lengths and digests of payloads, by codec and value."""
    return {
        name: {kind: digest(codec.compress(value)[0]) for kind, value in VALUES.items()}
        for name, codec in CODECS.items()
    }


if __name__ == "__main__":
    found = json.dumps(written(), indent=1) + "\n"
    if sys.argv[1:] == ["--freeze"]:
        FROZEN.write_text(found)
    else:
        print(found, end="")
