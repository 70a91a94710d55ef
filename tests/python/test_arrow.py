"""Arrow: round trips of every layout, shape and producer."""

from __future__ import annotations

import gc
import mmap
import signal
import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest
from arrow_table import BYTES, LAYOUTS, PRODUCERS, SHAPES, Layout, nulls_in_dictionary, unaligned
from codecs_table import VALUES, Row, error, noise, text, texts

import s4_codec.arrow as s4
import s4_codec.polars
from s4_codec import Codec, CpuZstd, Passthrough, crc32c

if TYPE_CHECKING:
    from collections.abc import Callable


def as_bytes(values: list[Any]) -> list[bytes | None]:
    return [value.encode() if isinstance(value, str) else value for value in values]


def check_round_trip(data: Any, expected: list[Any], codec: Codec, is_chunked: bool) -> None:
    packed = s4.compress(data, codec)
    assert isinstance(packed, pa.ChunkedArray if is_chunked else pa.StructArray)
    assert packed.type == s4.COMPRESSED_TYPE
    packed.validate(full=True)
    restored = s4.decompress(packed, codec)
    assert isinstance(restored, pa.ChunkedArray if is_chunked else pa.LargeBinaryArray)
    assert restored.type == pa.large_binary()
    restored.validate(full=True)
    assert restored.to_pylist() == as_bytes(expected)
    if is_chunked:
        assert [len(c) for c in restored.chunks] == [len(c) for c in packed.chunks]
    for row, value in zip(packed.to_pylist(), as_bytes(expected), strict=True):
        if value is None:
            assert row is None
        else:
            assert (row["original_size"], row["crc32c"]) == (len(value), crc32c(value))
            assert codec.decompress(row["payload"], row["original_size"], row["crc32c"]) == value


def check_checksums(data: Any, packed: Any, codec: Codec) -> None:
    """The same with a checksum of every payload, and what readers without it make of that."""
    checked = s4.compress(data, codec, payload_checksum=True)
    assert checked.type == pa.struct([*s4.COMPRESSED_TYPE, ("payload_crc32c", pa.int64())])
    checked.validate(full=True)
    for row, without in zip(checked.to_pylist(), packed.to_pylist(), strict=True):
        if row is not None:
            assert row.pop("payload_crc32c") == crc32c(row["payload"])
        assert row == without
    restored = s4.decompress(packed, codec)
    assert s4.decompress(checked, codec).equals(restored)
    assert s4.decompress(checked.cast(packed.type), codec).equals(restored)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_round_trip(codec: Codec, layout: Layout, shape: Callable[[pa.Array], Any]) -> None:
    data = shape(layout.array)
    is_chunked = isinstance(data, pa.ChunkedArray)
    check_round_trip(data, data.to_pylist(), codec, is_chunked)
    packed = s4.compress(data, codec)
    check_checksums(data, packed, codec)
    if is_chunked:
        assert [len(c) for c in packed.chunks] == [len(c) for c in data.chunks]


@pytest.mark.parametrize("producer", PRODUCERS.values(), ids=PRODUCERS)
@pytest.mark.parametrize("dtype", [pa.string(), pa.large_binary(), pa.binary_view()], ids=str)
def test_producers(
    codec: Codec, dtype: pa.DataType, producer: tuple[Callable[[pa.Array], Any], bool]
) -> None:
    make, is_chunked = producer
    array = pa.array(["größe", None, "", *["row" * n for n in range(30)]]).cast(dtype)
    expected = array[2:] if make is PRODUCERS["polars chunks"][0] else array
    check_round_trip(make(array), expected.to_pylist(), codec, is_chunked)


def test_dictionaries_with_nulls_in_keys_and_values(codec: Codec) -> None:
    array = nulls_in_dictionary()
    check_round_trip(array, ["a" * 40, None, None, "b", "a" * 40], codec, is_chunked=False)


@pytest.mark.parametrize(
    "layout", [x for x in LAYOUTS if not pa.types.is_dictionary(x.dtype)], ids=str
)
def test_buffers_need_no_alignment(codec: Codec, layout: Layout) -> None:
    array = layout.array
    if layout.dtype not in (pa.binary_view(), pa.string_view()):
        # PyArrow makes no unaligned views.
        array = unaligned(array)
    check_round_trip(array, layout.values, codec, is_chunked=False)


def test_text(codec: Codec) -> None:
    column = pa.array(["größe", None, "", "a" * 500])
    packed = s4.compress(column, codec)
    for dtype in (pa.large_string(), "large_string"):
        restored = s4.decompress(packed, codec, dtype=dtype)
        assert restored.equals(column.cast(pa.large_string()))
    chunked = s4.decompress(pa.chunked_array([packed]), codec, dtype=pa.large_string())
    assert chunked.type == pa.large_string()


