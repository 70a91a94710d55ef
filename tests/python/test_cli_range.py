"""The command: ranges, threads, progress, and what a listing says of a sidecar."""

from __future__ import annotations

import os
import pty
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from codecs_table import text
from test_cli import CLI, check, run

import s4_codec
from s4_codec import CpuZstd

if TYPE_CHECKING:
    from pathlib import Path

FRAME = 1000
VALUE = text(20_500)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """``body.s4``, of 21 frames, and its sidecar."""
    with s4_codec.open(tmp_path / "body.s4", "wb", index=True, frame_size=FRAME) as file:
        file.write(VALUE)
    return tmp_path


RANGES = [
    (0, 0),
    (0, 1),
    (0, 20_500),
    (999, 1001),
    (5000, 6000),
    (12_345, 17_000),
    (20_499, 20_500),
]


@pytest.mark.parametrize(("start", "end"), RANGES)
@pytest.mark.parametrize("source", ["sidecar", "no sidecar", "pipe"])
def test_a_range_is_half_open(folder: Path, source: str, start: int, end: int) -> None:
    body = (folder / "body.s4").read_bytes()
    if source != "sidecar":
        (folder / "body.s4.s4index").unlink()
    name, stdin = ("-", body) if source == "pipe" else ("body.s4", b"")
    done = run("decode", name, "--range", f"{start}-{end}", cwd=folder, stdin=stdin)
    words = f"decoded the bytes {start} to {end} of the original"
    assert check(done, words=words) == VALUE[start:end]
    assert (b"without a sidecar" in done.stderr) == (source != "sidecar")


def test_a_sidecar_spares_the_other_frames(folder: Path) -> None:
    body = bytearray((folder / "body.s4").read_bytes())
    body[28 + 10] ^= 0xFF
    (folder / "body.s4").write_bytes(body)
    arguments = ("decode", "body.s4", "--range", "5000-6000", "-o", "part")
    check(run(*arguments, cwd=folder))
    assert (folder / "part").read_bytes() == VALUE[5000:6000]
    (folder / "part").unlink()
    # Without it, the first frame must be good: it says where the others begin.
    (folder / "body.s4.s4index").unlink()
    check(run(*arguments, cwd=folder), 1, "frame 0")
    assert not (folder / "part").exists()


def test_a_sidecar_that_does_not_fit_is_told(folder: Path) -> None:
    with (folder / "body.s4").open("ab") as file:
        file.write(CpuZstd().encode(b"more"))
    done = run("decode", "body.s4", "--range", "20498-20504", cwd=folder)
    assert check(done, words="is not used: the sidecar describes a body of") == VALUE[-2:] + b"more"


WRONG = {
    "beyond the end": ("0-20501", 1, "the range ends at 20501, but the original has 20500 bytes"),
    "backwards": ("7-3", 2, "is not a range A-B of bytes"),
    "one number": ("7", 2, "is not a range A-B of bytes"),
    "open": ("7-", 2, "is not a range A-B of bytes"),
    "negative": ("-1-3", 2, "expected one argument"),
    "too large": (f"0-{2**64}", 2, "is not a range A-B of bytes"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_ranges(folder: Path, name: str) -> None:
    value, status, words = WRONG[name]
    done = run("decode", "body.s4", "--range", value, "-o", "part", cwd=folder)
    check(done, status, words)
    assert not (folder / "part").exists()


@pytest.mark.parametrize("limit", ["--max-size", "--max-total-size"])
def test_limits_hold_for_ranges(folder: Path, limit: str) -> None:
    done = run("decode", "body.s4", "--range", "0-2000", limit, "999", cwd=folder)
    check(done, 1, "exceed")


def test_threads(folder: Path) -> None:
    (folder / "in").write_bytes(VALUE * 500)
    for threads in (1, 3):
        check(run("encode", "in", "-o", f"out{threads}", "--threads", threads, cwd=folder))
    assert (folder / "out1").read_bytes() == (folder / "out3").read_bytes()
    assert check(run("decode", "out1", "--threads", 2, cwd=folder)) == VALUE * 500
    for wrong in ("0", "1025", "-1", "many"):
        check(run("encode", "in", f"--threads={wrong}", cwd=folder), 2, "threads from 1 to 1024")


def on_terminal(folder: Path, *arguments: str) -> str:
    """What the command prints to standard error, a terminal, while its input comes slowly."""
    here, there = pty.openpty()
    with subprocess.Popen(
        [*CLI, *arguments], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=there
    ) as process:
        os.close(there)
        assert process.stdin is not None
        for _ in range(8):
            process.stdin.write(os.urandom(1 << 20))
            process.stdin.flush()
            time.sleep(0.3)
        process.stdin.close()
        assert process.stdout is not None
        process.stdout.read()
    shown = b""
    try:
        while piece := os.read(here, 1 << 16):
            shown += piece
    except OSError:
        # The terminal has ended with the process.
        pass
    os.close(here)
    assert process.returncode == 0, shown
    return shown.decode()


def test_progress_is_shown_on_a_terminal(folder: Path) -> None:
    shown = on_terminal(folder, "encode", "-", "-o", "out.s4")
    assert "MB/s" in shown
    # It is cleared before the last line.
    assert shown.rstrip().rpartition("\x1b[K")[2].startswith("encoded 2 frame(s)")
    assert "MB/s" not in on_terminal(folder, "encode", "-", "-o", "out.s4", "--no-progress")


def test_a_listing_says_what_a_sidecar_is_bound_to(folder: Path) -> None:
    size = (folder / "body.s4").stat().st_size
    listing = check(run("index", "body.s4.s4index", cwd=folder)).decode()
    assert f"bound to:                a body of {size} bytes\n" in listing
    sidecar = s4_codec.build_index((folder / "body.s4").read_bytes())
    (folder / "unbound").write_bytes(sidecar)
    assert (
        "bound to:                nothing (" in check(run("index", "unbound", cwd=folder)).decode()
    )
    (folder / "etag").write_bytes(s4_codec.bind_index(sidecar, size, "abc"))
    listing = check(run("index", "etag", cwd=folder)).decode()
    assert f"a body of {size} bytes and the ETag abc\n" in listing


def test_completion(folder: Path) -> None:
    pytest.importorskip("shtab", reason="shtab is not installed")
    for shell in ("bash", "zsh"):
        assert b"s4-codec" in check(run("--print-completion", shell, cwd=folder))
