"""Values that a codec does not shrink: their frames hold them as they are."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pytest
from arrow_table import LAYOUTS, SHAPES, Layout
from codecs_table import VALUES, Row, decoding, dict_codec, noise, own_frame, text

import s4_codec.arrow
import s4_codec.gpu
import s4_codec.polars as s4
from s4_codec import FRAME_HEADER_BYTES, Codec, CpuGzip, CpuZstd, Passthrough, crc32c, decode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


NOISE = [noise(size) for size in (1, 12, 13, 100, 4096, 65_536, 65_537, 1_000_000)]

#: Text of each length up to where all codecs shrink it, and what none of them shrinks.
ALL_VALUES = [*VALUES, *NOISE, *map(text, range(300))]


def framed(codec: Codec, value: bytes, payload: bytes) -> bytes:
    """A frame, byte by byte."""
    header = struct.pack("<IQQI", codec.id, len(value), len(payload), crc32c(value))
    return b"S4F2" + header + payload


def smaller_frame(codec: Codec, value: bytes) -> bytes:
    """What encoding is to write: the codec's payload if it is shorter, else the value."""
    payload, _, _ = codec.compress(value)
    if len(payload) < len(value):
        return framed(codec, value, payload)
    return framed(Passthrough(), value, value)


def test_values(codec: Codec) -> None:
    fallen_back = []
    for value in ALL_VALUES:
        frame = codec.encode(value)
        assert frame == codec.encode(value, fallback=True) == smaller_frame(codec, value)
        assert len(frame) <= len(value) + FRAME_HEADER_BYTES
        assert decode(frame, **decoding(codec)) == value
        fallen_back.append(s4_codec.read_frame(frame)[0]["codec"] != codec.name)
    if codec != Passthrough():
        assert {True, False} == set(fallen_back), "some of them shrink"
        assert all(fallen_back[len(VALUES) : len(VALUES) + len(NOISE)])


def test_without_a_fallback_every_frame_is_the_codecs(codec: Codec) -> None:
    for value in ALL_VALUES:
        frame = codec.encode(value, fallback=False)
        assert frame == framed(codec, value, codec.compress(value)[0])
        assert decode(frame, **decoding(codec)) == value


@pytest.mark.parametrize("fallback", [True, False])
def test_levels(row: Row, fallback: bool) -> None:
    for level in row.levels or ():
        codec = row.make(level)
        frames = [codec.encode(value, fallback=fallback) for value in ALL_VALUES]
        assert pl.Series(ALL_VALUES).s4.encode(codec, fallback=fallback).to_list() == frames
        if (codec, fallback) == (CpuGzip(0), True):
            assert frames == [Passthrough().encode(value) for value in ALL_VALUES]


@pytest.mark.parametrize("fallback", [True, False])
def test_polars(codec: Codec, fallback: bool) -> None:
    values = [*ALL_VALUES, None] * 3
    alone = {value: codec.encode(value, fallback=fallback) for value in ALL_VALUES}
    frames = [None if value is None else alone[value] for value in values]
    frame = pl.DataFrame({"body": pl.Series(values, dtype=pl.Binary)}).with_row_index("id")
    expr = s4.encode("body", codec, fallback=fallback)
    assert frame.select(expr)["body"].to_list() == frames
    assert (
        frame.select(pl.col("body").s4.encode(codec, fallback=fallback))
        .to_series()
        .equals(frame["body"].s4.encode(codec, fallback=fallback))
    )
    lazy = frame.lazy().with_columns(expr)
    assert lazy.collect()["body"].to_list() == frames
    streamed = lazy.collect(engine="streaming").sort("id")
    assert streamed["body"].to_list() == frames
    restored = streamed["body"].s4.decode(**decoding(codec))
    assert restored.to_list() == values


