"""A real GPU, beyond what the table of codecs asks of it: sizes, sharing, memory, both ways.

``pytest -m gpu`` runs these and the table. Against the stand-in the great sizes are smaller.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from codecs_table import text
from conftest import is_standin
from cuda_driver import Driver, memory_held_elsewhere

import s4_codec
import s4_codec.arrow
import s4_codec.polars as s4
from s4_codec import Codec, CpuZstd, NvcompBitcomp, NvcompGDeflate, NvcompZstd, crc32c

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.gpu

DATA_TYPES = [
    None,
    *("char", "u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64"),
    *("f16", "bf16", "f32", "f64"),
]


def codecs() -> list[Codec]:
    return [NvcompZstd(), NvcompGDeflate(), NvcompBitcomp()]


def scaled(count: int) -> int:
    """As many on a GPU; on the stand-in, a thousandth."""
    return count // 1000 if is_standin() else count


def lengths() -> list[int]:
    """Around every multiple of 64 KiB up to 10, and the shortest."""
    around = [64 * 1024 * n + d for n in range(1, 11) for d in (-8, -1, 0, 1, 8)]
    return [0, 1, 2, 7, 8, 9, 31, 255, 256, 257, *around]


def round_trip(codec: Codec, values: list[bytes | None]) -> None:
    array = pa.array(values, pa.large_binary())
    compressed = s4_codec.arrow.compress(array, codec)
    assert s4_codec.arrow.decompress(compressed, codec).equals(array)


@pytest.mark.parametrize("codec", [NvcompZstd, NvcompGDeflate, NvcompBitcomp])
def test_values_around_every_multiple_of_a_chunk(codec: type[Codec]) -> None:
    made = codec()
    source = text(700_000)
    values = [source[:length] for length in lengths()]
    for value in values:
        assert made.decompress(*made.compress(value)) == value, len(value)
    round_trip(made, [*values, None])


SESSIONS = """
import sys, pyarrow as pa, s4_codec, s4_codec.arrow
codec = s4_codec.{codec}()
values = pa.array([bytes(range(256)) * 500] * 40, pa.large_binary())
packed = s4_codec.arrow.compress(values, codec)
print("== back", file=sys.stderr, flush=True)
assert s4_codec.arrow.decompress(packed, codec).equals(values)
"""


@pytest.mark.parametrize("codec", ["NvcompZstd", "NvcompGDeflate", "NvcompBitcomp"])
def test_the_gpu_decodes_what_it_encodes(codec: str) -> None:
    """And does not leave it to the CPU, as what is no plain chunk is left."""
    done = subprocess.run(
        [sys.executable, "-c", SESSIONS.format(codec=codec)],
        env={**os.environ, "S4_GPU_TIMINGS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for part in done.stderr.split("== back"):
        assert re.search(r"gpu session: \d+ batches, 5120000 bytes of originals", part), done.stderr


def test_a_column_of_every_bitcomp_data_type() -> None:
    value = np.cumsum(np.arange(4096) % 7).astype(np.uint32).tobytes()
    frames = [NvcompBitcomp(name).encode(value, fallback=False) for name in DATA_TYPES] * 20
    restored = s4_codec.arrow.decode(pa.array(frames, pa.binary()), device=0)
    assert restored.to_pylist() == [value] * len(frames)


@pytest.mark.parametrize("data_type", DATA_TYPES)
def test_every_bitcomp_data_type(data_type: str | None) -> None:
    codec = NvcompBitcomp(data_type)
    random = np.random.default_rng(1)
    numbers = {
        "f16": random.normal(size=100_000).astype(np.float16),
        "f32": random.normal(size=100_000).astype(np.float32),
        "f64": random.normal(size=100_000),
    }
    data = numbers.get(data_type, np.cumsum(random.integers(0, 50, 100_000)).astype(np.uint32))
    value = data.tobytes()
    payload, size, crc = codec.compress(value)
    assert codec.decompress(payload, size, crc) == value
    # Any of them decodes what another wrote: the type is the encoder's hint.
    assert NvcompBitcomp().decompress(payload, size, crc) == value
    assert s4_codec.decode(codec.encode(value, fallback=False), device=0) == value
    round_trip(codec, [value[: 8 * n] for n in range(0, 3000, 7)])


def test_a_gpu_writes_what_cpus_read() -> None:
    for value in map(text, lengths()):
        for codec in (NvcompZstd(), NvcompGDeflate()):
            assert s4_codec.decode(codec.encode(value, fallback=False)) == value


def test_a_gpu_reads_what_cpus_write() -> None:
    here = NvcompZstd("auto")
    for value in map(text, lengths()):
        assert NvcompZstd(0).decompress(*here.compress(value)) == value


def test_chunks_of_zstd_state_their_size(record_property: Any) -> None:
    """Not needed, but worth knowing: whether the GPU's frames say how long they are."""
    payload, size, crc = NvcompZstd().compress(text(65_536))
    frame = payload[28:]
    states_size = frame[4] >> 5 != 0
    record_property("content_size", states_size)
    print("nvCOMP's zstd frames state their content size:", states_size)
    assert CpuZstd().decompress(frame, size, crc) == text(65_536)


