"""The command line: round trips, refusals, and files that are whole or not there."""

from __future__ import annotations

import json
import os
import resource
import signal
import struct
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from codecs_table import DICTIONARY, text

import s4_codec
from s4_codec import CpuGzip, CpuZstd, CpuZstdDict, Passthrough

if TYPE_CHECKING:
    from pathlib import Path

CLI = [sys.executable, "-m", "s4_codec"]
PADDING = s4_codec.PADDING_MAGIC + struct.pack("<Q", 5) + b"xxxxx"


def run(
    *args: object, cwd: Path, stdin: bytes = b"", **options: object
) -> subprocess.CompletedProcess[bytes]:
    command = [*CLI, *map(str, args)]
    return subprocess.run(
        command, cwd=cwd, input=stdin, capture_output=True, timeout=100, check=False, **options
    )


def check(done: subprocess.CompletedProcess[bytes], status: int = 0, words: str = "") -> bytes:
    errors = done.stderr.decode()
    assert done.returncode == status, errors
    assert words in errors
    assert "Traceback" not in errors
    return done.stdout


@pytest.fixture
def data(tmp_path: Path) -> bytes:
    """``in``: three frames' worth, with a frame of every codec that needs no dictionary."""
    value = text(9_000_000)
    (tmp_path / "in").write_bytes(value)
    return value


@pytest.mark.parametrize("name", ["cpu-zstd", "zstd", "gzip", "passthrough", "nvcomp-zstd"])
def test_round_trip(tmp_path: Path, data: bytes, name: str) -> None:
    made = run("encode", "in", "-o", "out.s4", "--codec", name, "--index", cwd=tmp_path)
    check(made, words="encoded 3 frame(s), 9000000 original bytes")
    body = (tmp_path / "out.s4").read_bytes()
    assert s4_codec.decode(body) == data
    sidecar = (tmp_path / "out.s4.s4index").read_bytes()
    assert sidecar == s4_codec.bind_index(s4_codec.build_index(body), len(body))
    check(run("decode", "out.s4", "-o", "back", cwd=tmp_path), words="decoded 3 frame(s)")
    assert (tmp_path / "back").read_bytes() == data
    (tmp_path / "out.s4.s4index").unlink()
    check(run("reindex", "out.s4", cwd=tmp_path), words="indexed 3 frame(s)")
    assert (tmp_path / "out.s4.s4index").read_bytes() == sidecar
    assert b"codec" in check(run("inspect", "out.s4", "--json", cwd=tmp_path))


def test_pipes(tmp_path: Path, data: bytes) -> None:
    body = check(run("encode", "-", "--level", 1, cwd=tmp_path, stdin=data))
    assert [h["original_size"] for h, _ in s4_codec.frame_iter(body)] == [4 << 20, 4 << 20, 611392]
    assert check(run("decode", "-", cwd=tmp_path, stdin=body)) == data
    bound = s4_codec.bind_index(s4_codec.build_index(body), len(body))
    assert check(run("reindex", "-", cwd=tmp_path, stdin=body)) == bound
    listing = check(run("inspect", "-", "--json", cwd=tmp_path, stdin=body))
    assert json.loads(listing)["file_size"] == len(body)


