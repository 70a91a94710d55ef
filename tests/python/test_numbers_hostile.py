"""Columns of lists of numbers: what is refused, and data that is not what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pytest
from c_producer import CArray, CSchema, Liar
from codecs_table import DICTIONARY, error
from numbers_table import LISTS, NUMBERS
from polars.exceptions import ComputeError

import s4_codec
import s4_codec.arrow
import s4_codec.polars as s4
from s4_codec import Codec, CpuZstd

if TYPE_CHECKING:
    from collections.abc import Callable

POSTINGS = LISTS["list"].series(NUMBERS[6])


@pytest.mark.parametrize(
    "codec", [CpuZstd(), "passthrough", s4_codec.CpuZstdDict(DICTIONARY)], ids=str
)
def test_null_items(codec: Any) -> None:
    rows = [[1, 2], None, [3, None], [None, None]]
    matrix = [[[1], [2]], None, [[3], None], [None, None]]
    deep = [[[1], [2]], None, [[3], [None]], [None, None]]
    for dtype, values in (
        (pl.List(pl.Int32), rows),
        (pl.Array(pl.Int32, 2), rows),
        (pl.Array(pl.Int32, (2, 1)), matrix),
        (pl.Array(pl.Int32, (2, 1)), deep),
        (pl.List(pl.Array(pl.Int32, 1)), deep),
    ):
        series = pl.Series("x", values, dtype=dtype)
        chunks = pl.concat([series[:2], series[:1], series], rechunk=False)
        for part, row, name in (
            (series, 2, "compress"),
            (series, 2, "encode"),
            (chunks, 5, "encode"),
        ):
            # Polars may call once for each chunk.
            expected = rf"S4Error: row ({row}|2) of .*: item 1 is null, expected only numbers; fill"
            with pytest.raises(ComputeError, match=expected):
                getattr(part.s4, name)(codec)
            data = part.to_arrow() if part.n_chunks() == 1 else part
            with pytest.raises(error("S4Error"), match="item 1 is null") as caught:
                getattr(s4_codec.arrow, name)(data, codec)
            assert caught.value.row == row
        restored = series[:2].s4.compress(codec).s4.decompress(codec, dtype=dtype)
        assert restored.to_list() == values[:2]
        with pytest.raises(error("S4Error"), match=r"^row 2 .*item 1 is null"):
            s4_codec.train_dictionary(series)


REFUSED = [
    (pl.List(pl.Boolean), pa.large_list(pa.bool_())),
    (pl.List(pl.String), pa.large_list(pa.string_view())),
    (pl.List(pl.Binary), pa.list_(pa.binary())),
    (pl.List(pl.Null), pa.list_(pa.null())),
    (pl.List(pl.Decimal(10, 2)), pa.list_(pa.decimal128(10, 2))),
    (pl.List(pl.List(pl.Int8)), pa.list_(pa.list_(pa.int8()))),
    (pl.Array(pl.List(pl.Int8), 2), pa.list_(pa.list_(pa.int8()), 2)),
    (pl.List(pl.Array(pl.Int8, 0)), pa.list_(pa.list_(pa.int8(), 0))),
    (pl.List(pl.Struct({"a": pl.Int8})), pa.list_(pa.struct({"a": pa.int8()}))),
    (pl.Array(pl.Boolean, 2), pa.list_(pa.bool_(), 2)),
    (pl.List(pl.Int128), None),
    (pl.List(pl.Categorical), None),
    (None, pa.list_(pa.month_day_nano_interval())),
    (None, pa.list_view(pa.int8())),
    (None, pa.large_list_view(pa.int8())),
    (None, pa.map_(pa.int8(), pa.int8())),
]


@pytest.mark.parametrize(("dtype", "arrow"), REFUSED, ids=str)
def test_other_lists(dtype: Any, arrow: pa.DataType | None) -> None:
    if dtype is not None:
        frame = pl.DataFrame({"x": pl.Series([None], dtype=dtype)})
        for function in (s4.compress, s4.encode):
            with pytest.raises(
                ComputeError, match=rf"List or Array of numbers, found {dtype.base_type()}"
            ):
                frame.lazy().select(function("x")).collect_schema()
        with pytest.raises(TypeError, match=r"dtype must be .*lists of integers, floats"):
            s4.decompress("x", dtype=dtype)
        advice = "" if dtype == pl.List(pl.Null) else "; cast its items to integers"
        with pytest.raises(TypeError, match=rf"lists of numbers, found \w+\(.*{advice}"):
            s4_codec.arrow.compress(frame["x"])
    if arrow is not None:
        column = pa.nulls(1, arrow)
        with pytest.raises(TypeError, match=r"lists of numbers, .*found \w+"):
            s4_codec.arrow.compress(column)
        with pytest.raises(TypeError, match="dtype must be "):
            s4_codec.arrow.decompress(pa.array([b""]), dtype=arrow)


def test_lists_are_no_frames_and_no_payloads() -> None:
    for function in (s4.decompress, s4.decode, s4.frame_info, s4.verify, s4.verify_frames):
        with pytest.raises(ComputeError, match=r"Binary.* found List\(UInt32\)"):
            POSTINGS.to_frame().select(function("x"))
    for name in ("decompress", "decode", "frame_info", "verify", "verify_frames"):
        with pytest.raises(TypeError, match=r"found LargeList\(UInt32\)"):
            getattr(s4_codec.arrow, name)(POSTINGS.to_arrow())
    fields = {"payload": POSTINGS, "original_size": [0] * 8, "crc32c": [0] * 8}
    with pytest.raises(ComputeError, match=r"payload must be Binary, found List\(UInt32\)"):
        pl.DataFrame(fields).select(s4.decompress(pl.struct(pl.all())))


RAGGED = pl.Series("x", [[1, 2, 3], None, [4, 5], [6, 7, 8]], dtype=pl.List(pl.Int32))
OTHER_WIDTH = "the value has 8 bytes, expected 12: dtype has rows of 12 bytes"


def test_ragged_lists_for_an_array() -> None:
    packed, dtype = RAGGED.s4.compress(), pl.Array(pl.Int32, 3)
    with pytest.raises(
        ComputeError, match=f"S4SizeMismatchError: row 2 of the 4 .*: {OTHER_WIDTH}"
    ):
        packed.s4.decompress(dtype=dtype)
    with pytest.warns(
        RuntimeWarning, match=f"1 of 3 values became null; first row 2 .*{OTHER_WIDTH}"
    ):
        restored = packed.s4.decompress(dtype=dtype, on_error="null")
    assert restored.to_list() == [[1, 2, 3], None, None, [6, 7, 8]]
    reasons = packed.to_frame().select(s4.verify("x", dtype=dtype))["x"].to_list()
    assert reasons == [None, None, f"S4SizeMismatchError: {OTHER_WIDTH}", None]
    arrow = pa.list_(pa.int32(), 3)
    data = s4_codec.arrow.compress(RAGGED)
    with pytest.raises(error("S4SizeMismatchError"), match=OTHER_WIDTH) as caught:
        s4_codec.arrow.decompress(data, dtype=arrow)
    assert caught.value.row == 2
    with pytest.warns(RuntimeWarning, match=OTHER_WIDTH):
        found = s4_codec.arrow.decompress(data, dtype=arrow, on_error="null")
    found.validate(full=True)
    assert found.to_pylist() == restored.to_list()
    assert packed.s4.decompress(dtype=RAGGED.dtype).to_list() == RAGGED.to_list()


@pytest.mark.parametrize("is_bare", [False, True])
@pytest.mark.parametrize("codec", [CpuZstd(), s4_codec.CpuGzip()], ids=str)
def test_bytes_that_are_no_whole_items(codec: Codec, is_bare: bool) -> None:
    values = pl.Series("x", [b"abcd", b"abc", b"abcdefgh"])
    packed = values.s4.compress(codec)
    packed = packed.struct.field("payload").alias("x") if is_bare else packed
    why = "the value has 3 bytes, expected a multiple of 4: dtype has items of 4 bytes"
    with pytest.raises(ComputeError, match=f"S4SizeMismatchError: row 1 of the 3 .*: {why}"):
        packed.s4.decompress(codec, dtype=pl.List(pl.Float32))
    with pytest.warns(RuntimeWarning, match=why):
        restored = packed.s4.decompress(codec, dtype=pl.List(pl.UInt32), on_error="null")
    assert restored.to_list() == [[0x64636261], None, [0x64636261, 0x68676665]]


def test_another_dtype_is_a_mistake() -> None:
    packed = RAGGED.s4.compress()
    advice = "all 3 values fail for the same reason .*; pass the dtype that was compressed"
    with pytest.raises(ComputeError, match=advice):
        packed.s4.decompress(dtype=pl.Array(pl.Int64, 7), on_error="null")
    frames = RAGGED.s4.encode()
    with pytest.raises(ComputeError, match=advice):
        frames.s4.decode(dtype=pl.Array(pl.Int64, 7), on_error="null")


def test_types_that_cannot_be_asked_for() -> None:
    for dtype in (pl.Int64, pl.Struct({"a": pl.Int8}), pl.Categorical):
        with pytest.raises(
            TypeError, match=r"dtype must be pl\.Binary, pl\.String, or a pl\.List or"
        ):
            s4.decompress("x", dtype=dtype)
    with pytest.raises(TypeError, match="dtype must be binary, string, or lists of integers"):
        s4.decode("x", dtype=pl.List)
    for dtype in (pl.List(pl.Object), pl.Array(pl.List(pl.Object), 2)):
        with pytest.raises(TypeError, match="dtype must be"):
            s4.decompress("x", dtype=dtype)
    for dtype in (pl.Array(pl.Float64, 2**40), pl.Array(pl.Float64, (2, 2**31))):
        with pytest.raises(ValueError, match=r"arrays of \d+ items, more than the maximum"):
            s4.decompress("x", dtype=dtype)
    for arrow in (pa.int64(), pa.string(), "list<float>", pa.list_view(pa.int8())):
        with pytest.raises(TypeError, match="dtype must be large_binary or large_string, or the"):
            s4_codec.arrow.decompress(pa.array([b""]), dtype=arrow)


def child(**fields: int) -> Callable[[CSchema, CArray], None]:
    def change(_: CSchema, array: CArray) -> None:
        for name, value in fields.items():
            setattr(array.children[0].contents, name, value)

    return change


def own(**fields: int) -> Callable[[CSchema, CArray], None]:
    def change(_: CSchema, array: CArray) -> None:
        for name, value in fields.items():
            setattr(array, name, value)

    return change


def has_format(text: bytes) -> Callable[[CSchema, CArray], None]:
    def change(schema: CSchema, _: CArray) -> None:
        schema.format = text

    return change


LIES: dict[str, Callable[[CSchema, CArray], None]] = {
    "too few items": child(length=5),
    "negative items": child(length=-1),
    "enormous items": child(length=2**62),
    "items without a buffer": child(n_buffers=1),
    "no items": own(n_children=0),
    "no buffers": own(n_buffers=0),
    "enormous length": own(length=2**62),
    "enormous offset": own(offset=2**62),
    "more rows than items": own(length=9),
}


@pytest.mark.parametrize("change", LIES.values(), ids=LIES)
def test_malformed_lists(change: Callable[[CSchema, CArray], None]) -> None:
    rows = [[1, 2], [3, 4], [5, 6]]
    for dtype in (pa.list_(pa.int32()), pa.large_list(pa.int8()), pa.list_(pa.float64(), 2)):
        if change is LIES["more rows than items"] and not pa.types.is_fixed_size_list(dtype):
            # The offsets would be read beyond their buffer: nothing tells how long it is.
            continue
        with pytest.raises((ValueError, TypeError), match=r"\w+"):
            s4_codec.arrow.compress(Liar(pa.array(rows, dtype), change))


@pytest.mark.parametrize("text", [b"+w:", b"+w:-1", b"+w:x", b"+w:99999999999"])
def test_malformed_types(text: bytes) -> None:
    array = pa.array([[1, 2]], pa.list_(pa.int32(), 2))
    with pytest.raises(ValueError, match="invalid format"):
        s4_codec.arrow.compress(Liar(array, has_format(text)))


@pytest.mark.parametrize(
    "text", ["", "f", "+w:2", "+w:x/f", "+w:-2/f", "+L/u", "+L/+s", "+L/", "+l/" * 9 + "f", "+L/\0"]
)
def test_plans_of_others(text: str) -> None:
    """The description of a type in a plan is untrusted."""
    options = {"codec": "passthrough", "lists": text}
    wrong = s4._call("decompress", [pl.col("x")], options)
    with pytest.raises(ComputeError, match=r"(TypeError|ValueError): "):
        pl.DataFrame({"x": [b""]}).select(wrong)
