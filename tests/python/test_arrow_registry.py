"""PyArrow's registry of compute functions."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest
from arrow_table import LAYOUTS, Layout
from codecs_table import text

import s4_codec.arrow as s4
from s4_codec import Codec, CpuGzip, CpuZstd, S4CrcMismatchError, S4Error

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_functions_of_every_type(codec: Codec, layout: Layout) -> None:
    there, back = s4.register_compute_functions(codec, input_type=layout.dtype)
    assert {there, back} <= set(pc.list_functions())
    column = layout.array
    packed = pc.call_function(there, [column])
    assert packed.equals(s4.compress(column, codec))
    restored = pc.call_function(back, [packed])
    is_text = layout.is_text
    assert restored.type == (pa.large_string() if is_text else pa.large_binary())
    assert restored.to_pylist() == layout.values
    chunked = pc.call_function(there, [pa.chunked_array([column, column[:3]])])
    assert pc.call_function(back, [chunked]).to_pylist() == layout.values * 1 + layout.values[:3]


def test_names() -> None:
    assert s4.register_compute_functions(CpuZstd(3)) == [
        "s4_compress_cpu_zstd_3__large_binary",
        "s4_decompress_cpu_zstd_3__large_binary",
    ]
    names = s4.register_compute_functions(CpuGzip(9), ["string", pa.binary()])
    assert names == [
        "s4_compress_cpu_gzip_9__string",
        "s4_decompress_cpu_gzip_9__string",
        "s4_compress_cpu_gzip_9__binary",
        "s4_decompress_cpu_gzip_9__binary",
    ]
    assert (
        s4.register_compute_functions("passthrough", "binary")[0]
        == "s4_compress_passthrough__binary"
    )


def test_registering_again_changes_nothing() -> None:
    names = s4.register_compute_functions(CpuZstd(4), ["binary", "binary"])
    before = pc.list_functions()
    for _ in range(5):
        assert s4.register_compute_functions(CpuZstd(4), iter(["binary", "binary"])) == names
    with ThreadPoolExecutor(8) as threads:
        calls = [threads.submit(s4.register_compute_functions, CpuZstd(5)) for _ in range(32)]
        assert len({tuple(call.result()) for call in calls}) == 1
    assert len(pc.list_functions()) == len(before) + 2
    assert pc.call_function(names[0], [pa.array([b"a"])]).type == s4.COMPRESSED_TYPE


def test_a_reloaded_module_finds_its_functions() -> None:
    code = """
import importlib, pyarrow as pa, pyarrow.compute as pc, s4_codec.arrow as s4
names = s4.register_compute_functions()
for _ in range(3):
    importlib.reload(s4)
    assert s4.register_compute_functions() == names
packed = pc.call_function(names[0], [pa.array([b"x"], pa.large_binary())])
assert pc.call_function(names[1], [packed]).to_pylist() == [b"x"]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_scalars(codec: Codec) -> None:
    there, back = s4.register_compute_functions(codec, "string")
    packed = pc.call_function(there, [pa.scalar("größe")])
    assert pc.call_function(back, [packed]).as_py() == "größe"
    assert pc.call_function(there, [pa.scalar(None, pa.string())]).as_py() is None


def test_structs_of_other_engines(codec: Codec) -> None:
    spark = pa.struct(
        [("payload", pa.binary()), ("original_size", pa.int64()), ("crc32c", pa.int64())]
    )
    [name] = s4.register_compute_functions(codec, spark)
    packed = s4.compress(pa.array(["a", None, "b" * 100]), codec).cast(spark)
    assert pc.call_function(name, [packed]).to_pylist() == [b"a", None, b"b" * 100]


def test_structs_with_checksums_of_payloads(codec: Codec) -> None:
    packed = s4.compress(pa.array(["a" * 100, None]), codec, payload_checksum=True)
    [name] = s4.register_compute_functions(codec, packed.type)
    assert pc.call_function(name, [packed]).to_pylist() == [b"a" * 100, None]
    row = packed[0].as_py()
    bad = pa.array([row, row | {"payload_crc32c": 0}], packed.type)
    with pytest.raises(S4CrcMismatchError, match="crc32c of the payload itself is ") as raised:
        pc.call_function(name, [bad])
    assert raised.value.row == 1


def test_errors_keep_their_class_and_row(codec: Codec) -> None:
    _, back = s4.register_compute_functions(codec)
    payload, size, crc = codec.compress(text(50))
    rows = [{"payload": payload, "original_size": size, "crc32c": crc ^ bad} for bad in (0, 0, 1)]
    with pytest.raises(S4Error, match=f"row 2 .codec {codec.name}") as raised:
        pc.call_function(back, [pa.array(rows, s4.COMPRESSED_TYPE)])
    assert raised.value.row == 2


def test_wrong_types_and_names() -> None:
    payload = pa.struct([("payload", pa.binary())])
    for wrong in (pa.int64(), pa.list_(pa.binary()), payload, "no type", None):
        before = pc.list_functions()
        with pytest.raises(TypeError, match="input_type must be"):
            s4.register_compute_functions(CpuZstd(), ["binary", wrong])
        assert pc.list_functions() == before, "all or nothing"
    there, _ = s4.register_compute_functions(CpuZstd(), "string")
    with pytest.raises(pa.ArrowNotImplementedError, match="no kernel matching"):
        pc.call_function(there, [pa.array([1])])
    with pytest.raises(KeyError, match="s4_compress_cpu_zstd_99__string"):
        pc.call_function("s4_compress_cpu_zstd_99__string", [pa.array(["a"])])
    assert s4.register_compute_functions(CpuZstd(), []) == []


def test_dataset_projections(codec: Codec, tmp_path: Path) -> None:
    values = [text(n) for n in range(2000)]
    table = pa.table({"part": [n % 3 for n in range(2000)], "n": range(2000), "body": values})
    packed = table.set_column(2, "body", s4.compress(table["body"], codec))
    ds.write_dataset(packed, tmp_path, format="parquet", partitioning=["part"])
    _, back = s4.register_compute_functions(codec)
    dataset = ds.dataset(tmp_path, format="parquet", partitioning=["part"])
    body = ds.field("")._call(back, [ds.field("body")])
    read = dataset.to_table({"n": ds.field("n"), "body": body}).sort_by("n")
    assert read["body"].to_pylist() == values
    some = dataset.to_table({"body": body}, filter=ds.field("part") == 1)
    assert len(some) == 667
