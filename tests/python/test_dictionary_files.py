"""Sets of dictionaries as bytes, in metadata, in folders, and in the command."""

from __future__ import annotations

import base64
import inspect
import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from codecs_table import DICTIONARY, text
from dictionaries_table import FRAMES, SET, SIZE, TRAINED, VALUES, rows

import s4_codec
import s4_codec.polars as s4
from s4_codec import CpuZstd, DictionarySet, crc32c, dict_id, train


def test_stored_sets_are_read_back() -> None:
    for current in range(3):
        found = DictionarySet(TRAINED, current)
        assert DictionarySet.from_bytes(found.to_bytes()) == found
        assert DictionarySet.from_metadata(found.to_metadata()) == found


def test_stored_sets_that_are_damaged() -> None:
    stored = DictionarySet(TRAINED[:1]).to_bytes()
    damaged = [stored[:n] for n in range(len(stored))]
    damaged += [stored[:n] + bytes([stored[n] ^ 1]) + stored[n + 1 :] for n in range(60)]
    damaged += [stored + b"x", DICTIONARY, b"S4DS" * 10]
    huge = struct.pack("<4s3I", b"S4DS", 1, 1000, 0) + b"\xff" * 4000
    damaged.append(huge + struct.pack("<I", crc32c(huge)))
    for data in damaged:
        with pytest.raises(s4_codec.S4FrameError, match="not a dictionary set"):
            DictionarySet.from_bytes(data)


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        ("no base64!", s4_codec.S4FrameError, "'s4.dictionaries' is damaged"),
        ("größe", s4_codec.S4FrameError, "'s4.dictionaries' is damaged"),
        (base64.b64encode(b"no frame" * 9).decode(), s4_codec.S4FrameError, "S4F2"),
        (base64.b64encode(CpuZstd().encode(b"no set")).decode(), s4_codec.S4FrameError, "S4DS"),
        (
            base64.b64encode(CpuZstd().encode(bytes(300 << 20))).decode(),
            s4_codec.S4ManifestSizeExceedsLimitError,
            "exceed the limit",
        ),
    ],
)
def test_metadata_that_is_damaged(value: str, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        DictionarySet.from_metadata({"s4.dictionaries": value})
    for nothing in ({}, None, {"other": "x"}):
        with pytest.raises(ValueError, match="no dictionary set"):
            DictionarySet.from_metadata(nothing)


def test_metadata_of_another_type() -> None:
    for metadata in ([("a", "b")], "text", 5):
        with pytest.raises(TypeError, match="metadata must be a mapping"):
            DictionarySet.from_metadata(metadata)  # type: ignore[arg-type]
    for value in (5, ""):
        with pytest.raises(s4_codec.S4Error):
            DictionarySet.from_metadata({"s4.dictionaries": value})


def test_a_set_that_is_too_long_for_metadata() -> None:
    huge = DictionarySet([TRAINED[0].dict_bytes + bytes(260 << 20)])
    with pytest.raises(ValueError, match="exceeds the maximum of 268435456 for metadata; use save"):
        huge.to_metadata()


def test_sets_live_in_parquet_files(tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": FRAMES})
    table = frame.to_arrow()
    pq.write_table(table.replace_schema_metadata(SET.to_metadata()), tmp_path / "pyarrow.parquet")
    names = ["pyarrow.parquet"]
    # Polars gained the argument after the oldest version that is supported.
    if "metadata" in inspect.signature(pl.DataFrame.write_parquet).parameters:
        frame.write_parquet(tmp_path / "polars.parquet", metadata=SET.to_metadata())
        names.append("polars.parquet")
    for name in names:
        path = tmp_path / name
        for source in (path, str(path)):
            found = DictionarySet.from_parquet(source)
            assert found == SET
        read = pl.read_parquet(path).select(s4.decode("x", dictionary=found))
        assert read["x"].to_list() == VALUES
    frame.write_parquet(tmp_path / "without.parquet")
    with pytest.raises(ValueError, match="no dictionary set"):
        DictionarySet.from_parquet(tmp_path / "without.parquet")


def test_sets_live_in_folders(tmp_path: Path) -> None:
    folder = tmp_path / "table" / ".s4dict"
    before = DictionarySet(TRAINED[:2], 0)
    before.save(folder)
    assert DictionarySet.load(folder) == before
    for name, content in zip(before.ids, before, strict=True):
        assert (folder / name).read_bytes() == content
    SET.save(folder)
    assert DictionarySet.load(str(folder)) == SET
    assert sorted(path.name for path in folder.iterdir()) == sorted([*SET.ids, "index.json"])
    # Another writer's dictionaries decode too.
    DictionarySet(TRAINED[2:]).save(folder)
    later = DictionarySet.load(folder)
    assert (set(later.ids), later.current) == (set(SET.ids), SET.ids[2])
    # The gateway's own folder has no index.
    (folder / "index.json").unlink()
    os.utime(folder / SET.ids[1], ns=(2**62, 2**62))
    assert DictionarySet.load(folder).current == SET.ids[1]


def test_folders_that_are_damaged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        DictionarySet.load(tmp_path / "no-folder")
    with pytest.raises(FileNotFoundError, match="no dictionary is in the folder"):
        DictionarySet.load(tmp_path)
    SET.save(tmp_path)
    file, index = tmp_path / SET.ids[0], tmp_path / "index.json"
    listing = index.read_text()
    for bad in (
        "",
        "[]",
        "{}",
        '{"dictionaries": [1], "current": 1}',
        listing.replace(SET.current, "0" * 16, 1),
        json.dumps({"dictionaries": list(SET.ids), "current": None}),
        json.dumps({"dictionaries": [SET.ids[0]] * 2, "current": SET.ids[0]}),
        "[" * 200_000,
        " " * (2 << 20),
    ):
        index.write_text(bad)
        with pytest.raises(s4_codec.S4Error, match=re.escape(str(index))):
            DictionarySet.load(tmp_path)
    index.write_text(listing)
    file.write_bytes(TRAINED[1].dict_bytes)
    with pytest.raises(s4_codec.S4Error, match=f"{SET.ids[0]} is damaged"):
        DictionarySet.load(tmp_path)
    file.unlink()
    with pytest.raises(s4_codec.S4Error, match="its file is missing"):
        DictionarySet.load(tmp_path)
    file.write_bytes(TRAINED[0].dict_bytes)
    (tmp_path / dict_id(text(500))).write_bytes(text(500))
    with pytest.raises(ValueError, match="raw content"):
        DictionarySet.load(tmp_path)


def test_folders_with_other_things(tmp_path: Path) -> None:
    """A pipe would not end, and a device neither."""
    SET.save(tmp_path)
    (tmp_path / ("0" * 16)).mkdir()
    os.mkfifo(tmp_path / ("1" * 16))
    (tmp_path / ("2" * 16)).symlink_to("absent")
    (tmp_path / ("3" * 16)).symlink_to("/dev/zero")
    assert DictionarySet.load(tmp_path) == SET
    with (tmp_path / ("4" * 16)).open("wb") as sparse:
        sparse.truncate(1 << 40)
    with pytest.raises(s4_codec.S4Error, match="4444 has more than the maximum of 268435456"):
        DictionarySet.load(tmp_path)
    (tmp_path / ("4" * 16)).unlink()
    (tmp_path / "index.json").unlink()
    os.mkfifo(tmp_path / "index.json")
    with pytest.raises(s4_codec.S4Error, match="not a regular file"):
        DictionarySet.load(tmp_path)


def command(*args: object, cwd: Path, status: int = 0, words: str = "") -> bytes:
    """What the command prints."""
    line = [sys.executable, "-m", "s4_codec", *map(str, args)]
    done = subprocess.run(line, cwd=cwd, capture_output=True, timeout=100, check=False)
    errors = done.stderr.decode()
    assert (done.returncode, words in errors) == (status, True), errors
    assert "Traceback" not in errors
    return done.stdout


def test_the_command_trains(tmp_path: Path) -> None:
    frame = pl.DataFrame({"id": range(600), "body": rows(0)}).with_columns(
        pl.col("body").cast(pl.String), other=pl.lit("x")
    )
    frame.write_parquet(tmp_path / "t.parquet")
    frame.write_ipc(tmp_path / "t.arrow")
    frame.write_csv(tmp_path / "t.csv")
    frame.write_ndjson(tmp_path / "t.ndjson")
    for kind in ("parquet", "arrow", "csv", "ndjson"):
        words = f"trained dictionary {SET.ids[0]}, {SIZE} bytes, on 480 values; ratio on 120"
        args = ["train", f"t.{kind}", "-o", "dict", "--column", "body", "--size", "2K"]
        command(*args, cwd=tmp_path, words=words)
        assert (tmp_path / "dict").read_bytes() == TRAINED[0].dict_bytes
    (tmp_path / "t.log").write_bytes(b"\n".join(rows(0)))
    assert command("train", "t.log", "--size", SIZE, cwd=tmp_path) == TRAINED[0].dict_bytes
    assert command("train", "t.log", "--size", SIZE, "--seed", -1, cwd=tmp_path) == (
        train(rows(0), SIZE, -1).dict_bytes
    )


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["t.parquet"], "pass --column"),
        (["t.parquet", "--column", "no"], "no column 'no'"),
        (["t.parquet", "--column", "id"], "column 'id' is Int64"),
        (["t.parquet", "--column", "body"], "at least 9 samples"),
        (["t.parquet", "--column", "body", "--size", "1"], "at least 256"),
        (["t.parquet", "--column", "body", "-o", "t.parquet"], "both the input and the output"),
        (["nope"], "nope"),
    ],
)
def test_the_command_refuses_to_train(tmp_path: Path, args: list[str], words: str) -> None:
    table = pl.DataFrame({"id": [1] * 10, "body": [b"x"] * 2 + [None] * 8, "more": ["x"] * 10})
    if "--size" in args:
        table = pl.DataFrame({"body": rows(0)})
    table.write_parquet(tmp_path / "t.parquet")
    before = (tmp_path / "t.parquet").read_bytes()
    command(
        "train",
        *args,
        *([] if "-o" in args else ["-o", "dict"]),
        cwd=tmp_path,
        status=1,
        words=words,
    )
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]
    assert (tmp_path / "t.parquet").read_bytes() == before


