"""Whole stored objects, and what says how their bodies are stored."""

from __future__ import annotations

import functools
import struct
from concurrent.futures import ThreadPoolExecutor

import pytest
from codecs_table import DICTIONARY, Row, decoding, error, text

import s4_codec
from s4_codec import CpuZstd, CpuZstdDict, S4Error, S4FrameError, decode, decode_s4_object

PADDING = s4_codec.PADDING_MAGIC + struct.pack("<Q", 5) + b"xxxxx"
OTHER_DICTIONARY = b"another dictionary"
BOTH_WAYS = "pass the metadata that the object is stored with, or metadata=None"

SIZES = [0, 1, 1 << 20, (1 << 20) + 1, (4 << 20) + 1, 9 << 20]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["cpu-zstd", "passthrough"])
def test_objects(name: str, size: int) -> None:
    data = text(size)
    made = s4_codec.encode_s4_object(data, codec=name)
    assert list(made) == ["body", "sidecar", "metadata"]
    metadata = made["metadata"]
    assert decode_s4_object(made["body"], metadata) == data
    headers = {f"X-Amz-Meta-{key.title()}": value for key, value in metadata.items()}
    assert decode_s4_object(made["body"], headers, made["sidecar"]) == data
    if made["sidecar"] is not None:
        assert made["sidecar"] == s4_codec.build_index(made["body"])
    for start, end in [(0, size), (0, 0), (size, size), (size // 2, size), (size // 3, size // 2)]:
        part = decode_s4_object(made["body"], metadata, byte_range=(start, end))
        assert part == data[start:end]
    for wrong in ((0, size + 1), (size + 1, size + 1), (5, 4)):
        with pytest.raises(ValueError, match="byte_range"):
            decode_s4_object(made["body"], metadata, byte_range=wrong)


def changed(metadata: dict[str, str], **values: str | None) -> dict[str, str]:
    keys = {key.replace("_", "-"): value for key, value in values.items()}
    return {k: v for k, v in {**metadata, **keys}.items() if v is not None}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"s4_original_size": "99"}, "S4SizeMismatchError"),
        ({"s4_compressed_size": "99"}, "S4ManifestSizeMismatchError"),
        ({"s4_crc32c": "99"}, "S4CrcMismatchError"),
        ({"s4_original_size": "many"}, "S4FrameError"),
        ({"s4_crc32c": "-1"}, "S4FrameError"),
        ({"s4_encrypted": "aes-256-gcm"}, "S4FrameError"),
        ({"s4_framed": None, "s4_crc32c": None}, "S4FrameError"),
        ({"s4_framed": None, "s4_codec": "bogus"}, "S4UnregisteredCodecError"),
        ({"s4_framed": None, "s4_codec": "nvcomp-gans"}, "S4UnregisteredCodecError"),
        ({"s4_framed": None}, "S4IoError"),
        ({"s4_framed": None, "s4_original_size": None}, "S4FrameError"),
    ],
)
def test_objects_that_contradict_their_metadata(
    change: dict[str, str | None], expected: str
) -> None:
    made = s4_codec.encode_s4_object(text(5000))
    with pytest.raises(error(expected)):
        decode_s4_object(made["body"], changed(made["metadata"], **change))


def test_objects_of_one_unframed_payload(row: Row) -> None:
    data = text(5000)
    payload, size, crc = row.codec.compress(data)
    metadata = {
        "s4-codec": row.name,
        "s4-original-size": str(size),
        "s4-compressed-size": str(len(payload)),
        "s4-crc32c": str(crc),
    }
    read = functools.partial(decode_s4_object, **decoding(row.codec))
    assert read(payload, metadata) == data
    assert read(payload, metadata, byte_range=(7, 99)) == data[7:99]
    with pytest.raises(error("S4CrcMismatchError")):
        read(payload, changed(metadata, s4_crc32c="1"))
    assert read(b"plain bytes", {"content-type": "x"}) == b"plain bytes"
    with pytest.raises(TypeError, match="metadata must be"):
        read(payload, {"s4-codec": 3})  # type: ignore[dict-item]


