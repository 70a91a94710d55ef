"""How long columns in a GPU's memory live, and what threads do with them."""

from __future__ import annotations

import ctypes
import gc
import os
import threading
from typing import Any

import pyarrow as pa
import pytest
from codecs_table import text
from conftest import is_standin
from device_consumer import Consumed
from test_gpu_views import VALUES, column_of

import s4_codec
import s4_codec.arrow
from s4_codec import CpuZstd, NvcompBitcomp, NvcompGDeflate, NvcompZstd, gpu

pytestmark = pytest.mark.gpu


def live() -> int:
    """What is live on the stand-in; a real GPU does not say."""
    if not is_standin():
        return 0
    gc.collect()
    standin = ctypes.CDLL(os.environ["S4_CUDA_LIBRARY"])
    standin.standin_live_bytes.restype = ctypes.c_uint64
    return int(standin.standin_live_bytes())


VIEWS = {
    "values": lambda column: column.values,
    "offsets": lambda column: column.offsets,
    "validity": lambda column: column.validity,
    "matrix": lambda column: column_of([b"abcd"] * 9).matrix("uint32", 1),
    "dlpack": lambda column: column.values.__dlpack__(),
    "versioned dlpack": lambda column: column.values.__dlpack__(max_version=(1, 0)),
    "arrow": lambda column: column.__arrow_c_device_array__(),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_a_view_outlives_its_column(view: Any) -> None:
    column_of(VALUES)
    s4_codec.release_gpu_memory()
    before = live()
    column = column_of(VALUES)
    expected, held = column.to_arrow(), view(column)
    del column
    s4_codec.release_gpu_memory()
    if is_standin():
        assert live() > before
    again = column_of(VALUES)
    # The memory that the view holds is not given to another column.
    assert again.to_arrow().equals(expected)
    del held, again
    s4_codec.release_gpu_memory()
    assert live() == before, "an unused capsule frees what it holds"


def test_columns_are_dropped_on_any_thread() -> None:
    s4_codec.release_gpu_memory()
    before, columns = live(), [column_of(VALUES) for _ in range(8)]
    held = [Consumed(column.values.__dlpack__()) for column in columns[:4]]

    def drop() -> None:
        while columns:
            columns.pop()
        for consumed in held:
            consumed.free()

    thread = threading.Thread(target=drop)
    thread.start()
    thread.join()
    s4_codec.release_gpu_memory()
    assert live() == before


def test_threads_share_the_gpu() -> None:
    failed: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            codec = (NvcompZstd(), NvcompGDeflate(), NvcompBitcomp(), CpuZstd())[seed]
            values = pa.array([text(n * 997 % 100_000) for n in range(seed, 60)], pa.large_binary())
            packed = s4_codec.arrow.compress(values, codec)
            for _ in range(5):
                column = gpu.decompress(packed, codec)
                assert gpu.compress(column, codec).equals(packed)
                assert column.to_arrow().equals(values)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
