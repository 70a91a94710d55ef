"""A GPU that is lost, on the stand-in: the process goes on without it and ends as usual."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from test_gpu import CONTROL, check

#: What a process takes at most beyond the limit: imports, the stand-in's work, and the exit.
SLACK = 30.0

SETUP = (
    CONTROL
    + """
import signal, threading, time
from s4_codec import gpu as on_gpu
hang = lambda n: gpu.standin_hang_launch(ctypes.c_uint64(n))
crash = lambda n: gpu.standin_crash_launch(ctypes.c_uint64(n))
gpu.standin_calls.restype = ctypes.c_uint64
values = [b"a value of some length %d" % i * 4000 for i in range(300)]
series, codec, auto = pl.Series("body", values), NvcompZstd(), NvcompZstd("auto")
packed = series.s4.compress(codec)
frames = pl.Series("body", values).s4.encode(codec, fallback=False)
alone = codec.compress(values[0])

def interrupt_once_launched():
    while not gpu.standin_launches():
        time.sleep(0.01)
    time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGINT)

def lost(reason, call, errors=(s4_codec.S4BackendError,)):
    try:
        call()
    except errors as error:
        assert reason in str(error) and "CUDA in this process is lost" in str(error), error
        assert "device=None" in str(error), error
    else:
        raise AssertionError("no error")

def without_a_gpu(reason):
    calls = gpu.standin_calls()
    assert not s4_codec.gpu_available()
    assert reason in s4_codec.gpu_status(), s4_codec.gpu_status()
    for call in (lambda: codec.compress(b"abc"), lambda: codec.decompress(*alone),
                 lambda: NvcompGDeflate(), s4_codec.release_gpu_memory,
                 lambda: s4_codec.arrow.compress(pa.array(values), codec)):
        lost(reason, call)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert packed.s4.decompress(auto).to_list() == values
        assert auto.decompress(*auto.compress(values[0])) == values[0]
    assert frames.s4.decode().to_list() == values
    assert gpu.standin_calls() == calls, "the driver is left alone"
    assert not gpu.standin_violations()
"""
)


@pytest.fixture
def both(standin: Path) -> dict[str, str]:
    """The environment in which the stand-in stands for both libraries."""
    return {"S4_CUDA_LIBRARY": str(standin), "S4_NVCOMP_LIBRARY": str(standin)}


def ends_within(seconds: float, code: str, **env: str) -> None:
    """Runs ``code`` in a process that must end well, and by then."""
    started = time.monotonic()
    check(SETUP + code, **env)
    assert time.monotonic() - started < seconds + SLACK


CALLS = {
    "polars": "lambda: packed.s4.decompress(codec)",
    "arrow": "lambda: s4_codec.arrow.compress(pa.array(values), codec)",
    "value": "lambda: codec.decompress(*alone)",
    "frame": "lambda: s4_codec.decode(frames[0], device=0)",
    "device memory": "lambda: on_gpu.decompress(packed, codec)",
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    ("fault", "reason"),
    [("hang", "the GPU was not done after 1"), ("crash", "CUDA_ERROR_ILLEGAL_ADDRESS (700)")],
)
def test_the_call_fails_and_the_process_goes_on(
    both: dict[str, str], call: str, fault: str, reason: str
) -> None:
    code = f"""
gpu.standin_reset()
{fault}(0)
lost({reason!r}, {call}, (s4_codec.S4BackendError, pl.exceptions.ComputeError))
without_a_gpu({reason!r})
"""
    ends_within(1, code, S4_GPU_TIMEOUT="1", **both)


def test_auto_goes_on_with_the_cpu(both: dict[str, str]) -> None:
    code = """
large = pl.Series("body", [value * 10 for value in values[:60]])
gpu.standin_reset()
hang(0)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    packed_by_auto = large.s4.compress(auto)
assert "the GPU was not done" in str(caught[0].message), caught
assert "the CPU does the work instead" in str(caught[0].message), caught
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    assert packed_by_auto.s4.decompress(auto).equals(large)
without_a_gpu("the GPU was not done")
"""
    ends_within(0.5, code, S4_GPU_TIMEOUT="0.5", S4_NUM_THREADS="2", **both)


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT to a process")
@pytest.mark.parametrize("call", ["polars", "arrow", "device memory"])
def test_an_interrupt_is_heard_while_waiting(both: dict[str, str], call: str) -> None:
    code = f"""
gpu.standin_reset()
hang(0)
threading.Thread(target=interrupt_once_launched).start()
started = time.monotonic()
try:
    ({CALLS[call]})()
except KeyboardInterrupt:
    assert time.monotonic() - started < 10
else:
    raise AssertionError("no interrupt")
assert not gpu.standin_violations()
"""
    ends_within(0, code, S4_GPU_TIMEOUT="600", **both)


def test_device_memory_is_freed_or_left(both: dict[str, str]) -> None:
    code = """
import gc
gpu.standin_live_bytes.restype = ctypes.c_uint64
s4_codec.release_gpu_memory()
column = on_gpu.decompress(packed, codec)
s4_codec.release_gpu_memory()
assert gpu.standin_live_bytes() > 0
del column
gc.collect()
assert gpu.standin_live_bytes() == 0, "freed by the time that it is dropped"

column = on_gpu.decompress(packed, codec)
gpu.standin_reset()
hang(0)
threading.Thread(target=interrupt_once_launched).start()
try:
    s4_codec.arrow.compress(pa.array(values), codec)
except KeyboardInterrupt:
    pass
else:
    raise AssertionError("no interrupt")
os.environ["S4_GPU_TIMEOUT"] = "0.5"
assert s4_codec.gpu_available()
started = time.monotonic()
del column
gc.collect()
assert 0.4 < time.monotonic() - started < 10, "it waits a little, and leaves the rest"
assert s4_codec.gpu_available()
try:
    on_gpu.decompress(packed, codec)
except s4_codec.S4BackendError:
    pass
without_a_gpu("the GPU was not done after 0.5 s")
"""
    ends_within(1, code, S4_GPU_TIMEOUT="600", **both)


@pytest.mark.parametrize("text", ["soon", "0", "-1", "inf", "nan"])
def test_a_limit_that_is_none(both: dict[str, str], text: str) -> None:
    code = """
import s4_codec
try:
    s4_codec.NvcompZstd().compress(b"abc")
except ValueError as error:
    assert str(error).startswith("S4_GPU_TIMEOUT must be a number of seconds above 0"), error
else:
    raise AssertionError("not a number of seconds")
"""
    check(code, S4_GPU_TIMEOUT=text, **both)