def test_objects_with_dictionaries() -> None:
    codec = CpuZstdDict(DICTIONARY)
    body = codec.encode(text(300)) + codec.encode(text(200))
    metadata = {"s4-codec": codec.name, "s4-framed": "true", "s4-dict-id": codec.dict_id}
    read = decode_s4_object
    assert read(body, metadata, dictionary=codec) == text(300) + text(200)
    with pytest.raises(S4Error, match=f"expected the dictionary {codec.dict_id}, got"):
        read(body, metadata, dictionary=OTHER_DICTIONARY)


def test_sidecars_that_disagree_cannot_mislead() -> None:
    data = text(9 << 20)
    made = s4_codec.encode_s4_object(data)
    other = s4_codec.encode_s4_object(text(5 << 20))["sidecar"]
    part = decode_s4_object(made["body"], made["metadata"], other, (5 << 20, 6 << 20))
    assert part == data[5 << 20 : 6 << 20]
    with pytest.raises(error("S4IndexError")):
        decode_s4_object(made["body"], made["metadata"], b"S4IX")


WRONG = (error("S4SizeMismatchError"), error("S4CrcMismatchError"), error("S4IoError"))


@pytest.mark.parametrize("missing", [(), ("size",), ("crc32c",), ("size", "crc32c")])
@pytest.mark.parametrize("has_sidecar", [False, True])
def test_a_wrong_size_of_the_first_frame_cannot_shift_a_range(
    missing: tuple[str, ...], has_sidecar: bool
) -> None:
    """Whatever the metadata says of the whole, and whether the frame then seems to be empty."""
    values = [text(4096), text(2500)[500:], text(300)]
    frames = [CpuZstd().encode(value, fallback=False) for value in values]
    data = b"".join(values)
    whole = {"size": len(data), "crc32c": s4_codec.crc32c(data)}
    names = {"size": "s4-original-size", "crc32c": "s4-crc32c"}
    metadata = {"s4-codec": "cpu-zstd", "s4-framed": "true"} | {
        names[key]: str(value) for key, value in whole.items() if key not in missing
    }
    sidecar = s4_codec.build_index(b"".join(frames)) if has_sidecar else None
    read = functools.partial(decode_s4_object, metadata=metadata, sidecar=sidecar)
    assert read(b"".join(frames), byte_range=(4100, 4200)) == data[4100:4200]
    for size in (0, 4095, 4097, 4096 ^ 1 << 6):
        wrong = frames[0][:8] + struct.pack("<Q", size) + frames[0][16:] + b"".join(frames[1:])
        with pytest.raises(WRONG):
            read(wrong, byte_range=(100, 200))
        with pytest.raises(WRONG):
            read(wrong, byte_range=(size + 100, size + 200))


@pytest.mark.parametrize("beside", ["nothing", "sidecar", "metadata", "both"])
def test_a_wrong_header_cannot_shift_a_range(beside: str) -> None:
    """The size in the header of a frame before the range is changed; the body's length is not."""
    values = [text(5000), b"", text(7000)[:6000], text(9000)[1000:]]
    frames = [CpuZstd().encode(value, fallback=False) for value in values]
    sidecar = s4_codec.build_index(b"".join(frames))
    data = b"".join(values)
    metadata = {
        "s4-codec": "cpu-zstd",
        "s4-framed": "true",
        "s4-original-size": str(len(data)),
        "s4-crc32c": str(s4_codec.crc32c(data)),
    }
    options = {
        "metadata": metadata if beside in ("metadata", "both") else None,
        "sidecar": sidecar if beside in ("sidecar", "both") else None,
        "byte_range": (12_000, 12_005),
    }
    assert decode_s4_object(b"".join(frames), **options) == data[12_000:12_005]
    # Sizes that cancel out leave the total as it was.
    for sizes in [(5001, 0), (5000, 7), (4999, 1)]:
        wrong = [bytearray(frame) for frame in frames]
        for frame, size in zip(wrong, sizes, strict=False):
            frame[8:16] = struct.pack("<Q", size)
        with pytest.raises(WRONG):
            decode_s4_object(b"".join(wrong), **options)


