"""Views of a column in a GPU's memory, as other libraries see them, and how long it lives."""

from __future__ import annotations

import gc
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from codecs_table import text
from conftest import is_standin
from device_consumer import Consumed, Imported, Managed, Versioned, name_of

import s4_codec
import s4_codec.arrow
from s4_codec import NvcompBitcomp, NvcompZstd, gpu

if TYPE_CHECKING:
    from device_consumer import Gpu

pytestmark = pytest.mark.gpu

VALUES = [text(70_000), None, b"", b"abc", *[text(n) for n in range(20)], None]


def column_of(values: list[Any], dtype: str = "large_binary") -> gpu.DeviceColumn:
    packed = s4_codec.arrow.compress(pa.array(values, dtype), NvcompZstd())
    return gpu.decompress(packed, NvcompZstd(), dtype=dtype)


def embeddings(rows: int, width: int, dtype: str = "float32") -> tuple[Any, gpu.DeviceColumn]:
    """A matrix of numbers, and the column of its rows."""
    matrix = (np.arange(rows * width).reshape(rows, width) % 119).astype(dtype)
    values = pa.array([row.tobytes() for row in matrix], pa.large_binary())
    codec = NvcompBitcomp()
    return matrix, gpu.decompress(s4_codec.arrow.compress(values, codec), codec)


# --- The column itself --------------------------------------------------------------------


def test_what_a_column_says(device_memory: Gpu) -> None:
    column = column_of(VALUES)
    assert (len(column), column.device, column.null_count) == (25, 0, 2)
    assert (column.dtype, column.nbytes) == ("large_binary", sum(len(v or b"") for v in VALUES))
    assert repr(column) == (
        f"<DeviceColumn of 25 large_binary values (2 null, {column.nbytes} bytes) on GPU 0>"
    )
    values, offsets, validity = column.values, column.offsets, column.validity
    assert device_memory.read_array(values) == b"".join(v or b"" for v in VALUES)
    ends = [0, *np.cumsum([len(v or b"") for v in VALUES]).tolist()]
    assert list(struct.unpack("<26q", device_memory.read_array(offsets))) == ends
    assert validity is not None
    bits = np.frombuffer(device_memory.read_array(validity), np.uint8)
    valid = np.unpackbits(bits, count=25, bitorder="little").astype(bool)
    assert valid.tolist() == [value is not None for value in VALUES]
    assert bits[-1] >> 1 == 0, "bits beyond the rows"
    for array, dtype, shape in (
        (values, "uint8", (column.nbytes,)),
        (offsets, "int64", (26,)),
        (validity, "uint8", (4,)),
    ):
        assert (array.dtype, array.shape, array.device, len(array)) == (dtype, shape, 0, shape[0])
        assert array.nbytes == shape[0] * (8 if dtype == "int64" else 1)
        assert repr(array) == f"<DeviceArray of {dtype}, shape [{shape[0]}], on GPU 0>"
    assert column_of(["größe", "x"], "large_string").dtype == "large_string"
    assert column_of([b"a"]).validity is None


def test_columns_without_anything(device_memory: Gpu) -> None:
    none, empty, nulls = column_of([]), column_of([b"", b""]), column_of([None] * 9)
    for column in (none, empty, nulls):
        assert (column.nbytes, column.values.shape) == (0, (0,))
        assert column.values.__cuda_array_interface__["data"] == (0, False)
        zeros = bytes(8 * (len(column) + 1))
        assert device_memory.read_array(column.offsets) == zeros
    assert (none.validity, empty.validity) == (None, None)
    assert nulls.validity is not None
    assert device_memory.read_array(nulls.validity) == b"\0\0"
    assert none.matrix("float32", 8).shape == (0, 8)
    consumed = Consumed(none.matrix("float32", 8).__dlpack__())
    assert (consumed.address, consumed.shape, consumed.strides) == (0, (0, 8), (8, 1))
    consumed.free()


def test_the_cuda_array_interface(device_memory: Gpu) -> None:
    matrix, column = embeddings(30, 16)
    views = {
        "|u1": (column.values, (30 * 64,)),
        "<i8": (column.offsets, (31,)),
        "<f4": (column.matrix("float32", 16), (30, 16)),
        "<u2": (column.matrix("uint16", 32), (30, 32)),
    }
    for typestr, (view, shape) in views.items():
        interface = view.__cuda_array_interface__
        address, is_read_only = interface.pop("data")
        assert interface == {
            "shape": shape,
            "typestr": typestr,
            "strides": None,
            "stream": None,
            "version": 3,
        }
        assert (type(address), is_read_only) == (int, False)
        assert address % 8 == 0
    assert device_memory.read_array(views["<f4"][0]) == matrix.tobytes()
    assert (
        views["<f4"][0].__cuda_array_interface__["data"]
        == (column.values.__cuda_array_interface__["data"])
    ), "no copy"
    assert not hasattr(column.matrix("bfloat16", 32), "__cuda_array_interface__")


