"""`s4_codec.open`: what is written becomes a body, complete or not at all."""

from __future__ import annotations

import gc
import io
import os
from pathlib import Path
from typing import Any

import pytest
from files_table import DICTIONARY, FRAME, TEXT

import s4_codec
from s4_codec import CpuGzip, CpuZstdDict

CODECS: dict[str, dict[str, Any]] = {
    "default": {},
    "object": {"codec": CpuGzip(9)},
    "name": {"codec": "cpu-zstd", "level": 9},
    "dictionary": {"dictionary": DICTIONARY},
    "dictionary and level": {"dictionary": DICTIONARY, "level": 9},
    "codec with a dictionary": {"codec": CpuZstdDict(DICTIONARY)},
    "set": {"dictionary": s4_codec.DictionarySet([DICTIONARY])},
    "on any machine": {"codec": s4_codec.NvcompZstd(device="auto")},
}


@pytest.mark.parametrize("name", CODECS)
def test_what_is_written_is_a_body(name: str) -> None:
    target = io.BytesIO()
    sidecar = io.BytesIO()
    with s4_codec.open(target, "wb", index=sidecar, frame_size=FRAME, **CODECS[name]) as file:
        for start in range(0, len(TEXT), 777):
            assert file.write(memoryview(TEXT)[start : start + 777]) > 0
        assert file.tell() == len(TEXT)
    body = target.getvalue()
    assert not target.closed
    assert s4_codec.decode(body, dictionary=DICTIONARY) == TEXT
    assert sidecar.getvalue() == s4_codec.bind_index(s4_codec.build_index(body), len(body))
    with s4_codec.open(io.BytesIO(body), dictionary=DICTIONARY) as reader:
        assert reader.read() == TEXT


def test_a_flush_makes_all_readable() -> None:
    target = io.BytesIO()
    with s4_codec.open(target, "wb") as file:
        file.write(b"first")
        file.flush()
        assert s4_codec.decode(target.getvalue()) == b"first"
        file.write(b", second")
    assert s4_codec.decode(target.getvalue()) == b"first, second"


def test_a_new_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "body.s4"
    path.write_bytes(b"old")
    with s4_codec.open(path, "wb") as file:
        file.write(TEXT)
        file.flush()
        assert path.read_bytes() == b"old"
    assert s4_codec.decode(path.read_bytes()) == TEXT
    for mode in ("wb", "wt"):
        with pytest.raises(KeyError):
            write_and_fail(path, mode)
        assert s4_codec.decode(path.read_bytes()) == TEXT
    with pytest.raises(FileExistsError):
        s4_codec.open(path, "xb")
    assert os.listdir(tmp_path) == ["body.s4"]


def write_and_fail(path: Path, mode: Any) -> None:
    with s4_codec.open(path, mode) as file:
        file.write("x" if mode == "wt" else b"x")
        raise KeyError


def leave_open(path: Path, mode: Any) -> None:
    s4_codec.open(path, mode).write("x" if mode == "wt" else b"x")
    gc.collect()


@pytest.mark.parametrize("mode", ["wb", "wt"])
def test_a_file_that_was_not_closed_is_dropped(mode: str, tmp_path: Path) -> None:
    with pytest.warns(ResourceWarning, match="was not closed"):
        leave_open(tmp_path / "body.s4", mode)
    assert os.listdir(tmp_path) == []


class Full(io.BytesIO):
    """Is full once, at its second write."""

    writes = 0

    def write(self, data: Any, /) -> int:
        self.writes += 1
        if self.writes == 2:
            raise OSError(28, "full")
        return super().write(data)


def test_a_writer_that_failed_says_so(tmp_path: Path) -> None:
    target = Full()
    file = s4_codec.open(target, "wb", frame_size=1000)
    failures = 0
    for i in range(20):
        try:
            file.write(bytes([i]) * 1000)
        except OSError:
            failures += 1
    assert failures > 10
    with pytest.raises(OSError, match="incomplete"):
        file.close()
    assert file.closed
    for count in (0, -1, 10**6):
        target = io.BytesIO()
        target.write = lambda data, count=count: count  # type: ignore[method-assign,misc]
        with pytest.raises(OSError, match=f"returned {count}"), s4_codec.open(target, "wb") as new:
            new.write(b"x")
    with pytest.raises(OSError, match="No space left"), s4_codec.open("/dev/full", "wb") as new:
        new.write(TEXT)


def test_a_new_file_removes_what_described_the_old(tmp_path: Path) -> None:
    path, sidecar = tmp_path / "body.s4", tmp_path / "body.s4.s4index"
    for index in (True, None):
        with s4_codec.open(path, "wb", index=index) as file:
            file.write(TEXT)
        assert sidecar.exists() == (index is True)
    with pytest.raises(ValueError, match="both the file and its sidecar"):
        s4_codec.open(path, "wb", index=tmp_path / "." / "body.s4")
    assert s4_codec.decode(path.read_bytes()) == TEXT
    assert os.listdir(tmp_path) == ["body.s4"]


def test_a_child_process_leaves_the_file_to_its_parent(tmp_path: Path) -> None:
    path = tmp_path / "body.s4"
    file = s4_codec.open(path, "wb", frame_size=1000)
    file.write(TEXT)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            file.write(b"x")
        except OSError:
            file.abort()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    file.close()
    assert s4_codec.decode(path.read_bytes()) == TEXT


def test_arrays_of_objects_are_no_bytes() -> None:
    numpy = pytest.importorskip("numpy", reason="numpy is not installed")
    with pytest.raises(TypeError, match="Python objects"):
        s4_codec.open(io.BytesIO(), "wb").write(numpy.array([1, "a"], object))
    target = io.BytesIO()
    with s4_codec.open(target, "wb") as file:
        assert file.write(numpy.arange(6, dtype="<u2").reshape(2, 3)) == 12
        assert file.write(numpy.zeros((0, 3))) == 0
    assert s4_codec.decode(target.getvalue()) == bytes([0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0])
