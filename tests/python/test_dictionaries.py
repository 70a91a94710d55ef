"""Sets of dictionaries: training, refreshing, and finding the right one everywhere."""

from __future__ import annotations

import copy
import io
import pickle
import struct
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from codecs_table import DICTIONARY, text
from dictionaries_table import CODECS, COLUMN, FRAMES, SET, SIZE, TRAINED, VALUES, rows

import s4_codec
import s4_codec.arrow
import s4_codec.gpu
import s4_codec.polars as s4
from s4_codec import CpuZstd, CpuZstdDict, DictionarySet, TrainedDictionary, dict_id, train

if TYPE_CHECKING:
    from collections.abc import Callable

PAYLOADS = COLUMN.struct.field("payload")


def with_zstd_id(dictionary: bytes, zstd_id: int) -> bytes:
    return dictionary[:4] + struct.pack("<I", zstd_id) + dictionary[8:]


def test_training_reports_what_it_measured() -> None:
    trained = TRAINED[0]
    data = rows(0)
    assert (trained.samples, trained.held_out) == (480, 120)
    assert trained.sample_bytes + trained.held_out_bytes == sum(map(len, data))
    assert len(trained.dict_bytes) <= SIZE
    assert trained.ratio > 1.5 * trained.ratio_without
    assert trained.current_ratio is None
    assert trained.gain == pytest.approx(1 - trained.ratio_without / trained.ratio)
    assert trained.codec(9) == CpuZstdDict(trained.dict_bytes, 9)
    # The report is about rows like the others.
    stored = sum(len(trained.codec().compress(row)[0]) for row in data)
    assert sum(map(len, data)) / stored == pytest.approx(trained.ratio, rel=0.1)
    for shown in (repr(trained), str(trained), trained._repr_html_()):
        assert trained.dict_id in shown
        assert f"{trained.ratio:.2f}" in shown
    with pytest.raises(AttributeError):
        trained.samples = 1  # type: ignore[misc]


def test_training_repeats_itself() -> None:
    data = rows(0)
    assert train(data, SIZE, seed=0) == TRAINED[0]
    assert train(data, SIZE, seed=-1).dict_bytes != TRAINED[0].dict_bytes
    series = pl.Series([None, *data, b""])
    for same in (series, series.cast(pl.String), series.to_arrow(), iter(data)):
        assert train(same, SIZE) == TRAINED[0]


@pytest.mark.parametrize(
    ("samples", "size", "error", "words"),
    [
        ([], SIZE, "S4BackendError", "at least 9 samples"),
        ([b"", b""], SIZE, "S4BackendError", "at least 9 samples"),
        (rows(0, 8), SIZE, "S4BackendError", "got 8"),
        ([b"a"] * 9, SIZE, "S4BackendError", "give more samples"),
        (pl.Series([None, None], dtype=pl.Binary), SIZE, "S4BackendError", "at least 9"),
        (rows(0), 255, "ValueError", "at least 256"),
        (b"one buffer", SIZE, "TypeError", "samples must be an iterable"),
        (["text"] * 20, SIZE, "TypeError", "encode text to bytes"),
        (pl.col("x"), SIZE, "TypeError", "pass a series"),
        (pl.Series([1, 2]), SIZE, "TypeError", "training expects binary or string data"),
    ],
)
def test_samples_that_train_nothing(samples: Any, size: int, error: str, words: str) -> None:
    expected = getattr(s4_codec, error, None) or {"ValueError": ValueError}.get(error, TypeError)
    with pytest.raises(expected, match=words):
        train(samples, size)
    with pytest.raises(expected, match=words):
        SET.refresh(samples, size=size)


def test_samples_of_unusual_shapes() -> None:
    equal = train([b"the same row of fifty bytes, again and again, for ever"] * 500)
    assert equal.ratio > 1 > equal.ratio_without
    huge = train([*rows(0), bytes(20 << 20)], SIZE)
    assert huge.samples + huge.held_out == 601
    assert train([*rows(0)[:9]], 256).held_out == 2


