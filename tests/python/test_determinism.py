"""The same value, codec and level make the same bytes, wherever and however often."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
import pytest
from codecs_table import VALUES, Row, noise, own_frame, text

import s4_codec
import s4_codec.arrow
import s4_codec.polars

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from s4_codec import Codec

#: Enough rows and bytes that several threads share them.
ROWS = [*VALUES, *[text(n * 37 % 5000) for n in range(400)], noise(100_000)]


@pytest.fixture(params=[1, 2, 7])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = s4_codec.num_threads()
    s4_codec.set_num_threads(request.param)
    yield request.param
    s4_codec.set_num_threads(before)


def test_columns_write_what_single_values_do(codec: Codec, threads: int) -> None:
    payloads = [codec.compress(value)[0] for value in ROWS]
    frames = [own_frame(codec, value) for value in ROWS]
    header = s4_codec.FRAME_HEADER_BYTES
    assert [frame[header:] for frame in frames] == payloads
    series = pl.Series("body", ROWS)
    chunks = pa.chunked_array([ROWS[:100], ROWS[100:]], pa.large_binary())
    assert series.s4.compress(codec).struct.field("payload").to_list() == payloads
    packed = s4_codec.arrow.compress(chunks, codec).combine_chunks()
    assert packed.field("payload").to_pylist() == payloads
    assert series.s4.encode(codec, fallback=False).to_list() == frames
    assert s4_codec.arrow.encode(chunks, codec, fallback=False).to_pylist() == frames


def test_nothing_remains_of_other_values_and_levels(row: Row) -> None:
    """Contexts are reused; what they did before must not show."""
    fresh = {value: row.codec.compress(value) for value in VALUES}
    low, high = row.levels or (None, None)
    for value in [*reversed(VALUES), *VALUES]:
        for level in {low, high} - {None}:
            row.make(level=level).compress(text(3000))
        assert row.codec.compress(value) == fresh[value]


def written(root: Path, *runner: str) -> dict[str, dict[str, str]]:
    """What another process writes, under ``runner``."""
    python = os.path.realpath(sys.executable) if runner else sys.executable
    done = subprocess.run(
        [*runner, python, root / "tests/vectors/written.py"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


CPUS = {
    "this": (),
    # Has AVX2, but no AVX-512.
    "valgrind's": ("valgrind", "--tool=none", "-q"),
    # Has SSE 4.2, but no AVX.
    "a Nehalem": ("qemu-x86_64", "-cpu", "Nehalem"),
}


@pytest.mark.parametrize("cpu", CPUS)
def test_written_bytes_are_frozen_on_any_cpu(root: Path, cpu: str) -> None:
    runner = CPUS[cpu]
    if runner and shutil.which(runner[0]) is None:
        pytest.skip(f"{runner[0]} is not on PATH")
    if s4_codec.gpu_available():
        pytest.skip('a GPU is here, on which device="auto" may compress')
    frozen = json.loads((root / "tests/vectors/written.json").read_text())
    assert written(root, *runner) == frozen