def test_codecs_by_name(row: Row) -> None:
    codec = row.codec
    if row.needs_dictionary:
        with pytest.raises(error("S4UnregisteredCodecError"), match="needs its dictionary"):
            s4.compress(pa.array(["a"]), codec.name)
        return
    column = pa.array(["a" * 100])
    packed = s4.compress(column, codec.name)
    assert s4.decompress(packed, codec)[0].as_py() == b"a" * 100
    # By name the device is open, and a CPU writes other bytes.
    if not row.on_gpu:
        assert packed.equals(s4.compress(column, codec))
    assert s4.decompress(s4.compress(column, codec), codec.name)[0].as_py() == b"a" * 100


def test_polars_and_arrow_read_each_other(codec: Codec, tmp_path: Path) -> None:
    values = [*BYTES, *VALUES]
    frame = pl.DataFrame({"body": pl.Series(values, dtype=pl.Binary)})
    ours = s4.compress(pa.array(values, pa.binary()), codec)
    theirs = frame.select(s4_codec.polars.compress("body", codec)).to_series()
    assert ours.to_pylist() == theirs.to_list()
    assert s4.decompress(theirs, codec).to_pylist() == values
    assert pl.Series(ours).s4.decompress(codec).to_list() == values
    theirs.to_frame("body").write_parquet(tmp_path / "packed.parquet")
    read = pa.parquet.read_table(tmp_path / "packed.parquet")
    assert s4.decompress(read["body"], codec).to_pylist() == values
    assert s4.decompress(read, codec).to_pylist() == values, "a table of one column"


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_payloads_of_any_layout(layout: Layout) -> None:
    """Payloads are what passthrough makes, so that they fit even a fixed size."""
    values = as_bytes(layout.values)
    fields = [
        layout.array,
        pa.array([0 if v is None else len(v) for v in values], pa.int64()),
        pa.array([0 if v is None else crc32c(v) for v in values], pa.int64()),
    ]
    packed = pa.StructArray.from_arrays(fields, ["payload", "original_size", "crc32c"])
    assert s4.decompress(packed, Passthrough()).to_pylist() == values
    assert s4.decompress(layout.array, Passthrough()).to_pylist() == values, "bare"
    for shape in (SHAPES[name] for name in ("slice", "no rows", "chunks", "no chunks")):
        part = shape(packed)
        expected = as_bytes(shape(layout.array).to_pylist())
        assert s4.decompress(part, Passthrough()).to_pylist() == expected


INTEGERS = [
    *(pa.uint64(), pa.int64(), pa.int32(), pa.uint16()),
    *(pa.decimal32(9, 0), pa.decimal64(18, 0), pa.decimal128(20, 0), pa.decimal256(76, 0)),
]


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_manifests_of_any_integer_type(codec: Codec, dtype: pa.DataType) -> None:
    """Fields are found by name, in any order, between others."""
    value = text(3000)
    payload, size, checksum = codec.compress(value)
    number = Decimal(size) if pa.types.is_decimal(dtype) else size
    fields = {
        "lost": pa.array([[{"deep": [1]}], None]),
        "crc32c": pa.array([checksum, 5], pa.int64()),
        "payload": pa.array([payload, None], pa.binary()),
        "original_size": pa.array([number, None], dtype),
        "kind": pa.array(["x", "y"]).dictionary_encode(),
        "at": pa.array([1, 2], pa.timestamp("ns", "UTC")),
    }
    packed = pa.StructArray.from_arrays(fields.values(), fields.keys())
    assert s4.decompress(packed, codec).to_pylist() == [value, None]
    assert s4.decompress(pa.table(fields), codec).to_pylist() == [value, None], "three columns"


def test_null_structs(codec: Codec) -> None:
    packed = s4.compress(pa.array(["a", "b", "c"]), codec)
    fields = [packed.field(i) for i in range(3)]
    mask = pa.array([False, True, False])
    nulled = pa.StructArray.from_arrays(fields, fields=list(s4.COMPRESSED_TYPE), mask=mask)
    assert s4.decompress(nulled, codec).to_pylist() == [b"a", None, b"c"]
    inside = pa.StructArray.from_arrays([packed], ["body"], mask=pa.array([True, False, False]))
    assert s4.decompress(inside, codec).to_pylist() == [None, b"b", b"c"]
    table = pa.StructArray.from_arrays([pa.array(["a", "b"])], ["x"], mask=pa.array([True, False]))
    assert s4.compress(table, codec)[0].as_py() is None


