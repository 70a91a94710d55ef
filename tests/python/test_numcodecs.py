"""The codecs of numcodecs, found by their ids."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numcodecs
import numpy as np
import pytest
import zarr
from codecs_table import DICTIONARY, text
from numcodecs.tests import common
from zarr_table import DICTIONARY_TEXT, IDS, Id, of_ids

import s4_codec
import s4_codec.numcodecs
from s4_codec import frame_iter
from s4_codec.numcodecs import S4Gzip, S4Zstd, S4ZstdDict

if TYPE_CHECKING:
    from pathlib import Path

random = np.random.default_rng(3)
ARRAYS = [
    np.arange(1000, dtype="i4"),
    np.linspace(1000, 1001, 1000, dtype="f8"),
    random.normal(1000, 1, (100, 10)),
    random.integers(0, 1 << 60, 1000, dtype="u8").view("M8[ns]"),
    random.integers(0, 1 << 60, 1000, dtype="u8").view("m8[m]"),
    np.asfortranarray(random.normal(size=(10, 10, 10))),
    random.integers(0, 2, (10, 100)).astype(bool),
    np.array(["größe", "", "a"] * 50),
    np.zeros(0, "f4"),
    np.zeros(1 << 20, "u1"),
]


def make(entry: Id, **settings: Any) -> Any:
    return numcodecs.get_codec({"id": entry.id, **entry.required, **settings})


@of_ids
def test_the_tests_of_numcodecs(entry: Id) -> None:
    for codec in (make(entry), make(entry, **entry.settings)):
        for values in ARRAYS:
            common.check_encode_decode(values, codec)
        common.check_config(codec)
        common.check_err_encode_object_buffer(codec)
        common.check_err_decode_object_buffer(codec)


def test_reprs() -> None:
    for made in ("S4Zstd(level=3)", "S4Gzip(level=9)", "S4NvcompZstd()"):
        assert repr(eval(made, vars(s4_codec.numcodecs))) == made
    assert repr(S4ZstdDict(DICTIONARY)).startswith("S4ZstdDict(CpuZstdDict(dict_id=")


@of_ids
def test_settings(entry: Id) -> None:
    config = make(entry, **entry.settings).get_config()
    assert config == {"id": entry.id, **entry.required, **entry.settings}
    assert json.loads(json.dumps(config)) == config
    again = pickle.loads(pickle.dumps(make(entry, **entry.settings)))
    assert again == make(entry, **entry.settings)
    assert again.decode(again.encode(b"abcd")) == b"abcd"


@of_ids
def test_a_chunk_is_one_frame(entry: Id) -> None:
    frame = make(entry).encode(text(5000))
    ((header, _),) = frame_iter(frame)
    assert (header["codec"], header["original_size"]) == (entry.codec, 5000)
    if entry.codec != "nvcomp-bitcomp":
        assert s4_codec.decode(frame, dictionary=DICTIONARY) == text(5000)


def test_a_dictionary_is_bytes_or_base64() -> None:
    assert S4ZstdDict(DICTIONARY) == S4ZstdDict(DICTIONARY_TEXT) != S4ZstdDict(DICTIONARY, 4)
    codec = S4ZstdDict(DICTIONARY)
    assert len(codec.encode(text(100))) < len(S4Zstd().encode(text(100)))


def test_damaged_chunks() -> None:
    frame = bytearray(S4Zstd().encode(text(5000)))
    frame[24] ^= 1
    with pytest.raises(s4_codec.S4CrcMismatchError, match=r"crc32c .* expected"):
        S4Zstd().decode(frame)
    with pytest.raises(s4_codec.S4FrameError, match="frame 0"):
        S4Gzip().decode(frame[:-1])
    with pytest.raises(s4_codec.S4FrameError, match="magic"):
        S4Zstd().decode(text(5000))
    with pytest.raises(s4_codec.S4UnregisteredCodecError, match="needs its dictionary"):
        S4Zstd().decode(S4ZstdDict(DICTIONARY).encode(text(50)))


def test_out_bounds_what_is_decoded() -> None:
    frame = S4Zstd().encode(bytes(1 << 20))
    with pytest.raises(s4_codec.S4ManifestSizeExceedsLimitError, match=r"1048576 .* 1000"):
        S4Zstd().decode(frame, out=bytearray(1000))
    with pytest.raises(ValueError, match="read-only"):
        S4Zstd().decode(frame, out=bytes(1 << 20))


def test_mistakes() -> None:
    with pytest.raises(ValueError, match="level must be from 1 to 22, got 23"):
        S4Zstd(23)
    with pytest.raises(ValueError, match="dictionary must be bytes or base64 text"):
        S4ZstdDict("no base64!")
    with pytest.raises(s4_codec.S4BackendError, match="dictionary"):
        S4ZstdDict(b"")
    with pytest.raises(TypeError, match="bytes-like"):
        S4ZstdDict(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="quality"):
        numcodecs.get_codec({"id": "s4-zstd", "quality": 3})


@of_ids
def test_zarr_format_2(entry: Id, tmp_path: Path) -> None:
    values = np.arange(10_000, dtype="u4").reshape(100, 100)
    array = zarr.create_array(
        tmp_path / "array",
        shape=values.shape,
        chunks=(30, 30),
        dtype=values.dtype,
        compressors=make(entry, **entry.settings),
        zarr_format=2,
    )
    array[:] = values
    metadata = json.loads((tmp_path / "array/.zarray").read_text())
    assert metadata["compressor"] == {"id": entry.id, **entry.required, **entry.settings}
    again = zarr.open_array(tmp_path / "array", mode="r")
    np.testing.assert_array_equal(again[:], values)
    np.testing.assert_array_equal(again[17:41, 5], values[17:41, 5])


def test_ids_are_found_in_another_process() -> None:
    code = f"""
import numcodecs, sys
assert "s4_codec" not in sys.modules
for id in {[entry.id for entry in IDS if not entry.required and not entry.on_gpu]}:
    codec = numcodecs.get_codec({{"id": id}})
    assert codec.decode(codec.encode(b"abc")) == b"abc"
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
