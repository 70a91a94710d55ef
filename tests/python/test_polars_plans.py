"""Plans from somebody else: whatever their options are, an error and not the end of the process."""

from __future__ import annotations

import ctypes
import pickle
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import polars.plugins
import pytest
from codecs_table import DICTIONARY
from polars.exceptions import ComputeError

import s4_codec.polars as s4
from s4_codec import CpuZstd, CpuZstdDict

FUNCTIONS = ("compress", "encode", "decompress", "decode", "verify", "verify_frames", "frame_info")


def plan(function: str, pickled: bytes, monkeypatch: pytest.MonkeyPatch) -> pl.LazyFrame:
    """A call of a function with options of those bytes."""
    with monkeypatch.context() as patch:
        patch.setattr(polars.plugins, "_serialize_kwargs", lambda _: pickled)
        return pl.LazyFrame({"body": [b"abc"]}).select(getattr(s4, function)("body"))


def nested(opening: bytes, closing: bytes, depth: int = 1_000_000) -> bytes:
    return b"\x80\x05" + opening * depth + closing * depth + b"."


HOSTILE = {
    "tuples": b"\x80\x02)" + b"\x85" * 1_000_000 + b".",
    "lists": nested(b"]", b"a"),
    "marks": nested(b"(", b"l"),
    "dicts": b"\x80\x05" + b"}\x8c\x01a" * 1_000_000 + b"N" + b"s" * 1_000_000 + b".",
    "sets": b"\x80\x05" + b"\x8f(" * 1_000_000 + b"\x90" * 1_000_000 + b".",
    "frozen sets": nested(b"(", b"\x91"),
    "persistent ids": b"\x80\x05N" + b"Q" * 1_000_000 + b".",
    "calls": b"\x80\x05cos\nsystem\n(S'echo called'\ntR.",
    "a claim": b"\x80\x05}\x8e" + b"\xff" * 8 + b".",
    "a list of references": b"\x80\x05]\x94" + b"(" + b"h\x00" * 1_000_000 + b"e.",
    "nothing": b"\x80\x05N.",
    "a list": pickle.dumps([1, 2, 3], protocol=5),
    "a dict in the dict": pickle.dumps({"codec": {"name": "cpu-zstd"}}, protocol=5),
    "a name that is a number": pickle.dumps({1: 2}, protocol=5),
    "no pickle": b"no pickle",
    "no codec": pickle.dumps({"level": 3}, protocol=5),
    "another option": pickle.dumps({"codec": "cpu-zstd", "from_the_future": True}, protocol=5),
    "another type": pickle.dumps({"codec": 5, "null_on_error": "no"}, protocol=5),
    "another codec": pickle.dumps({"codec": "cpu-lz4", "null_on_error": None, "x": 1}, protocol=5),
    "a level": pickle.dumps({"codec": "cpu-zstd", "level": 99, "null_on_error": 1}, protocol=5),
    "a dictionary": pickle.dumps(
        {"codec": "cpu-zstd-dict", "dictionary": b"", "utf8": 1}, protocol=5
    ),
    "an int": pickle.dumps({"level": 2**64, "null_on_error": 2**64}, protocol=5),
}


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_options_are_an_error(
    name: str, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for run in (pl.LazyFrame.collect_schema, pl.LazyFrame.collect):
        with pytest.raises(ComputeError, match=r"(ValueError|S4\w*Error): "):
            run(plan(function, HOSTILE[name], monkeypatch))


def test_a_stored_plan_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "plan.bin"
    path.write_bytes(plan("compress", HOSTILE["tuples"], monkeypatch).serialize())
    command = f"import polars as pl; pl.LazyFrame.deserialize({str(path)!r}).collect()"
    done = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "invalid plugin options" in done.stderr


def test_a_stored_plan_of_ours(tmp_path: Path) -> None:
    """All options of all codecs go there and back."""
    frame = pl.LazyFrame({"body": [b"abc" * 100, None]})
    for codec in (CpuZstd(19), CpuZstdDict(DICTIONARY, 7), "cpu-gzip", "passthrough"):
        packed = frame.with_columns(s4.compress("body", codec))
        restored = packed.with_columns(
            s4.decompress("body", codec, max_size=2**64 - 1, row=pl.lit(1))
        )
        path = tmp_path / "plan.bin"
        path.write_bytes(restored.serialize())
        stored = pl.LazyFrame.deserialize(path)
        assert stored.collect().to_series().to_list() == [b"abc" * 100, None]


def test_there_is_always_a_message_to_read() -> None:
    """Polars reads it as a string of C, also on a thread that has seen no error."""
    library = ctypes.CDLL(s4._PLUGIN)
    library._polars_plugin_get_last_error_message.restype = ctypes.c_void_p
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(library._polars_plugin_get_last_error_message).result()


def test_damaged_options_are_an_error_or_other_options(monkeypatch: pytest.MonkeyPatch) -> None:
    pickled = polars.plugins._serialize_kwargs(
        {"codec": "cpu-zstd", "level": 3, "utf8": False, "null_on_error": False, "max_size": 9}
    )
    dice = random.Random(5)
    for _ in range(300):
        damaged = bytearray(pickled)
        for _ in range(dice.randrange(1, 4)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        try:
            plan("decompress", bytes(damaged), monkeypatch).collect_schema()
        except ComputeError:
            continue
