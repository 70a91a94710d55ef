"""The wire format's own vectors, where they lie beside the project."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

GROUPS = [
    *("payload/", "level/", "dict/", "foreign/", "fcg1/", "frames/", "object/", "sidecar/"),
    *("lookup/", "hostile/zstd", "hostile/gzip", "hostile/passthrough", "hostile/dict"),
    *("hostile/frame", "hostile/index", "hostile/fcg1", "surface/", "cli/"),
]

#: Where the package reads more than the vectors say: gzip's zero padding, as gzip does.
SURPASSED = {"hostile/gzip/trailing-zeros"}


@pytest.mark.parametrize("group", GROUPS)
def test_vectors(root: Path, group: str) -> None:
    check = root.parent / "shared" / "vectors" / "check.py"
    if not check.exists():
        pytest.skip("the wire format's vectors are not beside this checkout")
    command = [sys.executable, str(check), "-q", "--only", group]
    command += ["--cli", f"{sys.executable} -m s4_codec.cli"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    *lines, last = done.stdout.splitlines()
    failed = {line.split()[1] for line in lines if line.startswith("FAIL ")}
    assert failed <= SURPASSED, done.stdout
    assert last.endswith(f" {len(failed)} failed, 0 skipped"), done.stdout
    assert not last.startswith("0 passed"), "the group exists"
