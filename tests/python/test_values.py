"""One value: round trips, inputs, settings."""

from __future__ import annotations

import array
import copy
import ctypes
import json
import mmap
import pickle
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from codecs_table import ROWS, VALUES, Row, text

import s4_codec
from s4_codec import Codec, CpuGzip, CpuZstd, Passthrough, crc32c

VECTORS = Path(__file__).parents[1] / "vectors"


def test_round_trip(codec: Codec) -> None:
    for value in VALUES:
        payload, original_size, checksum = codec.compress(value)
        assert type(payload) is bytes
        assert (original_size, checksum) == (len(value), crc32c(value))
        assert codec.decompress(payload, original_size, checksum) == value


def test_every_level_round_trips(row: Row) -> None:
    if row.levels is None:
        assert not hasattr(row.codec, "level")
        return
    for level in range(row.levels[0], row.levels[1] + 1):
        codec = row.make(level)
        assert codec.decompress(*codec.compress(text(5000))) == text(5000)
        assert codec.level == level


def test_arguments_go_by_keyword_too(codec: Codec) -> None:
    payload, size, checksum = codec.compress(data=b"abc")
    assert codec.decompress(data=payload, original_size=size, crc32c=checksum) == b"abc"
    assert codec.decompress(payload, np.uint64(size), np.uint32(checksum), max_size=3) == b"abc"


def test_crc32c() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytearray(b"")) == 0


