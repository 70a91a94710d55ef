"""``on_error="null"`` is for damage; what the caller can mend raises. And reasons, row by row."""

from __future__ import annotations

import struct
import warnings
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pytest
from codecs_table import DICTIONARY, decoding, dict_codec, is_container, text
from memory import touches_at_most

import s4_codec.arrow
import s4_codec.polars as s4
from s4_codec import Codec, CpuGzip, CpuZstd, CpuZstdDict, Passthrough, train_dictionary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TEXTS = [text(100 + n) for n in range(60)]
#: Of each level that a zlib stream's first bytes tell.
ZLIB = [zlib.compress(value, level) for value in TEXTS for level in (0, 1, 3, 6, 9)]
OTHER_DICTIONARY = train_dictionary([f"{n} other {n * 7919}".encode() for n in range(3000)], 2048)
FIELDS = ("payload", "original_size", "crc32c")


@dataclass(frozen=True)
class Mistake:
    """A column that somebody takes for another, and what the error says."""

    rows: list[Any]
    verb: str
    words: str
    codec: Codec | str = "cpu-zstd"
    dictionary: bytes | None = None


def packed(codec: Codec) -> list[dict[str, Any]]:
    return [dict(zip(FIELDS, codec.compress(value), strict=True)) for value in TEXTS]


def bare(codec: Codec) -> list[bytes]:
    return [codec.compress(value)[0] for value in TEXTS]


def frames(codec: Codec) -> list[bytes]:
    return [codec.encode(value, fallback=False) for value in TEXTS]


def unknown_codec(number: int) -> list[bytes]:
    return [frame[:4] + bytes([number]) + frame[5:] for frame in frames(CpuZstd())]


MISTAKES = {
    "gzip for zstd": Mistake(bare(CpuGzip()), "decompress", 'pass codec="cpu-gzip"'),
    "zstd for gzip": Mistake(bare(CpuZstd()), "decompress", 'pass codec="cpu-zstd"', "cpu-gzip"),
    "zstd for nvCOMP": Mistake(
        bare(CpuZstd()), "decompress", 'pass codec="cpu-zstd"', "nvcomp-zstd"
    ),
    "structs of gzip for zstd": Mistake(packed(CpuGzip()), "decompress", 'codec="cpu-gzip"'),
    "structs of zstd for gzip": Mistake(
        packed(CpuZstd()), "decompress", 'codec="cpu-zstd"', "cpu-gzip"
    ),
    "structs of zstd for passthrough": Mistake(
        packed(CpuZstd()), "decompress", 'codec="cpu-zstd"', "passthrough"
    ),
    "structs of passthrough for zstd": Mistake(
        packed(Passthrough()), "decompress", 'codec="passthrough"'
    ),
    "one nvCOMP codec for another": Mistake(
        [b"FCG1\x05" + bytes(3) + bytes(16)] * 9, "decompress", "nvcomp-gdeflate", "nvcomp-zstd"
    ),
    "frames for payloads": Mistake(frames(CpuZstd()), "decompress", "use decode"),
    "text for payloads": Mistake(TEXTS, "decompress", "never compressed"),
    "empty text for payloads": Mistake([b"", b"", b"a"], "decompress", "never compressed"),
    "zlib for payloads": Mistake(ZLIB, "decompress", "Python's zlib"),
    "zlib for gzip": Mistake(ZLIB, "decompress", "Python's zlib", "cpu-gzip"),
    "zlib for frames": Mistake(ZLIB, "decode", "Python's zlib"),
    "text for gzip": Mistake(TEXTS, "decompress", "never compressed", "cpu-gzip"),
    "no dictionary": Mistake(packed(dict_codec()), "decompress", "as dictionary="),
    "another dictionary": Mistake(
        packed(dict_codec()),
        "decompress",
        "that they were compressed with",
        CpuZstdDict(OTHER_DICTIONARY),
    ),
    "frames without a dictionary": Mistake(frames(dict_codec()), "decode", "dictionary="),
    "frames of another dictionary": Mistake(
        frames(dict_codec()),
        "decode",
        "that they were compressed with",
        dictionary=OTHER_DICTIONARY,
    ),
    "payloads for frames": Mistake(bare(CpuGzip()), "decode", 'decompress with codec="cpu-gzip"'),
    "text for frames": Mistake(TEXTS, "decode", "never compressed"),
    "frames of a reserved codec": Mistake(unknown_codec(4), "decode", "later version"),
    "frames of an unknown codec": Mistake(unknown_codec(77), "decode", "later version"),
    "encrypted bodies": Mistake([b"S4E2" + value for value in TEXTS], "decode", "S4 gateway"),
    "headers of text": Mistake(TEXTS, "frame_info", "never compressed"),
    "headers of payloads": Mistake(bare(CpuZstd()), "frame_info", "decompress with codec"),
}