def test_the_vectors_decode_on_the_gpu(vectors: Path) -> None:
    manifest = json.loads((vectors / "manifest.json").read_text())
    classes = {"NvcompZstd": NvcompZstd, "NvcompGDeflate": NvcompGDeflate}
    decoded = 0
    for vector in manifest["vectors"]:
        arguments, expect = vector["args"], vector["expect"]
        if vector["group"] != "fcg1" or "bytes" not in expect:
            continue
        if arguments["codec"]["class"] not in classes or "file" not in arguments["payload"]:
            continue
        codec = classes[arguments["codec"]["class"]](0)
        payload = (vectors / arguments["payload"]["file"]).read_bytes()
        size, crc = arguments["original_size"], arguments["crc32c"]
        value = codec.decompress(payload, size, crc)
        assert (len(value), crc32c(value)) == (size, crc), vector["id"]
        assert s4_codec.decode(codec.encode(value, fallback=False)) == value
        decoded += 1
    assert decoded > 10


@pytest.mark.parametrize("codec", codecs_names := ["NvcompZstd", "NvcompGDeflate", "NvcompBitcomp"])
def test_millions_of_tiny_values(codec: str) -> None:
    count = scaled(10_000_000)
    offsets = np.arange(count + 1, dtype=np.int64) * 20
    data = np.random.default_rng(2).integers(0, 40, 20 * count, dtype=np.uint8)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    array = pa.LargeBinaryArray.from_buffers(pa.large_binary(), count, buffers)
    made = getattr(s4_codec, codec)()
    assert s4_codec.arrow.decompress(s4_codec.arrow.compress(array, made), made).equals(array)


@pytest.mark.parametrize("codec", codecs_names)
def test_one_value_of_three_gib(codec: str) -> None:
    made = getattr(s4_codec, codec)()
    line = text(1 << 20)
    value = line * scaled(3 << 10) + b"the end"
    payload, size, crc = made.compress(value)
    assert len(payload) < len(value)
    assert made.decompress(payload, size, crc) == value


@pytest.mark.parametrize("codec", codecs_names)
def test_a_mix_of_sizes_with_nulls_and_slices(codec: str) -> None:
    made = getattr(s4_codec, codec)()
    random = np.random.default_rng(3)
    source = text(4_000_000)
    sizes = np.exp(random.uniform(0, np.log(3_000_000), 400)).astype(int)
    values = [None if n % 9 == 4 else source[: 8 * (n // 8)] for n in sizes.tolist()]
    series = pl.concat([pl.Series("body", values[i::3]) for i in range(3)], rechunk=False)
    for column in (series, series.slice(17, 300), series.head(0)):
        packed = column.s4.compress(made)
        assert packed.s4.decompress(made).equals(column)
        assert column.s4.encode(made, fallback=False).s4.decode(device=0).equals(column)
    frame = pl.DataFrame({"body": series}).with_row_index()
    lazy = frame.lazy().with_columns(s4.compress("body", made))
    lazy = lazy.with_columns(s4.decompress("body", made))
    assert lazy.collect(engine="streaming").equals(frame)


def test_memory_comes_back() -> None:
    driver = Driver()
    # What CUDA and nvCOMP load for the first time stays.
    for codec in codecs():
        round_trip(codec, [text(200_000)])
    s4_codec.release_gpu_memory()
    before = driver.free_memory()
    for codec in codecs():
        round_trip(codec, [text(200_000)] * 50)
    assert driver.free_memory() < before
    s4_codec.release_gpu_memory()
    # The driver keeps some of its own.
    assert driver.free_memory() >= before - (64 << 20)


def test_another_process_holds_the_memory() -> None:
    """Slabs shrink until they fit what is left, or the error is typed; nothing else breaks."""
    values: list[bytes | None] = [text(3_000_000)] * 20
    s4_codec.release_gpu_memory()
    # The stand-in's memory is of one process: nothing is short there.
    for left in (4 << 30, 1 << 30, 300 << 20)[: 1 if is_standin() else 3]:
        with memory_held_elsewhere(left):
            for codec in codecs():
                try:
                    round_trip(codec, values)
                except s4_codec.S4BackendError as error:
                    # nvCOMP may run short of it within, and says only that CUDA failed.
                    short = "out of memory|OUT_OF_MEMORY|nvCOMP status 1000"
                    assert re.search(short, str(error)), error  # noqa: PT017
                s4_codec.release_gpu_memory()
    for codec in codecs():
        round_trip(codec, values)


def test_two_processes_at_once() -> None:
    code = (
        "import s4_codec, os\n"
        "value = os.urandom(1 << 16) * 100\n"
        "for codec in (s4_codec.NvcompZstd(), s4_codec.NvcompGDeflate()):\n"
        "    for _ in range(3):\n"
        "        assert codec.decompress(*codec.compress(value)) == value\n"
    )
    both = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [process.wait(200) for process in both] == [0, 0]


def test_torch_in_the_same_process() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    if is_standin():
        pytest.skip("torch does not use the stand-in")
    tensor = torch.arange(1000, device="cuda")
    round_trip(NvcompZstd(), [text(100_000)])
    assert int(tensor.sum()) == 499_500
    payload, size, crc = NvcompZstd().compress(text(100_000))
    with pytest.raises(s4_codec.S4CrcMismatchError):
        NvcompZstd().decompress(payload, size, crc ^ 1)
    assert int((tensor * 2).sum()) == 999_000
    assert NvcompZstd().decompress(payload, size, crc) == text(100_000)
    s4_codec.release_gpu_memory()
    assert int(torch.ones(10, device="cuda").sum()) == 10


def test_ratios_are_those_of_compression() -> None:
    value = text(1 << 20)
    # The stand-in's GDeflate finds no repeats.
    most = len(value) * (0.6 if is_standin() else 0.5)
    for codec in codecs()[:2]:
        assert len(codec.compress(value)[0]) < most, codec
    there, here = len(NvcompZstd().compress(value)[0]), len(CpuZstd(1).compress(value)[0])
    print("bytes by the GPU's zstd over those of level 1 on the CPU:", there / here)