def test_the_command_takes_folders_and_sets(tmp_path: Path) -> None:
    SET.save(tmp_path / ".s4dict")
    (tmp_path / "set").write_bytes(SET.to_bytes())
    (tmp_path / "body").write_bytes(b"".join(FRAMES))
    (tmp_path / "in").write_bytes(VALUES[59])
    for dictionaries in (".s4dict", "set"):
        option = ["--dict", dictionaries]
        assert command("decode", "body", *option, cwd=tmp_path) == b"".join(VALUES)
        listing = command("inspect", "body", "--verify", "--json", *option, cwd=tmp_path)
        assert all(frame["verified"] for frame in json.loads(listing)["frames"])
        encoded = command("encode", "in", "--level", 9, *option, cwd=tmp_path)
        assert encoded == SET.codec(9).encode(VALUES[59])
    (tmp_path / ".s4dict" / SET.ids[1]).unlink()
    refused = {"cwd": tmp_path, "status": 1}
    command("decode", "body", "--dict", ".s4dict", words="its file is missing", **refused)
    (tmp_path / ".s4dict" / "index.json").unlink()
    words = f"frame 20 (cpu-zstd-dict, at byte {sum(map(len, FRAMES[:20]))})"
    command("decode", "body", "--dict", ".s4dict", words=words, **refused)
    (tmp_path / "set").write_bytes(SET.to_bytes()[:-1])
    command("decode", "body", "--dict", "set", words="not a dictionary set", **refused)
    (tmp_path / "empty").mkdir()
    command("decode", "body", "--dict", "empty", words="no dictionary is in the folder", **refused)
    inside = ["decode", "body", "--dict", ".s4dict", "-o", f".s4dict/{SET.ids[0]}"]
    command(*inside, words="is both the dictionary and the output", **refused)