def options(mistake: Mistake) -> dict[str, Any]:
    if mistake.verb == "decode":
        return {"dictionary": mistake.dictionary}
    return {"codec": mistake.codec} if mistake.verb == "decompress" else {}


@pytest.fixture(params=MISTAKES.values(), ids=MISTAKES.keys())
def mistake(request: pytest.FixtureRequest) -> Mistake:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(params=["polars", "arrow", "arrow chunks"])
def call(request: pytest.FixtureRequest) -> Callable[..., list[Any]]:
    """A verb of either library over a list of rows."""

    def polars(verb: str, rows: list[Any], **kwargs: Any) -> list[Any]:
        return getattr(series(rows).s4, verb)(**kwargs).to_list()

    def arrow(verb: str, rows: list[Any], **kwargs: Any) -> list[Any]:
        return getattr(s4_codec.arrow, verb)(array(rows), **kwargs).to_pylist()

    def chunks(verb: str, rows: list[Any], **kwargs: Any) -> list[Any]:
        whole = array(rows)
        parts = pa.chunked_array([whole[:1], whole[1:1], whole[1:]], whole.type)
        return getattr(s4_codec.arrow, verb)(parts, **kwargs).to_pylist()

    return {"polars": polars, "arrow": arrow, "arrow chunks": chunks}[request.param]


def series(rows: list[Any]) -> pl.Series:
    is_struct = any(isinstance(row, dict) for row in rows)
    return pl.Series("body", rows, s4.COMPRESSED_DTYPE if is_struct else pl.Binary)


def array(rows: list[Any]) -> pa.Array:
    is_struct = any(isinstance(row, dict) for row in rows)
    return pa.array(rows, s4_codec.arrow.COMPRESSED_TYPE if is_struct else pa.large_binary())


def test_mistakes_raise(mistake: Mistake, call: Callable) -> None:
    rows = [None, *mistake.rows, None]
    with pytest.raises(Exception, match=f"all {len(mistake.rows)} values fail.*{mistake.words}"):
        call(mistake.verb, rows, on_error="null", **options(mistake))


def test_errors_of_rows_give_the_advice_too(mistake: Mistake, call: Callable) -> None:
    with pytest.raises(Exception, match=f"row 1 .*; if other rows fail alike: .*{mistake.words}"):
        call(mistake.verb, [None, *mistake.rows], **options(mistake))


def test_one_row_proves_no_mistake(mistake: Mistake, call: Callable) -> None:
    rows = [None, mistake.rows[-1], None]
    with pytest.warns(RuntimeWarning, match="1 of 1 values became null; first row 1 "):
        nulls = call(mistake.verb, rows, on_error="null", **options(mistake))
    assert nulls == [None] * 3


def test_other_damage_proves_no_mistake(mistake: Mistake, call: Callable) -> None:
    """A row that is good, or bad for another reason, makes all of it damage."""
    if mistake.verb in ("frame_info", "decode"):
        is_dictionary = mistake.words in ("dictionary=", "that they were compressed with")
        # Passthrough decodes with any dictionary or none.
        codec = CpuZstd() if is_dictionary else Passthrough()
        good = codec.encode(b"good", fallback=False)
        cut = CpuZstd().encode(b"cut", fallback=False)[:-1]
    else:
        codec = mistake.codec
        codec = Codec.from_name(codec) if isinstance(codec, str) else codec
        good, cut = codec.compress(b"good")[0], codec.compress(b"cut" * 9)[0][:-1]
        if isinstance(mistake.rows[0], dict):
            good = dict(zip(FIELDS, codec.compress(b"good"), strict=True))
            cut = good | {"crc32c": 0}
        elif isinstance(codec, Passthrough):
            return
    for other in (good, cut):
        with pytest.warns(RuntimeWarning, match=r"values became null; first row [01] "):
            found = call(mistake.verb, [other, *mistake.rows], on_error="null", **options(mistake))
        assert found.count(None) == len(mistake.rows) + (other is cut)


