"""A producer of Arrow data that lies: exports of PyArrow, with any field changed."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_int64, c_void_p
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa


class CSchema(ctypes.Structure):
    """``struct ArrowSchema``."""


class CArray(ctypes.Structure):
    """``struct ArrowArray``."""


CSchema._fields_ = [
    ("format", c_char_p),
    ("name", c_char_p),
    ("metadata", c_void_p),
    ("flags", c_int64),
    ("n_children", c_int64),
    ("children", POINTER(POINTER(CSchema))),
    ("dictionary", POINTER(CSchema)),
    ("release", c_void_p),
    ("private_data", c_void_p),
]
CArray._fields_ = [
    ("length", c_int64),
    ("null_count", c_int64),
    ("offset", c_int64),
    ("n_buffers", c_int64),
    ("n_children", c_int64),
    ("buffers", POINTER(c_void_p)),
    ("children", POINTER(POINTER(CArray))),
    ("dictionary", POINTER(CArray)),
    ("release", c_void_p),
    ("private_data", c_void_p),
]


class CStream(ctypes.Structure):
    """``struct ArrowArrayStream``."""

    _fields_ = [(name, c_void_p) for name in ("get_schema", "get_next", "error", "release", "data")]


def capsule(structure: ctypes.Structure, name: bytes) -> Any:
    """A capsule that does not own what it holds."""
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = ctypes.py_object, [c_void_p, c_char_p, c_void_p]
    return new(ctypes.addressof(structure), name, None)


#: Capsules keep a pointer to their name.
SCHEMA, ARRAY, STREAM = b"arrow_schema", b"arrow_array", b"arrow_array_stream"


def release_nothing(structure: Any) -> None:
    """Marks as released what is so changed that PyArrow could not release it."""
    structure.contents.release = None


RELEASES = {
    kind: ctypes.CFUNCTYPE(None, POINTER(kind))(release_nothing) for kind in (CSchema, CArray)
}


class Liar:
    """Exports ``array`` after ``change`` has been at it; the export itself leaks."""

    def __init__(self, array: pa.Array, change: Callable[[CSchema, CArray], object]) -> None:
        self.schema, self.array = CSchema(), CArray()
        array._export_to_c(ctypes.addressof(self.array), ctypes.addressof(self.schema))
        for structure in (self.schema, self.array):
            structure.release = ctypes.cast(RELEASES[type(structure)], c_void_p)
        change(self.schema, self.array)

    def __arrow_c_array__(self, requested_schema: Any = None) -> tuple[Any, Any]:
        return capsule(self.schema, SCHEMA), capsule(self.array, ARRAY)


class Returns:
    """An object whose methods of the interface return these."""

    def __init__(self, array: Any = None, stream: Any = None) -> None:
        if array is not None:
            self.__arrow_c_array__ = lambda: array
        if stream is not None:
            self.__arrow_c_stream__ = lambda: stream