# --- DLPack -------------------------------------------------------------------------------

TYPES = {
    **{f"int{bits}": (0, bits) for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": (1, bits) for bits in (8, 16, 32, 64)},
    **{f"float{bits}": (2, bits) for bits in (16, 32, 64)},
    "bfloat16": (4, 16),
}


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("max_version", [None, (0, 8), (1, 0), (1, 3), (2, 0)])
def test_dlpack(device_memory: Gpu, dtype: str, max_version: Any) -> None:
    matrix, column = embeddings(7, 16)
    code, bits = TYPES[dtype]
    width = 64 * 8 // bits
    capsule = column.matrix(dtype, width).__dlpack__(max_version=max_version)
    is_versioned = max_version is not None and max_version[0] >= 1
    name = "dltensor_versioned" if is_versioned else "dltensor"
    assert name_of(capsule) == name
    consumed = Consumed(capsule)
    assert name_of(capsule) == f"used_{name}"
    if is_versioned:
        assert isinstance(consumed.managed, Versioned)
        assert (consumed.managed.major, consumed.managed.flags) == (1, 0), "writable, no copy"
    else:
        assert isinstance(consumed.managed, Managed)
    tensor = consumed.tensor
    assert (tensor.device_type, tensor.device_id) == (2, 0)
    assert (tensor.ndim, consumed.shape, consumed.strides) == (2, (7, width), (width, 1))
    assert (tensor.code, tensor.bits, tensor.lanes, tensor.byte_offset) == (code, bits, 1, 0)
    # The tensor owns its memory, whatever becomes of the capsule and the column.
    del column, capsule
    gc.collect()
    assert device_memory.read(consumed.address, 7 * 64) == matrix.tobytes()
    consumed.free()


def test_dlpack_of_every_part(device_memory: Gpu) -> None:
    column = column_of(VALUES)
    for array in (column.values, column.offsets, column.validity):
        assert array is not None
        consumed = Consumed(array.__dlpack__())
        assert (consumed.shape, consumed.strides) == (array.shape, (1,))
        assert consumed.address == array.__cuda_array_interface__["data"][0]
        assert device_memory.read(consumed.address, array.nbytes) == device_memory.read_array(array)
        consumed.free()


def test_the_rules_of_dlpack(device_memory: Gpu) -> None:
    array = column_of(VALUES).values
    assert array.__dlpack_device__() == (2, 0)
    with device_memory.stream() as stream:
        for good in (None, -1, 1, 2, stream):
            assert name_of(array.__dlpack__(stream=good)) == "dltensor"
    for wrong in (0, -2, -(2**40)):
        with pytest.raises(ValueError, match="stream"):
            array.__dlpack__(stream=wrong)
    with pytest.raises(TypeError):
        array.__dlpack__(stream="1")
    with pytest.raises(TypeError):
        array.__dlpack__(1)
    for options in ({"dl_device": None}, {"dl_device": (2, 0)}, {"copy": False}, {"copy": None}):
        assert name_of(array.__dlpack__(**options)) == "dltensor"
    for options in ({"dl_device": (1, 0)}, {"dl_device": (2, 1)}, {"copy": True}):
        with pytest.raises(BufferError, match="copy it in your library"):
            array.__dlpack__(**options)


# --- Matrices -----------------------------------------------------------------------------


class Named:
    """A type as PyTorch prints it."""

    def __str__(self) -> str:
        return "torch.bfloat16"


def test_matrices_take_types_of_any_library(device_memory: Gpu) -> None:
    matrix, column = embeddings(5, 16)
    for dtype in ("float32", np.float32, np.dtype("float32"), "torch.float32"):
        view = column.matrix(dtype, 16)
        assert (view.dtype, view.shape, len(view), view.nbytes) == ("float32", (5, 16), 5, 5 * 64)
        assert device_memory.read_array(view) == matrix.tobytes()
    assert column.matrix(Named(), 32).dtype == "bfloat16"
    for wrong in ("float", "complex64", "bool", ">f4", np.bool_, 3, None, "f4"):
        with pytest.raises(TypeError, match="expected dtype to be one of uint8, int64"):
            column.matrix(wrong, 16)


def test_what_is_no_matrix() -> None:
    _, column = embeddings(5, 16)
    found = r"expected values of 15 float32 items \(60 bytes\), found values of 64 bytes"
    with pytest.raises(ValueError, match=found):
        column.matrix("float32", 15)
    for width in (17, 2**62):
        with pytest.raises(ValueError, match="expected values of"):
            column.matrix("float32", width)
    with pytest.raises(ValueError, match="width must be at least 1"):
        column.matrix("float32", 0)
    with pytest.raises(OverflowError):
        column.matrix("float32", -1)
    with pytest.raises(ValueError, match="found values of different lengths"):
        column_of([b"abcd", b"abcdefgh"]).matrix("float32", 1)
    with pytest.raises(ValueError, match="found 1 null of 3"):
        column_of([b"abcd", None, b"abcd"]).matrix("float32", 1)
    # A row that has become null keeps its place.
    packed = s4_codec.arrow.compress(pa.array([b"abcd"] * 3), NvcompZstd())
    crcs = pa.array([crc ^ (i == 1) for i, crc in enumerate(packed.field(2).to_pylist())])
    bad = pa.StructArray.from_arrays([packed.field(0), packed.field(1), crcs], packed.type.names)
    with pytest.raises(ValueError, match="found 1 null of 3"):
        gpu.decompress(bad, NvcompZstd(), on_error="null").matrix("float32", 1)


# --- Arrow's device interface --------------------------------------------------------------


@pytest.mark.parametrize("values", [VALUES, VALUES[2:20], [], [b""] * 3, [None] * 3])
@pytest.mark.parametrize("dtype", ["large_binary", "large_string"])
def test_arrow_device_arrays(device_memory: Gpu, values: list[bytes | None], dtype: str) -> None:
    column = column_of([v and v.decode() for v in values] if "string" in dtype else values, dtype)
    imported = Imported(column.__arrow_c_device_array__())
    assert imported.schema.format == (b"U" if dtype == "large_string" else b"Z")
    assert (imported.schema.n_children, imported.schema.flags & 2) == (0, 2), "nullable"
    held, array = imported.device_array, imported.array
    assert (held.device_id, held.device_type, held.sync_event) == (0, 2, None)
    assert list(held.reserved) == [0, 0, 0]
    assert (array.length, array.null_count) == (len(values), values.count(None))
    assert (array.offset, array.n_buffers, array.n_children) == (0, 3, 0)
    assert not array.dictionary
    parts = (column.validity, column.offsets, column.values)
    addresses = [part and part.__cuda_array_interface__["data"][0] for part in parts]
    assert imported.buffers == [address or 0 for address in addresses]
    size = column.nbytes
    del column, parts
    gc.collect()
    assert device_memory.read(imported.buffers[2], size) == b"".join(v or b"" for v in values)
    imported.release()
    assert imported.array.release is None, "it marks itself released"
    imported.release_schema()


def test_the_requested_schema_may_be_ignored() -> None:
    column = column_of([b"a"])
    schema, array = column.__arrow_c_device_array__(None)
    assert (name_of(schema), name_of(array)) == ("arrow_schema", "arrow_device_array")
    requested = pa.binary().__arrow_c_schema__()
    for call in (
        lambda: column.__arrow_c_device_array__(requested),
        lambda: column.__arrow_c_device_array__(requested_schema=requested, of_later=None),
    ):
        imported = Imported(call())
        assert imported.schema.format == b"Z"
        imported.release()
        imported.release_schema()


# --- Real libraries -----------------------------------------------------------------------


def test_torch_shares_the_memory() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    if is_standin():
        pytest.skip("torch does not use the stand-in")
    matrix, column = embeddings(300, 64)
    for tensor in (
        torch.from_dlpack(column.matrix("float32", 64)),
        torch.as_tensor(column.matrix("float32", 64), device="cuda"),
    ):
        assert tensor.is_cuda
        assert np.array_equal(tensor.cpu().numpy(), matrix)
    halves = torch.from_dlpack(column.matrix("bfloat16", 128))
    assert (halves.dtype, tuple(halves.shape)) == (torch.bfloat16, (300, 128))
    for data in (tensor, tensor.to(torch.float64)):
        expected = [row.tobytes() for row in data.cpu().numpy()]
        packed = gpu.compress(data, NvcompZstd())
        assert s4_codec.arrow.decompress(packed, NvcompZstd()).to_pylist() == expected
    with pytest.raises(BufferError, match="not C-contiguous"):
        gpu.compress(tensor.T, NvcompZstd())
    with pytest.raises(TypeError, match=r"s4_codec\.arrow compresses"):
        gpu.compress(tensor.cpu(), NvcompZstd())
    # Work that is queued before is waited for.
    large = torch.zeros(1 << 14, 1 << 10, device="cuda")
    for _ in range(50):
        large += 1
    restored = gpu.decompress(gpu.compress(large, NvcompZstd()), NvcompZstd())
    assert bool((torch.from_dlpack(restored.matrix("float32", 1 << 10)) == 50).all())


def test_cupy_shares_the_memory() -> None:
    cupy = pytest.importorskip("cupy", reason="cupy is not installed")
    if is_standin():
        pytest.skip("cupy does not use the stand-in")
    matrix, column = embeddings(300, 64)
    for array in (
        cupy.asarray(column.matrix("float32", 64)),
        cupy.from_dlpack(column.matrix("float32", 64)),
    ):
        assert np.array_equal(array.get(), matrix)
    packed = gpu.compress(array, NvcompZstd())
    assert s4_codec.arrow.decompress(packed, NvcompZstd()).to_pylist() == [
        row.tobytes() for row in matrix
    ]
    with pytest.raises(BufferError, match="not C-contiguous"):
        gpu.compress(array.T, NvcompZstd())