@pytest.mark.parametrize("dictionary", [None, OTHER_DICTIONARY])
def test_uncompressed_rows_hide_no_mistake(dictionary: bytes | None, call: Callable) -> None:
    """What a codec did not shrink decodes without its dictionary, and says nothing about that."""
    codec = dict_codec()
    stored = codec.encode(b"short")
    assert s4_codec.read_frame(stored)[0]["codec"] == "passthrough"
    rows = [stored, *frames(codec), stored]
    words = rf"all {len(TEXTS)} values \(but for 2 stored uncompressed\) fail"
    with pytest.raises(Exception, match=words):
        call("decode", rows, on_error="null", dictionary=dictionary)
    assert call("decode", rows, dictionary=DICTIONARY) == [b"short", *TEXTS, b"short"]
    # They say something about whether all rows are frames.
    with pytest.warns(RuntimeWarning, match="60 of 61 values became null"):
        call("decode", [stored, *TEXTS], on_error="null")


def forged_magics() -> Iterator[bytes]:
    payload = CpuZstd().compress(TEXTS[50])[0]
    yield b"\x1f\x8b" + payload[2:]
    yield b"S4F2" + payload[4:]
    yield b"FCG1" + payload[4:]
    yield b"none" + payload[4:]


def test_forged_magics_are_damage(call: Callable) -> None:
    """Whatever a flipped bit makes of some rows, the others survive."""
    good = CpuZstd().compress(TEXTS[50])[0]
    for forged in forged_magics():
        with pytest.warns(RuntimeWarning, match="2 of 3 values became null; first row 0"):
            found = call("decompress", [forged, good, forged], on_error="null")
        assert found == [None, TEXTS[50], None]


def test_warnings_tell_the_row_and_can_be_errors(codec: Codec) -> None:
    rows: list[Any] = [None, *packed(codec)]
    rows[7] = rows[7] | {"crc32c": rows[7]["crc32c"] ^ 1}
    words = rf"1 of {len(TEXTS)} values became null; first row 7 \(.*S4CrcMismatchError: crc32c of"
    frame = series(rows).to_frame().with_row_index("id", offset=100)
    expr = s4.decompress("body", codec, on_error="null", row="id")
    with pytest.warns(RuntimeWarning, match=words.replace(r"\(", r"\(id = 107, ")):
        assert frame.select(expr)["body"].null_count() == 2
    with pytest.warns(RuntimeWarning, match=words) as caught:
        found = s4_codec.arrow.decompress(array(rows), codec, on_error="null")
    assert found.null_count == 2
    assert [warning.filename for warning in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning, match=words):
            s4_codec.arrow.decompress(array(rows), codec, on_error="null")
        with pytest.raises(pl.exceptions.ComputeError, match="RuntimeWarning: 1 of"):
            frame.select(expr)
        # Nothing to tell of.
        s4_codec.arrow.decompress(array(packed(codec)), codec, on_error="null")


def test_a_missing_gpu_is_no_damage(call: Callable) -> None:
    if s4_codec.gpu_available():
        pytest.skip("there is a GPU")
    container = b"FCG1\x04" + bytes(3)
    container += (100).to_bytes(8, "little") + b"\0\0\1\0\1\0\0\0\4\0\0\0" + b"data"
    row = {"payload": container, "original_size": 100, "crc32c": 0}
    header = b"S4F2\3\0\0\0" + (100).to_bytes(8, "little") + len(container).to_bytes(8, "little")
    for rows, verb, how in [
        ([row], "decompress", {"codec": "nvcomp-bitcomp"}),
        ([container], "decompress", {"codec": "nvcomp-bitcomp"}),
        ([header + bytes(4) + container, CpuZstd().encode(b"good")], "decode", {}),
    ]:
        with pytest.raises(Exception, match="NVIDIA"):
            call(verb, rows, on_error="null", **how)


def test_verify_gives_every_reason(codec: Codec, call: Callable) -> None:
    rows: list[Any] = [None, *packed(codec), None]
    rows[3] = rows[3] | {"crc32c": rows[3]["crc32c"] ^ 1}
    rows[5] = rows[5] | {"original_size": -1}
    rows[9] = rows[9] | {"payload": rows[9]["payload"] + b"!"}
    found = call("verify", rows, codec=codec)
    after = "S4BackendError" if is_container(codec) else "S4IoError"
    expected = {3: "S4CrcMismatchError: crc32c of", 5: "S4Error: original_size", 9: f"{after}: "}
    assert {row: reason is None for row, reason in enumerate(found)} == {
        row: row not in expected for row in range(len(rows))
    }
    for row, words in expected.items():
        assert found[row].startswith(words)
    framed = frames(codec)
    framed[4] = framed[4][:-1]
    found = call("verify_frames", framed, **decoding(codec))
    assert [row for row, reason in enumerate(found) if reason is not None] == [4]
    assert found[4].startswith("S4FrameError: ")


def test_verify_of_mistakes_tells_every_row(mistake: Mistake, call: Callable) -> None:
    verb = {"decompress": "verify", "decode": "verify_frames"}.get(mistake.verb)
    if verb is None:
        return
    found = call(verb, mistake.rows, **options(mistake))
    assert all(reason.startswith("S4") for reason in found)