def test_objects_from_many_threads() -> None:
    data = text(5 << 20)
    with ThreadPoolExecutor(6) as threads:
        made = list(threads.map(s4_codec.encode_s4_object, [data] * 12))
        bodies = [one["body"] for one in made]
        assert set(threads.map(decode, bodies)) == {data}


# --- Metadata that is not there, or says nothing --------------------------------------------

# Two frames, and so a sidecar.
DATA = text(5 << 20)
STORED = s4_codec.encode_s4_object(DATA)
SIDECAR = STORED["sidecar"]
# None of these says how a body is stored.
SILENT = [{}, {"content-type": "text/plain"}, {"s4-ledger": "1"}, {"S4-Framed": "false"}]
PARTIAL = [
    {"s4-codec": "cpu-zstd"},
    {"s4-codec": "cpu-zstd", "s4-original-size": str(len(DATA))},
    {k: v for k, v in STORED["metadata"].items() if k not in ("s4-framed", "s4-crc32c")},
]


@pytest.mark.parametrize("byte_range", [None, (1000, 1010), (0, 0)])
def test_without_metadata_the_body_says_what_it_is(byte_range: tuple[int, int] | None) -> None:
    want = DATA if byte_range is None else DATA[slice(*byte_range)]
    read = functools.partial(decode_s4_object, byte_range=byte_range)
    assert read(STORED["body"]) == want
    assert read(STORED["body"], None, SIDECAR) == want
    assert read(PADDING + STORED["body"] + PADDING, metadata=None) == want
    assert read(DATA) == want, "bytes that are not frames are returned as they are"
    assert read(memoryview(DATA)) == want


def test_frames_of_any_codec_need_no_metadata(row: Row) -> None:
    assert decode_s4_object(row.codec.encode(DATA), **decoding(row.codec)) == DATA


def test_without_metadata_nothing_wrong_is_returned() -> None:
    body = STORED["body"]
    assert decode_s4_object(b"") == decode_s4_object(b"", None, s4_codec.build_index(b"")) == b""
    for damaged in (body[:-1], body + b"x", b"S4F2", b"S4P1", PADDING):
        with pytest.raises(S4FrameError):
            decode_s4_object(damaged)
    with pytest.raises(S4FrameError, match="SSE-encrypted"):
        decode_s4_object(b"S4E1" + body)
    with pytest.raises(S4FrameError, match="expected magic S4F2 or S4P1, found 0 GE; pass"):
        decode_s4_object(DATA, None, SIDECAR)
    with pytest.raises(ValueError, match="byte_range"):
        decode_s4_object(DATA, byte_range=(0, len(DATA) + 1))
    with pytest.raises(error("S4ManifestSizeExceedsLimitError")):
        decode_s4_object(body, max_size=len(DATA) - 1)
    with pytest.raises(error("S4ManifestSizeExceedsLimitError")):
        decode_s4_object(DATA, max_size=len(DATA) - 1)


@pytest.mark.parametrize("metadata", [*SILENT, *PARTIAL], ids=str)
@pytest.mark.parametrize("byte_range", [None, (1000, 1010), (0, 0)])
def test_stored_bytes_are_never_the_answer(
    metadata: dict[str, str], byte_range: tuple[int, int] | None
) -> None:
    """What looks like an S4 object is refused where its metadata does not say how it is stored."""
    body, payload = STORED["body"], CpuZstd().compress(DATA)[0]
    for stored, sidecar in [(body, None), (body, SIDECAR), (PADDING, None), (payload, SIDECAR)]:
        with pytest.raises(S4FrameError, match=BOTH_WAYS):
            decode_s4_object(stored, metadata, sidecar, byte_range)


@pytest.mark.parametrize("metadata", [{}, {"content-type": "text/plain", "owner": "s4-team"}])
def test_objects_of_other_writers_are_returned_as_they_are(metadata: dict[str, str]) -> None:
    for body in (b"", b"plain bytes", b"S4", b"S4F", CpuZstd().compress(DATA)[0]):
        assert decode_s4_object(body, metadata) == body
        assert decode_s4_object(body, metadata, byte_range=(0, len(body))) == body
    assert decode_s4_object(b"plain bytes", metadata, byte_range=(6, 11)) == b"bytes"


