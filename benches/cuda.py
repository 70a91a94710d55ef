"""Minimal ctypes bindings of libcuda and libnvcomp, to measure them without this package.

libcuda is ``S4_CUDA_LIBRARY``, or the one that the system's loader finds. libnvcomp is
``S4_NVCOMP_LIBRARY``, or that of an installed wheel, or the one that the loader finds.
Signatures: the CUDA driver API reference, and the headers of nvCOMP 5.1 and 6.0.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

_DRIVER: dict[str, list[Any]] = {
    "cuInit": [c_uint],
    "cuDeviceGet": [POINTER(c_int), c_int],
    "cuDevicePrimaryCtxRetain": [POINTER(c_void_p), c_int],
    "cuCtxPushCurrent_v2": [c_void_p],
    "cuCtxPopCurrent_v2": [POINTER(c_void_p)],
    "cuMemAlloc_v2": [POINTER(c_uint64), c_size_t],
    "cuMemFree_v2": [c_uint64],
    "cuMemHostAlloc": [POINTER(c_void_p), c_size_t, c_uint],
    "cuMemFreeHost": [c_void_p],
    "cuStreamCreate": [POINTER(c_void_p), c_uint],
    "cuStreamDestroy_v2": [c_void_p],
    "cuStreamSynchronize": [c_void_p],
    "cuMemcpyHtoDAsync_v2": [c_uint64, c_void_p, c_size_t, c_void_p],
    "cuMemcpyDtoHAsync_v2": [c_void_p, c_uint64, c_size_t, c_void_p],
}

#: Streams that do not wait for the default stream.
_NON_BLOCKING = 1

_NVCOMP_NAMES = ("libnvcomp.so.6", "libnvcomp.so.5", "libnvcomp.so")


class CallError(RuntimeError):
    """A call of libcuda or libnvcomp failed."""


class Cuda:
    """The primary context of a GPU. All other calls are made within :meth:`current`.

    It is retained until the process ends, because other libraries keep objects in it.
    """

    def __init__(self, device: int) -> None:
        self._library = ctypes.CDLL(os.environ.get("S4_CUDA_LIBRARY", "libcuda.so.1"))
        for name, arguments in _DRIVER.items():
            getattr(self._library, name).argtypes = arguments
        self._library.cuGetErrorName.argtypes = [c_int, POINTER(c_char_p)]
        self._call("cuInit", 0)
        handle, self._context = c_int(), c_void_p()
        self._call("cuDeviceGet", ctypes.byref(handle), device)
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), handle)

    def _call(self, name: str, *arguments: object) -> None:
        status = getattr(self._library, name)(*arguments)
        if status != 0:
            text = c_char_p()
            self._library.cuGetErrorName(status, ctypes.byref(text))
            known = text.value.decode() if text.value else "unknown error"
            msg = f"{name} returned {status} ({known})"
            raise CallError(msg)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Makes the context current on this thread."""
        self._call("cuCtxPushCurrent_v2", self._context)
        try:
            yield
        finally:
            self._call("cuCtxPopCurrent_v2", ctypes.byref(c_void_p()))

    @contextmanager
    def device_memory(self, size: int) -> Iterator[int]:
        """The address of ``size`` bytes on the device."""
        address = c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), size)
        try:
            yield address.value
        finally:
            self._call("cuMemFree_v2", address)

    @contextmanager
    def pinned_memory(self, size: int) -> Iterator[Bytes]:
        """``size`` bytes of pinned host memory, which must not be used afterwards."""
        address = c_void_p()
        self._call("cuMemHostAlloc", ctypes.byref(address), size, 0)
        try:
            yield np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address.value or 0))
        finally:
            self._call("cuMemFreeHost", address)

    @contextmanager
    def stream(self) -> Iterator[Stream]:
        handle = c_void_p()
        self._call("cuStreamCreate", ctypes.byref(handle), _NON_BLOCKING)
        stream = Stream(self, handle)
        try:
            yield stream
        finally:
            stream.synchronize()
            self._call("cuStreamDestroy_v2", handle)


@dataclass(frozen=True)
class Stream:
    """A stream: its operations run in order."""

    cuda: Cuda
    handle: c_void_p

    def upload(self, to: int, source: npt.NDArray[Any]) -> None:
        """Queues a copy of a contiguous array to the device."""
        arguments = (to, source.ctypes.data, source.nbytes, self.handle)
        self.cuda._call("cuMemcpyHtoDAsync_v2", *arguments)

    def download(self, to: npt.NDArray[Any], source: int) -> None:
        """Queues a copy from the device that fills a contiguous array."""
        arguments = (to.ctypes.data, source, to.nbytes, self.handle)
        self.cuda._call("cuMemcpyDtoHAsync_v2", *arguments)

    def synchronize(self) -> None:
        self.cuda._call("cuStreamSynchronize", self.handle)


class _Options(ctypes.Structure):
    """Options of any codec, in either direction; unused words must be zero."""

    _fields_ = (("words", c_int * 16),)