def test_dictionaries(tmp_path: Path) -> None:
    (tmp_path / "dict").write_bytes(DICTIONARY)
    (tmp_path / "in").write_bytes(text(300))
    check(run("encode", "in", "-o", "out", "--dict", "dict", "--level", 9, cwd=tmp_path))
    assert (tmp_path / "out").read_bytes() == CpuZstdDict(DICTIONARY, 9).encode(text(300))
    assert check(run("decode", "out", "--dict", "dict", cwd=tmp_path)) == text(300)
    check(run("decode", "out", cwd=tmp_path), 1, "--dict")
    check(run("encode", "in", "--codec", "cpu-zstd-dict", cwd=tmp_path), 1, "--dict FILE")
    wrong = run("encode", "in", "--dict", "dict", "--codec", "cpu-gzip", cwd=tmp_path)
    check(wrong, 1, "--dict is for codec cpu-zstd-dict")
    # What the output needs to be read again is no place for it.
    for args in (["encode", "in", "-o", "dict"], ["decode", "out", "-o", "dict"]):
        done = run(*args, "--dict", "dict", cwd=tmp_path)
        check(done, 1, "dict is both the dictionary and the output")
    (tmp_path / "out2.s4index").write_bytes(DICTIONARY)
    index = ["encode", "in", "-o", "out2", "--index", "--dict", "out2.s4index"]
    check(run(*index, cwd=tmp_path), 1, "is both the dictionary and the output")
    assert (tmp_path / "dict").read_bytes() == DICTIONARY
    both = run("encode", "-", "--dict", "-", cwd=tmp_path, stdin=DICTIONARY)
    check(both, 1, "standard input is both")


def test_a_sidecar_tells_a_body_that_is_cut_between_frames(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "in").write_bytes(data)
    check(run("encode", "in", "-o", "out.s4", "--index", cwd=tmp_path))
    assert b"Warning" not in run("decode", "out.s4", "-o", "back", cwd=tmp_path).stderr
    body = (tmp_path / "out.s4").read_bytes()
    first = s4_codec.decode_index((tmp_path / "out.s4.s4index").read_bytes())["entries"][0]
    (tmp_path / "out.s4").write_bytes(body[: first["compressed_size"]])
    words = f"describes a body of {len(body)} bytes, but out.s4 has {first['compressed_size']}: "
    check(run("decode", "out.s4", "-o", "back", cwd=tmp_path), words=words)


def test_numbers_beyond_all_limits(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(FRAME)
    for args in (["encode", "in", "--level", 10**20], ["decode", "in", "--device", 10**20]):
        done = run(*args, cwd=tmp_path)
        check(done, 1)
        assert b"Traceback" not in done.stderr


def test_verify_lists_what_is_bad(tmp_path: Path) -> None:
    good, bad = CpuZstd().encode(text(500)), bytearray(CpuGzip().encode(text(100)))
    bad[24] ^= 1
    (tmp_path / "body").write_bytes(good + PADDING + bad + good)
    shown = check(run("inspect", "body", cwd=tmp_path)).decode()
    assert "RATIO" not in shown
    listed = check(
        run("inspect", "body", "--verify", cwd=tmp_path), 1, "1 of 3 frame(s) do not verify"
    )
    lines = listed.decode().splitlines()
    assert [line.split()[-1] == "ok" for line in lines[1:4]] == [True, False, True]
    assert "crc32c mismatch" in lines[2]
    done = run("inspect", "body", "--verify", "--json", cwd=tmp_path)
    frames = json.loads(check(done, 1, "do not verify"))["frames"]
    assert [frame["verified"] for frame in frames] == [True, False, True]
    assert "ratio" in frames[0]


def flipped(body: bytes, at: int) -> bytes:
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]


FRAME = CpuZstd().encode(text(500))
BAD_BODIES = {
    "empty": (b"", "empty"),
    "raw": (text(100), "frame 0"),
    "padding": (PADDING, "no S4F2 data frames"),
    "encrypted": (b"S4E3" + bytes(100), "SSE-encrypted (S4E3)"),
    "cut header": (FRAME + FRAME[:20], "frame 1"),
    "cut payload": (FRAME + FRAME[:-1], "frame 1"),
    "cut padding": (FRAME + PADDING[:-1], "padding should have 5 bytes"),
    "trailing": (FRAME + b"x", "frame 1"),
    "wrong crc": (FRAME + flipped(FRAME, 24), "frame 1 (cpu-zstd, at byte"),
    "wrong size": (flipped(FRAME, 8), "original_size is"),
    "damaged": (flipped(FRAME, 40), "frame 0"),
    "unknown codec": (flipped(FRAME, 5), "unknown codec id 257"),
    "reserved codec": (FRAME[:4] + b"\4" + FRAME[5:], "nvcomp-gans"),
    "size of 2^63": (FRAME[:15] + b"\x80" + FRAME[16:], "exceed the limit"),
    "payload of 2^63": (FRAME[:23] + b"\x80" + FRAME[24:], "payload should have"),
}


