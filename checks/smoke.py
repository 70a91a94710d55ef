"""What an installed package must do at least: `python checks/smoke.py`, anywhere.

`checks/wheels.py` runs it in fresh environments, so it uses nothing but the package, Polars and
the standard library.
"""

from __future__ import annotations

import platform
import sys
from importlib.metadata import distribution

import polars as pl

import s4_codec
import s4_codec.polars as s4

VALUE = b"a fine body " * 10_000
DICTIONARY = s4_codec.train_dictionary([b"row %d of a fine body" % i for i in range(2000)], 4096)
CODECS = [
    s4_codec.CpuZstd(),
    s4_codec.CpuGzip(),
    s4_codec.CpuZstdDict(DICTIONARY),
    s4_codec.NvcompZstd(device="auto"),
    s4_codec.Passthrough(),
]


def main() -> None:
    values = pl.Series("body", [VALUE, None, b"", b"short"] * 1000)
    for codec in CODECS:
        payload, original_size, crc32c = codec.compress(VALUE)
        assert codec.decompress(payload, original_size, crc32c) == VALUE
        assert s4_codec.decode(codec.encode(VALUE), dictionary=DICTIONARY) == VALUE
        packed = values.to_frame().select(s4.compress("body", codec))
        assert packed.select(s4.decompress("body", codec))["body"].equals(values)
        try:
            codec.decompress(payload, original_size, crc32c ^ 1)
        except s4_codec.S4CrcMismatchError:
            pass
        else:
            raise AssertionError(f"{codec} returned a value with another crc32c")
    stored = s4_codec.encode_s4_object(VALUE * 100)
    assert s4_codec.decode_s4_object(**stored) == VALUE * 100
    commands = {point.name for point in distribution("s4-codec").entry_points}
    assert "s4-codec" in commands, commands
    assert "pyarrow" not in sys.modules
    print(
        f"s4-codec {s4_codec.__version__} works with Polars {pl.__version__} and "
        f"Python {platform.python_version()} on {platform.machine()}; {s4_codec.gpu_status()}"
    )


if __name__ == "__main__":
    main()
