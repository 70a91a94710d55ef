"""Columns in the memory of a GPU that is lost, on the stand-in: all that uses it says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_gpu import check
from test_gpu_column_faults import FAILING, OPERATIONS, SETUP


@pytest.fixture
def both(standin: Path) -> dict[str, str]:
    """The environment in which the stand-in stands for both libraries."""
    return {"S4_CUDA_LIBRARY": str(standin), "S4_NVCOMP_LIBRARY": str(standin)}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_a_gpu_that_is_lost_is_said_so(both: dict[str, str], operation: str) -> None:
    """At a call that fails and whatever comes after it; the process ends as usual."""
    code = """
n = len(names) * {part} // 4
gpu.standin_reset()
gpu.standin_fail_call(uint64(n), 700, 1)
try:
    whole()
except S4BackendError as error:
    assert "CUDA in this process is lost" in str(error), error
else:
    raise AssertionError("lost")
calls = gpu.standin_calls()
for call in (whole, held.to_arrow, lambda: on_gpu.compress(held, zstd)):
    try:
        call()
    except S4BackendError as error:
        assert "CUDA in this process is lost" in str(error), error
    else:
        raise AssertionError("it stays lost")
assert (len(held), held.values.device) == (len(values), 0)
del held, matrix
gc.collect()
assert gpu.standin_calls() == calls, "the driver is left alone"
assert not violations(), violations()
"""
    for part in (1, 3):
        setup = SETUP + FAILING.replace("{operation}", operation)
        check(setup + code.replace("{part}", str(part)), **both)


def test_a_kernel_that_never_ends(both: dict[str, str]) -> None:
    code = """
held = on_gpu.decompress(packed, zstd)
gpu.standin_reset()
gpu.standin_hang_launch(uint64(0))
for call in (lambda: on_gpu.decode(frames), held.to_arrow, lambda: on_gpu.compress(held, zstd)):
    try:
        call()
    except S4BackendError as error:
        assert "the GPU was not done after 0.5 s" in str(error), error
    else:
        raise AssertionError("hangs")
assert not violations(), violations()
"""
    check(SETUP + code, S4_GPU_TIMEOUT="0.5", **both)


def test_an_interrupt_is_heard(both: dict[str, str]) -> None:
    code = """
import signal, time
held = on_gpu.decompress(packed, zstd)
gpu.standin_reset()
gpu.standin_hang_launch(uint64(0))
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
started = time.monotonic()
try:
    {call}
except KeyboardInterrupt:
    assert time.monotonic() - started < 20
else:
    raise AssertionError("no interrupt")
assert not violations(), violations()
"""
    for call in ("on_gpu.decode(frames)", "on_gpu.compress(held, zstd)"):
        check(SETUP + code.replace("{call}", call), S4_GPU_TIMEOUT="2", **both)
