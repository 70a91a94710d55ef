"""Arrow: bad rows, wrong types, and producers that are careless or hostile."""

from __future__ import annotations

import ctypes
import pickle
import struct
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from c_producer import ARRAY, SCHEMA, STREAM, CArray, CSchema, CStream, Liar, Returns, capsule
from codecs_table import FORGERIES, cut_class, error, forgery_class, text

import s4_codec.arrow as s4
from s4_codec import Codec, CpuGzip, CpuZstd, S4BackendError, S4Error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FIELDS = ("payload", "original_size", "crc32c")


def column(rows: list[tuple[bytes, int, int] | None]) -> pa.StructArray:
    values = [None if row is None else dict(zip(FIELDS, row, strict=True)) for row in rows]
    return pa.array(values, s4.COMPRESSED_TYPE)


@pytest.mark.parametrize(("name", "forge", "expected"), FORGERIES, ids=[f[0] for f in FORGERIES])
def test_forged_rows(codec: Codec, name: str, forge: Callable, expected: str) -> None:
    expected = forgery_class(codec, name, expected)
    good = codec.compress(text(1000))
    bad = forge(good)
    first, second = column([good, None]), column([good, bad, good])
    for data, row in ((second, 1), (pa.chunked_array([first, second]), 3)):
        with pytest.raises(error(expected), match=rf"^row {row} \(codec {codec.name}") as raised:
            s4.decompress(data, codec)
        assert raised.value.row == row
        assert f"payload {len(bad[0])} bytes, original_size {bad[1]}" in str(raised.value)
    lenient = s4.decompress(second, codec, on_error="null")
    lenient.validate(full=True)
    assert lenient.to_pylist() == [text(1000), None, text(1000)], name


def test_bad_rows_leave_no_bytes_behind(codec: Codec) -> None:
    """What was decoded of a bad row is not there, not even behind a null."""
    good, secret = codec.compress(text(40)), codec.compress(b"secret" * 10)
    bad = (secret[0], secret[1], secret[2] ^ 1)
    rows = [bad, good, None, bad, bad, good, good, bad]
    restored = s4.decompress(column(rows), codec, on_error="null")
    assert restored.to_pylist() == [text(40) if row is good else None for row in rows]
    assert restored.buffers()[2].to_pybytes() == text(40) * 3
    chunked = pa.chunked_array([column(rows[:3]), column(rows[3:4]), column(rows[4:])])
    restored = s4.decompress(chunked, codec, on_error="null")
    assert restored.to_pylist() == [text(40) if row is good else None for row in rows]


def test_cut_rows(codec: Codec) -> None:
    payload, size, crc = codec.compress(text(300))
    for end in range(len(payload)):
        with pytest.raises(error(cut_class(codec)), match="row 0 "):
            s4.decompress(column([(payload[:end], size, crc)]), codec)


def test_rows_of_later_windows_have_their_position_in_the_whole() -> None:
    """Streams are worked off in windows of 256 MiB of input."""
    page = text(1 << 20)
    pages = pa.array([page] * 150)
    data = pa.chunked_array([pages, pages, pa.array([b"", page + b"!"])])
    restored = s4.decompress(data, "passthrough")
    assert [len(chunk) for chunk in restored.chunks] == [150, 150, 2]
    with pytest.raises(error("S4ManifestSizeExceedsLimitError"), match=r"^row 301 ") as raised:
        s4.decompress(data, "passthrough", max_size=1 << 20)
    assert raised.value.row == 301


def test_errors_about_rows_are_picklable(codec: Codec) -> None:
    payload, size, crc = codec.compress(b"value")
    with pytest.raises(S4Error) as raised:
        s4.decompress(column([(payload, size, crc ^ 1)]), codec)
    copy = pickle.loads(pickle.dumps(raised.value))
    assert (type(copy), copy.row, str(copy)) == (type(raised.value), 0, str(raised.value))


def test_errors_about_values_have_no_row(codec: Codec) -> None:
    payload, size, crc = codec.compress(b"value")
    with pytest.raises(S4Error) as raised:
        codec.decompress(payload, size, crc ^ 1)
    assert raised.value.row is None


def test_text_is_checked(codec: Codec) -> None:
    bad = b"fourteen bytes" + b"\xff" + b"!"
    data = column([codec.compress(b"good"), codec.compress(bad)])
    assert s4.decompress(data, codec)[1].as_py() == bad
    with pytest.raises(S4Error, match=r"row 1 .*invalid UTF-8 at byte 14"):
        s4.decompress(data, codec, dtype="large_string")
    lenient = s4.decompress(data, codec, dtype="large_string", on_error="null")
    assert lenient.to_pylist() == ["good", None]


def test_max_size(codec: Codec) -> None:
    data = column([codec.compress(text(n)) for n in (10, 1000)])
    assert s4.decompress(data, codec, max_size=1000).null_count == 0
    for payloads in (data, data.field("payload")):
        with pytest.raises(error("S4ManifestSizeExceedsLimitError"), match="row 1"):
            s4.decompress(payloads, codec, max_size=999)
    for wrong, kind in ((-1, ValueError), (2**64, ValueError), (1.5, TypeError)):
        with pytest.raises(kind, match="max_size must be"):
            s4.decompress(data, codec, max_size=wrong)