@pytest.mark.parametrize(("body", "words"), BAD_BODIES.values(), ids=BAD_BODIES)
def test_bad_bodies_leave_no_file(tmp_path: Path, body: bytes, words: str) -> None:
    (tmp_path / "body").write_bytes(body)
    (tmp_path / "out").write_bytes(b"as it was")
    check(run("decode", "body", "-o", "out", cwd=tmp_path), 1, words)
    assert (tmp_path / "out").read_bytes() == b"as it was"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["body", "out"]
    piped = run("decode", "-", "-o", "out", cwd=tmp_path, stdin=body)
    check(piped, 1, words)
    assert (tmp_path / "out").read_bytes() == b"as it was"


def test_a_structural_error_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(FRAME * 3 + b"x")
    assert check(run("decode", "body", cwd=tmp_path), 1, "frame 3") == b""
    piped = check(run("decode", "-", cwd=tmp_path, stdin=FRAME * 3 + b"x"), 1, "frame 3")
    assert text(500) * 3 == piped or (text(500) * 3).startswith(piped)


def test_empty_objects(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    assert check(run("decode", "empty", "--allow-empty", cwd=tmp_path)) == b""
    check(run("decode", "empty", cwd=tmp_path), 1, "--allow-empty")
    check(run("encode", "empty", "-o", "out", cwd=tmp_path), words="encoded 0 frame(s)")
    assert (tmp_path / "out").read_bytes() == b""


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        ([], 2, "usage"),
        (["bogus"], 2, "invalid choice"),
        (["decode"], 2, "required"),
        (["encode", "in", "--index"], 2, "--index needs -o"),
        (["encode", "in", "--index", "-o", "/dev/stdout"], 2, "--index needs -o"),
        (["encode", "in", "--codec", "bogus"], 1, "unknown codec"),
        (["encode", "in", "--codec", "gzipp"], 1, 'did you mean "gzip"?'),
        (["encode", "in", "--level", "99"], 1, "level must be from 1 to 22"),
        (["decode", "nope"], 1, "nope"),
        (["decode", "."], 1, "."),
        (["encode", "in", "-o", "no-folder/out"], 1, "no-folder"),
        (["index", "in"], 1, "S4IX"),
    ],
)
def test_refusals(tmp_path: Path, args: list[str], status: int, words: str) -> None:
    (tmp_path / "in").write_bytes(text(100))
    check(run(*args, cwd=tmp_path), status, words)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_an_index_does_not_replace_the_input(tmp_path: Path) -> None:
    (tmp_path / "out.s4index").write_bytes(text(1000))
    command = ["encode", "out.s4index", "-o", "out", "--index"]
    check(run(*command, cwd=tmp_path), 1, "both the input and the output")
    assert (tmp_path / "out.s4index").read_bytes() == text(1000)


def test_standard_input_that_was_read_before(tmp_path: Path) -> None:
    """The body is what is left of it."""
    (tmp_path / "two").write_bytes(FRAME + CpuGzip().encode(b"second"))
    for command, shown in [
        (["decode", "-"], b"second"),
        (["inspect", "--json", "-"], b'"total_frames": 1'),
        (["reindex", "-", "-o", "-"], b"S4IX"),
    ]:
        with (tmp_path / "two").open("rb") as file:
            os.lseek(file.fileno(), len(FRAME), os.SEEK_SET)
            done = subprocess.run([*CLI, *command], stdin=file, capture_output=True, check=True)
        assert shown in done.stdout
        assert command[0] != "decode" or done.stdout == shown
        if command[0] == "reindex":
            assert s4_codec.decode_index(done.stdout)["total_original_size"] == len(b"second")


