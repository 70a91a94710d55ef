"""What type checkers make of the package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

USE = """
from typing import assert_type
import array, mmap
import numpy as np
import polars as pl
import s4_codec
import s4_codec.polars as s4

body = s4.on(pl.col("body"))
assert_type(body, s4.ExprNamespace)
assert_type(body.compress(s4_codec.CpuGzip(9)), pl.Expr)
assert_type(s4.on("body").decompress("cpu-gzip", dtype=pl.String, row=pl.col("id")), pl.Expr)
assert_type(s4.on(pl.Series([b"a"])).encode(), pl.Series)
assert_type(s4.on(pl.Series([b"a"])).train_dictionary(), bytes)
s4.on(5)  # line 15
s4.on("body").compress(level="high")  # line 16

codec = s4_codec.CpuZstd()
out = bytearray(3)
assert_type(codec.decompress_into(b"", out, 0, 0), int)
for other in (memoryview(out), mmap.mmap(-1, 3), array.array("b"), np.zeros(3), np.float32(3)):
    codec.decompress_into(b"", other, 0, 0)
codec.decompress_into(b"", "text", 0, 0)  # line 23
"""


def test_mypy(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "use.py"
    path.write_text(USE)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(path)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    errors = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert len(errors) == 3, done.stdout + done.stderr
    for error, line in zip(errors, (15, 16, 23), strict=True):
        assert f"use.py:{line}: error: " in error
