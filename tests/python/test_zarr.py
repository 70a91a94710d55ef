"""The codecs of Zarr format 3, found by their names, in Zarr itself."""

from __future__ import annotations

import asyncio
import json
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
import zarr.api.asynchronous
import zarr.registry
from codecs_table import DICTIONARY
from zarr_table import Id, of_ids

import s4_codec
from s4_codec.zarr import S4GzipCodec, S4ZstdCodec, S4ZstdDictCodec

VALUES = np.arange(10_000, dtype="u4").reshape(100, 100)


def make(entry: Id) -> Any:
    return zarr.registry.get_codec_class(entry.id)(**entry.required, **entry.settings)


def write(store: Any, codec: Any, values: Any = VALUES, **settings: Any) -> zarr.Array:
    """An array of chunks of 30 by 30."""
    array = zarr.create_array(
        store,
        shape=values.shape,
        dtype=values.dtype,
        **{"chunks": (30, 30), "compressors": codec} | settings,
    )
    array[...] = values
    return array


@of_ids
def test_round_trip(entry: Id, tmp_path: Path) -> None:
    write(tmp_path, make(entry))
    metadata = json.loads((tmp_path / "zarr.json").read_text())
    want = {"name": entry.id, "configuration": entry.required | entry.settings}
    assert metadata["codecs"][-1] == want
    again = zarr.open_array(tmp_path, mode="r")
    assert again.compressors == (make(entry),)
    np.testing.assert_array_equal(again[:], VALUES)
    np.testing.assert_array_equal(again[17:41, 5], VALUES[17:41, 5])
    np.testing.assert_array_equal(again.oindex[[3, 99], :], VALUES[[3, 99], :])
    frame = (tmp_path / "c/0/0").read_bytes()
    ((header, _),) = s4_codec.frame_iter(frame)
    assert header["original_size"] == 30 * 30 * 4


@of_ids
def test_shards(entry: Id, tmp_path: Path) -> None:
    write(tmp_path, make(entry), chunks=(10, 10), shards=(50, 50))
    again = zarr.open_array(tmp_path, mode="r+")
    np.testing.assert_array_equal(again[:], VALUES)
    np.testing.assert_array_equal(again[5, 12:14], VALUES[5, 12:14])
    again[5, 12:14] = 0
    changed = VALUES.copy()
    changed[5, 12:14] = 0
    np.testing.assert_array_equal(zarr.open_array(tmp_path)[:], changed)


@pytest.mark.parametrize("dtype", ["bool", "i1", ">i4", "f2", "c8", "M8[s]"])
def test_dtypes(dtype: str) -> None:
    values = np.arange(100).astype("i8").astype(dtype).reshape(10, 10)
    store = zarr.storage.MemoryStore()
    write(store, S4ZstdCodec(), values, chunks=(4, 4))
    np.testing.assert_array_equal(zarr.open_array(store)[:], values)


def test_the_settings_of_users() -> None:
    """Filters before it, another codec after it, an empty chunk, nothing in the array."""
    store = zarr.storage.MemoryStore()
    codecs = [S4ZstdDictCodec(DICTIONARY), S4GzipCodec(9), zarr.codecs.ZstdCodec()]
    write(store, codecs, filters=[zarr.codecs.TransposeCodec(order=(1, 0))])
    np.testing.assert_array_equal(zarr.open_array(store)[:], VALUES)
    for shape in ((), (0, 5)):
        store = zarr.storage.MemoryStore()
        values = np.zeros(shape)
        write(store, S4ZstdCodec(), values, chunks=tuple(max(1, size) for size in shape))
        np.testing.assert_array_equal(zarr.open_array(store)[...], values)


def test_chunks_at_once() -> None:
    """Many chunks in one asynchronous call, and many calls from threads."""

    async def use() -> None:
        store = zarr.storage.MemoryStore()
        array = await zarr.api.asynchronous.create_array(
            store, shape=(100, 100), chunks=(3, 3), dtype="u4", compressors=S4ZstdCodec()
        )
        await array.setitem(slice(None), VALUES)
        reads = [array.getitem((slice(row, row + 10), slice(None))) for row in range(90)]
        for row, found in enumerate(await asyncio.gather(*reads)):
            np.testing.assert_array_equal(found, VALUES[row : row + 10])

    asyncio.run(use())
    array = write(zarr.storage.MemoryStore(), S4ZstdCodec())
    with ThreadPoolExecutor(4) as pool:
        for row, found in enumerate(pool.map(lambda row: array[row], range(100))):
            np.testing.assert_array_equal(found, VALUES[row])


@pytest.mark.parametrize("shards", [None, (100, 100)])
def test_a_damaged_chunk(tmp_path: Path, shards: tuple[int, int] | None) -> None:
    write(tmp_path, S4ZstdCodec(), chunks=(50, 50), shards=shards)
    path = tmp_path / ("c/0/0" if shards else "c/0/1")
    body = bytearray(path.read_bytes())
    body[body.index(s4_codec.FRAME_MAGIC) + 24] ^= 1
    path.write_bytes(body)
    array = zarr.open_array(tmp_path, mode="r")
    with pytest.raises(
        s4_codec.S4CrcMismatchError, match=r"crc32c of the decoded bytes .* expected"
    ):
        array[:]
    np.testing.assert_array_equal(array[50:], VALUES[50:])


def test_a_cut_chunk(tmp_path: Path) -> None:
    write(tmp_path, S4ZstdCodec())
    path = tmp_path / "c/0/1"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(s4_codec.S4FrameError, match="frame 0"):
        zarr.open_array(tmp_path)[:]


def test_codecs_are_values() -> None:
    assert S4ZstdCodec(9) == S4ZstdCodec(level=9) != S4ZstdCodec(3)
    assert S4ZstdCodec(3) != S4GzipCodec(3)
    assert len({S4ZstdCodec(9), S4ZstdCodec(level=9), S4GzipCodec(9)}) == 2
    assert repr(S4ZstdCodec(9)) == "S4ZstdCodec(level=9)"
    for codec in (S4ZstdCodec(9), S4ZstdDictCodec(DICTIONARY)):
        assert pickle.loads(pickle.dumps(codec)) == codec
        assert type(codec).from_dict(codec.to_dict()) == codec
    assert S4ZstdCodec.from_dict({"name": "s4-zstd"}) == S4ZstdCodec()


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="level must be from 1 to 22, got 23"):
        S4ZstdCodec(level=23)
    write(tmp_path, S4ZstdCodec())
    path = tmp_path / "zarr.json"
    path.write_text(path.read_text().replace('"level"', '"quality"'))
    with pytest.raises(TypeError, match="quality"):
        zarr.open_array(tmp_path)


def test_names_are_found_in_another_process(tmp_path: Path) -> None:
    write(tmp_path, S4ZstdDictCodec(DICTIONARY))
    code = f"""
import sys, zarr
assert "s4_codec" not in sys.modules
assert zarr.open_array({str(tmp_path)!r})[:].sum() == {VALUES.sum()}
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