def test_framed_is_enough() -> None:
    body = STORED["body"]
    for key in ("s4-framed", "X-Amz-Meta-S4-Framed", "s4-multipart"):
        assert decode_s4_object(body, {key: "true"}) == DATA
        assert decode_s4_object(body, {key: "true"}, SIDECAR, (5, 9)) == DATA[5:9]
        assert decode_s4_object(b"", {key: "true"}) == b""


def test_sidecars_of_other_bodies_change_nothing() -> None:
    """Ranges are right whatever a sidecar says, bound or not: the frames say where they are. But
    where nothing else tells how long the body is, a sidecar that disagrees is an error."""
    body, metadata = STORED["body"], STORED["metadata"]
    bound = s4_codec.bind_index(SIDECAR, len(body) + 1, "another object")
    # One entry that is off by a frame's header.
    shifted = SIDECAR[:8] + struct.pack("<Q", 1) + SIDECAR[16:44]
    shifted += struct.pack("<4Q", 0, len(DATA), 28, len(body) - 28)
    empty = s4_codec.build_index(b"")
    longer = s4_codec.build_index(body + PADDING + CpuZstd().encode(b"more"))
    for sidecar in (bound, shifted, empty, longer):
        assert decode_s4_object(body, metadata, sidecar) == DATA
        assert decode_s4_object(body, metadata, sidecar, (1000, 1 << 20)) == DATA[1000 : 1 << 20]
    for sidecar in (bound, empty, longer):
        for known in (None, {"s4-multipart": "true"}):
            with pytest.raises(
                error("S4ManifestSizeMismatchError"), match="truncated, or the sidecar"
            ):
                decode_s4_object(body, known, sidecar)


def test_a_sidecar_tells_a_body_that_is_cut_between_frames() -> None:
    body = STORED["body"]
    first = s4_codec.decode_index(SIDECAR)["entries"][0]["compressed_size"]
    for cut in (body[:first], b"", body + body):
        for sidecar in (SIDECAR, s4_codec.bind_index(SIDECAR, len(body))):
            with pytest.raises(error("S4ManifestSizeMismatchError"), match=f"{len(cut)} bytes"):
                decode_s4_object(cut, None, sidecar)


# --- Dictionaries that metadata names -------------------------------------------------------

NAMED = {"s4-dict-id": "0123456789abcdef"}


@pytest.mark.parametrize(
    "dictionary", [None, OTHER_DICTIONARY, DICTIONARY], ids=lambda d: d and d[:4]
)
@pytest.mark.parametrize("shape", ["frames", "payload"])
def test_a_dictionary_matters_only_where_it_is_used(
    row: Row, shape: str, dictionary: bytes | None
) -> None:
    payload, size, crc = row.codec.compress(DATA)
    manifest = {
        "s4-codec": row.name,
        "s4-original-size": str(size),
        "s4-compressed-size": str(len(payload)),
        "s4-crc32c": str(crc),
    }
    body, metadata = payload, manifest | NAMED
    if shape == "frames":
        # An empty frame before it, for any frame may be the one.
        body = CpuZstd().encode(b"", fallback=False) + row.codec.encode(DATA)
        metadata = {"s4-codec": row.name, "s4-framed": "true"} | NAMED
    given = decoding(row.codec) | {"dictionary": dictionary}
    read = functools.partial(decode_s4_object, **given)
    if not row.needs_dictionary:
        assert read(body, metadata) == DATA
        assert read(body, metadata, byte_range=(7, 99)) == DATA[7:99]
        return
    wrong = "S4UnregisteredCodecError" if dictionary is None else "S4Error"
    with pytest.raises(error(wrong), match="the dictionary 0123456789abcdef"):
        read(body, metadata)
    right = metadata | {"s4-dict-id": row.codec.dict_id}  # type: ignore[attr-defined]
    if dictionary == DICTIONARY:
        assert read(body, right) == DATA


def test_damage_is_named_before_a_dictionary_that_nothing_uses() -> None:
    metadata = {"s4-framed": "true"} | NAMED
    with pytest.raises(S4FrameError, match="frame 1"):
        decode_s4_object(CpuZstd().encode(b"a") + b"rest", metadata)
