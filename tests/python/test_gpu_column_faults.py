"""Columns in a GPU's memory when something fails, on the stand-in, in processes of their own.

Whatever fails, a call raises a typed error or returns the right column, the next call works, and
nothing is left behind.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from test_gpu import CONTROL, check

SETUP = (
    CONTROL
    + """
import gc, threading
from s4_codec import S4BackendError, gpu as on_gpu
for name in ("live", "live_bytes", "calls"):
    getattr(gpu, "standin_" + name).restype = ctypes.c_uint64
uint64 = ctypes.c_uint64

def text_of(function, n):
    text = ctypes.create_string_buffer(500)
    function(uint64(n), text, ctypes.c_size_t(500))
    return text.value.decode()

def violations():
    return [text_of(gpu.standin_violation, n) for n in range(gpu.standin_violations())]

def live():
    "What is left once all is given back."
    s4_codec.release_gpu_memory()
    return gpu.standin_live()

zstd, gdeflate, bitcomp, cpu = NvcompZstd(), NvcompGDeflate(), NvcompBitcomp(), s4_codec.CpuZstd()
def text(n):
    return b"".join(b"%d GET /item/%d 200\\n" % (i, i * 37 % 101) for i in range(n // 16 + 1))[:n]

values = pa.array([text(70_000), None, b"", *map(text, range(0, 6000, 500))], pa.large_binary())
codecs = [zstd, cpu, bitcomp, gdeflate] * 9
frames = [c.encode(v.as_py() or b"", fallback=False) for c, v in zip(codecs, values)]
frames = pa.array([f if v.is_valid else None for f, v in zip(frames, values)], pa.binary())
packed = s4_codec.arrow.compress(values, zstd)
"""
)


@pytest.fixture
def both(standin: Path) -> dict[str, str]:
    """The environment in which the stand-in stands for both libraries."""
    return {"S4_CUDA_LIBRARY": str(standin), "S4_NVCOMP_LIBRARY": str(standin)}


def test_nothing_is_left_behind(both: dict[str, str]) -> None:
    code = """
# Streams run as far ahead as they may, and are not done when they are first asked.
gpu.standin_run_ahead(1)
gpu.standin_answer_after(uint64(3))
column = on_gpu.decode(frames, dtype="large_string")
assert column.to_arrow().cast(pa.large_binary()).equals(values)
for codec in (zstd, gdeflate, bitcomp, cpu):
    packed = on_gpu.compress(column, codec)
    assert packed.equals(s4_codec.arrow.compress(values, codec))
    again = on_gpu.decompress(packed, codec)
    assert again.to_arrow().equals(values)
parts = [again.values, again.offsets.__dlpack__(max_version=(1, 0)), again.validity.__dlpack__()]
arrow = again.__arrow_c_device_array__()
del column, again
assert live() > 0, "views hold it"
del parts
assert live() > 0, "what is exported holds it"
del arrow
assert live() == 0
assert not violations(), violations()
"""
    check(SETUP + code, **both)


# --- Memory -------------------------------------------------------------------------------


def test_too_little_memory_is_said_before_anything_is_decoded(both: dict[str, str]) -> None:
    code = """
import re
value = bytes(10 << 20)
for codec in (zstd, gdeflate, bitcomp, cpu):
    packed = s4_codec.arrow.compress(pa.array([value] * 7), codec)
    frames = s4_codec.arrow.encode(pa.array([value] * 7), codec, fallback=False)
    held = on_gpu.decompress(packed[:2], codec)
    for call in (lambda: on_gpu.decompress(packed, codec), lambda: on_gpu.decode(frames),
                 lambda: on_gpu.decompress(packed, codec, on_error="null")):
        gpu.standin_reset()
        try:
            call()
        except S4BackendError as error:
            said = r"takes (\\d+) bytes of device memory, but GPU 0 has (\\d+) bytes free"
            found = re.search(said, str(error))
            assert found, error
            assert 70 << 20 <= int(found[1]) < 71 << 20
            assert int(found[2]) <= 44 << 20
            assert "pass fewer rows" in str(error)
        else:
            raise AssertionError("it does not fit")
        assert gpu.standin_launches() == 0
    assert held.to_arrow().to_pylist() == [value] * 2
    del held
    # What is kept for the next call gives way.
    assert on_gpu.decompress(packed[:2], codec).nbytes == 20 << 20
    # What a manifest claims is checked before the payload is.
    fields = [packed.field(0)[:1], pa.array([1 << 32]), packed.field(2)[:1]]
    forged = pa.StructArray.from_arrays(fields, packed.type.names)
    try:
        on_gpu.decompress(forged, codec)
    except (S4BackendError, s4_codec.S4SizeMismatchError, s4_codec.S4IoError) as error:
        assert codec is not cpu or "4294967296, but the payload can hold at most" in str(error)
    else:
        raise AssertionError("4 GiB")
assert live() == 0
assert not violations(), violations()
"""
    check(SETUP + code, STANDIN_MEMORY=str(64 << 20), **both)


def test_memory_that_runs_out_in_the_middle(both: dict[str, str]) -> None:
    code = """
calls = {
    "decode": lambda: on_gpu.decode(frames, dtype="large_string").to_arrow(),
    "compress": lambda: on_gpu.decompress(on_gpu.compress(column, zstd), zstd).to_arrow(),
}
column = on_gpu.decompress(packed, zstd)
for name, call in calls.items():
    expected = call()
    failed = 0
    for first in range(40):
        s4_codec.release_gpu_memory()
        before = gpu.standin_live()
        gpu.standin_reset()
        gpu.standin_fail_allocations(uint64(first), uint64(1))
        try:
            assert call().equals(expected)
        except S4BackendError as error:
            assert "memory" in str(error), error
            failed += 1
        assert live() == before, (name, first)
        gpu.standin_reset()
        assert call().equals(expected)
    assert failed > 0, "an allocation that cannot be made smaller"
    gpu.standin_reset()
    gpu.standin_fail_allocations(uint64(0), uint64(10_000))
    s4_codec.release_gpu_memory()
    try:
        call()
    except S4BackendError as error:
        assert "out of memory" in str(error), error
    else:
        raise AssertionError("no memory at all")
    gpu.standin_reset()
    assert call().equals(expected)
del column
assert live() == 0
assert not violations(), violations()
"""
    check(SETUP + code, **both)


def test_a_column_comes_home_where_memory_is_short(both: dict[str, str]) -> None:
    """It fits, but with no room to decode it: the host takes it in parts."""
    code = """
import time
large = pa.array([text(7 << 20)] * 4, pa.large_binary())
packed = s4_codec.arrow.compress(large, zstd)
for room in (1, 8):
    gpu.standin_set_memory(uint64((28 + room) << 20))
    s4_codec.release_gpu_memory()
    for _ in range(3):
        assert s4_codec.arrow.decompress(packed, zstd).equals(large)
        # Meanwhile page-locked blocks are made for the next.
        time.sleep(0.15)
assert live() == 0
assert not violations(), violations()
"""
    check(SETUP + code, **both)


# --- Calls that fail ----------------------------------------------------------------------

OPERATIONS = {
    "decompress": "on_gpu.decompress(packed, zstd, dtype='large_string').to_arrow()",
    "decode with bad rows": "on_gpu.decode(bad_frames, on_error='null').to_arrow()",
    "compress": "on_gpu.compress(held, bitcomp)",
    "encode on the CPU": "on_gpu.encode(held, cpu)",
    "encode what does not shrink": "on_gpu.encode(noise, zstd)",
    "matrix": "on_gpu.compress(Dlpack(matrix), gdeflate)",
}

FAILING = """
import random, warnings
warnings.simplefilter("ignore")
damaged = frames[0].as_py()
damaged = damaged[:24] + bytes([damaged[24] ^ 1]) + damaged[25:]
bad_frames = pa.array([*frames[:5].to_pylist(), damaged, *frames[5:].to_pylist()], pa.binary())
held = on_gpu.decompress(packed, zstd)
noise = [random.Random(n).randbytes(n) for n in (9, 70_000)] + [text(200_000), b"a", None]
noise = on_gpu.decompress(s4_codec.arrow.compress(pa.array(noise), zstd), zstd)
rows = s4_codec.arrow.compress(pa.array([text(256)] * 40), zstd)
matrix = on_gpu.decompress(rows, zstd).matrix("float32", 64)

class Dlpack:
    def __init__(self, array):
        self.__dlpack__, self.__dlpack_device__ = array.__dlpack__, array.__dlpack_device__

# Where one of these fails, what it was to free, or to free after it, stays.
FREEING = ["cuMemFree_v2", "cuMemFreeHost", "cuStreamDestroy_v2", "cuEventDestroy_v2",
           "cuModuleUnload", "cuDevicePrimaryCtxRelease_v2",
           "cuCtxPushCurrent_v2", "cuCtxSynchronize"]
def whole():
    "The operation, and giving everything back."
    done = {operation}
    s4_codec.release_gpu_memory()
    return done

expected = whole()
gpu.standin_reset()
assert whole().equals(expected)
names = [text_of(gpu.standin_call_name, n) for n in range(gpu.standin_calls())]
"""


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_any_call_may_fail_and_the_next_works(both: dict[str, str], operation: str) -> None:
    code = """
typed = leaked = 0
for n, name in enumerate(names):
    before = live()
    gpu.standin_reset()
    gpu.standin_fail_call(uint64(n), 801 if name.startswith("cu") else 10_000, 0)
    try:
        assert whole().equals(expected), name
    except S4BackendError as error:
        typed += 1
        known = name.removesuffix("Async") in str(error) or name.startswith("nvcomp")
        assert known or "memory" in str(error), (name, str(error))
    found = [v for v in violations() if not leaked or "the last context goes" not in v]
    assert not found, (name, found)
    gpu.standin_reset()
    left = live() - before
    assert 0 <= left <= (name in FREEING), (name, left)
    leaked += left
    gpu.standin_reset()
    assert whole().equals(expected), name
assert typed > len(names) // 2, (typed, len(names))
"""
    check(SETUP + FAILING.replace("{operation}", operation) + code, **both)


# --- Chunks -------------------------------------------------------------------------------


def test_a_bad_chunk_is_its_rows_error(both: dict[str, str]) -> None:
    code = """
warnings.simplefilter("ignore")
body = [text(n) for n in (10, 200_000, 9 << 20, 70_000, 3)]
rows = pa.array(body, pa.large_binary())
chunks = [max(1, -(-len(value) // 65_536)) for value in body]
faults = {1: (S4BackendError, "nvCOMP status 12"), 2: (S4BackendError, "impossible length"),
          3: (s4_codec.S4CrcMismatchError, "crc32c"), 4: (S4BackendError, "impossible length")}
for codec in (zstd, gdeflate, bitcomp):
    packed = s4_codec.arrow.compress(rows, codec)
    frames = s4_codec.arrow.encode(rows, codec, fallback=False)
    bare = packed.field("payload")
    for kind, (expected, words) in faults.items():
        for row, chunk in ((0, 0), (1, 0), (1, 3), (2, 0), (2, 128), (2, 143), (4, 0)):
            # The chunks of several rows may come in any order: one row at a time.
            alone = packed[row:row + 1]
            gpu.standin_reset()
            gpu.standin_chunk_fault(kind, uint64(chunk))
            try:
                on_gpu.decompress(alone, codec)
            except expected as error:
                assert error.row == 0 and words in str(error), error
            else:
                raise AssertionError((codec, kind, row, chunk))
            gpu.standin_reset()
            gpu.standin_chunk_fault(kind, uint64(chunk))
            column = on_gpu.decompress(alone, codec, on_error="null")
            assert column.to_arrow().to_pylist() == [None]
            assert column.null_count == 1
        # One bad chunk of many rows is one bad row.
        for n in range(0, sum(chunks), 41):
            for call in (lambda: on_gpu.decompress(packed, codec, on_error="null"),
                         lambda: on_gpu.decode(frames, on_error="null")):
                gpu.standin_reset()
                gpu.standin_chunk_fault(kind, uint64(n))
                found = call().to_arrow().to_pylist()
                bad = [i for i, value in enumerate(found) if value is None]
                assert len(bad) == 1, bad
                assert all(found[i] == body[i] for i in range(5) if i not in bad)
    for kind in (1, 4):
        column = on_gpu.decompress(packed, codec)
        gpu.standin_reset()
        gpu.standin_chunk_fault(kind, uint64(0))
        try:
            on_gpu.compress(column, codec)
        except S4BackendError as error:
            assert error.row is not None, error
        else:
            raise AssertionError("a chunk that was not compressed")
gpu.standin_reset()
del column
assert live() == 0
assert not violations(), violations()
"""
    check(SETUP + code, **both)


# --- Several devices and threads -----------------------------------------------------------


def test_two_devices_at_once(both: dict[str, str]) -> None:
    code = """
columns = [on_gpu.decode(frames, device=device) for device in (0, 1)]
for device, column in enumerate(columns):
    assert column.device == column.values.device == device
    assert column.offsets.__dlpack_device__() == (2, device)
    assert repr(column).endswith(f"on GPU {device}>")
    assert column.to_arrow().equals(values)
    assert on_gpu.compress(column, NvcompZstd(1 - device)).equals(packed)
try:
    columns[1].values.__dlpack__(dl_device=(2, 0))
except BufferError as error:
    assert "(2, 1)" in str(error), error
else:
    raise AssertionError("another device")
failed = []
def work(device, codec):
    try:
        packed = s4_codec.arrow.compress(values, codec)
        for _ in range(10):
            column = on_gpu.decompress(packed, codec, device=device)
            assert column.device == device
            assert on_gpu.compress(column, codec).equals(packed)
            assert column.to_arrow().equals(values)
    except BaseException as error:
        failed.append(error)
threads = [threading.Thread(target=work, args=(device, codec))
           for device in (0, 1) for codec in (zstd, gdeflate, bitcomp, cpu)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not failed, failed
del column, columns
assert live() == 0
assert not violations(), violations()
"""
    check(SETUP + code, STANDIN_DEVICES="2", **both)