def test_verify_takes_the_options_of_decompress(codec: Codec, call: Callable) -> None:
    values = ["größe".encode(), b"\xff", text(5000)]
    rows = [dict(zip(FIELDS, codec.compress(value), strict=True)) for value in values]
    is_polars = call.__name__ == "polars"
    as_text = {"dtype": pl.String if is_polars else "large_string"}
    assert call("verify", rows, codec=codec) == [None] * 3
    assert call("verify", rows, codec=codec, max_size=4999)[2].startswith(
        "S4ManifestSizeExceedsLimitError: "
    )
    assert call("verify", rows, codec=codec, **as_text)[1].startswith("S4Error: invalid UTF-8")
    framed = [codec.encode(value) for value in values]
    assert call("verify_frames", framed, **decoding(codec)) == [None] * 3
    assert call("verify_frames", framed, max_size=4999, **decoding(codec))[2].startswith(
        "S4ManifestSizeExceedsLimitError: "
    )
    with pytest.raises((TypeError, pl.exceptions.ComputeError)):
        call("verify_frames", rows)


def test_total_size(codec: Codec) -> None:
    total = sum(map(len, TEXTS))
    column = array(packed(codec))
    chunks = pa.chunked_array([column[:10], column[10:]])
    framed = array(frames(codec))
    payloads = array(bare(codec))
    for data, verb, how in [
        (column, s4_codec.arrow.decompress, {"codec": codec}),
        (chunks, s4_codec.arrow.decompress, {"codec": codec}),
        (payloads, s4_codec.arrow.decompress, {"codec": codec}),
        (framed, s4_codec.arrow.decode, decoding(codec)),
    ]:
        assert verb(data, max_total_size=total, **how).to_pylist() == TEXTS
        for on_error in ("raise", "null"):
            with pytest.raises(
                s4_codec.S4ManifestSizeExceedsLimitError,
                match=rf"max_total_size of {total - 1} bytes \(counted so far: \d+ rows of \d+ b",
            ) as raised:
                verb(data, max_total_size=total - 1, on_error=on_error, **how)
            assert raised.value.row is None
    with pytest.raises(TypeError, match="max_total_size must be a whole number"):
        s4_codec.arrow.decompress(column, codec, max_total_size=1.5)


def test_what_rows_state_is_not_decoded_beyond_the_total() -> None:
    """1 GiB of zeros from 32 KiB: refused before it is decoded."""
    payload, size, crc = CpuZstd(1).compress(bytes(1 << 30))
    header = struct.pack("<4sIQQI", b"S4F2", 1, size, len(payload), crc)
    for verb, row in [
        (s4_codec.arrow.decompress, dict(zip(FIELDS, (payload, size, crc), strict=True))),
        (s4_codec.arrow.decompress, payload),
        (s4_codec.arrow.decode, header + payload),
    ]:
        data = array([row])
        words = "more than the max_total_size of 10 bytes"
        refused = pytest.raises(s4_codec.S4ManifestSizeExceedsLimitError, match=words)
        with touches_at_most(64), refused:
            verb(data, max_total_size=10)


def test_bare_bombs_have_a_total() -> None:
    """64 payloads of 128 MiB each ask for 8 GiB, from 256 KiB."""
    header, block, last = "28b52ffd0058", "02001041", "03001041"
    bomb = bytes.fromhex(header + block * 1023 + last)
    bombs = pa.array([bomb] * 64)
    with pytest.raises(
        s4_codec.S4ManifestSizeExceedsLimitError, match=f"max_total_size of {4 << 30} bytes"
    ):
        s4_codec.arrow.decompress(bombs)
    assert s4_codec.arrow.verify(bombs[:3]).null_count == 3


def test_dictionaries_that_are_right() -> None:
    assert series(frames(dict_codec())).s4.decode(dictionary=DICTIONARY).to_list() == TEXTS


def test_reasons_are_held_once() -> None:
    """A reason for each of 400,000 rows, of 80 bytes, is held in the result only."""
    payload, size, crc = CpuZstd().compress(b"row")
    row = dict(zip(FIELDS, (payload, size, crc ^ 1), strict=True))
    column = pl.DataFrame({"body": [row]}).select(pl.col("body").repeat_by(400_000).explode())
    data = column["body"].to_arrow()
    for verify in (lambda: column.select(s4.verify("body")), lambda: s4_codec.arrow.verify(data)):
        with touches_at_most(95):
            reasons = verify()
        assert len(reasons) == 400_000
