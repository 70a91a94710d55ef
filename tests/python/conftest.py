"""Fixtures that run every test over the table of codecs, and decide what needs a GPU."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from codecs_table import ROWS, Row
from device_consumer import Gpu

import s4_codec
from s4_codec import Codec

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


def is_standin() -> bool:
    """Whether what looks like a GPU is ours."""
    return "Stand-in" in s4_codec.gpu_status()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for ``row`` or ``codec`` runs once per codec."""
    if "row" in metafunc.fixturenames:
        marks = {row: [pytest.mark.gpu] if row.on_gpu else [] for row in ROWS}
        rows = [pytest.param(row, id=str(row), marks=marks[row]) for row in ROWS]
        metafunc.parametrize("row", rows)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") is None:
        return
    if not s4_codec.gpu_available():
        pytest.skip(f"no GPU: {s4_codec.gpu_status()}")
    if "hostile" in item.path.name and not is_standin():
        pytest.skip("a real GPU may not be given damaged chunks: they can end CUDA's use")


@pytest.fixture
def codec(row: Row) -> Codec:
    """The row's codec with its default settings."""
    return row.codec


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder."""
    return ROOT


@pytest.fixture(scope="session")
def vectors() -> Path:
    """The folder of the wire format's test vectors, which are not part of the project."""
    folder = os.environ.get("S4_VECTORS")
    if not folder:
        pytest.skip("S4_VECTORS is not set: it names the folder of the wire format's test vectors")
    path = Path(folder).resolve()
    assert (path / "manifest.json").is_file(), f"S4_VECTORS: expected manifest.json in {path}"
    return path


@pytest.fixture(scope="session")
def standin(root: Path) -> Path:
    """The stand-in for NVIDIA's libraries, built."""
    cargo = shutil.which("cargo")
    if cargo is None:
        pytest.skip("the stand-in for a GPU takes cargo to build")
    command = [cargo, "build", "--example", "gpu_standin", "--message-format", "json"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    messages = map(json.loads, done.stdout.splitlines())
    (built,) = [
        message["filenames"][0]
        for message in messages
        if message.get("target", {}).get("name") == "gpu_standin" and "filenames" in message
    ]
    return Path(built)


@pytest.fixture(autouse=True, scope="session")
def _violations() -> Iterator[None]:
    """What the stand-in, where it is used, must not have seen."""
    yield
    if is_standin():
        standin = ctypes.CDLL(os.environ["S4_CUDA_LIBRARY"])
        standin.standin_violations.restype = ctypes.c_uint64
        text = ctypes.create_string_buffer(500)
        found = []
        for number in range(standin.standin_violations()):
            standin.standin_violation(ctypes.c_uint64(number), text, ctypes.c_size_t(500))
            found.append(text.value.decode())
        assert not found


@pytest.fixture(scope="module")
def device_memory() -> Iterator[Gpu]:
    """The memory of the first GPU, as other libraries read and write it."""
    gpu = Gpu()
    yield gpu
    gpu.close()
