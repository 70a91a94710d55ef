"""Codecs by their names: short ones, mistyped ones, and names with a level."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pytest
from codecs_table import ROWS, Row, text

import s4_codec.arrow
import s4_codec.gpu
import s4_codec.polars as s4
from s4_codec import Codec, CpuGzip, CpuZstd, S4UnregisteredCodecError

if TYPE_CHECKING:
    from collections.abc import Callable

ALIASES = {"zstd": CpuZstd(), "gzip": CpuGzip()}

VALUES = [text(500), None, b"a"]
SERIES = pl.Series("body", VALUES, pl.Binary)
FRAME = SERIES.to_frame()


def on_gpu(verb: str) -> Callable[..., Any]:
    """A function of ``s4_codec.gpu``, whose codec is judged before its data."""
    return lambda codec, **options: getattr(s4_codec.gpu, verb)(None, codec, **options)


#: What takes a codec's name to compress with, over the same values.
WRITERS: dict[str, Callable[..., list[Any]]] = {
    "expr": lambda codec, **o: FRAME.select(s4.compress("body", codec, **o))["body"].to_list(),
    "expr.s4": lambda codec, **o: FRAME.select(pl.col("body").s4.compress(codec, **o))[
        "body"
    ].to_list(),
    "series.s4": lambda codec, **o: SERIES.s4.compress(codec, **o).to_list(),
    "arrow": lambda codec, **o: s4_codec.arrow.compress(SERIES, codec, **o).to_pylist(),
    "expr frames": lambda codec, **o: FRAME.select(s4.encode("body", codec, **o))["body"].to_list(),
    "series.s4 frames": lambda codec, **o: SERIES.s4.encode(codec, **o).to_list(),
    "arrow frames": lambda codec, **o: s4_codec.arrow.encode(SERIES, codec, **o).to_pylist(),
}

#: The same, and what has no values here.
CALLS: dict[str, Callable[..., Any]] = {
    **WRITERS,
    "gpu": on_gpu("compress"),
    "gpu frames": on_gpu("encode"),
}


@pytest.fixture(params=WRITERS.values(), ids=WRITERS.keys())
def write(request: pytest.FixtureRequest) -> Callable[..., list[Any]]:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(params=CALLS.values(), ids=CALLS.keys())
def call(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return request.param  # type: ignore[no-any-return]


@pytest.mark.parametrize("alias", ALIASES)
def test_short_names(alias: str, write: Callable[..., list[Any]]) -> None:
    codec = ALIASES[alias]
    assert Codec.from_name(alias) == codec
    assert write(alias) == write(codec)
    packed = SERIES.s4.compress(codec)
    assert packed.s4.decompress(alias).to_list() == VALUES
    assert packed.s4.verify(alias).to_list() == [None] * 3
    assert s4_codec.arrow.decompress(packed, alias).to_pylist() == VALUES


@pytest.mark.parametrize("alias", ALIASES)
def test_stored_names_are_long(alias: str) -> None:
    """What is stored has the names of S4, and short names in it are unknown."""
    codec = Codec.from_name(alias)
    header, _, _ = s4_codec.read_frame(codec.encode(text(500)))
    assert (codec.name, header["codec"]) == (f"cpu-{alias}", f"cpu-{alias}")
    with pytest.raises(NotImplementedError, match=alias):
        s4_codec.encode_s4_object(b"", alias)
    payload, size, crc32c = codec.compress(text(500))
    metadata = {
        "s4-codec": alias,
        "s4-original-size": str(size),
        "s4-compressed-size": str(len(payload)),
        "s4-crc32c": str(crc32c),
    }
    with pytest.raises(S4UnregisteredCodecError, match=f'metadata names .*"{alias}"'):
        s4_codec.decode_s4_object(payload, metadata)
    named = s4_codec.arrow.register_compute_functions(alias)
    assert named[0].startswith(f"s4_compress_cpu_{alias}_")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("cpu-zst", "cpu-zstd"),
        ("CpuZstd", "cpu-zstd"),
        ("cpu_zstd", "cpu-zstd"),
        ("CPU-GZIP", "cpu-gzip"),
        ("NvcompGDeflate", "nvcomp-gdeflate"),
        ("nvcomp-deflate", "nvcomp-gdeflate"),
        ("cpu-zstd-dcit", "cpu-zstd-dict"),
        ("pass-through", "passthrough"),
        ("Zstd", "zstd"),
        ("zst", "zstd"),
        (" gzip", "gzip"),
        ("gz", "gzip"),
        ("zstd-dict", "cpu-zstd-dict"),
        ("bitcomp", "nvcomp-bitcomp"),
        ("GDeflate", "nvcomp-gdeflate"),
        *(
            (name, None)
            for name in ("lz4", "cpu-lz4", "snappy", "nvcomp-snappy", "", "zlib", "größe")
        ),
        ("no such codec" * 1000, None),
    ],
)
def test_unknown_names(name: str, meant: str | None, call: Callable[..., Any]) -> None:
    with pytest.raises(S4UnregisteredCodecError, match="unknown codec") as raised:
        call(name)
    message = str(raised.value)
    hint = re.search(r'did you mean "(.*)"\? ', message)
    assert (hint and hint[1]) == meant
    assert json.dumps(name, ensure_ascii=False) in message
    for row in ROWS:
        assert row.name in message, "all names are listed"
    with pytest.raises(S4UnregisteredCodecError, match=re.escape(message)):
        call(name, level=3)


def test_names_with_a_level(row: Row, write: Callable[..., list[Any]]) -> None:
    if row.needs_dictionary:
        with pytest.raises(S4UnregisteredCodecError, match="needs its dictionary"):
            write(row.name, level=3)
    elif row.levels is None:
        with pytest.raises(ValueError, match=f"{row.name} has no level; leave it out"):
            write(row.name, level=3)
    else:
        for level in row.levels:
            assert write(row.name, level=level) == write(row.make(level))
        low, high = row.levels
        for level in (low - 1, high + 1):
            found = f"level must be from {low} to {high}, got {level}"
            with pytest.raises(ValueError, match=found):
                write(row.name, level=level)


def test_codec_objects_have_their_own_level(row: Row, call: Callable[..., Any]) -> None:
    reason = f"level=9 is for a codec by name, .* not for {re.escape(repr(row.codec))}; make the"
    with pytest.raises(ValueError, match=reason):
        call(row.codec, level=9)


def test_a_level_alone_is_the_default_codec_s() -> None:
    values = pl.Series("body", [b"a fine body " * 100])
    assert values.s4.compress(level=9).equals(values.s4.compress(CpuZstd(9)))
    assert values.s4.encode(level=9).equals(values.s4.encode(CpuZstd(9)))


@pytest.mark.parametrize("level", [3.5, "3", b"3"])
def test_levels_are_integers(level: Any, call: Callable[..., Any]) -> None:
    with pytest.raises(TypeError):
        call("cpu-zstd", level=level)


@pytest.mark.parametrize("codec", [None, 3, CpuZstd, pa.array([])])
def test_what_is_no_codec(codec: Any, call: Callable[..., Any]) -> None:
    for options in ({}, {"level": 3}):
        with pytest.raises(TypeError, match="codec must be a codec object"):
            call(codec, **options)