@pytest.mark.parametrize(
    "wrap",
    [
        bytes,
        bytearray,
        memoryview,
        lambda b: memoryview(bytearray(b)),
        lambda b: memoryview(b).cast("i"),
        lambda b: memoryview(b).cast("B", (8, len(b) // 8)),
        lambda b: array.array("d", b),
        lambda b: np.frombuffer(b, "u2"),
        lambda b: np.frombuffer(b, "f8").reshape(5, -1),
        type("Sub", (bytes,), {}),
    ],
    ids=["bytes", "bytearray", "view", "writable", "ints", "2d", "array", "u2", "f8-2d", "sub"],
)
def test_any_contiguous_buffer_is_input(codec: Codec, wrap: object) -> None:
    data = text(800)
    packed = codec.compress(wrap(data))  # type: ignore[operator]
    assert packed[1:] == (800, crc32c(data))
    padded = packed[0] + b"\0" * (-len(packed[0]) % 8)
    assert codec.decompress(memoryview(padded)[: len(packed[0])], *packed[1:]) == data


def test_fields_of_a_buffer_may_have_any_name(codec: Codec) -> None:
    for names in (["ORDER", "x"], ["order", "OFFSET"]):
        data = np.arange(48, dtype="u1").view([(names[0], "<i4"), (names[1], "<f8")])
        assert codec.decompress(*codec.compress(data)) == data.tobytes()


def test_buffers_without_strides_are_input(codec: Codec) -> None:
    for data in ((ctypes.c_int * 5)(1, 2, 3), np.array(5), np.float64(1), ctypes.c_double(2)):
        packed = codec.compress(data)  # type: ignore[arg-type]
        assert codec.decompress(*packed) == bytes(memoryview(data))  # type: ignore[arg-type]


def test_input_that_changes_meanwhile_breaks_nothing(codec: Codec) -> None:
    """The result may fail its check later; the process must not fail at all."""
    rng = np.random.default_rng(1)
    few, many = rng.integers(0, 2, 1 << 16, np.uint8), rng.integers(2, 256, 1 << 16, np.uint8)
    shared, done = few.copy(), threading.Event()

    def change() -> None:
        while not done.is_set():
            shared[:] = few
            shared[:] = many

    thread = threading.Thread(target=change)
    thread.start()
    for _ in range(100):
        assert codec.compress(shared)[1] == 1 << 16
    done.set()
    thread.join()


def test_mmap_is_input(codec: Codec, tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(text(100_000))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert codec.decompress(*codec.compress(mapped)) == text(100_000)


def test_a_codec_is_a_value(row: Row) -> None:
    codec = row.codec
    assert codec == row.make()
    assert hash(codec) == hash(row.make())
    assert len({codec, row.make()}) == 1
    assert copy.copy(codec) == copy.deepcopy(codec) == codec
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(codec, protocol))
        assert type(again) is type(codec)
        assert again == codec
    if row.needs_dictionary:
        assert repr(codec) == f"CpuZstdDict(dict_id={codec.dict_id!r}, dict_len=4096, level=3)"
    else:
        assert eval(repr(codec), vars(s4_codec)) == codec
    assert (codec.name, codec.id) == (row.name, row.id)
    assert isinstance(codec, Codec)
    assert codec != row.name
    with pytest.raises(AttributeError):
        codec.name = "other"  # type: ignore[misc]


def test_a_codec_stays_what_it_is() -> None:
    """The class says which codec it is, to ``repr`` and to ``pickle``."""

    class Bare(Codec):
        __slots__ = ()

    class Mine(Codec):
        pass

    # Those of GPUs by name, which leaves open where they run.
    codecs = [Codec.from_name(row.name) if row.on_gpu else row.codec for row in ROWS]
    classes = {object, Codec, Bare, Mine} | {type(codec) for codec in codecs}
    for codec in codecs:
        before, kind = repr(codec), type(codec)
        for other in classes - {kind}:
            for assign in (setattr, object.__setattr__):
                with pytest.raises(TypeError, match="__class__"):
                    assign(codec, "__class__", other)
            with pytest.raises(TypeError):
                other.__new__(kind)
        for name in ("level", "id", "new"):
            with pytest.raises(AttributeError):
                object.__setattr__(codec, name, 1)
            with pytest.raises(AttributeError):
                object.__delattr__(codec, name)
        codec.__init__()  # type: ignore[misc]
        assert (repr(codec), type(codec)) == (before, kind)


def test_codecs_by_name(row: Row) -> None:
    if row.needs_dictionary:
        with pytest.raises(s4_codec.S4UnregisteredCodecError, match="needs its dictionary"):
            Codec.from_name(row.name)
        return
    # A name leaves open where a codec of GPUs runs.
    assert (Codec.from_name(row.name) == row.codec) is not row.on_gpu
    assert type(Codec.from_name(row.name)) is type(row.codec)
    if row.levels is None:
        with pytest.raises(ValueError, match="no level"):
            Codec.from_name(row.name, 1)
    else:
        assert Codec.from_name(row.name, level=row.levels[1]) == row.make(row.levels[1])
        with pytest.raises(ValueError, match="level must be"):
            Codec.from_name(row.name, 100)
    with pytest.raises(s4_codec.S4UnregisteredCodecError, match="unknown codec"):
        Codec.from_name(row.name.upper())


def test_levels_tell_codecs_apart(row: Row) -> None:
    if row.levels is None:
        settings = r"(data_type=None, )?(device=('auto'|0))?"
        assert re.fullmatch(rf"{type(row.codec).__name__}\({settings}\)", repr(row.codec))
        return
    low, high = row.levels
    assert row.make() == row.make(row.default_level) != row.make(high)
    assert row.make(low) != row.make(high)
    assert pickle.loads(pickle.dumps(row.make(high))).level == high
    assert repr(row.make(high)).endswith(f"level={high})")
    assert row.make(level=np.int8(low)) == row.make(low)


def test_codecs_of_different_classes_differ() -> None:
    assert len({CpuZstd(6), CpuGzip(6), Passthrough()}) == 3
    assert CpuZstd(6) != CpuGzip(6)


def test_the_base_class_is_not_made() -> None:
    with pytest.raises(TypeError):
        Codec()


def test_threads_share_a_codec(codec: Codec) -> None:
    value, wrong = text(50_000), []

    def work() -> None:
        for _ in range(30):
            if codec.decompress(*codec.compress(value)) != value:
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_gil_is_released() -> None:
    """Another thread runs on while a value is being compressed."""
    ticks, done = [0], threading.Event()

    def tick() -> None:
        while not done.is_set():
            ticks[0] += 1

    thread = threading.Thread(target=tick)
    thread.start()
    before = ticks[0]
    CpuZstd(19).compress(text(2_000_000))
    during = ticks[0] - before
    done.set()
    thread.join()
    # With the GIL held the other thread would stand still but for the switch on return.
    assert during > 1000


@pytest.mark.parametrize(
    "entry", json.loads((VECTORS / "manifest.json").read_text()), ids=lambda e: e["file"]
)
def test_frozen_payloads_still_decode(entry: dict[str, object]) -> None:
    payload = (VECTORS / str(entry["file"])).read_bytes()
    (codec,) = [row.codec for row in ROWS if row.name == entry["codec"] and not row.on_gpu]
    codec.decompress(payload, entry["original_size"], entry["crc32c"])  # type: ignore[arg-type]