@pytest.mark.parametrize("fallback", [True, False])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_arrow(
    codec: Codec, layout: Layout, shape: Callable[[pa.Array], Any], fallback: bool
) -> None:
    data = shape(layout.array)
    encoded = s4_codec.arrow.encode(data, codec, fallback=fallback)
    values = [v.encode() if isinstance(v, str) else v for v in data.to_pylist()]
    assert encoded.to_pylist() == [
        None if value is None else codec.encode(value, fallback=fallback) for value in values
    ]
    assert s4_codec.arrow.decode(encoded, **decoding(codec)).to_pylist() == values


@pytest.mark.parametrize("values", [[], [None] * 3, [b""] * 3, [b"a"], [noise(1000)] * 5])
def test_small_columns(codec: Codec, values: list[bytes | None]) -> None:
    frames = [None if value is None else Passthrough().encode(value) for value in values]
    series = pl.Series("body", values, pl.Binary)
    assert series.s4.encode(codec).to_list() == frames
    assert s4_codec.arrow.encode(series, codec).to_pylist() == frames


def test_payloads_never_fall_back(codec: Codec) -> None:
    """A struct does not name the codec of each row."""
    series = pl.Series("body", [*NOISE, b""])
    packed = series.s4.compress(codec)
    alone = [codec.compress(value)[0] for value in series]
    assert packed.struct.field("payload").to_list() == alone
    assert packed.s4.decompress(codec).equals(series)


def test_frames_of_values_need_no_dictionary() -> None:
    codec = dict_codec()
    for value in (b"", b"short", noise(100)):
        assert decode(codec.encode(value)) == value
        with pytest.raises(s4_codec.S4UnregisteredCodecError, match="dictionary"):
            decode(codec.encode(value, fallback=False))


def test_the_share_is_in_frame_info(codec: Codec) -> None:
    values = [text(5000), noise(5000), text(6000), None, b""]
    series = pl.Series("body", values, pl.Binary)
    info = series.s4.encode(codec).s4.frame_info().struct.unnest()
    share = info["passthrough_frames"].sum() / info["frames"].sum()
    assert share == (1 if codec == Passthrough() else 0.5)
    info = series.s4.encode(codec, fallback=False).s4.frame_info().struct.unnest()
    assert info["passthrough_frames"].sum() == (4 if codec == Passthrough() else 0)
    several = pa.array([own_frame(codec, b"a") + Passthrough().encode(noise(n)) for n in (1, 2)])
    info = s4_codec.arrow.frame_info(several)
    expected = 2 if codec == Passthrough() else 1
    assert info.field("passthrough_frames").to_pylist() == [expected] * 2


def test_objects_and_files_keep_their_codec(tmp_path: Path) -> None:
    data = noise(5 << 20)
    stored = s4_codec.encode_s4_object(data)
    frames = s4_codec.frame_iter(stored["body"])
    assert [header["codec"] for header, _ in frames] == ["cpu-zstd"] * 2
    assert s4_codec.decode_s4_object(stored["body"], stored["metadata"]) == data
    (tmp_path / "in").write_bytes(data)
    from s4_codec._cli import main

    out = tmp_path / "out"
    assert main(["encode", str(tmp_path / "in"), "-o", str(out)]) == 0
    assert out.read_bytes() == stored["body"]


@pytest.mark.parametrize("fallback", [1, 0, None, "no"])
def test_the_fallback_is_a_bool(fallback: Any) -> None:
    calls: list[Callable[..., Any]] = [
        lambda **o: s4.encode("body", **o),
        lambda **o: pl.Series(["a"]).s4.encode(**o),
        lambda **o: s4_codec.arrow.encode(pa.array(["a"]), **o),
        lambda **o: s4_codec.gpu.encode(None, CpuZstd(), **o),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=f"fallback must be True or False, not {fallback!r}"):
            call(fallback=fallback)
    with pytest.raises(TypeError, match="fallback"):
        CpuZstd().encode(b"a", fallback=fallback)
    with pytest.raises(TypeError):
        CpuZstd().encode(b"a", True)  # type: ignore[call-arg]
