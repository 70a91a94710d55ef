"""What holds for columns, frames and objects whatever somebody changed in them.

A row decodes to the original that its size and checksum belong to, or it is bad, for a typed
reason. One value alone, the column in Polars and in Arrow, with ``on_error`` "raise" and "null",
and ``verify`` agree on it; and the error of a column names its first bad row.

``test_hostile_laws.py`` tries a few changes. Run as a program, this tries many:

    python tests/python/hostile_laws.py --examples 100000 --seed 1
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import traceback
import warnings
from collections import Counter
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
from codecs_table import ROWS, decoding, noise, text

import s4_codec.arrow
import s4_codec.polars as s4
from s4_codec import (
    Codec,
    S4BackendError,
    S4Error,
    S4IoError,
    crc32c,
    decode,
    decode_s4_object,
)

if TYPE_CHECKING:
    from collections.abc import Callable

TYPED = (S4Error, S4IoError, S4BackendError)
DTYPE = pl.Struct({"payload": pl.Binary, "original_size": pl.Int64, "crc32c": pl.Int64})

#: Below the limit of a value in Polars, so that all agree on what is too large.
MAX_SIZE = 1 << 31

#: payload, original_size, crc32c
Row = list[Any]
PAYLOAD, SIZE, CRC = range(3)


def values_of(rng: random.Random) -> list[bytes | None]:
    """A few values of all kinds."""
    kinds: list[Callable[[], bytes | None]] = [
        lambda: None,
        lambda: b"",
        lambda: text(rng.randrange(1, 300)),
        lambda: noise(rng.randrange(1, 100)),
        lambda: bytes(rng.randrange(1, 70_000)),
        lambda: "größe".encode() * rng.randrange(1, 30),
    ]
    return [rng.choice(kinds)() for _ in range(rng.randrange(1, 9))]


def changed(data: bytes, rng: random.Random) -> bytes:
    """Bytes with some flipped, cut off, added or repeated."""
    at = rng.randrange(len(data) + 1)
    flipped = bytearray(data)
    if at < len(data):
        flipped[at] ^= 1 << rng.randrange(8)
    piece = data[at : at + rng.randrange(1, 40)]
    return rng.choice(
        [bytes(flipped), data[:at], data[at:], data + noise(3), data[:at] + piece + data[at:]]
    )


def change_rows(rows: list[Row], rng: random.Random) -> None:
    """One thing that goes wrong in a column of payloads."""
    one, other = rng.choice(rows), rng.choice(rows)
    field = rng.randrange(3)
    match rng.randrange(5):
        case 0:
            one[field], other[field] = other[field], one[field]
        case 1:
            one[field] = other[field]
        case 2:
            one[field] = None
        case 3 if one[PAYLOAD] is not None:
            one[PAYLOAD] = changed(one[PAYLOAD], rng)
        case _ if one[SIZE] is not None and one[CRC] is not None:
            size = one[SIZE]
            one[SIZE] = max(0, rng.choice([size, size, size - 1, size + 1, MAX_SIZE, 1 << 40]))
            one[CRC] ^= rng.choice([0, 1, 1 << 31])


def outcome(call: Callable[[], Any], typed: tuple[type[Exception], ...] = TYPED) -> Any:
    """The result, or the typed error; anything else is a failure of the law."""
    try:
        return call()
    except typed as error:
        return error


def as_dtype(value: bytes | Exception | None, dtype: str) -> Any:
    """What a column of the type holds of a value."""
    if dtype == "binary" or not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        return S4Error(str(error))


def of_row(codec: Codec, row: Row, dtype: str) -> Any:
    """What one row decodes to, alone."""
    payload, size, crc = row
    if payload is None:
        return None
    if size is None or crc is None:
        return S4Error("a payload without its size or checksum")
    value = outcome(lambda: codec.decompress(payload, size, crc, max_size=MAX_SIZE))
    return as_dtype(value, dtype)


def check_column(
    expected: list[Any],
    in_polars: Callable[[str], pl.Series],
    in_arrow: Callable[[str], pa.ChunkedArray],
    reasons: pl.Series,
) -> None:
    """A column agrees with its rows, each decoded alone."""
    bad = {n: type(e).__name__ for n, e in enumerate(expected) if isinstance(e, Exception)}
    found = dict(enumerate(reasons.to_list()))
    assert {n: reason.partition(":")[0] for n, reason in found.items() if reason} == bad
    survivors = [None if n in bad else value for n, value in enumerate(expected)]
    if not bad:
        assert in_polars("raise").to_list() == survivors
        assert in_arrow("raise").to_pylist() == survivors
        return
    first, name = next(iter(bad.items()))
    # Two or more rows that are all bad, for one reason that the caller can mend, raise even then.
    may_be_mistake = 1 < len(bad) == sum(value is not None for value in expected)
    for on_error in ("raise", "null"):
        try:
            polars_rows = in_polars(on_error).to_list()
        except pl.exceptions.ComputeError as error:
            place = f"{name}: row {first} of the {len(expected)} in this batch"
            mistake = f"{name}: all {len(bad)} values fail for the same reason (row {first} "
            said = str(error)
            assert place in said or (may_be_mistake and mistake in said)
            assert on_error == "raise" or mistake in said
        else:
            assert on_error == "null"
            assert polars_rows == survivors
        arrow_rows = outcome(lambda on_error=on_error: in_arrow(on_error).to_pylist())
        if isinstance(arrow_rows, Exception):
            assert (type(arrow_rows).__name__, arrow_rows.row) == (name, first)
            assert on_error == "raise" or may_be_mistake
        else:
            assert on_error == "null"
            assert arrow_rows == survivors


def check_payloads(codec: Codec, rng: random.Random) -> str:
    """Payloads, sizes and checksums in the wrong places."""
    values = values_of(rng)
    originals = {(len(v), crc32c(v)): v for v in values if v is not None}
    rows = [[None] * 3 if v is None else list(codec.compress(v)) for v in values]
    for _ in range(rng.randrange(4)):
        change_rows(rows, rng)
    dtype = rng.choice(["binary", "string"])
    expected = [of_row(codec, row, dtype) for row in rows]
    for (_, size, crc), value in zip(rows, expected, strict=True):
        if value is not None and not isinstance(value, Exception):
            assert as_dtype(originals[size, crc], dtype) == value

    in_polars = {"dtype": pl.String if dtype == "string" else pl.Binary, "max_size": MAX_SIZE}
    in_arrow = {"dtype": f"large_{dtype}", "max_size": MAX_SIZE}
    names = [field.name for field in DTYPE.fields]
    structs = [dict(zip(names, row, strict=True)) for row in rows]
    series = pl.Series("body", structs, dtype=DTYPE)
    split = rng.randrange(len(rows) + 1)
    chunks = pa.chunked_array([series[:split].to_arrow(), series[split:].to_arrow()])
    check_column(
        expected,
        lambda on_error: series.s4.decompress(codec, on_error=on_error, **in_polars),
        lambda on_error: s4_codec.arrow.decompress(chunks, codec, on_error=on_error, **in_arrow),
        series.to_frame().select(s4.verify("body", codec, **in_polars)).to_series(),
    )
    return summary(expected)


def frames_of(codec: Codec, values: list[bytes | None]) -> list[bytes]:
    return [codec.encode(value or b"", fallback=False) for value in values]


def change_frames(bodies: list[bytes], rng: random.Random) -> None:
    """One thing that goes wrong in a column of frames."""
    one, other = rng.randrange(len(bodies)), rng.randrange(len(bodies))
    match rng.randrange(3):
        case 0:
            bodies[one], bodies[other] = bodies[other], bodies[one]
        case 1:
            bodies[one] += bodies[other]
        case _:
            bodies[one] = changed(bodies[one], rng)


def check_frames(codec: Codec, rng: random.Random) -> str:
    """Frames that are cut, repeated and exchanged."""
    values = values_of(rng)
    originals = {(len(v or b""), crc32c(v or b"")): v or b"" for v in values}
    bodies = frames_of(codec, values)
    for _ in range(rng.randrange(4)):
        change_frames(bodies, rng)
    options = decoding(codec) | {"max_size": MAX_SIZE}
    expected = [outcome(lambda body=body: decode(body, **options)) for body in bodies]
    for body, value in zip(bodies, expected, strict=True):
        if isinstance(value, bytes):
            headers = [header for header, _ in s4_codec.iter_frames(body)]
            pieces = [originals[h["original_size"], h["crc32c"]] for h in headers]
            assert b"".join(pieces) == value

    series = pl.Series("body", bodies, dtype=pl.Binary)
    split = rng.randrange(len(bodies) + 1)
    chunks = pa.chunked_array([bodies[:split], bodies[split:]], pa.binary())
    check_column(
        expected,
        lambda on_error: series.s4.decode(on_error=on_error, **options),
        lambda on_error: s4_codec.arrow.decode(chunks, on_error=on_error, **options),
        series.to_frame().select(s4.verify_frames("body", **options)).to_series(),
    )
    return summary(expected)


def check_ranges(codec: Codec, rng: random.Random) -> str:
    """Ranges of an object whose body or sidecar is changed, with metadata or without."""
    values = [value or b"" for value in values_of(rng)]
    frames = frames_of(codec, list(values))
    original, body = b"".join(values), b"".join(frames)
    metadata = {
        "s4-codec": codec.name,
        "s4-framed": "true",
        "s4-original-size": str(len(original)),
        "s4-crc32c": str(crc32c(original)),
    }
    sidecar = s4_codec.build_index(body)
    if rng.randrange(3):
        change_frames(frames, rng)
        body = b"".join(frames)
    else:
        sidecar = changed(sidecar, rng)
    start, end = sorted(rng.randrange(len(original) + 1) for _ in range(2))
    options = decoding(codec) | {"max_size": MAX_SIZE}
    whole = outcome(lambda: decode(body, **options))
    # Without metadata, bytes that do not start as frames are an object of another program.
    right = [each[start:end] for each in (original, whole, body) if isinstance(each, bytes)]
    if body.startswith((s4_codec.FRAME_MAGIC, s4_codec.PADDING_MAGIC)):
        right.pop()
    beside = {"metadata": rng.choice([metadata, None]), "sidecar": rng.choice([sidecar, None])}
    part = outcome(
        lambda: decode_s4_object(body, byte_range=(start, end), **beside, **options),
        (*TYPED, ValueError),
    )
    if isinstance(part, Exception):
        assert isinstance(part, TYPED) or "byte_range" in str(part)
        return type(part).__name__
    assert part in right
    return "good"


def summary(expected: list[Any]) -> str:
    """The class of the first bad row, or that all are good."""
    errors = [type(value).__name__ for value in expected if isinstance(value, Exception)]
    return errors[0] if errors else "good"


LAWS: dict[str, Callable[[Codec, random.Random], str]] = {
    "payloads": check_payloads,
    "frames": check_frames,
    "ranges": check_ranges,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Tries changed columns, frames and objects; on GPUs too, with the stand-in for "
        "NVIDIA's libraries, if S4_CUDA_LIBRARY and S4_NVCOMP_LIBRARY name it."
    )
    parser.add_argument("--examples", type=int, default=10_000, help="for each law and codec")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="codecs whose name contains this")
    args = parser.parse_args()
    warnings.filterwarnings("ignore", ".* values became null", RuntimeWarning)
    has_stand_in = "Stand-in" in s4_codec.gpu_status()
    rows = [row for row in ROWS if args.only in str(row) and (has_stand_in or not row.on_gpu)]
    tried: Counter[str] = Counter()
    broken: Counter[str] = Counter()
    start = time.monotonic()
    for row in rows:
        for name, check in LAWS.items():
            law = f"{name} on {'the stand-in' if row.on_gpu else 'the CPU'}"
            found: Counter[str] = Counter()
            for number in range(args.examples):
                seed = f"{args.seed}/{row}/{name}/{number}"
                try:
                    found[check(row.codec, random.Random(seed))] += 1
                except Exception:
                    print(f"broken: {row}, {name}: random.Random({seed!r})", file=sys.stderr)
                    traceback.print_exc()
                    broken[law] += 1
            tried[law] += args.examples
            seconds = time.monotonic() - start
            print(f"{seconds:6.0f} s  {row}, {name}: {dict(found.most_common())}", flush=True)
    counts = "; ".join(f"{law}: {count:,}" for law, count in tried.items())
    verdict = f"BROKEN {broken.total()} times: {dict(broken)}" if broken else "no law was broken"
    print(f"{tried.total():,} examples ({counts}): {verdict}")
    sys.exit(broken.total() > 0)


if __name__ == "__main__":
    main()
