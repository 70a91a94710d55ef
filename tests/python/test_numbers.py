"""Columns of lists of numbers: round trips of every type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
import pytest
from arrow_table import PRODUCERS, SHAPES, unaligned
from codecs_table import decoding, error
from hypothesis import given
from hypothesis import strategies as st
from numbers_table import ARROW_ONLY, CONTAINER_TYPES, LISTS, NUMBERS, Lists, Number, row_bytes
from polars.exceptions import ComputeError

import s4_codec
import s4_codec.arrow
import s4_codec.polars as s4
from s4_codec import Codec, CpuZstd, NvcompBitcomp, NvcompZstd

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

each_number = pytest.mark.parametrize("number", NUMBERS, ids=str)
each_kind = pytest.mark.parametrize("lists", LISTS.values(), ids=LISTS)


def parts(series: pl.Series) -> list[pl.Series]:
    """The series, slices and chunks of it."""
    chunks = pl.concat([series, series.slice(1, 3), series.clear(), series], rechunk=False)
    valid = series.drop_nulls()
    nulls = pl.Series("x", [None] * 3, dtype=series.dtype)
    slices = [series.slice(2), series.slice(1, 3), series.slice(1, 1), series.clear()]
    return [series, chunks, chunks.slice(4, 9), valid, nulls, *slices]


def same(restored: pl.Series, expected: pl.Series) -> None:
    assert restored.dtype == expected.dtype
    assert restored.name == expected.name
    assert restored.equals(expected, null_equal=True)


# --- Round trips ----------------------------------------------------------------------------


@each_number
@each_kind
def test_polars(number: Number, lists: Lists) -> None:
    whole = lists.series(number)
    for series in parts(whole):
        packed = series.s4.compress(payload_checksum=True)
        assert packed.s4.decompress().to_list() == row_bytes(series)
        same(packed.s4.decompress(dtype=series.dtype), series)
        assert packed.to_frame().select(s4.verify("x", dtype=series.dtype))[
            "x"
        ].null_count() == len(series)
        same(series.s4.encode().s4.decode(dtype=series.dtype), series)
    frame = pl.concat([whole.to_frame()] * 3, rechunk=False).lazy()
    restored = frame.select(s4.compress("x")).select(s4.decompress("x", dtype=whole.dtype))
    assert restored.collect_schema() == {"x": whole.dtype}
    for engine in ("in-memory", "streaming"):
        same(restored.collect(engine=engine)["x"], frame.collect()["x"])


@each_kind
def test_codecs(codec: Codec, lists: Lists) -> None:
    series = lists.series(NUMBERS[8])
    for part in parts(series):
        same(part.s4.compress(codec).s4.decompress(codec, dtype=part.dtype), part)
        same(part.s4.encode(codec).s4.decode(dtype=part.dtype, **decoding(codec)), part)
    array = series.to_arrow()
    packed = s4_codec.arrow.compress(array, codec)
    assert packed.to_pylist() == series.s4.compress(codec).to_list()
    assert s4_codec.arrow.decompress(packed, codec, dtype=array.type).equals(array)


def arrow_types(number: pa.DataType) -> list[pa.DataType]:
    vectors = pa.list_(number, 3)
    items = [number, vectors, pa.list_(vectors, 1)]
    lists = [make(item) for item in items for make in (pa.list_, pa.large_list)]
    named = pa.list_(pa.field("element", number, nullable=False))
    return [*lists, vectors, pa.list_(vectors, 2), named]


def arrow_array(dtype: pa.DataType) -> pa.Array:
    """Lists of that type, with nulls."""

    def value(dtype: pa.DataType, seed: int) -> Any:
        if pa.types.is_fixed_size_list(dtype):
            return [value(dtype.value_type, seed + i) for i in range(dtype.list_size)]
        if pa.types.is_list(dtype) or pa.types.is_large_list(dtype):
            return [value(dtype.value_type, seed + i) for i in range(seed % 5)]
        # A date of milliseconds is a whole number of days.
        return seed * (86_400_000 if dtype == pa.date64() else 1)

    def integers(dtype: pa.DataType) -> pa.DataType:
        if not dtype.num_fields:
            return pa.int32() if dtype.bit_width == 32 else pa.int64()
        inner = integers(dtype.value_type)
        if pa.types.is_fixed_size_list(dtype):
            return pa.list_(inner, dtype.list_size)
        return pa.list_(inner) if pa.types.is_list(dtype) else pa.large_list(inner)

    rows = [None if row % 7 == 3 else value(dtype, row) for row in range(40)]
    return pa.array(rows, integers(dtype)).cast(dtype)


@pytest.mark.parametrize("number", [*(number.arrow for number in NUMBERS), *ARROW_ONLY], ids=str)
def test_arrow(number: pa.DataType) -> None:
    for dtype in arrow_types(number):
        array = arrow_array(dtype)
        for name, shape in SHAPES.items():
            # Python has no times with nanoseconds.
            data = array.drop_null() if name == "no nulls" else shape(array)
            packed = s4_codec.arrow.compress(data)
            assert packed.type == s4_codec.arrow.COMPRESSED_TYPE
            restored = s4_codec.arrow.decompress(packed, dtype=dtype)
            restored.validate(full=True)
            assert (restored.type, restored) == (dtype, data)
            assert restored.type.field(0) == dtype.field(0)
            frames = s4_codec.arrow.encode(data)
            assert s4_codec.arrow.decode(frames, dtype=dtype).equals(data)
        packed = s4_codec.arrow.compress(unaligned(array))
        assert s4_codec.arrow.decompress(packed, dtype=dtype).equals(array)


@pytest.mark.parametrize("producer", PRODUCERS.values(), ids=PRODUCERS)
@pytest.mark.parametrize("dtype", [pa.list_(pa.float32(), 3), pa.list_(pa.int16())], ids=str)
def test_producers(dtype: pa.DataType, producer: tuple[Callable[[pa.Array], Any], bool]) -> None:
    make, _ = producer
    if make is PRODUCERS["polars chunks"][0] and pa.types.is_fixed_size_list(dtype):
        pytest.skip(f"polars {pl.__version__} cannot import slices of fixed-size lists with nulls")
    array = pa.array([[1, 2, 3], None, [4, 5, 6], [7, 8, 9], None, [1, 1, 1]], dtype)
    expected = array[2:] if make is PRODUCERS["polars chunks"][0] else array
    packed = s4_codec.arrow.compress(make(array))
    restored = s4_codec.arrow.decompress(packed, dtype=dtype)
    assert restored.to_pylist() == expected.to_pylist()


@each_kind
def test_parquet(lists: Lists, tmp_path: Path) -> None:
    series = lists.series(NUMBERS[9])
    path = tmp_path / "packed.parquet"
    series.s4.compress().to_frame().write_parquet(path)
    same(
        pl.scan_parquet(path).select(s4.decompress("x", dtype=series.dtype)).collect()["x"], series
    )
    column = pa.parquet.read_table(path)["x"]
    array = series.to_arrow()
    restored = s4_codec.arrow.decompress(column, dtype=array.type)
    assert restored.combine_chunks().equals(array)
    plain = tmp_path / "plain.parquet"
    pa.parquet.write_table(pa.table({"x": array}), plain)
    read = pa.parquet.read_table(plain)["x"]
    assert s4_codec.arrow.decompress(s4_codec.arrow.compress(read), dtype=read.type).equals(read)


@given(
    rows=st.lists(
        st.none() | st.lists(st.integers(-(2**31), 2**31 - 1), max_size=20), min_size=1, max_size=30
    ),
    cut=st.integers(0, 30),
    length=st.integers(0, 30),
)
def test_any_lists(rows: list[list[int] | None], cut: int, length: int) -> None:
    series = pl.Series("x", rows, dtype=pl.List(pl.Int32))
    width = max(len(row or []) for row in rows)
    padded = [None if row is None else row + [0] * (width - len(row)) for row in rows]
    arrays = pl.Series("x", padded, dtype=pl.Array(pl.Int32, width)) if width else series
    for whole in (series, arrays):
        part = pl.concat([whole.slice(cut, length), whole], rechunk=False)
        same(part.s4.compress().s4.decompress(dtype=whole.dtype), part)
        array = whole.to_arrow().slice(cut, length)
        packed = s4_codec.arrow.compress(array)
        assert s4_codec.arrow.decompress(packed, dtype=array.type).equals(array)


def test_values_are_not_copied() -> None:
    """The items of a fixed-size list are where they were decoded, nulls or not."""
    width = 1 << 20
    row = [*range(width)]
    dtype = pa.list_(pa.int32(), width)
    packed = s4_codec.arrow.compress(pa.array([row, None, row], dtype))
    restored = s4_codec.arrow.decompress(packed, dtype=dtype)
    # A huge page begins there, as the engine's blocks do, and PyArrow's and malloc's do not.
    assert restored.values.buffers()[1].address % (2 << 20) == 0
    assert restored.to_pylist() == [row, None, row]


def test_arrays_of_no_items() -> None:
    dtype = pa.list_(pa.int8(), 0)
    array = pa.array([[], None, []], dtype)
    for data in (array, array[:0], array[1:], pa.array([[], []], dtype)):
        packed = s4_codec.arrow.compress(data)
        assert s4_codec.arrow.decompress(packed, dtype=dtype).to_pylist() == data.to_pylist()
    series = pl.Series("x", [[], None, []], dtype=pl.Array(pl.Int8, 0))
    packed = series.s4.compress()
    assert packed.s4.decompress().to_list() == [b"", None, b""]
    with pytest.raises(ComputeError, match=r"Array of no items from a plugin; use dtype=pl\.List"):
        packed.s4.decompress(dtype=series.dtype)
    assert packed.s4.decompress(dtype=pl.List(pl.Int8)).to_list() == [[], None, []]
    wrong = s4_codec.arrow.compress(pa.array([b"a"]))
    with pytest.raises(error("S4SizeMismatchError"), match="the value has 1 bytes, expected 0"):
        s4_codec.arrow.decompress(wrong, dtype=dtype)


def test_extension_types_are_read_as_stored() -> None:
    dtype = pa.fixed_shape_tensor(pa.float32(), (2, 2))
    array = pa.ExtensionArray.from_storage(
        dtype, pa.array([[1, 2, 3, 4]], pa.list_(pa.float32(), 4))
    )
    packed = s4_codec.arrow.compress(array)
    assert s4_codec.arrow.decompress(packed, dtype=dtype.storage_type).equals(array.storage)


def test_a_literal_stands_for_all_rows() -> None:
    frames = CpuZstd().encode(b"\1\0\2\0")
    frame = pl.DataFrame({"id": [1, 2, 3]})
    expected = [[1, 2]] * 3
    for dtype in (pl.List(pl.Int16), pl.Array(pl.Int16, 2)):
        found = frame.select(s4.decode(pl.lit(frames), dtype=dtype, row="id"))
        assert found.to_series().to_list() == expected
        nothing = s4.decode(pl.lit(None, pl.Binary), dtype=dtype, row="id")
        assert frame.select(nothing).to_series().to_list() == [None] * 3
        assert frame.clear().select(s4.decode(pl.lit(frames), dtype=dtype, row="id")).is_empty()


def test_compute_functions() -> None:
    for dtype in (pa.list_(pa.float32(), 3), pa.large_list(pa.int16()), pa.list_(pa.int64())):
        there, back = s4_codec.arrow.register_compute_functions(CpuZstd(), dtype)
        column = pa.array([[1, 2, 3], None], dtype)
        packed = pc.call_function(there, [column])
        assert pc.call_function(back, [packed]).equals(column)


def test_dictionaries() -> None:
    series = pl.Series("x", [[*range(i, i + 50)] for i in range(2000)], dtype=pl.List(pl.Int32))
    trained = series.s4.train_dictionary(4096)
    assert trained == s4_codec.train_dictionary(row_bytes(series), 4096)
    assert trained == s4_codec.arrow.train_dictionary(series.to_arrow(), 4096)
    codec = s4_codec.CpuZstdDict(trained)
    same(series.s4.encode(codec).s4.decode(dictionary=codec, dtype=series.dtype), series)


@pytest.mark.gpu
@each_number
def test_bitcomp_takes_the_type_of_items(number: Number) -> None:
    open_type = NvcompBitcomp()
    for lists in LISTS.values():
        series = lists.series(number)
        packed = series.s4.compress(open_type)
        payloads = packed.struct.field("payload").to_list()
        # Byte 5 of a container is its data type.
        types = {payload[5] for payload in payloads if payload}
        assert types == {CONTAINER_TYPES[number.bitcomp]}
        assert packed.equals(series.s4.compress(NvcompBitcomp(number.bitcomp)), null_equal=True)
        same(packed.s4.decompress(open_type, dtype=series.dtype), series)
        same(packed.s4.decompress(NvcompBitcomp("char"), dtype=series.dtype), series)
        as_char = series.s4.compress(NvcompBitcomp("char")).struct.field("payload").to_list()
        assert {payload[5] for payload in as_char if payload} == {0}
    # A value that shrinks, so that its frame holds a container.
    long = pl.Series("x", [[7] * 50_000], dtype=pl.List(pl.Int64)).cast(pl.List(number.polars))
    (frame,) = s4_codec.arrow.encode(long.to_arrow(), open_type).to_pylist()
    assert frame[28 + 5] == CONTAINER_TYPES[number.bitcomp]


@pytest.mark.gpu
@pytest.mark.parametrize("make", [NvcompZstd, NvcompBitcomp])
def test_large_columns_of_a_gpu(make: Callable[[], Codec]) -> None:
    """Such columns may be decoded where page-locked memory is, once there is some."""
    codec, dtype, width = make(), pl.Array(pl.Int32, 1 << 18), 1 << 18
    rows = [pl.int_range(i, i + width, dtype=pl.Int32, eager=True) for i in range(20)]
    vectors = pl.Series("x", [None, *rows, None], dtype=dtype)
    packed = vectors.s4.compress(codec)
    ragged = pl.concat(
        [
            vectors.cast(pl.List(pl.Int32))[:9],
            pl.Series("x", [[1], [2, 3]], dtype=pl.List(pl.Int32)),
            vectors.cast(pl.List(pl.Int32)),
        ]
    )
    with_bad = ragged.s4.compress(codec)
    for _ in range(3):
        same(packed.s4.decompress(codec, dtype=dtype), vectors)
        same(with_bad.s4.decompress(codec, dtype=ragged.dtype), ragged)
        with pytest.raises(
            ComputeError, match=r"S4SizeMismatchError: row 9 of the 33 .* has 4 bytes"
        ):
            with_bad.s4.decompress(codec, dtype=dtype)
        with pytest.warns(RuntimeWarning, match="2 of 30 values became null; first row 9 "):
            restored = with_bad.s4.decompress(codec, dtype=dtype, on_error="null")
        same(restored, pl.concat([vectors[:9], pl.Series("x", [None] * 2, dtype=dtype), vectors]))
    has_null_item = pl.Series("x", [[None, 1]], dtype=pl.List(pl.Int32))
    with pytest.raises(ComputeError, match=r"S4Error: row 33 of the 34 .*: item 0 is null"):
        pl.concat([ragged, has_null_item], rechunk=True).s4.compress(codec)


def test_items_of_null_lists_may_be_null() -> None:
    """A null list may lie over null items; so may no list at all."""
    items = pa.array([1, 2, None, None, 5, 6], pa.int32())
    mask = pa.array([False, True, False])
    arrays = pa.FixedSizeListArray.from_arrays(items, 2, mask=mask)
    offsets = pa.array([0, 2, 2, 4], pa.int32())
    lists = pa.ListArray.from_arrays(offsets, pa.concat_arrays([items[:2], items[4:]]), mask=mask)
    unused = pa.ListArray.from_arrays(pa.array([4, 5, 6], pa.int32()), items)
    for data in (arrays, lists, unused):
        packed = s4_codec.arrow.compress(data)
        assert s4_codec.arrow.decompress(packed, dtype=data.type).to_pylist() == data.to_pylist()
