"""`s4_codec.open`: bodies read as files, whatever is in the way."""

from __future__ import annotations

import gc
import io
import os
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from files_table import DICTIONARY, FRAME, SOURCES, TEXT, Counting, Stream, body_of, written
from hypothesis import given, settings
from hypothesis import strategies as st

import s4_codec
from s4_codec import CpuZstd, Passthrough


@pytest.mark.parametrize("source", SOURCES)
def test_the_original_is_read_from_any_source(source: str, tmp_path: Path) -> None:
    with s4_codec.open(SOURCES[source](body_of(), tmp_path)) as file:
        assert file.read(10) == TEXT[:10]
        assert file.readline() == TEXT[10 : TEXT.index(b"\n") + 1]
        assert file.read() == TEXT[TEXT.index(b"\n") + 1 :]
        assert file.read() == b""
        assert file.readable()
        assert not file.writable()
    assert file.closed


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(-1, 12_000)),
        st.tuples(st.just("read1"), st.integers(-1, 9000)),
        st.tuples(st.just("readinto"), st.integers(0, 12_000)),
        st.tuples(st.just("readline"), st.integers(-1, 50)),
        st.tuples(st.just("tell"), st.just(0)),
        st.tuples(st.just("seek"), st.integers(0, len(TEXT) + 5000)),
        st.tuples(st.just("forward"), st.integers(-9000, 9000)),
        st.tuples(st.just("from the end"), st.integers(-len(TEXT), 10)),
    ),
    max_size=12,
)


def apply(file: Any, name: str, number: int) -> Any:
    """What one operation does to a file."""
    match name:
        case "readinto":
            buffer = bytearray(number)
            return bytes(buffer[: file.readinto(buffer)])
        case "forward":
            return file.seek(max(0, file.tell() + number))
        case "from the end":
            return file.seek(number, io.SEEK_END)
        case "tell":
            return file.tell()
        case _:
            return getattr(file, name)(number)


@pytest.mark.parametrize("index", [False, True])
@settings(deadline=None, max_examples=60)
@given(operations=OPERATIONS, frame=st.sampled_from([1000, FRAME, 200_000]))
def test_it_reads_as_a_file_does(
    operations: list[tuple[str, int]], frame: int, index: bool
) -> None:
    body = body_of(frame=frame)
    sidecar = s4_codec.build_index(body) if index else False
    expected = io.BytesIO(TEXT)
    with s4_codec.open(io.BytesIO(body), index=sidecar) as file:
        for name, number in operations:
            found = apply(file, name, number)
            if name == "read1":
                # How much is up to the buffer.
                assert expected.read(len(found)) == found
                assert found or number == 0 or expected.tell() >= len(TEXT)
            else:
                assert found == apply(expected, name, number), name


def test_text_and_iteration(tmp_path: Path) -> None:
    path = tmp_path / "text.s4"
    lines = ["première\n", "zweite\r\n", "третья"]
    with s4_codec.open(path, "wt", encoding="utf-8", newline="") as file:
        file.writelines(lines)
    with s4_codec.open(path, "rt", encoding="utf-8", newline="") as file:
        assert list(file) == lines
    with s4_codec.open(path, "rt", encoding="utf-8") as file:
        assert file.read() == "".join(lines).replace("\r\n", "\n")
    with s4_codec.open(path) as binary:
        assert list(binary) == [line.encode() for line in lines]


def test_a_range_reads_only_its_frames() -> None:
    data = random.Random(1).randbytes(4_000_000)
    body = body_of(data, 200_000, Passthrough())
    source = Counting(body)
    with s4_codec.open(source, index=s4_codec.build_index(body)) as file:
        file.seek(-10, io.SEEK_END)
        assert file.read() == data[-10:]
        assert source.read_bytes <= 200_028
        file.seek(1_000_001)
        assert file.read(20) == data[1_000_001:1_000_021]
    # A request for each part, which is a frame.
    assert source.requests <= 4
    assert source.read_bytes <= 2 * 200_028


