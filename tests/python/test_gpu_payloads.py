"""Columns that are compressed in a GPU's memory and come home whole, on the stand-in, in processes
of their own.

Small columns take another way: the workers take each value from its batch. Both ways must make the
same bytes and raise the same errors.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from test_gpu import check
from test_gpu_column_faults import SETUP

LARGE = """
import random, time
random.seed(7)
noise = random.randbytes(7 << 20)
body = [text(n * 40_000 + n) for n in range(20)]
body += [None, b"", noise, text(3 << 20), b"", None, noise[:70_001], b"x"]
large = pa.chunked_array([body[:21], [], body[21:]], pa.large_binary())
series = pl.Series("body", body, pl.Binary)
codecs = (zstd, gdeflate, bitcomp)

def calls(name):
    return sum(text_of(gpu.standin_call_name, n) == name for n in range(gpu.standin_calls()))

def apart(function, codec):
    "The results of the values one by one."
    return [function(pa.array([value], pa.large_binary()), codec)[0].as_py() for value in body]
"""


@pytest.fixture
def both(standin: Path) -> dict[str, str]:
    """The environment in which the stand-in stands for both libraries."""
    return {"S4_CUDA_LIBRARY": str(standin), "S4_NVCOMP_LIBRARY": str(standin)}


def test_all_ways_make_the_same_bytes(both: dict[str, str]) -> None:
    code = """
for codec in codecs:
    for function, method in ((s4_codec.arrow.compress, s4.compress),
                             (s4_codec.arrow.encode, s4.encode)):
        expected = apart(function, codec)
        for _ in range(2):
            packed = function(large, codec)
            assert [len(chunk) for chunk in packed.chunks] == [21, 0, len(body) - 21]
            assert packed.to_pylist() == expected
            assert series.to_frame().select(method("body", codec))["body"].to_list() == expected
            # Meanwhile page-locked blocks are made for the next.
            del packed
            time.sleep(0.2)
        column = on_gpu.decompress(s4_codec.arrow.compress(large, codec), codec)
        on_device = on_gpu.compress if function is s4_codec.arrow.compress else on_gpu.encode
        assert on_device(column, codec).to_pylist() == expected
        del column
assert live() == 0
assert not violations(), violations()
"""
    check(SETUP + LARGE + code, **both)


def test_the_column_is_downloaded_at_once(both: dict[str, str]) -> None:
    code = """
values = pa.array([noise[n << 18 :] for n in range(4)], pa.large_binary())
def compress():
    "The column; whether only it and the sizes of each batch's chunks came home, to kept blocks."
    gpu.standin_reset()
    packed = s4_codec.arrow.compress(values, zstd)
    downloads = calls("cuMemcpyDtoHAsync_v2")
    return packed, downloads == gpu.standin_launches() + 1 and calls("cuMemHostAlloc") == 0

expected = compress()[0].to_pylist()
for _ in range(100):
    packed, at_once = compress()
    if at_once:
        break
    del packed
    time.sleep(0.1)
else:
    raise AssertionError("there were never enough blocks")
# They are the column's as long as it lives.
other, at_once = compress()
assert not at_once
assert other.to_pylist() == packed.to_pylist() == expected
del other, packed
assert live() == 0
assert not violations(), violations()
"""
    check(SETUP + LARGE + code, **both)


def test_a_bad_chunk_is_its_rows_error(both: dict[str, str]) -> None:
    code = """
import warnings
warnings.simplefilter("ignore")
column = on_gpu.decompress(s4_codec.arrow.compress(large, zstd), zstd)
chunks = sum(-(-len(value or b"") // 65_536) for value in body)
for codec in (zstd, bitcomp):
    for call in (lambda: s4_codec.arrow.compress(large, codec),
                 lambda: on_gpu.compress(column, codec)):
        expected = call()
        for kind in (1, 4):
            for chunk in (0, 100):
                gpu.standin_reset()
                # Each way meets it.
                gpu.standin_chunk_fault(kind, uint64(chunk))
                gpu.standin_chunk_fault(kind, uint64(chunk + chunks))
                try:
                    call()
                except S4BackendError as error:
                    assert error.row is not None, error
                else:
                    raise AssertionError("a chunk that was not compressed")
            # It happens once: the workers' way makes the column.
            gpu.standin_reset()
            gpu.standin_chunk_fault(kind, uint64(17))
            assert call().equals(expected)
gpu.standin_reset()
del column
assert live() == 0
assert not violations(), violations()
"""
    check(SETUP + LARGE + code, **both)


def test_lengths_that_bitcomp_refuses(both: dict[str, str]) -> None:
    code = """
numbers = NvcompBitcomp("u32")
try:
    s4_codec.arrow.compress(large, numbers)
except s4_codec.S4BackendError as error:
    first = next(n for n, value in enumerate(body) if len(value or b"") % 4)
    assert error.row == first, error
else:
    raise AssertionError("a length that is no multiple of 4")
even = pa.array([value and value[: len(value) // 4 * 4] for value in body], pa.large_binary())
packed = s4_codec.arrow.compress(even, numbers)
assert on_gpu.decompress(packed, numbers).to_arrow().equals(even)
"""
    check(SETUP + LARGE + code, **both)


OPERATIONS = {
    "Arrow": "s4_codec.arrow.compress(large, zstd)",
    "frames from the device": "on_gpu.encode(held, zstd)",
}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_any_call_may_fail_and_the_next_works(both: dict[str, str], operation: str) -> None:
    code = """
held = on_gpu.decompress(s4_codec.arrow.compress(large, zstd), zstd)
def whole():
    done = {operation}
    s4_codec.release_gpu_memory()
    return done

expected = whole()
gpu.standin_reset()
assert whole().equals(expected)
names = [text_of(gpu.standin_call_name, n) for n in range(gpu.standin_calls())]
typed = 0
# Every kind of call, the first time that it is made and the last.
tried = {}
for n, name in enumerate(names):
    tried.setdefault(name, []).append(n)
for name, places in tried.items():
    for n in {places[0], places[-1]}:
        gpu.standin_reset()
        gpu.standin_fail_call(uint64(n), 801 if name.startswith("cu") else 10_000, 0)
        try:
            assert whole().equals(expected), name
        except S4BackendError as error:
            typed += 1
        gpu.standin_reset()
        assert whole().equals(expected), name
assert typed > len(tried) // 2, (typed, len(tried))
""".replace("{operation}", operation)
    check(SETUP + LARGE + code, **both)


def test_memory_that_runs_out(both: dict[str, str]) -> None:
    code = """
column = on_gpu.decompress(s4_codec.arrow.compress(large, zstd), zstd)
calls = {
    "host": lambda: s4_codec.arrow.compress(large, zstd),
    "device": lambda: on_gpu.compress(column, zstd),
}
for name, call in calls.items():
    expected = call()
    for first in range(0, 40, 5):
        for count in (1, 3):
            s4_codec.release_gpu_memory()
            gpu.standin_reset()
            gpu.standin_fail_allocations(uint64(first), uint64(count))
            try:
                assert call().equals(expected)
            except S4BackendError as error:
                assert "memory" in str(error), error
            gpu.standin_reset()
            assert call().equals(expected)
# Too little for the column and its batches: the workers' way needs less.
gpu.standin_set_memory(uint64(64 << 20))
assert calls["host"]().equals(s4_codec.arrow.compress(large, zstd))
del column
assert live() == 0
assert not violations(), violations()
"""
    check(SETUP + LARGE + code, **both)
