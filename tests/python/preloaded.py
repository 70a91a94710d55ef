"""Scripts that run with a library of their own before the C library.

Usage: preloaded.py NAME [ARGUMENT ...] runs NAME.py with NAME.c compiled.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

#: Options of :func:`run_preloaded` for tests, which look at what a script prints.
CAUGHT: dict[str, Any] = {"capture_output": True, "timeout": 300}


def run_preloaded(
    name: str, folder: Path, *arguments: object, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Runs the script of that name, with the library of that name compiled to a folder; skips
    where that cannot be."""
    compiler = shutil.which("cc")
    if compiler is None or platform.libc_ver()[0] != "glibc":
        pytest.skip("needs a C compiler, cc, and glibc")
    source, library = Path(__file__).with_name(f"{name}.c"), folder / f"{name}.so"
    command = [compiler, "-O1", "-Wall", "-Werror", "-shared", "-fPIC", source, "-o", library]
    subprocess.run([*command, "-ldl"], check=True)
    script = source.with_suffix(".py")
    command = [sys.executable, script, library, *map(str, arguments)]
    environment = os.environ | {"LD_PRELOAD": str(library), "RUST_BACKTRACE": "0"}
    return subprocess.run(command, env=environment, text=True, check=False, **options)


def main() -> None:
    name, *arguments = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(run_preloaded(name, Path(folder), *arguments).returncode)


if __name__ == "__main__":
    main()
