"""Frames: one value, columns in Polars and Arrow, and sidecars."""

from __future__ import annotations

import contextlib
import struct
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pytest
from codecs_table import (
    DICTIONARY,
    FORGERIES,
    VALUES,
    Row,
    cut_class,
    decoding,
    error,
    forgery_class,
    text,
)
from hypothesis import given
from hypothesis import strategies as st
from polars.exceptions import ComputeError

import s4_codec
import s4_codec.arrow
import s4_codec.polars
from s4_codec import Codec, CpuZstd, CpuZstdDict, Passthrough, S4Error, S4FrameError, crc32c, decode

if TYPE_CHECKING:
    from collections.abc import Callable

PADDING = s4_codec.PADDING_MAGIC + struct.pack("<Q", 5) + b"xxxxx"


def frame(codec: Codec, row: tuple[bytes, int, int]) -> bytes:
    """A frame of any claims."""
    payload, size, crc = row
    return s4_codec.FRAME_MAGIC + struct.pack("<IQQI", codec.id, size, len(payload), crc) + payload


def test_one_value(codec: Codec) -> None:
    for value in VALUES:
        body = codec.encode(value, fallback=False)
        header, payload, rest = s4_codec.read_frame(body + b"rest")
        assert header == {
            "codec": codec.name,
            "original_size": len(value),
            "compressed_size": len(payload),
            "crc32c": crc32c(value),
        }
        assert (rest, len(body)) == (b"rest", s4_codec.FRAME_HEADER_BYTES + len(payload))
        assert codec.decompress(payload, len(value), crc32c(value)) == value
        assert decode(body, **decoding(codec)) == value


def test_bodies_of_many_frames(codec: Codec) -> None:
    values = [text(n * 1000) for n in range(60)] + [text(1_000_000), b""]
    frames = [codec.encode(value, fallback=bool(n % 3)) for n, value in enumerate(values)]
    body = PADDING + PADDING.join(frames) + PADDING
    how = decoding(codec) | {"dictionary": CpuZstdDict(DICTIONARY)}
    assert decode(body, **how) == b"".join(values)
    assert decode(memoryview(body), **decoding(codec)) == b"".join(values)
    assert [h["original_size"] for h, _ in s4_codec.frame_iter(body)] == list(map(len, values))


def test_empty_bodies() -> None:
    assert decode(b"") == b""
    assert s4_codec.frame_iter(PADDING) == []
    with pytest.raises(S4FrameError, match="found only padding"):
        decode(PADDING)


@pytest.mark.parametrize(("name", "forge", "expected"), FORGERIES, ids=[f[0] for f in FORGERIES])
def test_forged_frames(codec: Codec, name: str, forge: Callable, expected: str) -> None:
    expected = forgery_class(codec, name, expected)
    good, bad = codec.encode(text(1000)), frame(codec, forge(codec.compress(text(1000))))
    with pytest.raises(error(expected), match=rf"frame 1 \({codec.name}, at byte {len(good)}\)"):
        decode(good + bad, **decoding(codec))
    rows = [good, None, bad, good + good]
    series = pl.Series("body", rows, dtype=pl.Binary)
    with pytest.raises(ComputeError, match=f"{expected}: row 2 of the 4 .*codec {codec.name}"):
        series.s4.decode(**decoding(codec))
    with pytest.raises(error(expected), match=rf"^row 2 \(codec {codec.name}") as raised:
        s4_codec.arrow.decode(pa.array(rows), **decoding(codec))
    assert raised.value.row == 2
    expected_rows = [text(1000), None, None, text(1000) * 2]
    assert series.s4.decode(**decoding(codec), on_error="null").to_list() == expected_rows
    lenient = s4_codec.arrow.decode(pa.array(rows), **decoding(codec), on_error="null")
    assert lenient.to_pylist() == expected_rows, name


