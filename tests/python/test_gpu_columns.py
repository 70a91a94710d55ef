"""Columns decompressed to a GPU are those that the host would have: values, nulls and errors."""

from __future__ import annotations

import re
import struct
import warnings
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from arrow_table import LAYOUTS, SHAPES, Layout, nulls_in_dictionary
from codecs_table import DICTIONARY, VALUES, Row, decoding, own_frame, text

import s4_codec
import s4_codec.arrow
from s4_codec import (
    Codec,
    CpuGzip,
    CpuZstd,
    NvcompBitcomp,
    NvcompGDeflate,
    NvcompZstd,
    Passthrough,
    crc32c,
    gpu,
)

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.gpu


def whole(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    if not isinstance(array, pa.ChunkedArray):
        return array
    return pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)


def check(column: gpu.DeviceColumn, expected: pa.Array | pa.ChunkedArray) -> None:
    """The column is what the host has."""
    expected = whole(expected)
    assert (len(column), column.null_count) == (len(expected), expected.null_count)
    assert (column.dtype, column.device) == (str(expected.type), 0)
    back = column.to_arrow()
    back.validate(full=True)
    assert back.equals(expected)


def outcome(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """What a call returns, on the host; or its error: class, row and text."""
    try:
        result = call(*arguments, **options)
    except (s4_codec.S4Error, s4_codec.S4IoError, s4_codec.S4BackendError) as error:
        return type(error), error.row, str(error)
    return result.to_arrow() if isinstance(result, gpu.DeviceColumn) else whole(result)


def cast(array: pa.Array, dtype: pa.DataType) -> pa.Array:
    """As ``Array.cast``, to dictionaries too."""
    if not pa.types.is_dictionary(dtype):
        return array.cast(dtype)
    encoded = array.cast(dtype.value_type).dictionary_encode()
    indices = encoded.indices.cast(dtype.index_type)
    return pa.DictionaryArray.from_arrays(indices, encoded.dictionary)


# --- Layouts ------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_values_of_every_layout_and_shape(codec: Codec, layout: Layout) -> None:
    for shape in SHAPES.values():
        data = shape(layout.array)
        packed = s4_codec.arrow.compress(data, codec)
        check(gpu.decompress(packed, codec), s4_codec.arrow.decompress(packed, codec))
        frames = s4_codec.arrow.encode(data, codec, fallback=False)
        on_host = s4_codec.arrow.decode(frames, **decoding(codec))
        check(gpu.decode(frames, dictionary=DICTIONARY), on_host)
        assert on_host.to_pylist() == [
            v.encode() if type(v) is str else v for v in data.to_pylist()
        ]


@pytest.mark.parametrize(
    "dtype",
    [
        *(pa.binary(), pa.large_binary(), pa.binary_view()),
        pa.dictionary(pa.int32(), pa.large_binary()),
        pa.dictionary(pa.uint8(), pa.binary()),
    ],
    ids=str,
)
@pytest.mark.parametrize("has_manifests", [True, False])
def test_payloads_of_every_layout(codec: Codec, dtype: pa.DataType, has_manifests: bool) -> None:
    values = [None, *VALUES, *VALUES[:6], None, text(200_001), None]
    values = pa.array(values, pa.large_binary())
    packed = s4_codec.arrow.compress(values, codec)
    payloads = cast(packed.field("payload"), dtype)
    data = payloads
    if has_manifests:
        fields = [payloads, packed.field("original_size"), packed.field("crc32c")]
        names = ["payload", "original_size", "crc32c"]
        data = pa.StructArray.from_arrays(fields, names, mask=packed.is_null())
    for shape in ("array", "slice", "slice of no rows", "no rows", "chunks", "no chunks"):
        part = SHAPES[shape](data)
        check(gpu.decompress(part, codec), s4_codec.arrow.decompress(part, codec))
    check(gpu.decompress(data, codec), values)
    check(
        gpu.decode(
            cast(s4_codec.arrow.encode(values, codec, fallback=False), dtype),
            dictionary=DICTIONARY,
        ),
        values,
    )


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_stored_values_of_every_layout(layout: Layout) -> None:
    check(
        gpu.decompress(layout.array, Passthrough()),
        s4_codec.arrow.decompress(layout.array, Passthrough()),
    )


def test_dictionaries_with_nulls_in_keys_and_values() -> None:
    data = nulls_in_dictionary()
    check(gpu.decompress(data, "passthrough"), s4_codec.arrow.decompress(data, Passthrough()))


ON_GPU = [NvcompZstd, NvcompGDeflate, NvcompBitcomp]
MIB = 1 << 20


@pytest.mark.parametrize("make", [*ON_GPU, CpuZstd], ids=lambda make: make.__name__)
def test_values_of_several_mib(make: Callable[[], Codec]) -> None:
    """More than a piece, than a step of uploads, and around their ends."""
    codec, source = make(), text(17 * MIB)
    lens = [8 * MIB - 1, 8 * MIB, 8 * MIB + 1, 17 * MIB, 3, 65_536, 0, 65_537]
    values = pa.array([source[:n] for n in lens], pa.large_binary())
    packed = s4_codec.arrow.compress(values, codec)
    check(gpu.decompress(packed, codec), values)
    check(gpu.decompress(packed.field("payload"), codec), values)
    check(gpu.decode(s4_codec.arrow.encode(values, codec, fallback=False)), values)


def test_rows_of_several_frames_of_mixed_codecs() -> None:
    zstd, gdeflate, bitcomp = (make() for make in ON_GPU)
    cpu, gzip, stored = CpuZstd(), CpuGzip(), Passthrough()
    source = text(400_000)
    rows: list[list[tuple[Codec, int]]] = [
        [(zstd, 70_000)],
        [(zstd, 70_000), (gdeflate, 1), (bitcomp, 100_000)],
        [(cpu, 5000)],
        [(cpu, 5000), (zstd, 70_000)],
        [(zstd, 70_000), (stored, 100)],
        [(gdeflate, 0), (gdeflate, 65_536), (zstd, 0)],
        [(gzip, 0)],
        [(zstd, 0)],
        [(cpu, 5000), (bitcomp, 70_000)],
        [],
        [(bitcomp, 300_000)] * 4,
        [(gzip, 10)] * 40,
        [(zstd, 3)] * 40,
    ]
    values: list[bytes | None] = [b"".join(source[:size] for _, size in row) for row in rows]
    frames = [b"".join(own_frame(codec, source[:size]) for codec, size in row) for row in rows]
    padding = b"S4P1" + struct.pack("<Q", 9) + b"unread..."
    padded = padding + frames[1] + padding + frames[0]
    data = pa.array([*frames, None, padded], pa.binary())
    values += [None, values[1] + values[0]]
    check(gpu.decode(data), pa.array(values, pa.large_binary()))
    assert s4_codec.arrow.decode(data, device=0).to_pylist() == values
    for max_size in (0, 69_999, 70_000, 170_000, 1_199_999, 1_200_000):
        expected = outcome(s4_codec.arrow.decode, data, max_size=max_size, device=0)
        assert outcome(gpu.decode, data, max_size=max_size) == expected


@pytest.mark.parametrize("on_error", ["raise", "null"])
def test_few_rows_of_mixed_codecs_in_a_large_column(on_error: str) -> None:
    """On the host, too, where such a column comes home as one."""
    source = text(900_000)
    mixed = own_frame(CpuZstd(), source[:5000]) + own_frame(NvcompBitcomp(), source[:70_000])
    frames = [own_frame(NvcompGDeflate(), source), mixed, None] * 2
    frames += [own_frame(NvcompZstd(), source)] * 20
    values = [source, source[:5000] + source[:70_000], None] * 2 + [source] * 20
    data, expected = pa.array(frames, pa.binary()), pa.array(values, pa.large_binary())
    check(gpu.decode(data, on_error=on_error), expected)
    assert s4_codec.arrow.decode(data, device=0, on_error=on_error).equals(expected)


def test_no_rows_and_only_nulls() -> None:
    for values in ([], [None] * 20, [b""], [b"", None]):
        array = pa.array(values, pa.large_binary())
        for codec in (NvcompZstd(), NvcompBitcomp(), CpuZstd()):
            check(gpu.decompress(s4_codec.arrow.compress(array, codec), codec), array)
            check(gpu.decode(s4_codec.arrow.encode(array, codec, fallback=False)), array)


def test_many_rows() -> None:
    values = pa.array([None if n % 11 == 7 else text(n % 97) for n in range(40_000)])
    values = values.cast(pa.large_binary())
    for codec in (NvcompZstd(), CpuZstd()):
        check(gpu.decompress(s4_codec.arrow.compress(values, codec), codec), values)


# --- Text ---------------------------------------------------------------------------------


STRADDLING = [
    before * "a" + character + "after" * 20_000
    for character in ("ö", "€", "\N{PILE OF POO}")
    for before in (65_533, 65_534, 65_535, 65_536)
]


@pytest.mark.parametrize("make", [*ON_GPU, CpuZstd], ids=lambda make: make.__name__)
def test_text_that_is_valid(make: Callable[[], Codec]) -> None:
    codec = make()
    values = pa.array([*STRADDLING, None, "", "größe", "\0\x7f\uffff"], pa.large_string())
    for dtype in ("large_string", pa.large_string()):
        check(gpu.decompress(s4_codec.arrow.compress(values, codec), codec, dtype=dtype), values)
        check(gpu.decode(s4_codec.arrow.encode(values, codec, fallback=False), dtype=dtype), values)
    # Characters that go on in the next frame, and in the next row, where they may not.
    value = STRADDLING[8].encode()
    frames = [
        b"".join(own_frame(codec, part) for part in (value[:at], value[at:]))
        for at in range(65_530, 65_540)
    ]
    column = gpu.decode(pa.array(frames), dtype="large_string")
    assert column.to_arrow().to_pylist() == [STRADDLING[8]] * len(frames)


INVALID = {
    "cut off": b"a" * 70_000 + b"\xe2\x82",
    "goes on in the next row": b"\xc3",
    "begins within": b"\xa9 and more",
    "overlong": b"a" * 65_535 + b"\xc0\xaf" + b"a" * 100,
    "surrogate": b"ok" * 40_000 + b"\xed\xa0\x80",
    "too high": b"\xf4\x90\x80\x80",
    "no such byte": b"a" * 65_536 + b"\xff" + b"a" * 65_536,
}


@pytest.mark.parametrize("make", [*ON_GPU, CpuZstd], ids=lambda make: make.__name__)
@pytest.mark.parametrize("wrong", INVALID.values(), ids=INVALID)
def test_text_that_is_invalid(make: Callable[[], Codec], wrong: bytes) -> None:
    codec = make()
    values = [b"fine", None, wrong, "größe".encode(), wrong]
    packed = s4_codec.arrow.compress(pa.array(values, pa.binary()), codec)
    frames = s4_codec.arrow.encode(pa.array(values, pa.binary()), codec, fallback=False)
    options = {"dtype": "large_string"}
    expected = outcome(s4_codec.arrow.decompress, packed, codec, **options)
    assert expected[:2] == (s4_codec.S4Error, 2)
    assert re.search(r"invalid UTF-8 at byte \d+ of the value", expected[2]), expected
    assert outcome(gpu.decompress, packed, codec, **options) == expected
    expected = outcome(s4_codec.arrow.decode, frames, device=0, **options)
    assert outcome(gpu.decode, frames, **options) == expected
    column = gpu.decompress(packed, codec, on_error="null", **options)
    assert column.to_arrow().to_pylist() == ["fine", None, None, "größe", None]
    check(gpu.decompress(packed, codec), s4_codec.arrow.decompress(packed, codec))


# --- Bad rows -----------------------------------------------------------------------------


def wrong_sum(frame: bytes) -> bytes:
    """The frame with another crc32c in its header."""
    return frame[:24] + bytes([frame[24] ^ 1]) + frame[25:]


#: What is wrong with a row: how its frame is made, and the class of the error as text.
BAD: dict[str, Callable[[Codec], bytes]] = {
    "crc on the GPU": lambda codec: wrong_sum(own_frame(codec, text(70_000))),
    "crc on the CPU": lambda _: wrong_sum(own_frame(CpuZstd(), text(70_000))),
    "text on the GPU": lambda codec: own_frame(codec, text(70_000) + b"\xff"),
    "text on the CPU": lambda _: own_frame(CpuZstd(), text(70_000) + b"\xff"),
    "cut": lambda codec: own_frame(codec, text(70_000))[:-1],
    "crc of its second frame": lambda codec: (
        own_frame(codec, b"good") + wrong_sum(own_frame(codec, b"b"))
    ),
}


@pytest.mark.parametrize("late", BAD)
@pytest.mark.parametrize("early", BAD)
def test_the_lowest_bad_row_is_raised(early: str, late: str) -> None:
    codec = NvcompZstd()
    good = [own_frame(codec, text(1000)), own_frame(CpuZstd(), text(999))] * 3
    frames = [*good, BAD[early](codec), *good, None, BAD[late](codec), *good]
    data = pa.chunked_array([frames[:4], frames[4:10], frames[10:]], pa.binary())
    options = {"dtype": "large_string"}
    expected = outcome(s4_codec.arrow.decode, data, device=0, **options)
    assert expected[1] == 6
    assert outcome(gpu.decode, data, **options) == expected


@pytest.mark.parametrize("make", ON_GPU, ids=lambda make: make.__name__)
@pytest.mark.parametrize("dtype", ["large_binary", "large_string"])
def test_bad_rows_become_null_with_one_warning(
    make: Callable[[], Codec], dtype: str, device_memory: Any
) -> None:
    codec = make()
    frames = [own_frame(codec, text(1000)), own_frame(CpuZstd(), text(999)), None]
    for bad in BAD.values():
        frames += [bad(codec), own_frame(codec, text(len(frames) * 100))]
    data = pa.array(frames, pa.binary())
    caught: list[list[str]] = []
    results = []
    for decode, options in ((s4_codec.arrow.decode, {"device": 0}), (gpu.decode, {})):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            results.append(decode(data, dtype=dtype, on_error="null", **options))
        caught.append([str(warning.message) for warning in seen])
    on_host, column = results
    assert len(caught[1]) == 1
    assert caught[0] == caught[1]
    check(column, on_host)
    # No wrong byte is left in the place of a bad row.
    values = device_memory.read_array(column.values)
    offsets = struct.unpack(f"<{len(frames) + 1}q", device_memory.read_array(column.offsets))
    for row, value in enumerate(on_host.to_pylist()):
        place = values[offsets[row] : offsets[row + 1]]
        if value is None:
            assert place == bytes(len(place)), row
        else:
            assert place == (value.encode() if dtype == "large_string" else value)


def test_payloads_of_another_codec_are_a_mistake() -> None:
    values = pa.array([text(1000 + n) for n in range(5)], pa.binary())
    for packed_by, codec in (
        (CpuZstd(), NvcompZstd()),
        (NvcompZstd(), NvcompGDeflate()),
        (NvcompGDeflate(), CpuZstd()),
        (CpuZstd(), CpuGzip()),
    ):
        packed = s4_codec.arrow.compress(values, packed_by)
        for on_error in ("raise", "null"):
            expected = outcome(s4_codec.arrow.decompress, packed, codec, on_error=on_error)
            assert isinstance(expected, tuple), "a mistake is no damage"
            assert outcome(gpu.decompress, packed, codec, on_error=on_error) == expected


def test_forged_manifests(row: Row) -> None:
    """What a manifest can lie about, in a column of which the others are right."""
    codec = row.codec
    value = text(70_000)
    payload, size, crc = codec.compress(value)
    for forged in ((size, crc ^ 1), (size - 1, crc), (size + 1, crc), (2**33, crc), (0, crc)):
        sizes, crcs = [size] * 4, [crc] * 4
        sizes[2], crcs[2] = forged
        packed = pa.StructArray.from_arrays(
            [
                pa.array([payload] * 4, pa.binary()),
                pa.array(sizes, pa.int64()),
                pa.array(crcs, pa.int64()),
            ],
            ["payload", "original_size", "crc32c"],
        )
        for options in ({}, {"on_error": "null"}, {"max_size": 69_999}):
            expected = outcome(s4_codec.arrow.decompress, packed, codec, **options)
            assert outcome(gpu.decompress, packed, codec, **options) == expected
    assert crc == crc32c(value)


# --- Arguments ----------------------------------------------------------------------------


def test_wrong_arguments() -> None:
    packed = s4_codec.arrow.compress(pa.array(["a"]), NvcompZstd())
    wrong: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"dtype": "binary"}, TypeError, "dtype must be large_binary or large_string"),
        ({"device": "auto"}, ValueError, "number of a GPU"),
        ({"device": -1}, OverflowError, "not -1"),
        ({"device": 99}, s4_codec.S4BackendError, "no GPU 99"),
        ({"on_error": "ignore"}, ValueError, "on_error"),
        ({"max_size": -1}, ValueError, "max_size"),
        ({"stream": 0}, ValueError, "stream 0 is ambiguous"),
        ({"stream": -2}, ValueError, "expected a CUDA stream"),
        ({"stream": "x"}, TypeError, "str"),
    ]
    for options, expected, match in wrong:
        with pytest.raises(expected, match=match):
            gpu.decompress(packed, NvcompZstd(), **options)
        with pytest.raises(expected, match=match):
            gpu.decode(pa.array([own_frame(NvcompZstd(), b"a")]), **options)
    with pytest.raises(TypeError):
        gpu.decompress([b"a"], NvcompZstd())
    for stream in (None, -1, 1, 2, 4096):
        assert len(gpu.decompress(packed, "nvcomp-zstd", stream=stream)) == 1