def test_metadata_confirms_the_headers() -> None:
    data = random.Random(2).randbytes(40_000_000)
    stored = s4_codec.encode_s4_object(data)
    source = Counting(stored["body"])
    with s4_codec.open(source, metadata=stored["metadata"]) as file:
        file.seek(-10, io.SEEK_END)
        assert file.read() == data[-10:]
    assert source.read_bytes < 6_000_000
    for key, value in (("s4-original-size", "39999999"), ("s4-compressed-size", "1")):
        with (
            pytest.raises(s4_codec.S4Error, match="the metadata states"),
            s4_codec.open(
                io.BytesIO(stored["body"]), metadata={**stored["metadata"], key: value}
            ) as file,
        ):
            file.read()


def test_objects_that_are_no_frames() -> None:
    stored = s4_codec.encode_s4_object(TEXT, "passthrough")
    with s4_codec.open(io.BytesIO(stored["body"]), metadata=stored["metadata"]) as file:
        file.seek(100)
        assert file.read(5) == TEXT[100:105]
    with s4_codec.open(io.BytesIO(b"foreign"), metadata={"other": "key"}) as file:
        assert file.read() == b"foreign"
    with pytest.raises(s4_codec.S4FrameError, match="may not be a framed S4 object"):
        s4_codec.open(io.BytesIO(b"foreign")).read()


def test_a_forged_size_shifts_nothing() -> None:
    """Without a sidecar, what lies before a position is verified first."""
    frames = [CpuZstd().encode(TEXT[i : i + FRAME]) for i in range(0, len(TEXT), FRAME)]
    forged = bytearray(frames[0])
    forged[8:16] = (FRAME - 7).to_bytes(8, "little")
    with s4_codec.open(io.BytesIO(bytes(forged) + b"".join(frames[1:]))) as file:
        file.seek(3 * FRAME)
        with pytest.raises((s4_codec.S4Error, s4_codec.S4IoError), match="frame 0"):
            file.read(10)
        # And again: an error is no position.
        with pytest.raises((s4_codec.S4Error, s4_codec.S4IoError), match="frame 0"):
            file.read(10)


@pytest.mark.parametrize("source", ["BytesIO", "stream"])
def test_damage_is_named_and_what_is_before_it_is_read(source: str, tmp_path: Path) -> None:
    body = bytearray(body_of(frame=FRAME))
    second = s4_codec.decode_index(s4_codec.build_index(bytes(body)))["entries"][7]
    at = second["compressed_offset"]
    body[at + 28 + 20] ^= 0xFF
    with s4_codec.open(SOURCES[source](bytes(body), tmp_path)) as file:
        assert file.read(3 * FRAME) == TEXT[: 3 * FRAME]
        with pytest.raises(
            (s4_codec.S4Error, s4_codec.S4IoError), match=rf"frame 7 .*at byte {at}"
        ):
            file.read()


@pytest.mark.parametrize("source", ["BytesIO", "stream"])
@pytest.mark.parametrize("cut", [1, 29, 300])
def test_truncation_is_an_error(source: str, cut: int, tmp_path: Path) -> None:
    body = body_of()[:-cut]
    with pytest.raises(s4_codec.S4FrameError):
        s4_codec.open(SOURCES[source](body, tmp_path)).read()


def test_paddings_alone_are_no_original() -> None:
    assert s4_codec.open(io.BytesIO(b"")).read() == b""
    padding = b"S4P1" + (3).to_bytes(8, "little") + b"abc"
    with pytest.raises(s4_codec.S4FrameError, match="only paddings"):
        s4_codec.open(io.BytesIO(padding)).read()


