"""Damage to stored payloads, which ``payload_crc32c`` finds before anything is decoded."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from codecs_table import text
from polars.exceptions import ComputeError

import s4_codec.arrow
import s4_codec.gpu
import s4_codec.polars as s4
from s4_codec import Codec, CpuZstd, S4CrcMismatchError, S4Error, crc32c

Fields = dict[str, Any]

COMPRESSED = pa.struct([*s4_codec.arrow.COMPRESSED_TYPE, ("payload_crc32c", pa.int64())])
DTYPE = pl.Struct([*s4.COMPRESSED_DTYPE.fields, pl.Field("payload_crc32c", pl.Int64)])

#: What a row says that is damaged where its payload was stored.
DAMAGED = "crc32c of the payload itself is "


def packed_row(codec: Codec, value: bytes) -> Fields:
    payload, size, checksum = codec.compress(value)
    own = crc32c(payload)
    return {
        "payload": payload,
        "original_size": size,
        "crc32c": checksum,
        "payload_crc32c": own,
    }


def flipped(row: Fields, bit: int) -> Fields:
    """The row with one bit of its payload flipped."""
    payload = bytearray(row["payload"])
    payload[bit // 8 % len(payload)] ^= 1 << bit % 8
    return row | {"payload": bytes(payload)}


def test_any_flipped_bit_is_found_before_decoding(codec: Codec) -> None:
    good = packed_row(codec, text(1000))
    bits = range(0, 8 * len(good["payload"]), 37)
    series = pl.Series("body", [good, None, *[flipped(good, bit) for bit in bits]], DTYPE)
    reasons = series.to_frame().select(s4.verify("body", codec)).to_series()
    assert reasons[:2].to_list() == [None, None]
    assert len(reasons) > 20
    assert reasons[2:].str.starts_with(f"S4CrcMismatchError: {DAMAGED}").all()
    arrow = s4_codec.arrow.verify(pa.array(series.to_list(), COMPRESSED), codec)
    assert arrow.to_pylist() == reasons.to_list()
    with pytest.warns(RuntimeWarning, match=f"{len(bits)} of {len(bits) + 1} values became null"):
        kept = series.s4.decompress(codec, on_error="null")
    assert kept.to_list() == [text(1000), *[None] * (len(bits) + 1)]


def test_a_damaged_row_is_named(codec: Codec) -> None:
    good = packed_row(codec, text(1000))
    bad = flipped(good, 8 * 20)
    actual = crc32c(bad["payload"])
    rows = [good, good, bad, good]
    reason = f"{DAMAGED}{actual:#010x}, expected {good['payload_crc32c']:#010x}"
    frame = pl.DataFrame({"body": pl.Series(rows, dtype=DTYPE), "id": [40, 41, 42, 43]})
    with pytest.raises(ComputeError, match=rf"S4CrcMismatchError: row 2 .*\(id = 42, .*{reason}"):
        frame.select(s4.decompress("body", codec, row="id"))
    chunks = pa.chunked_array([pa.array(rows[:1], COMPRESSED), pa.array(rows[1:], COMPRESSED)])
    with pytest.raises(S4CrcMismatchError, match=reason) as raised:
        s4_codec.arrow.decompress(chunks, codec)
    assert raised.value.row == 2


@pytest.mark.gpu
def test_a_damaged_row_of_a_column_on_the_device(codec: Codec) -> None:
    good = packed_row(codec, text(1000))
    array = pa.array([good, None, flipped(good, 8 * 20), good], COMPRESSED)
    with pytest.raises(S4CrcMismatchError, match=DAMAGED) as raised:
        s4_codec.gpu.decompress(array, codec)
    assert raised.value.row == 2
    with pytest.warns(RuntimeWarning, match="1 of 3 values became null"):
        column = s4_codec.gpu.decompress(array, codec, on_error="null")
    assert column.to_arrow().to_pylist() == [text(1000), None, None, text(1000)]
    packed = s4_codec.gpu.compress(column, codec, payload_checksum=True)
    assert packed.type == COMPRESSED
    checksums = [row and crc32c(row["payload"]) for row in packed.to_pylist()]
    assert packed.field("payload_crc32c").to_pylist() == checksums
    assert s4_codec.gpu.compress(column, codec).type == s4_codec.arrow.COMPRESSED_TYPE


def test_all_rows_damaged_alike_are_damage_and_no_mistake(codec: Codec) -> None:
    """No advice to pass another codec, however the damaged bytes look."""
    damaged = packed_row(codec, text(1000)) | {"payload": b"S4F2" + bytes(100)}
    series = pl.Series("body", [damaged] * 3, DTYPE)
    with pytest.warns(RuntimeWarning, match="3 of 3 values became null"):
        assert series.s4.decompress(codec, on_error="null").null_count() == 3


def test_rows_without_a_checksum_are_read_unchecked(codec: Codec) -> None:
    """As in a column of which the older part records none."""
    row = packed_row(codec, text(1000))
    rows = [row, row | {"payload_crc32c": None}]
    series = pl.Series("body", rows, DTYPE)
    assert series.s4.decompress(codec).to_list() == [text(1000)] * 2
    older = pl.Series("body", [row], s4.COMPRESSED_DTYPE).struct.unnest()
    both = pl.concat([series.struct.unnest(), older], how="diagonal").to_struct("body")
    assert both.s4.decompress(codec).to_list() == [text(1000)] * 3
    array = pa.array(rows, COMPRESSED)
    assert s4_codec.arrow.decompress(array, codec).to_pylist() == [text(1000)] * 2
    nulls = pl.Series("body", rows, DTYPE).struct.unnest().with_columns(payload_crc32c=None)
    assert nulls.to_struct("body").s4.decompress(codec).to_list() == [text(1000)] * 2


@pytest.mark.parametrize(
    "dtype",
    [
        *(pa.uint64(), pa.int64(), pa.uint32(), pa.decimal32(9, 0), pa.decimal64(18, 0)),
        *(pa.decimal128(20, 0), pa.decimal256(76, 0)),
    ],
    ids=str,
)
def test_checksums_of_any_integer_type(dtype: pa.DataType) -> None:
    # A value whose payload has a checksum of few digits, for the narrowest type.
    values = (text(n) for n in range(100))
    row = min((packed_row(CpuZstd(), v) for v in values), key=lambda row: row["payload_crc32c"])
    assert row["payload_crc32c"] < 10**9
    typed = pa.struct([*s4_codec.arrow.COMPRESSED_TYPE, ("payload_crc32c", dtype)])
    number = Decimal if pa.types.is_decimal(dtype) else int
    rows = [
        row | {"payload_crc32c": checksum if checksum is None else number(checksum)}
        for checksum in (row["payload_crc32c"], None, row["payload_crc32c"] ^ 1)
    ]
    reasons = s4_codec.arrow.verify(pa.array(rows, typed)).to_pylist()
    assert reasons[:2] == [None, None]
    assert DAMAGED in reasons[2]


@pytest.mark.parametrize("checksum", [-1, 2**32, 2**63 - 1])
def test_checksums_out_of_range(codec: Codec, checksum: int) -> None:
    row = packed_row(codec, text(100))
    rows = [row, row | {"payload_crc32c": checksum}]
    reason = rf"payload_crc32c must be from 0 to below 2\^32, found {checksum}"
    with pytest.raises(ComputeError, match=f"S4Error: row 1 of the 2 .*{reason}"):
        pl.Series("body", rows, DTYPE).s4.decompress(codec)
    with pytest.raises(S4Error, match=reason) as raised:
        s4_codec.arrow.decompress(pa.array(rows, COMPRESSED), codec)
    assert (type(raised.value), raised.value.row) == (S4Error, 1)


def test_another_type_is_an_error_of_the_plan() -> None:
    dtype = pl.Struct([*s4.COMPRESSED_DTYPE.fields, pl.Field("payload_crc32c", pl.String)])
    words = "struct field payload_crc32c must be an integer type or decimal.p, 0., found "
    lazy = pl.LazyFrame(schema={"body": dtype}).select(s4.decompress("body"))
    with pytest.raises(ComputeError, match=words + "String"):
        lazy.collect_schema()
    typed = pa.struct([*s4_codec.arrow.COMPRESSED_TYPE, ("payload_crc32c", pa.float64())])
    with pytest.raises(TypeError, match=words + "Float64"):
        s4_codec.arrow.decompress(pa.array([], typed))


@pytest.mark.parametrize("value", [1, None, "yes"])
def test_it_is_asked_for_with_a_bool(value: Any) -> None:
    for call in (
        lambda: s4.compress("body", payload_checksum=value),
        lambda: pl.Series([b"a"]).s4.compress(payload_checksum=value),
        lambda: s4_codec.arrow.compress(pa.array([b"a"]), payload_checksum=value),
    ):
        with pytest.raises(
            TypeError, match=f"payload_checksum must be True or False, not {value!r}"
        ):
            call()
