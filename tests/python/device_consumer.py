"""Consumers and producers of arrays in a GPU's memory, as other libraries are, in ctypes.

They look at every field, and read memory through the driver, so that they need no package that
knows GPUs and work on the stand-in.
"""

from __future__ import annotations

import ctypes
from contextlib import contextmanager
from ctypes import POINTER, c_char_p, c_int, c_int64, c_size_t, c_uint64, c_void_p
from typing import TYPE_CHECKING, Any

from c_producer import SCHEMA, CArray, CSchema, capsule
from cuda_driver import Driver

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa


class Gpu(Driver):
    """Memory of the first GPU; its context is current within calls only."""

    def __init__(self) -> None:
        super().__init__()
        self._context = c_void_p()
        self._call("cuCtxPopCurrent_v2", ctypes.byref(self._context))
        self._allocated: list[int] = []

    @contextmanager
    def _stream(self) -> Iterator[c_void_p]:
        """A stream, waited for at the end."""
        stream, popped = c_void_p(), c_void_p()
        self._call("cuCtxPushCurrent_v2", self._context)
        self._call("cuStreamCreateWithPriority", ctypes.byref(stream), 1, 0)
        try:
            yield stream
        finally:
            self._call("cuStreamSynchronize", stream)
            self._call("cuStreamDestroy_v2", stream)
            self._call("cuCtxPopCurrent_v2", ctypes.byref(popped))

    @contextmanager
    def _pinned(self, size: int) -> Iterator[c_void_p]:
        """Memory of the host that copies take, within a stream."""
        memory = c_void_p()
        self._call("cuMemHostAlloc", ctypes.byref(memory), c_size_t(size), 0)
        try:
            yield memory
        finally:
            self._call("cuMemFreeHost", memory)

    def read(self, address: int, size: int) -> bytes:
        """The bytes there."""
        if size == 0:
            return b""
        with self._stream() as stream, self._pinned(size) as memory:
            source = c_uint64(address)
            self._call("cuMemcpyDtoHAsync_v2", memory, source, c_size_t(size), stream)
            self._call("cuStreamSynchronize", stream)
            return ctypes.string_at(memory, size)

    def read_array(self, array: Any) -> bytes:
        """The bytes of an array with the CUDA array interface, whose items are back to back."""
        return self.read(array.__cuda_array_interface__["data"][0], array.nbytes)

    def upload(self, data: bytes) -> int:
        """The address of fresh memory with these bytes, which lives until :meth:`close`."""
        address = c_uint64()
        with self._stream() as stream, self._pinned(len(data) or 1) as memory:
            self._call("cuMemAlloc_v2", ctypes.byref(address), c_size_t(len(data) or 1))
            self._allocated.append(address.value)
            if data:
                ctypes.memmove(memory, data, len(data))
                self._call("cuMemcpyHtoDAsync_v2", address, memory, c_size_t(len(data)), stream)
                self._call("cuStreamSynchronize", stream)
        return address.value

    @contextmanager
    def event(self) -> Iterator[int]:
        """The handle of an event that is recorded."""
        event = c_void_p()
        with self._stream() as stream:
            self._call("cuEventCreate", ctypes.byref(event), 2)
            self._call("cuEventRecord", event, stream)
            try:
                yield event.value or 0
            finally:
                self._call("cuEventDestroy_v2", event)

    @contextmanager
    def stream(self) -> Iterator[int]:
        """The handle of a stream."""
        with self._stream() as stream:
            yield stream.value or 0

    def close(self) -> None:
        """Frees what was uploaded, and lets go of the context."""
        with self._stream():
            while self._allocated:
                self._call("cuMemFree_v2", c_uint64(self._allocated.pop()))
        self._call("cuDevicePrimaryCtxRelease_v2", 0)


# --- DLPack -------------------------------------------------------------------------------


class Tensor(ctypes.Structure):
    """``DLTensor``."""

    _fields_ = [
        ("data", c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", POINTER(c_int64)),
        ("strides", POINTER(c_int64)),
        ("byte_offset", c_uint64),
    ]


DELETER = ctypes.CFUNCTYPE(None, c_void_p)


class Managed(ctypes.Structure):
    """``DLManagedTensor``."""

    _fields_ = [("tensor", Tensor), ("context", c_void_p), ("deleter", c_void_p)]


class Versioned(ctypes.Structure):
    """``DLManagedTensorVersioned``."""

    _fields_ = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", c_void_p),
        ("deleter", c_void_p),
        ("flags", c_uint64),
        ("tensor", Tensor),
    ]


#: Capsules keep a pointer to their name.
NAMES = {Managed: b"dltensor", Versioned: b"dltensor_versioned"}
USED = {Managed: b"used_dltensor", Versioned: b"used_dltensor_versioned"}