def test_sets_are_values() -> None:
    same = DictionarySet([TRAINED[0].dict_bytes, CODECS[1], bytearray(TRAINED[2].dict_bytes)])
    assert same == SET
    assert hash(same) == hash(SET)
    for other in (DictionarySet(TRAINED, 0), DictionarySet(TRAINED[:2]), "set", None):
        assert other != SET
    assert len(SET) == 3
    assert list(SET) == [trained.dict_bytes for trained in TRAINED]
    assert SET.ids == tuple(trained.dict_id for trained in TRAINED)
    assert len(set(SET.zstd_ids)) == 3
    assert SET.current == SET.ids[-1]
    for member in (SET.ids[0], TRAINED[0].dict_bytes, TRAINED[0], CODECS[0]):
        assert member in SET
    assert "0" * 16 not in SET
    assert DICTIONARY not in SET
    assert DictionarySet(SET, current=SET.ids[1]) == DictionarySet(TRAINED, 1)
    assert eval(repr(SET.ids)) == SET.ids
    assert repr(SET) == f"DictionarySet(ids={list(SET.ids)}, current={SET.current!r})"
    assert copy.copy(SET) is copy.deepcopy(SET) is SET
    assert pickle.loads(pickle.dumps(SET)) == SET
    assert SET.codec(7) == CpuZstdDict(TRAINED[2].dict_bytes, 7)
    for name in ("current", "_report", "more"):
        with pytest.raises(AttributeError):
            setattr(SET, name, None)
    with pytest.raises(AttributeError):
        del SET._report


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: DictionarySet([]), ValueError, "one dictionary or more"),
        (lambda: DictionarySet([text(500)]), ValueError, "raw content without a zstd id"),
        (lambda: DictionarySet(TRAINED * 2), ValueError, "have the same zstd id"),
        (lambda: DictionarySet([TRAINED[0]] * 1025), ValueError, "exceed the maximum of 1024"),
        (lambda: DictionarySet(TRAINED, 3), ValueError, "from -3 to 2, not 3"),
        (lambda: DictionarySet(TRAINED, -4), ValueError, "from -3 to 2, not -4"),
        (lambda: DictionarySet(TRAINED, "abc"), ValueError, "id of a dictionary of the set"),
        (lambda: DictionarySet(DICTIONARY), TypeError, "not one bytes"),
        (lambda: DictionarySet(CODECS[0]), TypeError, "not one CpuZstdDict"),
        (lambda: DictionarySet([1]), TypeError, "bytes-like"),
        (lambda: DictionarySet([b""]), s4_codec.S4BackendError, "empty"),
        (lambda: DictionarySet([DICTIONARY[:20]]), s4_codec.S4BackendError, "damaged"),
        (lambda: SET.codec(23), ValueError, "level"),
    ],
)
def test_sets_that_cannot_be(make: Callable[[], object], error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        make()


def test_two_of_one_zstd_id_are_both_named() -> None:
    (first, other), zstd_id = SET.dictionaries[:2], SET.zstd_ids[0]
    with pytest.raises(ValueError, match="same zstd id") as caught:
        DictionarySet([first, with_zstd_id(other, zstd_id)])
    for part in (SET.ids[0], dict_id(with_zstd_id(other, zstd_id)), str(zstd_id)):
        assert part in str(caught.value)


def test_a_refresh_replaces_only_what_gains() -> None:
    first = DictionarySet(TRAINED[:1])
    assert first.report is None
    same = first.refresh(rows(0, 500), size=SIZE)
    assert same == first
    assert same.report is not None
    assert same.report.gain < 0.05
    drifted = first.refresh(rows(1), size=SIZE)
    assert drifted == DictionarySet(TRAINED[:2])
    report = drifted.report
    assert report is not None
    assert report.current_ratio is not None
    assert report.ratio > report.current_ratio > 0
    assert report.gain == pytest.approx(1 - report.current_ratio / report.ratio)
    assert f"{report.current_ratio:.2f}" in repr(report)
    assert f"{report.current_ratio:.2f}" in str(report)
    assert first.refresh(rows(1), min_gain=0.99, size=SIZE) == first
    assert len(first) == 1, "a set never changes"
    for min_gain in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="min_gain"):
            first.refresh(rows(1), min_gain)


def test_a_refresh_to_a_dictionary_that_is_there() -> None:
    back = DictionarySet(TRAINED[:2]).refresh(rows(0), size=SIZE)
    assert back == DictionarySet(TRAINED[:2], 0)


