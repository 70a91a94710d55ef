"""Polars columns: bad rows, bad types, bad arguments."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from codecs_table import FORGERIES, Row, cut_class, decoding, error, forgery_class, text
from memory import touches_at_most
from polars.exceptions import ComputeError
from polars.testing import assert_series_equal

import s4_codec.polars as s4
from s4_codec import Codec, CpuGzip, CpuZstd

if TYPE_CHECKING:
    from collections.abc import Callable

FIELDS = ("payload", "original_size", "crc32c")
MANIFEST = pl.Struct({"payload": pl.Binary, "original_size": pl.Int64, "crc32c": pl.Int64})
#: What can state any size.
UNSIGNED = pl.Struct({"payload": pl.Binary, "original_size": pl.UInt64, "crc32c": pl.UInt32})


def packed_row(codec: Codec, value: bytes) -> dict[str, Any]:
    return dict(zip(FIELDS, codec.compress(value), strict=True))


def column(rows: list[dict[str, Any] | None], dtype: pl.DataType = MANIFEST) -> pl.Series:
    return pl.Series("body", rows, dtype=dtype)


@pytest.mark.parametrize(("name", "forge", "expected"), FORGERIES, ids=[f[0] for f in FORGERIES])
def test_forged_rows(codec: Codec, name: str, forge: Callable, expected: str) -> None:
    expected = forgery_class(codec, name, expected)
    good = packed_row(codec, text(1000))
    bad = dict(zip(FIELDS, forge(codec.compress(text(1000))), strict=True))
    series = column([good, None, bad, good], UNSIGNED)
    with touches_at_most(48):
        with pytest.raises(
            ComputeError, match=f"{expected}: row 2 of the 4 in this batch"
        ) as raised:
            series.s4.decompress(codec)
        assert f"codec {codec.name}, payload {len(bad['payload'])} bytes" in str(raised.value)
        assert f"original_size {bad['original_size']}" in str(raised.value)
        lenient = series.s4.decompress(codec, on_error="null").to_list()
        assert lenient == [text(1000), None, None, text(1000)], name


def test_cut_rows(codec: Codec) -> None:
    good = packed_row(codec, text(300))
    cuts = [good | {"payload": good["payload"][:end]} for end in range(len(good["payload"]))]
    for cut in cuts:
        with pytest.raises(ComputeError, match=f"{cut_class(codec)}: row 1 of the 2"):
            column([good, cut]).s4.decompress(codec)
    assert column([good, *cuts]).s4.decompress(codec, on_error="null").drop_nulls().len() == 1


def test_a_bomb_costs_nothing(row: Row) -> None:
    if row.bomb is None:
        is_alone = row.name == "passthrough" or row.on_gpu
        assert is_alone, "a codec that compresses on a CPU has a bomb in the table"
        return
    with touches_at_most(64):
        claims = [0, 100, 10 << 30, 4 << 30]
        bombs = [{"payload": row.bomb, "original_size": c, "crc32c": 0} for c in claims]
        assert column(bombs * 50).s4.decompress(row.codec, on_error="null").null_count() == 200
        bare = pl.Series("body", [row.bomb] * 50)
        for kwargs in ({"max_size": 1000}, {"max_size": 0}):
            with pytest.raises(ComputeError, match="S4ManifestSizeExceedsLimitError"):
                bare.s4.decompress(row.codec, **kwargs)


def test_bad_rows_in_different_chunks(codec: Codec) -> None:
    good = packed_row(codec, text(200))
    bad = good | {"crc32c": good["crc32c"] ^ 1}
    first = column([good] * 300 + [bad] + [good] * 10)
    second = column([good] * 20 + [bad])
    chunked = pl.concat([first, second], rechunk=False)
    assert chunked.n_chunks() == 2
    frame = chunked.to_frame().with_row_index("id", offset=5000)
    with pytest.raises(ComputeError, match="S4CrcMismatchError: row ") as raised:
        frame.select(s4.decompress("body", codec, row="id"))
    assert any(f"id = {5000 + row}," in str(raised.value) for row in (300, 331))
    lenient = frame.select(s4.decompress("body", codec, on_error="null")).to_series()
    assert lenient.is_null().arg_true().to_list() == [300, 331]
    assert lenient.drop_nulls().unique().to_list() == [text(200)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (pl.col("id"), "id = 41"),
        (pl.col("id").cast(pl.String) + "\0x", r"id = 41\\u\{0\}x,"),
        (pl.lit("the one", dtype=pl.String), "literal = the one"),
        (pl.struct("id").alias("key"), r"key = \{id: 41\},"),
        (pl.lit(Decimal("1.50")), "literal = 1.50,"),
        (pl.lit(date(2024, 1, 2)), "literal = 2024-01-02,"),
        (pl.lit("kind").cast(pl.Categorical), "literal = kind,"),
        (pl.lit(b"\0ab"), r"literal = \\x00ab,"),
        (pl.concat_list("id", "id"), r"id = \[41, 41\],"),
        (pl.struct(ids=pl.concat_list("id", pl.lit(None))), r"ids = \{ids: \[41, null\]\},"),
        (pl.lit("two\nlines"), r"literal = two\\nlines,"),
        (pl.lit(5).alias(""), "row = 5,"),
        (pl.lit("long" * 100), "literal = (long){50}[.]{3},"),
        (pl.lit(None), "literal = null,"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_rows_by_the_users_own_name(codec: Codec, name: pl.Expr, expected: str) -> None:
    good = packed_row(codec, text(200))
    series = column([good, good | {"crc32c": 0}])
    frame = series.to_frame().with_columns(id=pl.Series([40, 41]))
    with pytest.raises(ComputeError, match=expected):
        frame.select(s4.decompress("body", codec, row=name))


def test_row_names_must_be_as_many_as_rows(codec: Codec) -> None:
    series = column([packed_row(codec, b"a")] * 4)
    with pytest.raises(ComputeError, match="row must have 1 value or 4, one for each row, found 2"):
        series.s4.decompress(codec, row=pl.Series([1, 2]))
    assert series.s4.decompress(codec, row=pl.Series([1, 2, 3, 4])).to_list() == [b"a"] * 4


@pytest.mark.parametrize("engine", ["in-memory", "streaming"])
def test_a_literal_value_stands_for_all_rows_of_row(codec: Codec, engine: Any) -> None:
    frame = pl.DataFrame({"id": [40, 41, 42]})
    payload = pl.lit(codec.encode(text(200)))

    def decoded(frame: pl.DataFrame, value: pl.Expr, **options: Any) -> list[Any]:
        call = s4.decode(value, **decoding(codec), row="id", **options).alias("value")
        lazy = frame.lazy().with_columns(call)
        assert lazy.collect_schema()["value"] == options.get("dtype", pl.Binary)
        return lazy.collect(engine=engine)["value"].to_list()

    assert decoded(frame, payload) == [text(200)] * 3
    assert decoded(frame, payload, dtype=pl.String) == [text(200).decode()] * 3
    assert decoded(frame, pl.lit(None, dtype=pl.Binary)) == [None] * 3
    assert decoded(frame[:0], payload) == []
    assert decoded(frame[:0], pl.lit(b"no frame")) == []
    assert decoded(frame[:1], payload) == [text(200)]
    bad = pl.lit(codec.encode(text(200))[:-1])
    with pytest.raises(ComputeError, match=r"row 0 .*id = 40,"):
        decoded(frame, bad)
    with pytest.warns(RuntimeWarning, match="id = 40,"):
        assert decoded(frame, bad, on_error="null") == [None] * 3
    packed = column([packed_row(codec, text(200))])
    values = frame.select(s4.decompress(pl.lit(packed), codec, row="id")).to_series()
    assert values.to_list() == [text(200)] * 3


def test_text_is_checked(codec: Codec) -> None:
    bad = b"fourteen bytes" + b"\xff" + b"!"
    series = column([packed_row(codec, "größe".encode()), packed_row(codec, bad)])
    assert series.s4.decompress(codec).to_list()[1] == bad
    with pytest.raises(ComputeError, match=r"S4Error: row 1 .*invalid UTF-8 at byte 14"):
        series.s4.decompress(codec, dtype=pl.String)
    lenient = series.s4.decompress(codec, dtype=pl.String, on_error="null")
    assert lenient.to_list() == ["größe", None]


INTEGERS = [
    pl.Int64,
    pl.Int128,
    pl.UInt64,
    pl.UInt32,
    pl.UInt16,
    pl.Int32,
    pl.Decimal(20, 0),
    pl.Decimal(38, 0),
]


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_manifests_of_any_integer_type(codec: Codec, dtype: Any) -> None:
    wide = pl.Int64 if dtype in (pl.Int32, pl.UInt16) else dtype
    series = column([packed_row(codec, text(n)) for n in (0, 5, 5000)] + [None])
    spark = series.struct.unnest().select(
        pl.struct(
            pl.lit("ignored").alias("extra"),
            pl.col("crc32c").cast(wide),
            pl.col("payload"),
            pl.col("original_size").cast(dtype),
        ).alias("body")
    )
    restored = spark.select(s4.decompress("body", codec)).to_series()
    assert restored.to_list() == [text(0), text(5), text(5000), None]


@pytest.mark.parametrize(
    ("dtype", "size", "checksum", "reason"),
    [
        (pl.Int64, -1, 0, r"original_size must be from 0 to below 2\^64, found -1"),
        (pl.Int64, 1, -1, r"crc32c must be from 0 to below 2\^32, found -1"),
        (pl.Int64, 1, 2**32, r"crc32c must be from 0 to below 2\^32, found 4294967296"),
        (pl.Int128, 2**64, 0, "original_size must be .* 18446744073709551616"),
        (pl.Decimal(20, 0), Decimal(2**64), 0, "original_size must be .* 18446744073709551616"),
        (pl.Int64, None, 0, "has a payload but its original_size is null"),
        (pl.Int64, 1, None, "has a payload but its crc32c is null"),
    ],
)
def test_manifests_that_do_not_fit(
    codec: Codec, dtype: Any, size: Any, checksum: Any, reason: str
) -> None:
    struct = pl.Struct({"payload": pl.Binary, "original_size": dtype, "crc32c": pl.Int64})
    good = packed_row(codec, b"abc")
    bad = {"payload": good["payload"], "original_size": size, "crc32c": checksum}
    series = column([good, bad], struct)
    with pytest.raises(ComputeError, match=f"S4Error: row 1 of the 2.*{reason}"):
        series.s4.decompress(codec)
    assert series.s4.decompress(codec, on_error="null").to_list() == [b"abc", None]


# What errors say beside the words of the function: the type as Polars calls it.
WRONG = {
    "Int64": pl.Series("body", [1]),
    "List": pl.Series("body", [[b"a"]]),
    "Date": pl.Series("body", [None], dtype=pl.Date),
    "Categorical": pl.Series("body", ["a"], dtype=pl.Categorical),
    "Enum": pl.Series("body", ["a"], dtype=pl.Enum(["a"])),
    "Decimal": pl.Series("body", [Decimal(1)]),
    "Int128": pl.Series("body", [1], dtype=pl.Int128),
}


@pytest.mark.parametrize("series", WRONG.values(), ids=WRONG)
def test_wrong_column_types_fail_at_plan_time(codec: Codec, series: pl.Series) -> None:
    name = series.dtype.base_type().__name__
    for call, words in [
        (s4.compress("body", codec), f"compress expects Binary or String, .*found {name}"),
        (s4.decompress("body", codec), f"expected the struct that compress returns.* found {name}"),
    ]:
        lazy = series.to_frame().lazy().select(call)
        with pytest.raises(ComputeError, match=words):
            lazy.collect_schema()
        with pytest.raises(ComputeError, match=words):
            lazy.collect()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (["payload"], "the struct lacks original_size and crc32c; it has payload"),
        (["payload", "crc32c"], "the struct lacks original_size; it has payload, crc32c"),
        (["Payload", "original_size", "crc32c"], "the struct lacks payload"),
    ],
)
def test_missing_and_renamed_fields(codec: Codec, fields: list[str], words: str) -> None:
    frame = pl.select(pl.struct(pl.lit(1).alias(name) for name in fields).alias("body"))
    with pytest.raises(ComputeError, match=words):
        frame.lazy().select(s4.decompress("body", codec)).collect_schema()


@pytest.mark.parametrize(
    ("field", "dtype", "words"),
    [
        ("payload", pl.Int64, "field payload must be Binary"),
        ("original_size", pl.String, "field original_size must be an integer type .* found String"),
        ("original_size", pl.Decimal(20, 2), "field original_size must be an integer type"),
        ("crc32c", pl.Float64, "field crc32c must be an integer type"),
    ],
)
def test_fields_of_wrong_types(codec: Codec, field: str, dtype: Any, words: str) -> None:
    fields = dict(MANIFEST) | {field: dtype}
    with pytest.raises(ComputeError, match=words):
        pl.Series("body", [], dtype=pl.Struct(fields)).s4.decompress(codec)


def test_fields_that_nobody_reads_may_be_anything(codec: Codec) -> None:
    inner = pl.Series("s", [None if i % 3 == 0 else {"a": i} for i in range(100)])
    lists = pl.DataFrame({"s": inner.slice(3, 20)}).select(pl.col("s").implode()).to_series()
    extras = {
        "list of null": pl.Series([[None]]),
        "list of Int128": pl.Series([[1]], dtype=pl.List(pl.Int128)),
        "list of struct": lists,
        "array": pl.Series([[1, 2]], dtype=pl.Array(pl.Int8, 2)),
        "struct of lists": pl.Series([{"a": [1]}]),
    }
    good = column([packed_row(codec, b"abc")])
    for name, extra in extras.items():
        frame = good.struct.unnest().with_columns(extra=extra)
        call = s4.decompress(pl.struct(pl.all()), codec, row="extra", on_error="null")
        assert frame.select(call).to_series().to_list() == [b"abc"], name


def test_null_columns(codec: Codec) -> None:
    nulls = pl.Series("body", [None, None])
    assert nulls.dtype == pl.Null
    packed = nulls.s4.compress(codec)
    assert packed.dtype == MANIFEST
    assert packed.to_list() == [None, None]
    assert nulls.s4.decompress(codec).to_list() == [None, None]
    fields = pl.select(pl.struct(pl.lit(None).alias(name) for name in FIELDS).alias("body"))
    assert fields.to_series().s4.decompress(codec).to_list() == [None]


def test_frames_are_told_from_bare_payloads(codec: Codec) -> None:
    frame = pl.Series("body", [b"S4F2" + bytes(24)])
    if codec.name == "passthrough":
        assert frame.s4.decompress(codec).to_list() == frame.to_list(), "any bytes pass"
        return
    with pytest.raises(ComputeError, match=r"S4Error: row 0 .*S4F2 frame.*decode"):
        frame.s4.decompress(codec)


def test_the_wrong_codec_is_told_what_it_got() -> None:
    value = text(500)
    zstd, gzip = packed_row(CpuZstd(), value), packed_row(CpuGzip(), value)
    for row, codec, words in [
        (gzip, CpuZstd(), "no zstd frame starts at byte 0; these bytes look like gzip"),
        (zstd, CpuGzip(), "no gzip member at byte 0; these bytes look like zstd"),
    ]:
        with pytest.raises(ComputeError, match=f"S4IoError: row 0 .*{words}"):
            column([row]).s4.decompress(codec)
        with pytest.raises(error("S4IoError"), match=words):
            codec.decompress(*row.values())


def test_damaged_bare_payloads(codec: Codec) -> None:
    if codec.name == "passthrough":
        assert pl.Series("body", [b"any"]).s4.decompress(codec).to_list() == [b"any"]
        return
    good = codec.compress(text(5000))[0]
    for bad in (b"", b"garbage", good[:-1], good + b"x"):
        series = pl.Series("body", [good, bad])
        expected = forgery_class(codec, "damage", "S4IoError")
        with pytest.raises(ComputeError, match=f"{expected}: row 1 of the 2"):
            series.s4.decompress(codec)
        assert series.s4.decompress(codec, on_error="null").to_list() == [text(5000), None]


def test_max_size_bounds_each_row(codec: Codec) -> None:
    series = column([packed_row(codec, text(n)) for n in (10, 1000, 10)])
    for size in (1000, np.int16(1000), 2**63, 2**64 - 1):
        assert series.s4.decompress(codec, max_size=size).null_count() == 0
    with pytest.raises(ComputeError, match="S4ManifestSizeExceedsLimitError: row 1"):
        series.s4.decompress(codec, max_size=999)
    lenient = series.s4.decompress(codec, max_size=999, on_error="null")
    assert_series_equal(lenient, pl.Series("body", [text(10), None, text(10)]))


def test_wrong_arguments() -> None:
    for codec in ("lz4", "CPU-ZSTD", "nvcomp-gans", ""):
        for call in (s4.compress, s4.decompress):
            with pytest.raises(error("S4UnregisteredCodecError"), match="codec"):
                call("body", codec)
    for wrong in (None, 3, CpuZstd):
        with pytest.raises(TypeError, match="codec must be a codec object"):
            s4.compress("body", wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="dtype must be"):
        s4.decompress("body", dtype=pl.Int64)
    with pytest.raises(ValueError, match="on_error must be"):
        s4.decompress("body", on_error="skip")  # type: ignore[arg-type]
    for wrong in (1.0, "1"):
        with pytest.raises(TypeError):
            s4.decompress("body", max_size=wrong)  # type: ignore[arg-type]
    for size in (-1, 2**64):
        with pytest.raises(ValueError, match="max_size must be"):
            s4.decompress("body", max_size=size)