_get_name = ctypes.PYFUNCTYPE(c_char_p, ctypes.py_object)(("PyCapsule_GetName", ctypes.pythonapi))
_get_pointer = ctypes.PYFUNCTYPE(c_void_p, ctypes.py_object, c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
_set_name = ctypes.PYFUNCTYPE(c_int, ctypes.py_object, c_char_p)(
    ("PyCapsule_SetName", ctypes.pythonapi)
)


def name_of(held: Any) -> str:
    """The name of a capsule."""
    return (_get_name(held) or b"").decode()


class Consumed:
    """What a consumer takes out of a DLPack capsule; it is freed by :meth:`free`, once."""

    def __init__(self, held: Any) -> None:
        (kind,) = (kind for kind, name in NAMES.items() if name.decode() == name_of(held))
        self._address = _get_pointer(held, NAMES[kind])
        self.managed = kind.from_address(self._address)
        _set_name(held, USED[kind])
        tensor = self.managed.tensor
        self.tensor = tensor
        self.address = (tensor.data or 0) + tensor.byte_offset
        self.shape = tuple(tensor.shape[: tensor.ndim])
        self.strides = tuple(tensor.strides[: tensor.ndim])

    def free(self) -> None:
        """Calls the producer's function."""
        DELETER(self.managed.deleter)(self._address)


class DlpackProducer:
    """A tensor of another library's. What is asked of it, and whether it was freed, is noted."""

    def __init__(
        self,
        address: int,
        shape: tuple[int, ...],
        *,
        strides: tuple[int, ...] | None = None,
        bits: int = 8,
        lanes: int = 1,
        byte_offset: int = 0,
        device: tuple[int, int] = (2, 0),
    ) -> None:
        self.device, self.asked, self.freed = device, [], 0
        self._shape = (c_int64 * len(shape))(*shape)
        self._strides = None if strides is None else (c_int64 * len(strides))(*strides)
        self._deleter = DELETER(self._free)
        tensor = Tensor(
            data=address,
            device_type=device[0],
            device_id=device[1],
            ndim=len(shape),
            code=1,
            bits=bits,
            lanes=lanes,
            shape=self._shape,
            strides=self._strides,
            byte_offset=byte_offset,
        )
        self._managed = Managed(tensor=tensor, deleter=ctypes.cast(self._deleter, c_void_p))

    def _free(self, _managed: int) -> None:
        self.freed += 1

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(self, **options: Any) -> Any:
        self.asked.append(options)
        return capsule(self._managed, NAMES[Managed])


class OnlyDlpack:
    """An array as a library shows it that has no other interface."""

    def __init__(self, array: Any) -> None:
        self.__dlpack__, self.__dlpack_device__ = array.__dlpack__, array.__dlpack_device__


# --- The CUDA array interface --------------------------------------------------------------


class CudaArray:
    """An array that is no more than its ``__cuda_array_interface__``."""

    def __init__(self, address: int, shape: tuple[int, ...], **items: Any) -> None:
        interface = {"data": (address, True), "shape": shape, "typestr": "|u1", "version": 3}
        self.__cuda_array_interface__ = interface | items


# --- Arrow on devices ---------------------------------------------------------------------


class CDeviceArray(ctypes.Structure):
    """``struct ArrowDeviceArray``."""

    _fields_ = [
        ("array", CArray),
        ("device_id", c_int64),
        ("device_type", ctypes.c_int32),
        ("sync_event", c_void_p),
        ("reserved", c_int64 * 3),
    ]


DEVICE_ARRAY = b"arrow_device_array"
RELEASE = ctypes.CFUNCTYPE(None, c_void_p)


class Imported:
    """What a consumer moves out of the two capsules of ``__arrow_c_device_array__``."""

    def __init__(self, pair: tuple[Any, Any]) -> None:
        self.schema, self.device_array = CSchema(), CDeviceArray()
        places = ((SCHEMA, self.schema, CSchema), (DEVICE_ARRAY, self.device_array, CArray))
        for held, (name, own, first) in zip(pair, places, strict=True):
            source = _get_pointer(held, name)
            ctypes.memmove(ctypes.addressof(own), source, ctypes.sizeof(own))
            # A structure that was moved out has no release callback.
            first.from_address(source).release = None
        self.array = self.device_array.array

    @property
    def buffers(self) -> list[int]:
        return [self.array.buffers[i] or 0 for i in range(self.array.n_buffers)]

    def release_schema(self) -> None:
        RELEASE(self.schema.release)(ctypes.addressof(self.schema))

    def release(self) -> None:
        RELEASE(self.array.release)(ctypes.addressof(self.device_array))


class DeviceExport:
    """A PyArrow array whose buffers are on a GPU, exported by another library."""

    def __init__(self, gpu: Gpu, array: pa.Array, *, device_type: int = 2, event: int = 0) -> None:
        addresses = [
            None if buffer is None else gpu.upload(buffer.to_pybytes())
            for buffer in array.buffers()
        ]
        self.released = 0
        self._buffers = (c_void_p * len(addresses))(*addresses)
        self._release = RELEASE(self._released)
        self._event = c_void_p(event)
        self.schema = CSchema()
        array.type._export_to_c(ctypes.addressof(self.schema))
        exported = CArray(
            length=len(array),
            null_count=-1,
            offset=array.offset,
            n_buffers=len(addresses),
            buffers=self._buffers,
            release=ctypes.cast(self._release, c_void_p),
        )
        event_place = ctypes.addressof(self._event) if event else None
        self.array = CDeviceArray(array=exported, device_type=device_type, sync_event=event_place)

    def _released(self, array: int) -> None:
        self.released += 1
        CArray.from_address(array).release = None

    def __arrow_c_device_array__(
        self, requested_schema: Any = None, **_options: Any
    ) -> tuple[Any, Any]:
        return capsule(self.schema, SCHEMA), capsule(self.array, DEVICE_ARRAY)
