"""Columns of each codec in each direction, for compute-sanitizer.

    compute-sanitizer --tool memcheck python benches/gpu_memcheck.py

Exits with 1 if a value is not restored; names what is not in this version of the package.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import numpy as np
import pyarrow as pa

import s4_codec
import s4_codec.arrow
from s4_codec import Codec, NvcompBitcomp, NvcompGDeflate, NvcompZstd

#: Around the length of a chunk, and multiples of 8 bytes, as Bitcomp needs them.
SIZES = [8, 256, 4096, (64 << 10) - 8, 64 << 10, (64 << 10) + 8, 200_000]
#: Rows that make a column of more than 16 MiB, which is put together on the device.
LARGE = 40


def column() -> pa.LargeBinaryArray:
    random = np.random.default_rng(1)
    numbers = random.geometric(1 / 32, max(SIZES) // 4).astype(np.uint32)
    values: list[bytes | None] = [numbers.tobytes()[:size] for size in SIZES]
    # Noise becomes a frame of passthrough.
    return pa.array([*values, None, b"", random.bytes(70_000)], pa.large_binary())


def check(name: str, is_right: bool) -> bool:
    print(f"{name}: {'right' if is_right else 'WRONG'}", flush=True)
    return is_right


def check_codec(codec: Codec, values: pa.LargeBinaryArray) -> bool:
    """Both directions, from host to host and with the values on the device."""
    print(f"{codec}, {len(values)} values", flush=True)
    packed = s4_codec.arrow.compress(values, codec)
    restored = s4_codec.arrow.decompress(packed, codec)
    is_right = check(f"{codec}, host to host", restored.equals(values))
    try:
        return is_right & check_on_device(codec, values, packed)
    except (ImportError, AttributeError) as error:
        print(f"{codec}, on the device: skipped: {error}", flush=True)
        return is_right


def check_on_device(codec: Codec, values: pa.LargeBinaryArray, packed: pa.StructArray) -> bool:
    gpu: Any = importlib.import_module("s4_codec.gpu")
    on_device = gpu.decompress(packed, codec)
    is_right = check(f"{codec}, to the device", pa.array(on_device.to_arrow()).equals(values))
    again = pa.array(gpu.compress(on_device, codec))
    restored = s4_codec.arrow.decompress(again, codec)
    is_right &= check(f"{codec}, from the device", restored.equals(values))
    frames = pa.array(gpu.encode(on_device, codec))
    restored = s4_codec.arrow.decode(frames, device=0)
    return is_right & check(f"{codec}, frames", restored.equals(values))


def main() -> None:
    if not s4_codec.gpu_available():
        print(s4_codec.gpu_status())
        sys.exit(2)
    values = column()
    codecs = [NvcompZstd(), NvcompGDeflate(), NvcompBitcomp("u32")]
    large = pa.concat_arrays([values] * LARGE)
    results = [check_codec(codec, each) for each in (values, large) for codec in codecs]
    s4_codec.release_gpu_memory()
    sys.exit(not all(results))


if __name__ == "__main__":
    main()