def test_wrong_arguments() -> None:
    data = pa.array(["a"])
    for verb in (s4.compress, s4.decompress, lambda d, c: s4.register_compute_functions(c)):
        with pytest.raises(error("S4UnregisteredCodecError"), match="zstd"):
            verb(data, "zstd")
        for wrong in (None, 3, CpuZstd):
            with pytest.raises(TypeError, match="codec must be a codec object"):
                verb(data, wrong)
    for dtype in (pa.binary(), "string", pa.int64(), str, 3, "no type"):
        with pytest.raises(TypeError, match="large_binary or large_string"):
            s4.decompress(data, dtype=dtype)
    with pytest.raises(ValueError, match="on_error must be"):
        s4.decompress(data, on_error="skip")  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"bytes", "Arrow data is required .* not bytes"),
        ([b"a"], "pyarrow.array"),
        (pa.array([1]), "got Int64"),
        (pa.array([1.5]), "got Float64"),
        (pa.array([[b"a"]]), "got List"),
        (pa.array([[b"a"]], pa.large_list(pa.binary())), "got List"),
        (pa.array([[("a", b"b")]], pa.map_(pa.string(), pa.binary())), "got Map"),
        (pa.array([1], pa.duration("s")), "got Duration"),
        (pa.array([1, 1]).dictionary_encode(), r"got Dictionary\(Int32, Int64\)"),
        (pa.table({"a": ["x"], "b": ["y"]}), 'got Struct.*"a".*"b".* of a table, pass one column'),
        (pa.chunked_array([], pa.int8()), "got Int8"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_types(data: Any, words: str) -> None:
    for verb in (s4.compress, s4.decompress):
        if verb is s4.decompress and isinstance(data, pa.Table):
            words = "the struct lacks payload, original_size and crc32c; it has a, b; of a table"
        with pytest.raises(TypeError, match=words):
            verb(data)


def test_compressing_twice_is_told() -> None:
    with pytest.raises(TypeError, match=r"compress takes binary or string data, .*compressed data"):
        s4.compress(PACKED)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"payload": b"a"}, "lacks original_size and crc32c; it has payload"),
        ({"payload": b"a", "crc32c": 1}, "lacks original_size; it has payload, crc32c"),
        ({"Payload": b"a", "original_size": 1, "crc32c": 1}, "lacks payload"),
        ({"payload": 1, "original_size": 1, "crc32c": 1}, "payload must be Binary, it is Int64"),
        ({"payload": b"", "original_size": 1.0, "crc32c": 1}, "original_size must be an integer"),
        ({"payload": b"", "original_size": 1, "crc32c": "1"}, "crc32c must be an integer"),
    ],
)
def test_mismatched_fields(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        s4.decompress(pa.array([fields]))
    with pytest.raises(TypeError, match=words):
        s4.decompress(pa.Table.from_pylist([fields]))


@pytest.mark.parametrize(
    ("size", "crc", "words"),
    [
        (-1, 0, "original_size must be from 0 to below"),
        (1, -1, "crc32c must be from 0 to below"),
        (1, 2**32, "crc32c must be from 0 to below .* it is 4294967296"),
        (None, 0, "has a payload but its original_size is null"),
        (1, None, "has a payload but its crc32c is null"),
    ],
)
def test_manifests_that_do_not_fit(size: int | None, crc: int | None, words: str) -> None:
    rows = [{"payload": b"abc", "original_size": size, "crc32c": crc}]
    dtype = pa.struct(
        [("payload", pa.binary()), ("original_size", pa.int64()), ("crc32c", pa.int64())]
    )
    with pytest.raises(S4Error, match=f"row 0 .*{words}"):
        s4.decompress(pa.array(rows, dtype))
    assert s4.decompress(pa.array(rows, dtype), on_error="null").to_pylist() == [None]


# --- Malformed data ---------------------------------------------------------------------

BINARY = pa.array([b"aa", b"bbbb", None])
VIEWS = pa.array([b"aa", b"b" * 40, None]).cast(pa.binary_view())
FIXED = pa.array([b"aaaa", None], pa.binary(4))
DICTIONARY = pa.array(["a", "b", None]).dictionary_encode()
NULLS = pa.nulls(3)
PACKED = column([CpuZstd().compress(b"a"), None])


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
        (ValueError, TypeError), match=r"malformed|lacks|Struct|compress takes|not read here"
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
        s4.compress(reader, "zstd")
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
    with pytest.raises(ValueError, match="the Arrow array is released: it has been read already"):
        s4.compress(liar)
    stream = CStream()
    with pytest.raises(ValueError, match="the Arrow stream is released"):
        s4.compress(Returns(stream=capsule(stream, STREAM)))


@pytest.mark.parametrize(
    "returned",
    [3, None, (1, 2), (), (capsule(CSchema(), SCHEMA),), [capsule(CArray(), ARRAY)] * 2],
    ids=repr,
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


def test_the_wrong_codec_is_told_what_it_got() -> None:
    data = column([CpuGzip().compress(text(500))])
    with pytest.raises(error("S4IoError"), match=r"row 0 .*these bytes look like gzip"):
        s4.decompress(data, CpuZstd())
