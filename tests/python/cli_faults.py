"""The command with one call to the system after the other going wrong, in this process.

Usage: cli_faults.py FOLDER. Prints a line for every outcome that must not be, then the number of
faults that were tried.
"""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from s4_codec import CpuZstd, Passthrough, _cli, bind_index, build_index
from s4_codec._cli import decoding, files

CALLS = [
    *("open", "close", "dup", "lseek", "stat", "fstat", "read", "pread", "write", "fsync"),
    *("fchmod", "replace", "unlink", "posix_fallocate"),
]
REAL = {name: getattr(os, name) for name in CALLS}
# Waiting for the disk would show nothing here.
REAL["fsync"] = lambda _: None
#: Calls that are undone by nobody where they themselves fail.
CLEANING = {"unlink", "close"}

FOLDER = Path(sys.argv[1])
DATA = b"a fine body, rather short " * 4000
OLD = Passthrough().encode(b"old")
OLD_SIDECAR = bind_index(build_index(OLD), len(OLD))
BODY = b"".join(
    CpuZstd().encode(DATA[start : start + 30_000]) for start in range(0, 104_000, 30_000)
)
SIDECAR = bind_index(build_index(BODY), len(BODY))
ENCODED = CpuZstd().encode(DATA)
ENCODED_SIDECAR = bind_index(build_index(ENCODED), len(ENCODED))

#: Arguments; the files before, and those that must be there after success.
COMMANDS: dict[str, tuple[list[str], dict[str, bytes], dict[str, bytes]]] = {
    "encode": (["encode", "in", "-o", "out"], {"in": DATA, "out": OLD}, {"out": ENCODED}),
    "encode --index": (
        ["encode", "in", "-o", "out", "--index"],
        {"in": DATA, "out": OLD, "out.s4index": OLD_SIDECAR},
        {"out": ENCODED, "out.s4index": ENCODED_SIDECAR},
    ),
    "encode --index, all new": (
        ["encode", "in", "-o", "out", "--index"],
        {"in": DATA},
        {"out": ENCODED, "out.s4index": ENCODED_SIDECAR},
    ),
    "decode": (["decode", "in", "-o", "out"], {"in": BODY, "out": OLD}, {"out": DATA}),
    "decode by files": (["decode", "in", "-o", "out"], {"in": BODY}, {"out": DATA}),
    "reindex": (
        ["reindex", "in"],
        {"in": BODY, "in.s4index": OLD_SIDECAR},
        {"in.s4index": SIDECAR},
    ),
}
KINDS = ["error", "short", "shorter", signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


class Faults:
    """Counts calls since the input was opened, and lets the one numbered ``at`` go wrong."""

    def __init__(self, kind: object, at: int) -> None:
        self.kind, self.at = kind, at
        self.numbers = itertools.count()
        self.has_begun = False
        self.name = ""

    def __enter__(self) -> Faults:
        for name in CALLS:
            setattr(os, name, self.wrapped(name))
        return self

    def __exit__(self, *_: object) -> None:
        for name, call in REAL.items():
            setattr(os, name, call)

    def wrapped(self, name: str) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            self.has_begun |= name == "open" and args[0] == "in"
            if not self.has_begun or next(self.numbers) != self.at:
                return REAL[name](*args, **options)
            self.name = name
            if isinstance(self.kind, signal.Signals):
                os.kill(os.getpid(), self.kind)
            elif self.kind == "shorter":
                os.truncate("in", 100)
            elif self.kind == "short" and name in ("read", "pread"):
                return REAL[name](args[0], 1, *args[2:])
            elif self.kind == "short" and name == "write":
                return REAL[name](args[0], args[1][:1])
            elif self.kind == "error":
                if name == "close":
                    REAL[name](*args)
                raise OSError(errno.EIO, os.strerror(errno.EIO), *args[:1])
            return REAL[name](*args, **options)

        return call


def run(command: str, kind: object, at: int) -> tuple[Faults, str]:
    """Tries one fault; what is wrong with the outcome."""
    arguments, before, after = COMMANDS[command]
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    os.chdir(FOLDER)
    for name, data in before.items():
        Path(name).write_bytes(data)
    errors = io.StringIO()
    small = command == "decode by files"
    files.IN_MEMORY = decoding.IN_MEMORY = 1000 if small else 64 << 20
    decoding.BATCH = 1000 if small else 16 << 20
    with contextlib.redirect_stderr(errors), Faults(kind, at) as faults:
        status = _cli.main(arguments)
    return faults, judged(faults, status, errors.getvalue(), before, after)


def judged(
    faults: Faults, status: int, errors: str, before: dict[str, bytes], after: dict[str, bytes]
) -> str:
    found = {path.name: path.read_bytes() for path in Path().iterdir()}
    if faults.kind == "error" and faults.name in CLEANING:
        found = {name: data for name, data in found.items() if not name.startswith(".s4-")}
    if faults.kind != "shorter" and found.pop("in") != before["in"]:
        return "the input is another"
    found.pop("in", None)
    lines = errors.splitlines()
    if "Traceback" in errors or len(lines) != 1:
        return f"it says {errors!r}"
    old = {name: data for name, data in before.items() if name != "in"}
    if status == 0:
        return "" if found == after else f"status 0, and there are {found.keys()}"
    if not lines[0].startswith("Error: "):
        return f"status {status}, and it says {errors!r}"
    if isinstance(faults.kind, signal.Signals) and status != 128 + faults.kind:
        return f"status {status}"
    if faults.kind == "short":
        return f"status {status}: {errors}"
    if faults.kind == "shorter" and "was truncated" not in errors:
        return f"status {status}: {errors}"
    if faults.kind == "error" and not any(
        name in errors for name in (*after, "in", "/tmp", "TMPDIR")
    ):
        return f"no file is named: {errors}"
    # The body is the old one or the new one, and a sidecar its own or none.
    sidecars = [name for name in old.keys() | after.keys() if name.endswith(".s4index")]
    without = [{k: v for k, v in files.items() if k not in sidecars} for files in (old, after)]
    allowed = [old, after, *(without if "out" in after else [])]
    return "" if found in allowed else f"status {status}, and there are {found.keys()}"


def main() -> None:
    for kind in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(kind, lambda *_: None)
    tried = 0
    for command, kind in itertools.product(COMMANDS, KINDS):
        # The first calls open the input and ask for its length.
        for at in itertools.count(4 if kind == "shorter" else 0):
            faults, wrong = run(command, kind, at)
            if not faults.name:
                if wrong:
                    print(f"{command} without a fault: {wrong}")
                break
            tried += 1
            if wrong:
                print(f"{command}, {kind} at call {at}, {faults.name}: {wrong}")
    print(tried)
    sys.stdout.flush()
    os._exit(0)


main()
