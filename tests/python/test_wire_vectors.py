"""The wire format's own vectors, where they lie beside the project."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

GROUPS = [
    *("payload/cpu-zstd/", "payload/cpu-gzip/", "payload/passthrough/"),
    *("level/cpu-", "foreign/", "hostile/zstd/", "hostile/gzip/", "hostile/passthrough/"),
    *("surface/exception/", "surface/CpuZstd/", "surface/CpuGzip/", "surface/value/"),
    *("surface/range/size", "surface/range/crc", "surface/fork"),
]


@pytest.mark.parametrize("group", GROUPS)
def test_vectors(root: Path, group: str) -> None:
    check = root.parent / "shared" / "vectors" / "check.py"
    if not check.exists():
        pytest.skip("the wire format's vectors are not beside this checkout")
    command = [sys.executable, str(check), "-q", "--only", group]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout
    assert not done.stdout.splitlines()[-1].startswith("0 passed"), "the group exists"