def test_every_cut_of_a_body_is_an_error(codec: Codec) -> None:
    first, second = (codec.encode(text(size), fallback=False) for size in (100, 50))
    body = first + PADDING + second
    whole = {0, len(first), len(first) + len(PADDING)}
    for end in range(len(body)):
        if end in whole:
            continue
        for parse in (decode, s4_codec.frame_iter, s4_codec.build_index):
            with pytest.raises(S4FrameError):
                parse(body[:end], **(decoding(codec) if parse is decode else {}))
    cut = codec.compress(text(100))
    with pytest.raises(error(cut_class(codec))):
        decode(frame(codec, (cut[0][:-1], *cut[1:])), **decoding(codec))


def test_max_size_bounds_the_whole() -> None:
    body = CpuZstd().encode(text(1000)) * 3
    assert len(decode(body, max_size=3000)) == 3000
    for limit in (0, 999, 1000, 2999):
        with pytest.raises(error("S4ManifestSizeExceedsLimitError")):
            decode(body, max_size=limit)
        with pytest.raises(ComputeError, match="S4ManifestSizeExceedsLimitError: row 0"):
            pl.Series([body]).s4.decode(max_size=limit)
    claims = frame(Passthrough(), (b"", 2**64 - 1, 0)) * 2
    with pytest.raises(error("S4SizeMismatchError"), match="can hold at most 0 bytes"):
        decode(claims, max_size=2**64 - 1)


def test_encrypted_bodies_are_refused() -> None:
    for magic in (b"S4E1", b"S4E6"):
        with pytest.raises(S4FrameError, match=f"encrypted .{magic.decode()}"):
            decode(magic + bytes(100))


def test_dictionaries() -> None:
    body = CpuZstdDict(DICTIONARY).encode(text(100), fallback=False)
    with pytest.raises(error("S4UnregisteredCodecError"), match="needs its dictionary"):
        decode(body)
    other = s4_codec.train_dictionary([text(n)[-90:] for n in range(100, 3000)], 2048)
    with pytest.raises(error("S4IoError"), match=r"with the dictionary with zstd id .* has id"):
        decode(body, dictionary=other)
    for wrong in (b"", b"\x37\xa4\x30\xec" + bytes(50)):
        with pytest.raises(error("S4BackendError"), match=r"empty|damaged"):
            CpuZstdDict(wrong)
        with pytest.raises(error("S4BackendError"), match=r"empty|damaged"):
            pl.Series([body]).s4.decode(dictionary=wrong)
    assert CpuZstdDict(DICTIONARY).dict_bytes == DICTIONARY
    assert CpuZstdDict(DICTIONARY).dict_id == s4_codec.dict_id(DICTIONARY)
    assert CpuZstdDict(DICTIONARY) != CpuZstdDict(other)
    with pytest.raises(error("S4BackendError"), match="give more samples"):
        s4_codec.train_dictionary([b"a"] * 3)


@pytest.mark.parametrize(
    "samples",
    [
        [],
        [b"a"] * 8,
        [b"a"] * 10,
        [b""] * 90 + [b"x" * 900],
        [b""] * 400,
        [b"abc", b"d", *[b""] * 50],
    ],
    ids=len,
)
def test_too_little_to_train_on(samples: list[bytes]) -> None:
    for data in (samples, pl.Series(samples, dtype=pl.Binary), pa.array(samples, pa.binary())):
        with pytest.raises(error("S4BackendError"), match="give more samples"):
            s4_codec.train_dictionary(data)


def test_the_shortest_dictionary() -> None:
    samples = [b""] * 500 + [text(n)[-60:] for n in range(100, 2000)]
    assert len(s4_codec.train_dictionary(samples, 256)) <= 256
    with pytest.raises(ValueError, match="size must be at least 256 bytes"):
        s4_codec.train_dictionary(samples, 255)