def test_a_refresh_avoids_zstd_ids_that_are_taken() -> None:
    taken = SET.zstd_ids[1]
    occupied = DictionarySet([with_zstd_id(TRAINED[0].dict_bytes, taken)])
    refreshed = occupied.refresh(rows(1), size=SIZE)
    assert refreshed.zstd_ids == (taken, taken + 1)
    assert refreshed.report is not None
    assert refreshed.report.dict_bytes == refreshed.dictionaries[1]
    frame = refreshed.codec().encode(rows(1)[0])
    assert s4_codec.decode(frame, refreshed) == rows(1)[0]
    last = DictionarySet([with_zstd_id(TRAINED[0].dict_bytes, 2**31 - 1)])
    moved = TrainedDictionary(with_zstd_id(TRAINED[1].dict_bytes, 2**31 - 1), *[1] * 6)
    found = s4_codec.dictionaries._with_free_id(moved, last.zstd_ids)
    assert DictionarySet([*last, found]).zstd_ids == (2**31 - 1, 32768)


# Every way in: a column of rows of all generations is decoded with the set, and a row whose
# dictionary is missing is named.

READERS: dict[str, Callable[[Any], Any]] = {
    "decompress": lambda d: COLUMN.s4.decompress(dictionary=d),
    "decompress of an expression": lambda d: (
        COLUMN.to_frame().select(s4.decompress("x", dictionary=d)).to_series()
    ),
    "decompress, streaming": lambda d: (
        COLUMN.to_frame()
        .lazy()
        .select(s4.decompress("x", dictionary=d))
        .collect(engine="streaming")
        .to_series()
    ),
    "decompress of bare payloads": lambda d: PAYLOADS.s4.decompress(dictionary=d),
    "decode": lambda d: FRAMES.s4.decode(dictionary=d),
    "arrow.decompress": lambda d: s4_codec.arrow.decompress(COLUMN, dictionary=d),
    "arrow.decompress of bare payloads": lambda d: s4_codec.arrow.decompress(
        PAYLOADS, dictionary=d
    ),
    "arrow.decode": lambda d: s4_codec.arrow.decode(FRAMES, dictionary=d),
    "one value": lambda d: [
        d.decompress(row["payload"], row["original_size"], row["crc32c"]) for row in COLUMN
    ],
    "one frame": lambda d: [s4_codec.decode(frame, dictionary=d) for frame in FRAMES],
}


@pytest.mark.parametrize("name", READERS)
def test_each_row_finds_its_dictionary(name: str) -> None:
    read = READERS[name]
    for dictionaries in (SET, DictionarySet(reversed(TRAINED), 1)):
        found = read(dictionaries)
        assert pl.Series(found).to_list() == VALUES
    missing = f"with zstd id {SET.zstd_ids[2]}; the set has those with ids"
    with pytest.raises((s4_codec.S4IoError, pl.exceptions.ComputeError), match=missing) as caught:
        read(DictionarySet(TRAINED[:2]))
    if name.startswith("arrow"):
        assert caught.value.row == 40


@pytest.mark.parametrize(
    "reasons",
    [
        lambda d: COLUMN.s4.verify(dictionary=d),
        lambda d: FRAMES.s4.verify_frames(dictionary=d),
        lambda d: s4_codec.arrow.verify(COLUMN, dictionary=d),
        lambda d: s4_codec.arrow.verify_frames(FRAMES, dictionary=d),
    ],
    ids=["verify", "verify_frames", "arrow.verify", "arrow.verify_frames"],
)
def test_reasons_name_the_missing_dictionary(reasons: Callable[[Any], Any]) -> None:
    assert pl.Series(reasons(SET)).null_count() == 60
    found = pl.Series(reasons(DictionarySet([TRAINED[0], TRAINED[2]])))
    assert found.is_null().to_list() == [not 20 <= n < 40 for n in range(60)]
    assert f"zstd id {SET.zstd_ids[1]};" in found[20]


@pytest.mark.parametrize("verb", ["decompress", "decode"])
def test_a_set_that_has_no_row_is_a_mistake(verb: str) -> None:
    column = (COLUMN if verb == "decompress" else FRAMES).rechunk()
    with pytest.raises(pl.exceptions.ComputeError, match="all 20 values fail for the same reason"):
        getattr(column[:20].s4, verb)(dictionary=DictionarySet(TRAINED[1:]), on_error="null")
    mixed = getattr(column.s4, verb)(dictionary=DictionarySet(TRAINED[1:]), on_error="null")
    assert mixed.to_list() == [None] * 20 + VALUES[20:]