def test_the_sidecar_beside_a_file(tmp_path: Path) -> None:
    path = tmp_path / "body.s4"
    with s4_codec.open(path, "wb", index=True, frame_size=FRAME) as file:
        file.write(TEXT)
    sidecar = tmp_path / "body.s4.s4index"
    found = s4_codec.decode_index(sidecar.read_bytes())
    assert found["source_compressed_size"] == path.stat().st_size
    assert len(found["entries"]) == -(-len(TEXT) // FRAME)
    with s4_codec.open(path) as reader:
        reader.seek(-5, io.SEEK_END)
        assert reader.read() == TEXT[-5:]
    # A body of another length: it is told, and not used.
    path.write_bytes(path.read_bytes() + CpuZstd().encode(b"more"))
    with pytest.warns(RuntimeWarning, match="describes a body of"):
        assert s4_codec.open(path).read() == TEXT + b"more"
    with pytest.raises(s4_codec.S4ManifestSizeMismatchError, match="rebuild it"):
        s4_codec.open(path, index=True)
    assert s4_codec.open(path, index=False).read() == TEXT + b"more"


def test_closed_files_refuse() -> None:
    reader = s4_codec.open(io.BytesIO(body_of()))
    reader.close()
    reader.close()
    writer = s4_codec.open(io.BytesIO(), "wb")
    writer.close()
    writer.close()
    for call in (reader.read, reader.tell, writer.tell, writer.flush, lambda: writer.write(b"")):
        with pytest.raises(ValueError, match="closed file"):
            call()


WRONG: dict[str, tuple[Any, tuple[Any, ...], dict[str, Any], type[Exception], str]] = {
    "mode": (b"", ("ab",), {}, ValueError, "expected mode rb, wb, xb"),
    "codec to read": (b"", ("rb", CpuZstd()), {}, ValueError, "codec= is not for mode 'rb'"),
    "metadata to write": (b"", ("wb",), {"metadata": {}}, ValueError, "metadata= is not"),
    "encoding of bytes": (b"", ("rb",), {"encoding": "utf-8"}, ValueError, "encoding= is not"),
    "frame size": (b"", ("wb",), {"frame_size": 0}, ValueError, "frame_size of 1"),
    "codec and dictionary": (
        *(b"", ("wb", "cpu-gzip"), {"dictionary": DICTIONARY}, ValueError),
        "dictionary= is for codec cpu-zstd-dict",
    ),
    "stale sidecar": (
        *(b"", ("rb",), {"index": s4_codec.build_index(body_of())}),
        *(s4_codec.S4ManifestSizeMismatchError, "rebuild it"),
    ),
    "no sidecar": (b"", ("rb",), {"index": b"S4IX"}, s4_codec.S4IndexError, "32 bytes"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments(name: str) -> None:
    data, arguments, options, kind, message = WRONG[name]
    with pytest.raises(kind, match=message):
        s4_codec.open(io.BytesIO(data), *arguments, **options)


def test_what_is_no_file() -> None:
    for mode in ("rb", "wb"):
        with pytest.raises(TypeError, match="expected a path or a binary file object, got int"):
            s4_codec.open(7, mode)  # type: ignore[call-overload]
    with pytest.raises(FileNotFoundError):
        s4_codec.open("/nowhere/at/all")
    with pytest.raises(s4_codec.S4ManifestSizeExceedsLimitError, match="max_size"):
        s4_codec.open(io.BytesIO(body_of()), max_size=FRAME - 1).read()


def test_files_of_fsspec_and_obstore() -> None:
    fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
    with (
        fsspec.open("memory://s4/body.s4", "wb") as below,
        s4_codec.open(below, "wb", frame_size=FRAME) as file,
    ):
        file.write(TEXT)
    with fsspec.open("memory://s4/body.s4", "rb") as below, s4_codec.open(below) as file:
        file.seek(12_345)
        assert file.read(100) == TEXT[12_345:12_445]
    obstore = pytest.importorskip("obstore", reason="obstore is not installed")
    from obstore.store import MemoryStore

    store = MemoryStore()
    with (
        obstore.open_writer(store, "body.s4") as below,
        s4_codec.open(below, "wb", frame_size=FRAME) as file,
    ):
        file.write(TEXT)
    with s4_codec.open(obstore.open_reader(store, "body.s4")) as file:
        file.seek(-5, io.SEEK_END)
        assert file.read() == TEXT[-5:]


def test_nothing_is_warned_about() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        target = io.BytesIO()
        with s4_codec.open(target, "wb") as file:
            file.write(TEXT)
        target.seek(0)
        with s4_codec.open(target) as reader:
            assert reader.read() == TEXT
        del file, reader
        gc.collect()


class Failing(io.BytesIO):
    """Fails at one call of those that it counts, before it or after it."""

    def __init__(self, data: bytes, at: int, is_after: bool) -> None:
        super().__init__(data)
        self._left, self._is_after = at, is_after

    def _step(self, call: Callable[..., Any], *args: Any) -> Any:
        self._left -= 1
        if self._left == 0 and not self._is_after:
            raise KeyboardInterrupt
        found = call(*args)
        if self._left == 0:
            raise KeyboardInterrupt
        return found

    def read(self, size: int | None = -1, /) -> bytes:
        found: bytes = self._step(super().read, size)
        return found

    def seek(self, offset: int, whence: int = 0, /) -> int:
        found: int = self._step(super().seek, offset, whence)
        return found


#: Frames of equal lengths, so that one in the place of another would pass all checks.
EQUAL = b"".join(bytes([i]) * 3000 for i in range(12))
EQUAL_BODY = body_of(EQUAL, 3000, Passthrough())


@pytest.mark.parametrize("at", range(3, 14))
@pytest.mark.parametrize("is_after", [False, True])
@pytest.mark.parametrize("index", [False, True])
def test_after_an_interrupt_nothing_is_shifted(at: int, is_after: bool, index: bool) -> None:
    source = Failing(EQUAL_BODY, at, is_after)
    sidecar = s4_codec.build_index(EQUAL_BODY) if index else False
    try:
        file = s4_codec.open(source, index=sidecar)
    except KeyboardInterrupt:
        return
    failures = 0
    for position in (33_000, 0, 15_000, 15_000, 6001, 35_999, 3000, 36_000):
        try:
            file.seek(position)
            assert file.read(5) == EQUAL[position : position + 5]
        except KeyboardInterrupt:
            failures += 1
    file.seek(0)
    assert file.read() == EQUAL
    assert failures <= 1


def test_two_readers_may_share_a_file() -> None:
    below = io.BytesIO(EQUAL_BODY)
    first, second = s4_codec.open(below), s4_codec.open(below)
    found = [(first.read(3000), second.read(2000)) for _ in range(6)]
    assert b"".join(one for one, _ in found) == EQUAL[:18_000]
    assert b"".join(two for _, two in found) == EQUAL[:12_000]


def test_what_lies_beside_a_file_is_no_sidecar(tmp_path: Path) -> None:
    path = written(tmp_path / "body.s4", body_of())
    (tmp_path / "body.s4.s4index").mkdir()
    assert s4_codec.open(path).read() == TEXT
    (tmp_path / "body.s4.s4index").rmdir()
    os.mkfifo(tmp_path / "body.s4.s4index")
    assert s4_codec.open(path).read() == TEXT


def test_a_sidecar_hides_no_frame() -> None:
    frames = [Passthrough().encode(bytes([i]) * 1000) for i in range(4)]
    body = b"".join(frames)
    for left in (frames[1:], frames[:-1]):
        # A sidecar of other frames, moved to where they are, and bound to this body.
        entries = bytearray(s4_codec.build_index(b"".join(left)))
        if left == frames[1:]:
            body = b"".join(frames[:1]) + b"".join(left)
        sidecar = s4_codec.bind_index(bytes(entries), len(body))
        file = s4_codec.open(io.BytesIO(body), index=sidecar)
        with pytest.raises(s4_codec.S4Error, match="leaves out a frame"):
            file.read()


def test_frames_of_nothing_take_no_memory() -> None:
    """A read decodes a bounded number of frames at a time."""
    empty = Passthrough().encode(b"", fallback=False)
    body = empty * 20_000 + Passthrough().encode(b"end")
    for source in (io.BytesIO(body), Stream(body)):
        assert s4_codec.open(source).read() == b"end"