def test_training_takes_any_samples() -> None:
    samples = [text(n)[-60:] for n in range(100, 2000)]
    trained = s4_codec.train_dictionary(samples, size=4096)
    assert len(trained) <= 4096
    series = pl.Series([*samples, None])
    for same in (
        s4_codec.train_dictionary(series, size=4096),
        s4_codec.train_dictionary(pa.array(samples), size=4096),
        s4_codec.train_dictionary(map(memoryview, samples), 4096),
        s4_codec.polars.train_dictionary(series, 4096),
        s4_codec.arrow.train_dictionary(pa.chunked_array([samples]), 4096),
        series.s4.train_dictionary(4096),
    ):
        assert same == trained
    plain = CpuZstd().compress(samples[50])[0]
    assert len(CpuZstdDict(trained).compress(samples[50])[0]) < len(plain)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (pl.col("body"), r"not Expr; pass a series"),
        (3, "an iterable of buffers such as a list of bytes, .* not int"),
        (None, "not NoneType"),
        ("text", "not one str; split it"),
        (b"bytes", "not one bytes; split it"),
        (memoryview(b"bytes"), "not one memoryview"),
        ([1, 2], r"not int \(sample 0\)"),
        ([b"a", None], r"not NoneType \(sample 1\)"),
        ([b"a", b"b", "c"], r"not str \(sample 2\); encode text"),
        (pl.Series([1, 2, 3]), "binary or string data, or lists of numbers, found Int64"),
        (pl.DataFrame({"a": ["x"], "b": ["y"]}), "pass one column of the table"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_training_says_what_it_takes(wrong: Any, told: str) -> None:
    with pytest.raises(TypeError, match=told):
        s4_codec.train_dictionary(wrong)


def test_training_in_polars_takes_a_series() -> None:
    frame = pl.DataFrame({"body": ["a"]})
    for wrong in (pl.col("body"), frame, frame.lazy(), "body"):
        with pytest.raises(TypeError, match=r'such as df\["body"\]'):
            s4_codec.polars.train_dictionary(wrong)  # type: ignore[arg-type]
    for wrong in (3, None, [b"a"]):
        with pytest.raises(TypeError, match="must be a Binary or String series, not"):
            s4_codec.polars.train_dictionary(wrong)  # type: ignore[arg-type]


def test_training_takes_seven_samples() -> None:
    samples = [text(n)[-900:] for n in range(1000, 1007)]
    assert len(s4_codec.train_dictionary(samples, 1024)) <= 1024
    with pytest.raises(error("S4BackendError"), match=r"at least 7 samples .*, got 6; give"):
        s4_codec.train_dictionary([*samples[:6], b"", b""])


@pytest.mark.parametrize("fallback", [True, False])
def test_columns(codec: Codec, fallback: bool) -> None:
    values = [*VALUES, None, *[text(n) for n in range(2000)]]
    series = pl.Series("body", values, dtype=pl.Binary)
    frames = series.s4.encode(codec, fallback=fallback)
    alone = [None if v is None else codec.encode(v, fallback=fallback) for v in values]
    assert frames.to_list() == alone
    assert frames.s4.decode(**decoding(codec)).equals(series)
    array = pa.chunked_array([pa.array(values[:100]), pa.array(values[100:])])
    encoded = s4_codec.arrow.encode(array, codec, fallback=fallback)
    assert encoded.to_pylist() == frames.to_list()
    assert s4_codec.arrow.decode(encoded, **decoding(codec)).to_pylist() == values
    lazy = series.to_frame().lazy().select(s4_codec.polars.encode("body", codec, fallback=fallback))
    lazy = lazy.select(s4_codec.polars.decode("body", **decoding(codec)))
    assert lazy.collect_schema() == {"body": pl.Binary}
    assert lazy.collect(engine="streaming").to_series().equals(series)


def test_columns_of_mixed_codecs(row: Row) -> None:
    codecs = [Passthrough(), row.codec, CpuZstd(9)]
    rows = [b"".join(codec.encode(text(n)) for codec in codecs[: 1 + n % 3]) for n in range(999)]
    expected = [text(n) * (1 + n % 3) for n in range(999)]
    assert pl.Series(rows).s4.decode(**decoding(row.codec)).to_list() == expected
    decoded = s4_codec.arrow.decode(pa.array(rows), **decoding(row.codec), dtype="large_string")
    assert decoded.to_pylist() == [value.decode() for value in expected]


def test_frame_info(codec: Codec) -> None:
    one = codec.encode(text(100), fallback=False)
    two = one + Passthrough().encode(b"ab")
    rows = [one, None, two, one + one, b"", PADDING, b"S4F2 but cut"]
    header = s4_codec.read_frame(one)[0]
    size = header["compressed_size"]

    def info(
        name: str | None, original: int, packed: int, crc: int | None, frames: int, stored: int
    ) -> Any:
        keys = [field.name for field in s4_codec.arrow.FRAME_INFO_TYPE]
        return dict(zip(keys, (name, original, packed, crc, frames, stored), strict=True))

    mixed = codec.name if codec == Passthrough() else None
    stored = int(codec == Passthrough())
    expected = [
        info(codec.name, 100, size, header["crc32c"], 1, stored),
        None,
        info(mixed, 102, size + 2, None, 2, stored + 1),
        info(codec.name, 200, 2 * size, None, 2, 2 * stored),
        info(None, 0, 0, None, 0, 0),
        info(None, 0, 0, None, 0, 0),
        None,
    ]
    series, array = pl.Series("body", rows), pa.array(rows)
    assert series.s4.frame_info(on_error="null").to_list() == expected
    assert s4_codec.arrow.frame_info(array, on_error="null").to_pylist() == expected
    chunked = s4_codec.arrow.frame_info(pa.chunked_array([array[:2], array[2:6]]))
    assert (chunked.type, chunked.to_pylist()) == (s4_codec.arrow.FRAME_INFO_TYPE, expected[:6])
    with pytest.raises(ComputeError, match="S4FrameError: row 6 of the 7"):
        series.s4.frame_info()
    with pytest.raises(S4FrameError, match="row 6") as raised:
        s4_codec.arrow.frame_info(array)
    assert raised.value.row == 6


def test_wrong_columns() -> None:
    packed = pl.Series(["a"]).s4.compress()
    for verb in ("encode", "decode", "frame_info"):
        with pytest.raises(ComputeError, match=f"{verb} expects Binary or String, .*found Struct"):
            getattr(packed.s4, verb)()
        with pytest.raises(TypeError, match=f"{verb} expects binary .*compressed data"):
            getattr(s4_codec.arrow, verb)(packed)


def test_every_cut_of_a_sidecar_is_an_error() -> None:
    made = s4_codec.encode_s4_object(text(9 << 20))["sidecar"]
    bound = s4_codec.bind_index(made, 123, "etag")
    assert s4_codec.decode_index(bound)["source_etag"] == "etag"
    for end in range(len(bound)):
        with pytest.raises(error("S4IndexError")):
            s4_codec.decode_index(bound[:end])


@given(st.lists(st.binary(max_size=300), max_size=5), st.data())
def test_any_values_round_trip_and_no_flip_gives_other_bytes(
    values: list[bytes], data: st.DataObject
) -> None:
    codecs = [Passthrough(), CpuZstd(), CpuZstdDict(DICTIONARY)]
    body = b"".join(codecs[i % 3].encode(value) for i, value in enumerate(values))
    whole = b"".join(values)
    assert decode(body, dictionary=DICTIONARY) == whole
    if not body:
        return
    position = data.draw(st.integers(0, len(body) * 8 - 1))
    flipped = bytearray(body)
    flipped[position // 8] ^= 1 << position % 8
    # The last where the flip makes another codec of it.
    with contextlib.suppress(S4Error, s4_codec.S4IoError, s4_codec.S4BackendError):
        assert decode(flipped, dictionary=DICTIONARY) == whole