def test_extension_types_are_their_storage(codec: Codec) -> None:
    column = pa.array(['{"a": 1}', None]).cast(pa.json_(pa.string()))
    check_round_trip(column, ['{"a": 1}', None], codec, is_chunked=False)


def test_bare_payloads(codec: Codec) -> None:
    values = [text(n * 11) for n in range(200)]
    bare = pa.array([codec.compress(value)[0] for value in values] + [None], pa.binary())
    assert s4.decompress(bare, codec).to_pylist() == [*values, None]
    large = [text(6 << 20), b"", text(5 << 20)]
    bare = pa.array([codec.compress(value)[0] for value in large], pa.binary())
    assert s4.decompress(bare, codec).to_pylist() == large


def test_results_outlive_what_they_came_from(codec: Codec) -> None:
    """Output memory is recycled only once nothing refers to it."""
    columns = [pa.array(texts(3000)) for _ in range(6)]
    packed = [s4.compress(column, codec) for column in columns]
    slices = [part.slice(17, 5) for part in packed]
    del columns, packed
    gc.collect()
    for _ in range(6):
        s4.decompress(s4.compress(pa.array(texts(3000)), codec), codec)
    for part in slices:
        assert s4.decompress(part, codec).to_pylist() == texts(3000)[17:22]


def test_results_hold_no_input(codec: Codec) -> None:
    """Neither the values nor the validity of the input live on in the result."""
    before = pa.total_allocated_bytes()
    column = pa.array([None, *[b"x" * 1000] * 5000])
    packed = s4.compress(column, codec)
    del column
    assert pa.total_allocated_bytes() == before
    restored = s4.decompress(packed, codec)
    assert restored.null_count == 1


def test_positions_and_values_beyond_2_gib() -> None:
    """One 64 MiB page of zeroes, seen 40 times over, and 2.5 GiB of it restored."""
    page, times = 64 << 20, 40
    memory = Path("/proc/meminfo").read_text()
    available = int(memory.split("MemAvailable:")[1].split()[0])
    if available < 6 << 20:
        pytest.skip(f"needs 6 GiB of free memory, there are {available >> 20}")
    views = b"".join(
        page.to_bytes(4, "little") + bytes(4) + (0).to_bytes(4, "little") + bytes(4)
        for _ in range(times)
    )
    buffers = [None, pa.py_buffer(views), pa.py_buffer(bytes(page))]
    column = pa.Array.from_buffers(pa.binary_view(), times, buffers)
    packed = s4.compress(pa.chunked_array([column]), CpuZstd(1))
    sizes = packed.chunk(0).field("original_size")
    assert set(sizes.to_pylist()) == {page}
    restored = s4.decompress(packed, CpuZstd(1)).chunk(0)
    assert restored.nbytes > 2**31
    last = restored[times - 1].as_buffer()
    assert last.size == page
    assert crc32c(last) == crc32c(bytes(page))


def test_offsets_beyond_2_gib_over_memory_nobody_touched(codec: Codec) -> None:
    end = 3 << 30
    sparse = mmap.mmap(-1, end)
    sparse[end - 5 :] = b"hello"
    validity = pa.py_buffer(bytes([0b101]))
    offsets = pa.array([0, 10, end - 5, end], pa.int64()).buffers()[1]
    column = pa.Array.from_buffers(pa.large_binary(), 3, [validity, offsets, pa.py_buffer(sparse)])
    check_round_trip(column, [bytes(10), None, b"hello"], codec, is_chunked=False)


class Rang(Exception):
    """What the signal handler below raises."""


def ring(*_: object) -> None:
    raise Rang


@pytest.mark.skipif(sys.platform == "win32", reason="no interval timers")
@pytest.mark.parametrize("chunked", [False, True])
def test_signals_end_the_work(chunked: bool) -> None:
    column = pa.array([text(1 << 20)] * 100)
    data = pa.chunked_array([column]) if chunked else column
    old = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(Rang):
            s4.compress(data, CpuZstd(22))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert s4.decompress(s4.compress(column[:1]))[0].as_py() == text(1 << 20)


def test_long_rows_beside_short_ones_in_kept_memory() -> None:
    """A kept block may be longer than a fresh one, and then holds a long row among others."""
    long = noise(5_500_000)
    s4.decompress(s4.compress(pa.array([long])))
    rows = [noise(300_000), long[:5_000_000], b"end"]
    column = pa.chunked_array([rows, [b"next chunk"]], pa.large_binary())
    threads = s4_codec.num_threads()
    s4_codec.set_num_threads(1)
    try:
        packed = s4.compress(column)
        assert s4.decompress(packed).equals(column)
        frames = s4.encode(column, fallback=False)
        assert s4.decode(frames).equals(column)
    finally:
        s4_codec.set_num_threads(threads)
