"""As much of libcuda as the tests of a GPU need beside the package's own use of it."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Driver:
    """libcuda, with the first GPU's context current on this thread."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(os.environ.get("S4_CUDA_LIBRARY", "libcuda.so.1"))
        self._call("cuInit", 0)
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self._call("cuDeviceGet", ctypes.byref(device), 0)
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._call("cuCtxPushCurrent_v2", context)

    def _call(self, name: str, *arguments: object) -> None:
        status = getattr(self._library, name)(*arguments)
        if status != 0:
            msg = f"{name}: {status}"
            raise RuntimeError(msg)

    def free_memory(self) -> int:
        """Free bytes of the GPU."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self._call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value

    def hold_all_but(self, left: int) -> int:
        """Allocates until so many bytes are free; returns how many."""
        step, held = 256 << 20, 0
        while (free := self.free_memory()) > left + step:
            memory = ctypes.c_uint64()
            size = max(step, (free - left) // 2 // step * step)
            self._call("cuMemAlloc_v2", ctypes.byref(memory), ctypes.c_size_t(size))
            held += size
        return held


@contextmanager
def memory_held_elsewhere(left: int) -> Iterator[int]:
    """Another process holds all of the GPU's memory but so many bytes; yields how many."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import cuda_driver\n"
        "print(cuda_driver.Driver().hold_all_but(int(sys.argv[2])), flush=True)\n"
        "sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, os.path.dirname(__file__), str(left)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdin
        yield int(holder.stdout.readline())
        holder.stdin.close()
        holder.wait(60)
