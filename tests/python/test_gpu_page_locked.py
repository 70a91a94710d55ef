"""Columns that come home to page-locked memory, on the stand-in, in processes of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_gpu import check
from test_gpu_column_faults import SETUP

WARM = """
import time, warnings

def calls(name):
    return sum(text_of(gpu.standin_call_name, n) == name for n in range(gpu.standin_calls()))

def is_through(decompress):
    "Whether a column is downloaded on a stream of its own, to blocks that it keeps."
    gpu.standin_reset()
    column = decompress()
    return calls("cuStreamCreateWithPriority") == 1 and calls("cuMemHostAlloc") == 0, column

def warm(decompress):
    "The column, once there are blocks for it; it goes before they are asked for again."
    decompress()
    for _ in range(100):
        found, column = is_through(decompress)
        if found:
            return column
        del column
        time.sleep(0.1)
    raise AssertionError("there were never enough blocks")

large = pa.chunked_array([[text(n * 40_000 + n) for n in range(20)], [None, b"", text(9 << 20)]],
                         pa.large_binary())
"""


@pytest.fixture
def both(standin: Path) -> dict[str, str]:
    """The environment in which the stand-in stands for both libraries."""
    return {"S4_CUDA_LIBRARY": str(standin), "S4_NVCOMP_LIBRARY": str(standin)}


def test_columns_come_home_to_blocks(both: dict[str, str]) -> None:
    code = """
for codec in (zstd, gdeflate, bitcomp):
    packed = s4_codec.arrow.compress(large, codec)
    assert warm(lambda: s4_codec.arrow.decompress(packed, codec)).equals(large)
    as_text = warm(lambda: s4_codec.arrow.decompress(packed, codec, dtype="large_string"))
    assert as_text.cast(pa.large_binary()).equals(large)
    frame = pl.from_arrow(pa.table({"body": packed}))
    column = warm(lambda: frame.select(s4.decompress("body", codec))["body"])
    assert column.to_list() == large.to_pylist()
    frames = s4_codec.arrow.encode(large, codec, fallback=False)
    assert warm(lambda: s4_codec.arrow.decode(frames, device=0)).equals(large)
del as_text, column
assert live() == 0
assert not violations(), violations()
"""
    check(SETUP + WARM + code, **both)


def test_a_column_keeps_its_blocks(both: dict[str, str]) -> None:
    code = """
packed = s4_codec.arrow.compress(large, zstd)
decompress = lambda: s4_codec.arrow.decompress(packed, zstd)
kept = warm(decompress)
found, other = is_through(decompress)
assert not found, "the blocks are in use"
slice = kept.chunk(1).slice(2)
del other, kept
s4_codec.release_gpu_memory()
assert live() > 0, "a slice of the column is left"
assert slice.to_pylist() == [text(9 << 20)]
thread = threading.Thread(target=lambda: globals().pop("slice"))
thread.start()
thread.join()
gc.collect()
assert live() == 0
assert not violations(), violations()
"""
    check(SETUP + WARM + code, **both)


def test_damaged_rows_leave_no_gap(both: dict[str, str]) -> None:
    code = """
whole = large.combine_chunks()
packed = s4_codec.arrow.compress(whole, zstd)
warm(lambda: s4_codec.arrow.decompress(packed, zstd))
sums = packed.field("crc32c").to_pylist()
for row in (3, 22):
    sums[row] ^= 1
fields = [packed.field("payload"), packed.field("original_size"), pa.array(sums, pa.int64())]
names = ["payload", "original_size", "crc32c"]
damaged = pa.StructArray.from_arrays(fields, names, mask=whole.is_null())
assert is_through(lambda: s4_codec.arrow.decompress(packed, zstd))[0]
try:
    s4_codec.arrow.decompress(damaged, zstd)
    raise AssertionError("no row was bad")
except s4_codec.S4CrcMismatchError as error:
    assert error.row == 3
expected = whole.to_pylist()
expected[3] = expected[22] = None
warnings.simplefilter("ignore")
column = s4_codec.arrow.decompress(damaged, zstd, on_error="null")
assert column.to_pylist() == expected
assert column.buffers()[2].size == sum(map(len, filter(None, expected)))
series = pl.from_arrow(pa.table({"body": damaged}))["body"]
assert series.s4.decompress(zstd, on_error="null").to_list() == expected
# On "auto" the CPU tries bad rows again, and the first error is its own.
auto = NvcompZstd("auto")
try:
    s4_codec.arrow.decompress(damaged, auto)
    raise AssertionError("no row was bad")
except s4_codec.S4CrcMismatchError as error:
    assert error.row == 3
del column
assert live() == 0
assert not violations(), violations()
"""
    check(SETUP + WARM + code, **both)
