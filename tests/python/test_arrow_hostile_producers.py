"""Arrow: producers of malformed data, careless or hostile."""

from __future__ import annotations

import ctypes
import struct
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from c_producer import ARRAY, SCHEMA, STREAM, CArray, CSchema, CStream, Liar, Returns, capsule
from codecs_table import error

import s4_codec.arrow as s4
from s4_codec import CpuZstd, S4BackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FIELDS = [field.name for field in s4.COMPRESSED_TYPE]

BINARY = pa.array([b"aa", b"bbbb", None])
VIEWS = pa.array([b"aa", b"b" * 40, None]).cast(pa.binary_view())
FIXED = pa.array([b"aaaa", None], pa.binary(4))
DICTIONARY = pa.array(["a", "b", None]).dictionary_encode()
NULLS = pa.nulls(3)
PACKED = s4.compress(pa.array([b"a", None]), CpuZstd())


def sets(**fields: Any) -> Callable[[CSchema, CArray], None]:
    """A change of the array's fields."""

    def change(_: CSchema, array: CArray) -> None:
        for name, value in fields.items():
            setattr(array, name, value)

    return change


def schema_sets(**fields: Any) -> Callable[[CSchema, CArray], None]:
    def change(schema: CSchema, _: CArray) -> None:
        for name, value in fields.items():
            setattr(schema, name, value)

    return change


def null_buffer(i: int) -> Callable[[CSchema, CArray], None]:
    def change(_: CSchema, array: CArray) -> None:
        array.buffers[i] = None

    return change


def child(change: Callable[[CSchema, CArray], object]) -> Callable[[CSchema, CArray], object]:
    """The same change, of the struct's first field."""
    return lambda schema, array: change(schema.children[0].contents, array.children[0].contents)


def null_child(schema: CSchema, array: CArray) -> None:
    del schema
    array.children[0] = None


def cyclic(schema: CSchema, array: CArray) -> None:
    """A struct that is its own field."""
    schema.children[0] = ctypes.pointer(schema)
    array.children[0] = ctypes.pointer(array)


LIES: dict[str, tuple[pa.Array, Callable[[CSchema, CArray], object]]] = {
    "negative length": (BINARY, sets(length=-1)),
    "negative offset": (BINARY, sets(offset=-1)),
    "enormous length": (BINARY, sets(length=2**63 - 1)),
    "enormous offset": (BINARY, sets(offset=2**62)),
    "enormous length of nulls": (NULLS, sets(length=2**60)),
    "length and offset overflow": (FIXED, sets(length=2**62, offset=2**62)),
    "too few buffers": (BINARY, sets(n_buffers=2)),
    "too many buffers": (BINARY, sets(n_buffers=4)),
    "negative buffers": (VIEWS, sets(n_buffers=-1)),
    "buffers that wrap around": (VIEWS[:0], sets(n_buffers=-(2**63) + 2)),
    "views without buffers": (VIEWS, sets(n_buffers=2)),
    "no buffers": (BINARY, sets(buffers=None)),
    "null offsets": (BINARY, null_buffer(1)),
    "null data": (BINARY, null_buffer(2)),
    "null views": (VIEWS, null_buffer(1)),
    "null data of views": (VIEWS, null_buffer(2)),
    "null sizes of views' data": (VIEWS, null_buffer(3)),
    "null data of fixed size": (FIXED, null_buffer(1)),
    "nulls without validity": (BINARY, null_buffer(0)),
    "null keys": (DICTIONARY, null_buffer(1)),
    "no dictionary": (DICTIONARY, sets(dictionary=None)),
    "no format": (BINARY, schema_sets(format=None)),
    "format not text": (BINARY, schema_sets(format=b"\xff\xfe")),
    "negative width": (FIXED, schema_sets(format=b"w:-4")),
    "enormous rows of enormous width": (
        FIXED,
        lambda schema, array: (
            schema_sets(format=b"w:2147483647")(schema, array),
            sets(length=2**57)(schema, array),
        ),
    ),
    "width not a number": (FIXED, schema_sets(format=b"w:x")),
    "keys not numbers": (DICTIONARY, schema_sets(format=b"u")),
    "fewer arrays than fields": (PACKED, sets(n_children=2)),
    "negative fields": (PACKED, schema_sets(n_children=-1)),
    "fields not there": (PACKED, schema_sets(children=None)),
    "arrays not there": (PACKED, sets(children=None)),
    "null field": (PACKED, null_child),
    "field shorter than its struct": (PACKED, child(sets(length=1))),
    "field with a negative offset": (PACKED, child(sets(offset=-1))),
    "field without buffers": (PACKED, child(sets(n_buffers=0))),
    "struct of itself": (PACKED, cyclic),
}


@pytest.mark.parametrize(("array", "change"), LIES.values(), ids=LIES)
def test_lies_that_the_interface_lets_one_see(
    array: pa.Array, change: Callable[[CSchema, CArray], object]
) -> None:
    verb = s4.decompress if array is PACKED else s4.compress
    with pytest.raises(
        (ValueError, TypeError), match=r"malformed|lacks|Struct|compress expects|unsupported type"
    ):
        verb(Liar(array, change))


def written_later(dtype: pa.DataType, rows: int, content: bytes) -> pa.Array:
    """An array whose second buffer is written when PyArrow has looked at it."""
    buffer = bytearray(len(content))
    buffers = [None, pa.py_buffer(buffer), pa.py_buffer(bytes(100))]
    array = pa.Array.from_buffers(dtype, rows, buffers)
    buffer[:] = content
    return array


def views_of(*views: tuple[int, int, int]) -> pa.Array:
    content = b"".join(struct.pack("<IIII", n, 0, block, at) for n, block, at in views)
    return written_later(pa.binary_view(), len(views), content)


