"""Every Polars type through every function: a result, or one clear error that names the type."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import polars_table
import pytest
from polars.exceptions import ComputeError
from polars_table import FUNCTIONS, TYPES, Function, Type

import s4_codec.polars as s4
from s4_codec import CpuZstd

TABLE = Path(polars_table.__file__)

# What Polars says where it cannot make, export or drop a column; all but the first in 1.27.
OF_POLARS = (
    "nested objects are not allowed",
    "the producer of the Arrow stream failed: The iterator produced an item of data type",
    "PanicException: assertion failed: matches!(dtype, ArrowDataType::Extension(_))",
    "SystemError: error return without exception set",
    "PanicException: called `Result::unwrap()` on an `Err` value: ComputeError",
)


@pytest.fixture(scope="module")
def matrix() -> dict[tuple[str, str], str]:
    """What comes of each cell; each runs where it may end the process."""
    cells = [(kind.name, function.name) for kind in TYPES for function in FUNCTIONS]
    found: dict[tuple[str, str], str] = {}
    while len(found) < len(cells):
        command = [sys.executable, str(TABLE), str(len(found))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = [json.loads(line) for line in done.stdout.splitlines() if line[:1] in '0123456789"']
        results = [line for line in lines if isinstance(line, str)]
        numbers = [line for line in lines if isinstance(line, int)]
        found.update(zip(cells[len(found) :], results, strict=False))
        if done.returncode != 0:
            assert numbers, f"the table does not run: {done.stderr}"
            ended = f"the process ended with {done.returncode}: {done.stderr[-500:]}"
            found[cells[numbers[-1]]] = ended
    return found


def is_right(kind: Type, function: Function, result: str) -> bool:
    """Whether a cell's result is what the tables say."""
    if function.takes == "row":
        if kind.shown is None:
            return "row cannot name rows by" in result and "Python objects" in result
        shown = kind.shown if function.name == "row" else f"{{x: {kind.shown}}}"
        return f"x = {shown}," in result and "S4CrcMismatchError: row 2 of the 3" in result
    # Arrow has no integers of 128 bits, and its dictionaries of text are text.
    in_arrow = not function.by_polars
    takes = {"bytes", "numbers"} if function.takes == "values" else {function.takes}
    is_text = in_arrow and kind.name in ("Categorical", "Enum") and "bytes" in takes
    is_taken = not takes.isdisjoint({"anything", *kind.use.split()}) or is_text
    if is_taken and not (in_arrow and kind.name in ("Int128", "UInt128")):
        return result == "a result" or any(f"{name}: " in result for name in function.errors)
    if "Object" in kind.name:
        return "Object" in result and "Python objects" in result and "dtype=pl.Binary" in result
    if in_arrow:
        return result.startswith("TypeError: ") and (
            "128" not in kind.name or not is_taken or f"found {kind.name}," in result
        )
    # A struct is looked into.
    is_struct = kind.name.startswith("Struct") and "the struct lacks payload" in result
    is_named = re.search(r"found " + re.escape(kind.name), result) is not None
    return (
        result.startswith("ComputeError: ") and "TypeError: " in result and (is_named or is_struct)
    )


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
def test_a_result_or_an_error_that_names_the_type(
    kind: Type, matrix: dict[tuple[str, str], str]
) -> None:
    results = {function: matrix[kind.name, function.name] for function in FUNCTIONS}
    if all(result.startswith("lacks: ") for result in results.values()):
        pytest.skip(f"polars {pl.__version__} has none: {results[FUNCTIONS[0]]}")
    wrong = {
        function.name: result
        for function, result in results.items()
        if not is_right(kind, function, result) and not is_of_polars(result)
    }
    assert not wrong


def is_of_polars(result: str) -> bool:
    """Whether Polars itself does not let such a column come so far."""
    return any(words in result for words in OF_POLARS)


def test_the_matrix_runs_on_the_polars_that_was_asked_for() -> None:
    asked = os.environ.get("POLARS_FORCE_PKG")
    if asked is None:
        pytest.skip("POLARS_FORCE_PKG names no other build of Polars")
    assert f"_polars_runtime_{asked}" in sys.modules
    if asked == "64":
        assert pl.get_index_type() == pl.UInt64


@pytest.mark.parametrize("name", ["Int128", "UInt128"])
def test_sizes_and_checksums_of_128_bits_are_exact(name: str) -> None:
    if not hasattr(pl, name):
        pytest.skip(f"polars {pl.__version__} has no {name}")
    dtype = getattr(pl, name)
    value = b"some bytes"
    payload, size, crc = CpuZstd().compress(value)
    good = {"payload": payload, "original_size": size, "crc32c": crc}
    struct = pl.Struct({"payload": pl.Binary, "original_size": dtype, "crc32c": dtype})
    assert pl.Series("body", [good, None], dtype=struct).s4.decompress().to_list() == [value, None]
    beyond = [2**64, 2**127 - 1, *([2**127, 2**128 - 1] if name == "UInt128" else [-1, -(2**127)])]
    for field in ("original_size", "crc32c"):
        for wrong in beyond:
            series = pl.Series("body", [good, good | {field: wrong}], dtype=struct)
            with pytest.raises(ComputeError, match=f"row 1 .*{field} .* found {wrong}"):
                series.s4.decompress()


def test_rows_by_a_row_index() -> None:
    frame = pl.DataFrame({"body": [b"no zstd"] * 3}).with_row_index("id", offset=7)
    assert frame["id"].dtype == pl.get_index_type()
    with pytest.raises(ComputeError, match=r"row 0 .*\(id = 7, "):
        frame.select(s4.decompress("body", row="id"))