def _nvcomp_library() -> ctypes.CDLL:
    named = os.environ.get("S4_NVCOMP_LIBRARY")
    if named:
        return ctypes.CDLL(named)
    folders = [Path(folder) / "nvidia/libnvcomp/lib64" for folder in sys.path]
    installed = [folder / name for folder in folders for name in _NVCOMP_NAMES]
    failures = []
    for name in [*(str(path) for path in installed if path.exists()), *_NVCOMP_NAMES]:
        try:
            return ctypes.CDLL(name)
        except OSError as error:
            failures.append(str(error))
    raise CallError("; ".join(failures))


class Nvcomp:
    """A loaded libnvcomp of version 5 or 6."""

    def __init__(self) -> None:
        self.library = _nvcomp_library()
        properties = (c_uint * 2)()
        self.call("nvcompGetProperties", [c_void_p], properties)
        #: 5100 for 5.1, for example.
        self.version = properties[0]
        if not 5000 <= self.version <= 6999:
            msg = f"expected nvCOMP 5 or 6, found version {self.version}"
            raise CallError(msg)

    def call(self, name: str, types: list[Any], *arguments: object) -> None:
        function = getattr(self.library, name)
        function.argtypes = types
        status = function(*arguments)
        if status != 0:
            msg = f"{name} returned {status}"
            raise CallError(msg)


@dataclass(frozen=True)
class Arrays:
    """Addresses of arrays on the device with one item per chunk, and the number of items."""

    count: int
    inputs: int
    input_sizes: int
    outputs: int
    #: Capacities of the outputs in bytes; read by decompression only.
    capacities: int
    #: Written by both: output sizes in bytes, and int32 statuses.
    output_sizes: int
    statuses: int


class Batched:
    """nvCOMP's batched calls of one codec: ``Zstd``, ``Gdeflate`` or ``Bitcomp``.

    ``data_type`` is nvCOMP's number of Bitcomp's data type.
    """

    def __init__(self, nvcomp: Nvcomp, codec: str, data_type: int) -> None:
        self._nvcomp, self._codec = nvcomp, codec
        self._to, self._from = _Options(), _Options()
        if codec == "Gdeflate":
            # The default of nvCOMP and of this package; 0 is entropy coding only.
            self._to.words[0] = 1
        if codec == "Bitcomp":
            self._to.words[1] = data_type

    def _call(self, name: str, types: list[Any], *arguments: object) -> None:
        self._nvcomp.call(f"nvcompBatched{self._codec}{name}", types, *arguments)

    def max_output(self, longest: int) -> int:
        """The maximum compressed size of a chunk of ``longest`` bytes."""
        size = c_size_t()
        types = [c_size_t, _Options, c_void_p]
        name = "CompressGetMaxOutputChunkSize"
        self._call(name, types, longest, self._to, ctypes.byref(size))
        return size.value

    def temp_size(
        self, direction: str, count: int, longest: int, total: int, stream: Stream
    ) -> int:
        """The size of the temporary memory of a batch of ``total`` bytes of originals."""
        name = direction.capitalize()
        options = self._to if direction == "compress" else self._from
        size = c_size_t()
        types = [c_size_t, c_size_t, _Options, c_void_p, c_size_t]
        arguments = (count, longest, options, ctypes.byref(size), total)
        if self._nvcomp.version < 6000:
            self._call(f"{name}GetTempSizeAsync", types, *arguments)
        else:
            with_stream = [*types, c_void_p]
            self._call(f"{name}GetTempSize", with_stream, *arguments, stream.handle)
        return size.value

    def compress(
        self, arrays: Arrays, longest: int, temp: int, temp_size: int, stream: Stream
    ) -> None:
        """Queues compression of a batch whose longest chunk has ``longest`` bytes."""
        types: list[Any] = [c_uint64, c_uint64, c_size_t, c_size_t, c_uint64, c_size_t]
        types += [c_uint64, c_uint64, _Options, c_uint64, c_void_p]
        self._call(
            "CompressAsync",
            types,
            arrays.inputs,
            arrays.input_sizes,
            longest,
            arrays.count,
            temp,
            temp_size,
            arrays.outputs,
            arrays.output_sizes,
            self._to,
            arrays.statuses,
            stream.handle,
        )

    def decompress(self, arrays: Arrays, temp: int, temp_size: int, stream: Stream) -> None:
        """Queues decompression of a batch."""
        types: list[Any] = [c_uint64, c_uint64, c_uint64, c_uint64, c_size_t, c_uint64, c_size_t]
        types += [c_uint64, _Options, c_uint64, c_void_p]
        self._call(
            "DecompressAsync",
            types,
            arrays.inputs,
            arrays.input_sizes,
            arrays.capacities,
            arrays.output_sizes,
            arrays.count,
            temp,
            temp_size,
            arrays.outputs,
            self._from,
            arrays.statuses,
            stream.handle,
        )