def test_codec_and_dictionary_are_one_too_many() -> None:
    for call in (
        lambda **more: s4.decompress("x", **more),
        lambda **more: s4.verify("x", **more),
        lambda **more: COLUMN.s4.decompress(**more),
        lambda **more: s4_codec.arrow.decompress(COLUMN, **more),
        lambda **more: s4_codec.arrow.verify(COLUMN, **more),
    ):
        for codec in (CpuZstd(), "cpu-zstd-dict", CODECS[0]):
            with pytest.raises(ValueError, match="codec or dictionary, not both"):
                call(codec=codec, dictionary=SET)


@pytest.mark.parametrize("call", [COLUMN.s4.compress, COLUMN.s4.encode])
def test_a_set_is_no_codec(call: Callable[..., object]) -> None:
    with pytest.raises(TypeError, match="codec must be a codec object"):
        call(SET)


def test_one_dictionary_stays_what_it_was() -> None:
    raw = CpuZstdDict(text(900))
    packed = pl.Series("x", [text(300)] * 3).s4.compress(raw)
    for dictionary in (raw, raw.dict_bytes):
        assert packed.s4.decompress(dictionary=dictionary).to_list() == [text(300)] * 3
        assert s4_codec.decode(raw.encode(text(300)), dictionary=dictionary) == text(300)


def test_what_training_returns_is_a_dictionary() -> None:
    trained, value = TRAINED[0], rows(0)[0]
    packed = pl.Series("x", [value]).s4.compress(trained.codec())
    assert packed.s4.decompress(dictionary=trained).to_list() == [value]
    frames = pl.Series("x", [trained.codec().encode(value)])
    assert frames.s4.decode(dictionary=trained).to_list() == [value]
    assert s4_codec.arrow.decompress(packed, dictionary=trained).to_pylist() == [value]
    assert s4_codec.decode(frames[0], dictionary=trained) == value
    assert s4_codec.decode_s4_object(frames[0], dictionary=trained) == value


def test_objects_find_the_dictionary_that_they_name() -> None:
    body, value = CODECS[1].encode(VALUES[21]), VALUES[21]
    metadata = {"s4-framed": "true", "s4-dict-id": SET.ids[1]}
    assert s4_codec.decode_s4_object(body, metadata, dictionary=SET) == value
    assert s4_codec.decode_s4_object(body, dictionary=SET) == value
    payload, size, crc = CODECS[1].compress(value)
    unframed = {
        "s4-codec": "cpu-zstd-dict",
        "s4-original-size": str(size),
        "s4-compressed-size": str(len(payload)),
        "s4-crc32c": str(crc),
        "s4-dict-id": SET.ids[1],
    }
    assert s4_codec.decode_s4_object(payload, unframed, dictionary=SET) == value
    for stored, its in ((body, metadata), (payload, unframed)):
        with pytest.raises(s4_codec.S4Error, match=f"expected the dictionary {SET.ids[1]}"):
            s4_codec.decode_s4_object(stored, its, dictionary=DictionarySet([TRAINED[0]]))


def test_frames_in_a_gpu_s_functions_take_sets() -> None:
    if not s4_codec.gpu_available():
        pytest.skip("a column in a GPU's memory needs a GPU, or what stands in for one")
    assert s4_codec.gpu.decode(FRAMES, dictionary=SET).to_arrow().to_pylist() == VALUES


def test_threads_share_a_set() -> None:
    def read(_: int) -> bool:
        return SET.decompress(*CODECS[0].compress(VALUES[3])) == VALUES[3] and bool(
            FRAMES.s4.decode(dictionary=SET).to_list() == VALUES
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(64)))


def test_sets_in_plans_that_are_stored() -> None:
    plan = COLUMN.to_frame().lazy().select(s4.decompress("x", dictionary=SET))
    stored = plan.serialize()
    assert pl.LazyFrame.deserialize(io.BytesIO(stored)).collect()["x"].to_list() == VALUES


def test_plans_with_damaged_sets_are_refused() -> None:
    options = {"codec": "cpu-zstd", "dictionary_set": SET.to_bytes()[:-1]}
    expr = s4._call("decompress", [pl.col("x")], options)
    with pytest.raises(pl.exceptions.ComputeError, match="not a dictionary set"):
        COLUMN.to_frame().select(expr)
