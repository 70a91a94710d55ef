"""The command among other processes: closed streams, faults, signals, and limits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from codecs_table import text
from preloaded import CAUGHT, run_preloaded
from test_cli import CLI, FRAME, PADDING, check, run

import s4_codec
from s4_codec import CpuZstd, Passthrough

CLOSED = {"in": "<&-", "out": ">&-", "err": "2>&-", "all": "<&- >&- 2>&-"}


def closed(which: str, *args: object, cwd: Path) -> subprocess.CompletedProcess[bytes]:
    """Runs with standard streams closed."""
    shell = ["sh", "-c", f'exec "$@" {CLOSED[which]}', "sh", *CLI, *map(str, args)]
    return subprocess.run(shell, cwd=cwd, capture_output=True, timeout=100, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """``in``, and ``body``, which holds it in three frames and a padding."""
    (tmp_path / "in").write_bytes(text(1500))
    frames = [CpuZstd().encode(text(1500)[start : start + 500]) for start in (0, 500, 1000)]
    (tmp_path / "body").write_bytes(frames[0] + PADDING + frames[1] + frames[2])
    return tmp_path


@pytest.mark.parametrize("which", CLOSED)
def test_closed_streams_hold_no_file(folder: Path, which: str) -> None:
    assert closed(which, "encode", "in", "-o", "out", "--index", cwd=folder).returncode == 0
    assert s4_codec.decode((folder / "out").read_bytes()) == text(1500)
    assert closed(which, "decode", "body", "-o", "back", cwd=folder).returncode == 0
    assert (folder / "back").read_bytes() == text(1500)
    assert closed(which, "reindex", "body", cwd=folder).returncode == 0
    body = (folder / "body").read_bytes()
    sidecar = s4_codec.bind_index(s4_codec.build_index(body), len(body))
    assert (folder / "body.s4index").read_bytes() == sidecar


def test_standard_error_closed(folder: Path) -> None:
    """Nothing of a message comes to standard output."""
    for args, status, shown in [
        (["decode", "body"], 0, text(1500)),
        (["reindex", "body", "-o", "-"], 0, None),
        (["decode", "in"], 1, b""),
        (["decode", "nope"], 1, b""),
        (["decode", "body", "--bogus"], 2, b""),
        (["encode", "in", "--index"], 2, b""),
        ([], 2, b""),
    ]:
        done = closed("err", *args, cwd=folder)
        assert done.returncode == status, args
        assert done.stderr == b""
        assert done.stdout == (run(*args, cwd=folder).stdout if shown is None else shown)
    for args in (["inspect", "body"], ["inspect", "--verify", "body"], ["--help"], ["--version"]):
        done = closed("err", *args, cwd=folder)
        assert (done.returncode, done.stdout) == (0, run(*args, cwd=folder).stdout)


@pytest.mark.parametrize(
    ("which", "args", "words"),
    [
        ("in", ["encode", "-"], "standard input is closed"),
        ("in", ["decode", "/dev/stdin"], "standard stream is closed"),
        ("out", ["decode", "body"], "standard output is closed"),
        ("out", ["inspect", "body"], "standard output is closed"),
        ("out", ["--help"], "standard output is closed"),
        ("out", ["--version"], "standard output is closed"),
        ("out", ["encode", "in", "-o", "/proc/self/fd/1"], "standard output is closed"),
    ],
)
def test_needed_streams_that_are_closed(
    folder: Path, which: str, args: list[str], words: str
) -> None:
    check(closed(which, *args, cwd=folder), 1, words)
    assert closed("err", "encode", "in", "-o", "/dev/stderr", cwd=folder).returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_full_devices(folder: Path) -> None:
    check(run("encode", "in", "-o", "/dev/full", cwd=folder), 1, "Error: /dev/full: No space left")
    with open("/dev/full", "wb") as full:
        for args in (["decode", "body"], ["inspect", "body"], ["reindex", "body", "-o", "-"]):
            command = [*CLI, *args]
            options = {"cwd": folder, "stdout": full, "stderr": -1, "check": False}
            done = subprocess.run(command, **options)
            check(done, 1, "Error: standard output: No space left")
            assert done.stderr.count(b"\n") == 1
        options = {"cwd": folder, "stdout": -1, "stderr": full, "check": False}
        assert subprocess.run([*CLI, "decode", "body"], **options).returncode == 0


@pytest.mark.parametrize("name", ["loop", "loop.s4index"])
def test_loops_of_links(folder: Path, name: str) -> None:
    (folder / name).symlink_to("other")
    (folder / "other").symlink_to(name)
    done = run("encode", "in", "-o", "loop", "--index", cwd=folder)
    check(done, 1, f"Error: {name}: Too many levels of symbolic links")
    check(run("decode", name, cwd=folder), 1, f"Error: {name}: Too many levels")
    check(run("reindex", "body", "-o", name, cwd=folder), 1, f"Error: {name}: Too many levels")
    assert sorted(path.name for path in folder.iterdir()) == sorted(["body", "in", name, "other"])


def test_temporary_files_without_a_place(folder: Path) -> None:
    (folder / "large").write_bytes(CpuZstd().encode(bytes(65 << 20)))
    limits = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)); "
    code = f"{limits}from s4_codec import _cli; _cli.run()"
    command = [sys.executable, "-c", code, "decode", "large"]
    environment = os.environ | {"TMPDIR": str(folder)}
    options = {"cwd": folder, "env": environment, "capture_output": True, "check": False}
    check(subprocess.run(command, **options), 1, f"Error: {folder}: File too large, for a temp")


def test_a_file_that_appends_to_itself(folder: Path) -> None:
    with (folder / "in").open("ab") as out:
        options = {"cwd": folder, "stdout": out, "stderr": -1, "check": False}
        check(subprocess.run([*CLI, "encode", "in"], **options), 1, "both the input and the out")
    assert (folder / "in").read_bytes() == text(1500)
    (folder / "out.s4index").symlink_to("out")
    check(run("encode", "in", "-o", "out", "--index", cwd=folder), 1, "out.s4index is a link")


def test_long_names(folder: Path) -> None:
    name = "ä" * 127
    check(run("encode", "in", "-o", name, cwd=folder))
    assert s4_codec.decode((folder / name).read_bytes()) == text(1500)


def test_faults_of_the_system(tmp_path: Path) -> None:
    """Whichever call to the system fails, whenever a signal comes or the input gets shorter:
    all is right, or there are one line, no stray file, and no body beside another's sidecar. All
    calls: ``preloaded.py cli_faults``."""
    done = run_preloaded("cli_faults", tmp_path, "--sample", 3, **CAUGHT)
    assert not done.stderr, done.stderr
    assert done.stdout.endswith(" faults, 0 wrong\n"), done.stdout
    assert int(done.stdout.splitlines()[-1].split()[0]) > 400, done.stdout


def test_kills_and_writers_at_once(tmp_path: Path) -> None:
    """There is the old file or the new one, and a body beside its own sidecar."""
    options = ("--kills", 10, "--writers", 16, "--rounds", 3)
    done = run_preloaded("cli_faults", tmp_path, *options, **CAUGHT)
    assert not done.stderr, done.stderr
    kills, writers = done.stdout.splitlines()
    assert kills.startswith("10 kills: "), kills
    assert kills.endswith(" 0 wrong"), kills
    assert writers == "16 writers at once, 3 times: 0 wrong"


@pytest.mark.parametrize(
    ("kind", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
@pytest.mark.parametrize("verb", ["encode", "decode", "reindex", "inspect"])
def test_signals_leave_no_file(
    tmp_path: Path, verb: str, kind: signal.Signals, status: int
) -> None:
    """They are heard while the library compresses, and while nothing comes."""
    options = {"encode": ["--level", "22", "-o", "out"], "inspect": ["--verify"]}
    command = [*CLI, verb, "-", *options.get(verb, ["-o", "out"])]
    given = os.urandom(1 << 19) * 32 if verb == "encode" else FRAME
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}

    def hear_hangups() -> None:
        # The tests themselves may run under nohup.
        signal.signal(signal.SIGHUP, signal.SIG_DFL)

    run = subprocess.Popen(command, cwd=tmp_path, preexec_fn=hear_hangups, **pipes)
    with run as process:
        assert process.stdin
        assert process.stderr
        process.stdin.write(given)
        process.stdin.flush()
        time.sleep(1)
        start = time.monotonic()
        process.send_signal(kind)
        assert process.wait(60) == status
        # Half a second, and what a busy machine adds.
        assert time.monotonic() - start < 3
        assert process.stderr.read().count(b"\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_impatience_and_nohup(tmp_path: Path) -> None:
    command = [*CLI, "decode", "-", "-o", "out"]
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, **pipes) as process:
        assert process.stderr
        time.sleep(0.5)
        for _ in range(20):
            process.send_signal(signal.SIGINT)
        assert process.wait(60) in (130, -signal.SIGINT)
        assert b"Traceback" not in process.stderr.read()
    assert list(tmp_path.iterdir()) == []
    with subprocess.Popen(["nohup", *command], cwd=tmp_path, **pipes) as process:
        time.sleep(0.5)
        process.send_signal(signal.SIGHUP)
        _, errors = process.communicate(FRAME, timeout=60)
        assert process.returncode == 0, errors
    assert (tmp_path / "out").read_bytes() == text(500)


def test_limits(folder: Path) -> None:
    body = (folder / "body").read_bytes()
    many = CpuZstd().encode(b"12") * 1000 + CpuZstd().encode(text(1000))
    (folder / "many").write_bytes(many)
    for source, stdin in [("body", b""), ("-", body)]:
        decode = ["decode", source, "--max-total-size"]
        assert check(run(*decode, "1500", cwd=folder, stdin=stdin)) == text(1500)
        assert check(run(*decode, "2K", "--max-size", 500, cwd=folder, stdin=stdin)) == text(1500)
        done = run(*decode, 1499, "-o", "out", cwd=folder, stdin=stdin)
        check(done, 1, "frame 2 brings the total to 1500 original bytes, which exceeds the limit")
        check(done, 1, "limit of 1499 (2 frame(s) so far with 1000 bytes); --max-total-size SIZE")
        assert len(check(run(*decode, 999, cwd=folder, stdin=stdin), 1, "frame 1 brings")) <= 500
        done = run("decode", source, "--max-size", 499, "-o", "out", cwd=folder, stdin=stdin)
        check(done, 1, "frame 0 (cpu-zstd, at byte 0): ")
        check(done, 1, "raise max_size if the data is trusted (--max-size SIZE)")
        assert not (folder / "out").exists()
        verify = ["inspect", "--verify", source]
        check(run(*verify, "--max-total-size", 1499, cwd=folder, stdin=stdin), 1, "frame 2 brings")
        shown = run(*verify, "--max-size", 499, cwd=folder, stdin=stdin)
        assert b"--max-size" in check(shown, 1, "3 of 3 frame(s) do not verify")
    assert check(run("decode", "body", "--max-total-size", 999, cwd=folder), 1) == b""
    check(run("decode", "many", "--max-size", 999, cwd=folder), 1, "frame 1000 (cpu-zstd, at")
    check(
        run("decode", "many", "--max-total-size", 1001, cwd=folder),
        1,
        "frame 500 brings the total to 1002",
    )
    for size in ("-1", "1.5G", "K", "1X", "16777216T", "", "½"):
        done = run("decode", "body", f"--max-size={size}", cwd=folder)
        check(done, 2, "is not a number of bytes below 2^64")
    for size in ("500", "1k", "5G", "1MiB", "2tB", "7b"):
        status = int(size == "7b")
        check(run("decode", "body", f"--max-size={size}", cwd=folder), status)


def test_walks_in_pieces(folder: Path) -> None:
    """Headers and paddings lie across the pieces that a file is read in, and far beyond them."""
    frames = [CpuZstd().encode(text(n % 90)) for n in range(3000)]
    frames[1000:1000] = [s4_codec.PADDING_MAGIC + (200_000).to_bytes(8, "little") + bytes(200_000)]
    frames[2000:2000] = [Passthrough().encode(text(300_000))]
    body = b"".join(frames)
    (folder / "body").write_bytes(body)
    assert check(run("decode", "body", cwd=folder), words="decoded 3001 frame(s)") == (
        s4_codec.decode(body)
    )
    sidecar = s4_codec.bind_index(s4_codec.build_index(body), len(body))
    assert check(run("reindex", "body", "-o", "-", cwd=folder)) == sidecar
    assert check(run("reindex", "-", cwd=folder, stdin=body)) == sidecar
    for size in (len(body) - 1, len(body) - len(frames[-1]) + 20, 500_000, 150_000, 65_537):
        (folder / "body").write_bytes(body[:size])
        with pytest.raises(s4_codec.S4FrameError) as error:
            s4_codec.frame_iter(body[:size])
        check(run("decode", "body", cwd=folder), 1, str(error.value))
        check(run("reindex", "body", cwd=folder), 1, str(error.value))
        for verb in (["decode"], ["reindex"], ["inspect"], ["inspect", "--verify"]):
            check(run(*verb, "-", cwd=folder, stdin=body[:size]), 1, str(error.value))
    assert not (folder / "body.s4index").exists()
