"""Runs a script of this folder with a library of its own before the C library.

NAME.py runs with NAME.c compiled; its own options follow. Linux with glibc, and a C compiler, cc.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent

#: Options of :func:`run_preloaded` for tests, which look at what a script prints.
CAUGHT: dict[str, Any] = {"capture_output": True, "timeout": 300}


def missing() -> str | None:
    """What a script needs and this machine lacks."""
    is_here = shutil.which("cc") is not None and platform.libc_ver()[0] == "glibc"
    return None if is_here else "needs a C compiler, cc, and glibc"


def run_preloaded(
    name: str, folder: Path, *arguments: object, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Runs the script of that name, with the library of that name compiled to a folder; skips
    the test where that cannot be."""
    if reason := missing():
        import pytest

        pytest.skip(reason)
    source, library = FOLDER / f"{name}.c", folder / f"{name}.so"
    command = ["cc", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", source, "-o", library, "-ldl"]
    subprocess.run(command, check=True)
    command = [sys.executable, source.with_suffix(".py"), library, *map(str, arguments)]
    environment = os.environ | {"LD_PRELOAD": str(library), "RUST_BACKTRACE": "0"}
    return subprocess.run(command, env=environment, text=True, check=False, **options)


def main() -> None:
    names = sorted(source.stem for source in FOLDER.glob("*.c"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=names, metavar="NAME", help=" or ".join(names))
    parser.add_argument(
        "arguments", nargs=argparse.REMAINDER, metavar="...", help="of the script: try NAME --help"
    )
    args = parser.parse_args()
    if reason := missing():
        sys.exit(reason)
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(run_preloaded(args.name, Path(folder), *args.arguments).returncode)


if __name__ == "__main__":
    main()