def test_outputs_that_are_something_else(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(text(1000))
    (tmp_path / "in").chmod(0o600)
    check(run("encode", "in", "-o", "in", cwd=tmp_path), 1, "both the input and the output")
    assert (tmp_path / "in").read_bytes() == text(1000)
    (tmp_path / "link").symlink_to("target")
    check(run("encode", "in", "-o", "link", cwd=tmp_path))
    assert (tmp_path / "link").is_symlink()
    assert s4_codec.decode((tmp_path / "target").read_bytes()) == text(1000)
    assert (tmp_path / "target").stat().st_mode & 0o777 == 0o600
    piped = check(run("encode", "in", "-o", "/dev/stdout", cwd=tmp_path))
    assert s4_codec.decode(piped) == text(1000)
    (tmp_path / "x.s4index").mkdir()
    check(run("encode", "in", "-o", "x", "--index", cwd=tmp_path), 1, "x.s4index")
    assert not (tmp_path / "x").exists()
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", "pipe"], cwd=tmp_path, stdout=subprocess.PIPE) as reader:
        check(run("encode", "in", "-o", "pipe", cwd=tmp_path))
        assert reader.stdout
        assert s4_codec.decode(reader.stdout.read()) == text(1000)
    assert (tmp_path / "pipe").is_fifo()


def test_many_small_frames(tmp_path: Path) -> None:
    frames = [CpuZstd().encode(text(n % 100), fallback=False) for n in range(30_000)]
    (tmp_path / "body").write_bytes(b"".join(frames))
    whole = b"".join(text(n % 100) for n in range(30_000))
    assert check(run("decode", "body", cwd=tmp_path), words="decoded 30000 frame(s)") == whole
    frames[20_123] = flipped(frames[20_123], 24)
    (tmp_path / "body").write_bytes(b"".join(frames))
    check(run("decode", "body", "-o", "out", cwd=tmp_path), 1, "frame 20123 (cpu-zstd, at byte")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_standard_output_is_never_cut_short(tmp_path: Path, unbuffered: str) -> None:
    (tmp_path / "in").write_bytes(text(3_000_000))
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    with (tmp_path / "out").open("wb") as out:
        command = [*CLI, "encode", "in", "--codec", "passthrough"]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            stdout=out,
            stderr=-1,
            env=environment,
            check=False,
            preexec_fn=limit_file_size,
        )
    assert done.returncode == 1, done.stderr
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    command = [*CLI, "encode", "-"]
    blocked = subprocess.run(
        command, stdin=reading, capture_output=True, env=environment, check=False
    )
    os.close(reading)
    os.close(writing)
    assert blocked.returncode == 1
    assert b"non-blocking" in blocked.stderr


def limit_file_size() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))


def test_a_full_disk_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(text(9_000_000))
    done = run(
        *("encode", "in", "-o", "out", "--codec", "passthrough"),
        cwd=tmp_path,
        preexec_fn=limit_file_size,
    )
    check(done, 1, "File too large")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_frames_over_64_mib_go_by_way_of_a_file(tmp_path: Path) -> None:
    size = 200 << 20
    (tmp_path / "body").write_bytes(Passthrough().encode(b"x") + CpuZstd().encode(bytes(size)))
    check(run("decode", "body", "-o", "out", cwd=tmp_path))
    assert (tmp_path / "out").stat().st_size == size + 1
    with (tmp_path / "out").open("rb") as file:
        assert file.read(5) == b"x\0\0\0\0"
    bad = bytearray((tmp_path / "body").read_bytes())
    bad[29 + 24] ^= 1
    check(run("decode", "-", "-o", "out", cwd=tmp_path, stdin=bytes(bad)), 1, "crc32c mismatch")
    assert (tmp_path / "out").stat().st_size == size + 1
    umask = os.umask(0o022)
    os.umask(umask)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o666 & ~umask