def offsets_of(dtype: pa.DataType, *offsets: int) -> pa.Array:
    width = "q" if pa.types.is_large_binary(dtype) else "i"
    content = struct.pack(f"<{len(offsets)}{width}", *offsets)
    return written_later(dtype, len(offsets) - 1, content)


OUTSIDE = {
    "view beyond its buffer": views_of((13, 0, 0), (20, 0, 81)),
    "view of no buffer": views_of((20, 1, 0)),
    "view of 4 GiB": views_of((2**32 - 1, 0, 2**32 - 1)),
    "descending offsets": offsets_of(pa.binary(), 0, 50, 20, 60),
    "negative offsets": offsets_of(pa.binary(), -5, 10),
    "descending to negative": offsets_of(pa.large_binary(), 0, 10, -(2**62)),
    "ends in between": offsets_of(pa.large_binary(), 0, 2**62, 10),
    "keys beyond": pa.DictionaryArray.from_arrays(
        pa.array([0, 2], pa.int8()), pa.array(["a"]), safe=False
    ),
    "negative keys": pa.DictionaryArray.from_arrays(
        pa.array([-1], pa.int64()), pa.array(["a"]), safe=False
    ),
    "keys of nothing": pa.DictionaryArray.from_arrays(
        pa.array([0], pa.int8()), pa.array([], pa.string()), safe=False
    ),
}


@pytest.mark.parametrize("array", OUTSIDE.values(), ids=OUTSIDE)
def test_rows_outside_of_their_buffers(array: pa.Array) -> None:
    for verb in (s4.compress, s4.decompress):
        with pytest.raises(ValueError, match="malformed Arrow data: "):
            verb(array)


def test_more_rows_than_memory_is_no_crash() -> None:
    many = pa.Array.from_buffers(pa.null(), 2**45, [None])
    empty = pa.Array.from_buffers(pa.binary(0), 2**45, [None, pa.py_buffer(b"")])
    packed = pa.StructArray.from_arrays([empty, many, many], FIELDS)
    for data in (many, empty, packed, pa.chunked_array([many] * 3)):
        for verb in (s4.compress, s4.decompress):
            if data is packed and verb is s4.compress:
                continue
            with pytest.raises(MemoryError):
                verb(data)
    one = pa.DictionaryArray.from_arrays(
        pa.array([0]), pa.Array.from_buffers(pa.null(), 2**50, [None])
    )
    assert s4.compress(one).to_pylist() == [None]


def test_a_table_of_structs_of_dictionaries() -> None:
    packed = PACKED[:1]
    fields = [packed.field(0).dictionary_encode(), packed.field(1), packed.field(2)]
    data = pa.StructArray.from_arrays(fields, FIELDS)
    assert s4.decompress(pa.table({"body": data})).to_pylist() == [b"a"]


def test_a_wrong_codec_leaves_the_stream_alone() -> None:
    reader = pa.table({"body": ["a"]}).to_reader()
    with pytest.raises(error("S4UnregisteredCodecError")):
        s4.compress(reader, "lz4")
    assert len(s4.compress(reader)) == 1


def test_what_lies_behind_nulls_is_not_looked_at() -> None:
    bad = views_of((20, 7, 0), (5, 0, 0))
    buffers = [pa.py_buffer(b"\x02"), *bad.buffers()[1:]]
    array = pa.Array.from_buffers(pa.binary_view(), 2, buffers)
    assert s4.decompress(s4.compress(array)).to_pylist() == [None, bytes(5)]
    keys = pa.DictionaryArray.from_arrays(
        pa.array([9, 0], mask=pa.array([True, False]).to_numpy(False)), pa.array(["a"]), safe=False
    )
    assert s4.decompress(s4.compress(keys)).to_pylist() == [None, b"a"]


def test_released_structures() -> None:
    liar = Liar(BINARY, lambda *_: None)
    assert len(s4.compress(liar)) == 3
    with pytest.raises(ValueError, match="the Arrow array is released: it can be read only once"):
        s4.compress(liar)
    stream = CStream()
    with pytest.raises(ValueError, match="the Arrow stream is released"):
        s4.compress(Returns(stream=capsule(stream, STREAM)))


@pytest.mark.parametrize(
    "returned",
    [3, None, (1, 2), (), (capsule(CSchema(), SCHEMA),), [capsule(CArray(), ARRAY)] * 2],
    ids=["3", "None", "(1, 2)", "()", "one capsule", "two capsules of arrays"],
)
def test_methods_that_return_something_else(returned: Any) -> None:
    class Odd:
        def __arrow_c_array__(self) -> Any:
            return returned

    class OddStream:
        def __arrow_c_stream__(self) -> Any:
            return returned

    for odd in (Odd(), OddStream()):
        with pytest.raises((TypeError, ValueError, IndexError)):
            s4.compress(odd)  # type: ignore[call-overload]


def test_capsules_of_another_name() -> None:
    array = CArray()
    with pytest.raises(ValueError, match="PyCapsule"):
        s4.compress(Returns(stream=capsule(array, ARRAY)))
    pair = (capsule(array, ARRAY), capsule(array, ARRAY))
    with pytest.raises(ValueError, match=r"PyCapsule|released"):
        s4.compress(Returns(array=pair))


def test_producers_that_fail() -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"body": ["a"]})
        msg = "the disk is gone"
        raise OSError(msg)

    reader = pa.RecordBatchReader.from_batches(pa.schema({"body": pa.string()}), batches())
    with pytest.raises(S4BackendError, match=r"producer of the Arrow stream failed.*disk is gone"):
        s4.compress(reader)

    class Raises:
        def __arrow_c_stream__(self) -> Any:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        s4.compress(Raises())
