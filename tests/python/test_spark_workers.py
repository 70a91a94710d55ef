"""What runs on Spark's workers, without Spark: batches that decode to much, and their errors."""

from __future__ import annotations

import mmap
import struct
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from codecs_table import text

from s4_codec import CpuGzip, CpuZstd, S4CrcMismatchError, S4IoError
from s4_codec import _spark as workers
from s4_codec import arrow as s4
from s4_codec import s4_codec as native

if TYPE_CHECKING:
    from s4_codec import Codec

HOW = {"dtype": "large_binary", "on_error": "raise", "max_size": None}
VALUE = 1 << 20


def payloads(form: str, codec: Codec, values: list[bytes | None]) -> pa.Array:
    if form == "frames":
        return s4.encode(pa.array(values, pa.binary()), codec)
    packed = s4.compress(pa.array(values, pa.binary()), codec)
    return packed if form == "struct" else packed.field("payload")


def decoded(form: str, codec: Codec, array: pa.Array, **how: Any) -> list[pa.Array]:
    how = {**HOW, **how}
    if form == "frames":
        return list(workers.decode(array, codec, **how))
    return list(workers.decompress(array, codec, is_bare=form == "bare", **how))


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_RANGE_BYTES", 4 * VALUE)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("codec", [CpuZstd(), CpuGzip()], ids=repr)
@pytest.mark.parametrize("form", ["struct", "frames", "bare"])
def test_a_batch_is_decoded_in_pieces(form: str, codec: Codec) -> None:
    values = [bytes([i]) * VALUE if i % 3 else None for i in range(21)]
    parts = decoded(form, codec, payloads(form, codec, values))
    assert pa.chunked_array(parts).to_pylist() == values
    assert len(parts) >= 3
    assert max(part.nbytes for part in parts) < 5 * VALUE
    nothing = payloads(form, codec, [])
    assert [len(part) for part in decoded(form, codec, nothing)] == [0]


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("form", ["struct", "frames", "bare"])
def test_a_bad_row_of_any_piece_is_named(form: str) -> None:
    array = payloads(form, CpuZstd(), [bytes([i]) * VALUE for i in range(20)])
    for row in (0, 7, 19):
        rows = array.to_pylist()
        bad = rows[row]
        rows[row] = {**bad, "crc32c": 1} if form == "struct" else bad[:-3]
        damaged = pa.array(rows, array.type)
        with pytest.raises((S4CrcMismatchError, S4IoError, native.S4FrameError)) as caught:
            decoded(form, CpuZstd(), damaged)
        assert str(caught.value).startswith(f"row {row} of its Arrow batch (")
        assert caught.value.row == row
        (kept,) = {*range(20)} - {
            i
            for i, value in enumerate(
                pa.chunked_array(decoded(form, CpuZstd(), damaged, on_error="null"))
            )
            if value.is_valid
        }
        assert kept == row


@pytest.mark.parametrize("form", ["struct", "bare"])
def test_what_claims_too_much_takes_no_piece(form: str) -> None:
    """It is refused when its turn comes, with the rows around it."""
    array = payloads(form, CpuZstd(), [b"a" * 1000] * 4)
    claim = bytearray(array.to_pylist()[0]["payload"] if form == "struct" else array[0].as_py())
    # The frame's content size, of 2 bytes, in 8.
    assert claim[4] >> 6 == 1
    claim[4:7] = struct.pack("<BQ", claim[4] | 0xC0, 1 << 62)
    rows = array.to_pylist()
    rows[2] = {**rows[2], "original_size": 1 << 62} if form == "struct" else bytes(claim)
    parts = decoded(form, CpuZstd(), pa.array(rows, array.type), on_error="null")
    assert [value.is_valid for value in pa.chunked_array(parts)] == [True, True, False, True]
    assert len(parts) == 1


def test_what_32_bit_offsets_cannot_count_goes_in_parts() -> None:
    """Offsets are real; the bytes of the long value are never touched."""
    long, short, count = 2**31 - 10, 1000, 40
    with mmap.mmap(-1, long + count * short) as room:
        room[long:] = text(count * short)
        offsets = [0, *range(long, long + count * short + 1, short)]
        buffers = [None, pa.array(offsets, pa.int64()).buffers()[1], pa.py_buffer(room)]
        array = pa.Array.from_buffers(pa.large_binary(), count + 1, buffers)
        parts = list(workers.for_spark(array, is_large=False))
        assert len(parts[0]) == 1
        assert all(part.type == pa.binary() for part in parts)
        assert pa.chunked_array(parts[1:]).to_pylist() == array[1:].to_pylist()
        packed = pa.StructArray.from_arrays(
            [
                array,
                pa.array([1] * len(array), pa.int64()),
                pa.array([2] * len(array), pa.int64()),
            ],
            names=list(workers.FIELDS),
        )
        structs = list(workers.for_spark(packed, is_large=False))
        assert len(structs[0]) == 1
        assert pa.chunked_array(structs[1:]).to_pylist() == packed[1:].to_pylist()
        (whole,) = workers.for_spark(array, is_large=True)
        assert whole.type == pa.large_binary()
        (large,) = workers.for_spark(packed, is_large=True)
        assert large.type == s4.COMPRESSED_TYPE
        del array, parts, packed, structs, whole, large, buffers
