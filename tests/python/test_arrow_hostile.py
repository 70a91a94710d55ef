"""Arrow: bad rows, wrong types and wrong arguments."""

from __future__ import annotations

import pickle
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from codecs_table import FORGERIES, cut_class, error, forgery_class, text

import s4_codec.arrow as s4
from s4_codec import Codec, CpuGzip, CpuZstd, S4Error

if TYPE_CHECKING:
    from collections.abc import Callable

FIELDS = ("payload", "original_size", "crc32c")
#: What can state any size.
UNSIGNED = pa.struct(
    [("payload", pa.large_binary()), ("original_size", pa.uint64()), ("crc32c", pa.uint32())]
)


def column(rows: list[tuple[bytes, int, int] | None]) -> pa.StructArray:
    values = [None if row is None else dict(zip(FIELDS, row, strict=True)) for row in rows]
    return pa.array(values, UNSIGNED)


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
        with pytest.raises(error("S4UnregisteredCodecError"), match="lz4"):
            verb(data, "lz4")
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
        (b"bytes", "expected Arrow data .* found bytes"),
        ([b"a"], "pyarrow.array"),
        (pa.array([1]), "found Int64"),
        (pa.array([1.5]), "found Float64"),
        (pa.array([[b"a"]]), "found List"),
        (
            pa.array([[b"a"]], pa.large_list(pa.binary())),
            r"found LargeList\(Binary\)",
        ),
        (pa.array([[("a", b"b")]], pa.map_(pa.string(), pa.binary())), "found Map"),
        (pa.array([1], pa.duration("s")), "found Duration"),
        (pa.array([1, 1]).dictionary_encode(), r"found Dictionary\(Int32, Int64\)"),
        (
            pa.table({"a": ["x"], "b": ["y"]}),
            'found Struct.*"a".*"b".*; pass one column of the table',
        ),
        (pa.chunked_array([], pa.int8()), "found Int8"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_types(data: Any, words: str) -> None:
    for verb in (s4.compress, s4.decompress):
        if verb is s4.decompress and isinstance(data, pa.Table):
            words = (
                "the struct lacks payload, original_size and crc32c; it has a, b; pass one column"
            )
        with pytest.raises(TypeError, match=words):
            verb(data)


def test_compressing_twice_is_told() -> None:
    with pytest.raises(
        TypeError, match=r"compress expects binary or string data, .*compressed data"
    ):
        s4.compress(s4.compress(pa.array(["a"])))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"payload": b"a"}, "lacks original_size and crc32c; it has payload"),
        ({"payload": b"a", "crc32c": 1}, "lacks original_size; it has payload, crc32c"),
        ({"Payload": b"a", "original_size": 1, "crc32c": 1}, "lacks payload"),
        ({"payload": 1, "original_size": 1, "crc32c": 1}, "payload must be Binary, found Int64"),
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
        (1, 2**32, "crc32c must be from 0 to below .* found 4294967296"),
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


@pytest.mark.parametrize(
    "dtype", [pa.decimal64(18, 0), pa.decimal128(38, 0), pa.decimal256(76, 0)], ids=str
)
def test_decimals_that_do_not_fit(dtype: pa.DataType) -> None:
    digits = "9" * dtype.precision
    for wrong in (digits, "-" + digits):
        fields = {
            "payload": pa.array([b"abc"]),
            "original_size": pa.array([3]),
            "crc32c": pa.array([Decimal(wrong)], dtype),
        }
        packed = pa.StructArray.from_arrays(fields.values(), fields.keys())
        with pytest.raises(S4Error, match=f"crc32c must be from 0 to below .* found {wrong}$"):
            s4.decompress(packed)


def test_the_wrong_codec_is_told_what_it_got() -> None:
    data = column([CpuGzip().compress(text(500))])
    with pytest.raises(error("S4IoError"), match=r"row 0 .*these bytes look like gzip"):
        s4.decompress(data, CpuZstd())
