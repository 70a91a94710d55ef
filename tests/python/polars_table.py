"""The table that enrols a Polars type, and a function, in the matrix of both.

Run as a program, it takes every type through every function from a given cell on, and says a line
of JSON before and after each: a cell may end the process.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

import s4_codec
import s4_codec.arrow
import s4_codec.polars as s4

if TYPE_CHECKING:
    from collections.abc import Callable


class Anything:
    """What Polars has no type for."""


@dataclass(frozen=True)
class Type:
    """A type, three rows of it of which the second is null, and what messages make of it."""

    name: str
    make: Callable[[], pl.Series]
    #: How ``row=`` shows the third row; None where it refuses the type.
    shown: str | None
    #: What the values may serve as: "bytes", "numbers" (lists of them), "integer" or nothing.
    use: str = ""


def of(dtype: str, first: Any, third: Any, *arguments: Any) -> Callable[[], pl.Series]:
    """Makes a series of a type by its name, which Polars may lack."""

    def make() -> pl.Series:
        found = getattr(pl, dtype)
        return pl.Series("x", [first, None, third], dtype=found(*arguments))

    return make


def nested(inner: str, third: Any) -> Callable[[], pl.Series]:
    """Lists of a type."""
    return lambda: pl.Series("x", [[third], None, [third, None]], dtype=pl.List(getattr(pl, inner)))


def extension(storage: pl.Series) -> pl.Series:
    """The series as an extension type, where Polars has such."""
    return storage.ext.to(pl.Extension("s4.test", storage.dtype, None))


def integer(name: str, least: int, most: int) -> Type:
    return Type(name, of(name, least, most), str(most), "integer")


TYPES = [
    Type("Binary", of("Binary", b"ab", b"\0cd"), r"\x00cd", "bytes"),
    Type("String", of("String", "ab", "größe"), "größe", "bytes"),
    Type("Null", lambda: pl.Series("x", [None] * 3), "null", "bytes integer"),
    *[integer(f"Int{n}", -(2 ** (n - 1)), 2 ** (n - 1) - 1) for n in (8, 16, 32, 64, 128)],
    *[integer(f"UInt{n}", 0, 2**n - 1) for n in (8, 16, 32, 64, 128)],
    Type("Float16", of("Float16", 0.5, 1.5), "1.5"),
    Type("Float32", of("Float32", 0.5, 1.5), "1.5"),
    Type("Float64", of("Float64", 0.5, 1.5), "1.5"),
    Type("Boolean", of("Boolean", False, True), "true"),
    Type("Date", of("Date", date(2024, 1, 2), date(2024, 2, 3)), "2024-02-03"),
    Type("Time", of("Time", time(1), time(2, 3, 4)), "02:03:04"),
    *[
        Type(
            f"Datetime('{unit}')",
            of("Datetime", datetime(2024, 1, 2), datetime(2024, 1, 2, 3), unit),
            "2024-01-02T03:00:00",
        )
        for unit in ("ms", "us", "ns")
    ],
    Type(
        "Datetime('us', 'UTC')",
        lambda: of(
            "Datetime", datetime(2024, 1, 2), datetime(2024, 1, 2, 3)
        )().dt.replace_time_zone("UTC"),
        "2024-01-02T03:00:00 UTC",
    ),
    Type("Duration('ms')", of("Duration", timedelta(1), timedelta(0, 2), "ms"), "2000ms"),
    Type("Duration('us')", of("Duration", timedelta(1), timedelta(0, 2), "us"), "2000000us"),
    Type("Duration('ns')", of("Duration", timedelta(1), timedelta(0, -2), "ns"), "-2000000000ns"),
    Type("Decimal(10, 2)", of("Decimal", Decimal(1), Decimal("-1.50"), 10, 2), "-1.50"),
    Type("Decimal(20, 0)", of("Decimal", Decimal(0), Decimal(2**64), 20, 0), f"{2**64}", "integer"),
    Type(
        "Decimal(38, 0)", of("Decimal", Decimal(0), Decimal("9" * 38), 38, 0), "9" * 38, "integer"
    ),
    Type("Categorical", of("Categorical", "a", "b"), "b"),
    Type("Enum", of("Enum", "a", "b", ["a", "b"]), "b"),
    Type("List(Int64)", nested("Int64", 5), "[5, null]", "numbers"),
    Type("List(Binary)", nested("Binary", b"a"), "[a, null]"),
    Type("List(Int128)", nested("Int128", -(2**127)), f"[{-(2**127)}, null]"),
    Type("List(UInt128)", nested("UInt128", 2**128 - 1), f"[{2**128 - 1}, null]"),
    Type("List(Categorical)", nested("Categorical", "a"), "[a, null]"),
    Type("List(Null)", lambda: pl.Series("x", [[], None, [None]]), "[null]"),
    Type(
        "List(Struct({'a': Int64}))",
        lambda: pl.Series("x", [[{"a": 1}], None, [{"a": 2}, None]]),
        "[{a: 2}, null]",
    ),
    Type(
        "List(Object)",
        lambda: (
            pl.select(pl.lit(pl.Series("x", [Anything()], dtype=pl.Object)).implode())
            .to_series()
            .alias("x")
        ),
        None,
    ),
    Type(
        "Array(Int64, 2)",
        lambda: pl.Series("x", [[1, 2], None, [3, None]], dtype=pl.Array(pl.Int64, 2)),
        "[3, null]",
        "numbers",
    ),
    Type(
        "Array(Array(UInt8, 1), 2)",
        lambda: pl.Series("x", [[[1], [2]], None, [[3], None]], dtype=pl.Array(pl.UInt8, (2, 1))),
        "[[3], null]",
        "numbers",
    ),
    Type(
        "Array(Float32, 2)",
        lambda: pl.Series("x", [[0.5, 1.0], None, [1.5, 2.0]], dtype=pl.Array(pl.Float32, 2)),
        "[1.5, 2.0]",
        "numbers",
    ),
    Type(
        "Array(Array(Int16, 1), 2)",
        lambda: pl.Series("x", [[[1], [2]], None, [[3], [4]]], dtype=pl.Array(pl.Int16, (2, 1))),
        "[[3], [4]]",
        "numbers",
    ),
    Type(
        "List(Date)",
        lambda: pl.Series("x", [[], None, [date(2024, 2, 3)]], dtype=pl.List(pl.Date)),
        "[2024-02-03]",
        "numbers",
    ),
    Type(
        "Array(Int8, 0)",
        lambda: pl.Series("x", [[], None, []], dtype=pl.Array(pl.Int8, 0)),
        "[]",
        "numbers",
    ),
    Type(
        "Struct({'a': Int64, 'b': List(String)})",
        lambda: pl.Series("x", [{"a": 1, "b": []}, None, {"a": None, "b": ["c"]}]),
        "{a: null, b: [c]}",
    ),
    Type("Struct({})", lambda: pl.Series("x", [{}, None, {}], dtype=pl.Struct([])), "{}"),
    Type(
        "Struct({'a': Struct({'b': Array(Int8, 1)})})",
        lambda: pl.Series(
            "x",
            [{"a": None}, None, {"a": {"b": [7]}}],
            dtype=pl.Struct({"a": pl.Struct({"b": pl.Array(pl.Int8, 1)})}),
        ),
        "{a: {b: [7]}}",
    ),
    Type(
        "Object",
        lambda: pl.Series("x", [Anything(), None, memoryview(b"ab")], dtype=pl.Object),
        None,
    ),
    Type(
        "Extension('s4.test', Binary)",
        lambda: extension(of("Binary", b"ab", b"cd")()),
        "cd",
        "bytes",
    ),
    Type(
        "Extension('s4.test', String)",
        lambda: extension(of("String", "ab", "cd")()),
        "cd",
        "bytes",
    ),
    Type(
        "Extension('s4.test', Int64)",
        lambda: extension(of("Int64", 0, 5)()),
        "5",
        "integer",
    ),
    Type(
        "Extension('s4.test', List(Int64))",
        lambda: extension(pl.Series("x", [[1], None, [5, 6]])),
        "[5, 6]",
        "numbers",
    ),
    Type(
        "Extension('s4.test', Object)",
        lambda: extension(pl.Series("x", [Anything(), None, None], dtype=pl.Object)),
        None,
    ),
]


@dataclass(frozen=True)
class Function:
    """A function of a series, and what it takes: values of a use, "values" that can be compressed,
    or anything."""

    name: str
    call: Callable[[pl.Series], Any]
    takes: str = "bytes"
    #: Classes of errors about values, where the type will do.
    errors: tuple[str, ...] = ()
    #: Whether messages name types as Polars does.
    by_polars: bool = True


PACKED = {"payload": b"", "original_size": 0, "crc32c": 0}


def manifest(x: pl.Series, **fields: str) -> pl.DataFrame:
    """Rows of an empty value, with the series in place of a field, or as another."""
    literals = [pl.lit(v).alias(k) for k, v in PACKED.items() if k not in fields]
    given = [pl.col("x").alias(name) for name in fields]
    return x.to_frame().select(pl.struct(*literals, *given).alias("body"))


def restore(frame: pl.DataFrame, **options: Any) -> pl.DataFrame:
    return frame.select(s4.decompress("body", "passthrough", **options))


def failing(x: pl.Series) -> pl.DataFrame:
    """Rows that are good but for the third, with the series as names."""
    crcs = pl.Series("crc32c", [0, 0, 1][: len(x)])
    rows = pl.DataFrame({"payload": [b""] * len(x), "original_size": [0] * len(x)})
    body = rows.with_columns(crcs).select(pl.struct(pl.all()).alias("body"))
    return body.with_columns(x)


def verify(name: str) -> Callable[[pl.Series], Any]:
    return lambda x: x.to_frame().select(getattr(s4, name)("x"))


NULL_ITEM = ("S4Error",)
TRAINING = ("S4BackendError", *NULL_ITEM)
FRAMES = ("S4FrameError",)
DAMAGED = ("S4IoError", "S4Error")
UNEQUAL = (
    *("S4SizeMismatchError", "S4CrcMismatchError", "S4ManifestSizeExceedsLimitError"),
    *DAMAGED,
)

FUNCTIONS = [
    Function("compress", lambda x: x.s4.compress(), "values", NULL_ITEM),
    Function(
        "compress, checksums",
        lambda x: x.s4.compress(payload_checksum=True),
        "values",
        NULL_ITEM,
    ),
    Function(
        "compress, plan",
        lambda x: x.to_frame().lazy().select(s4.compress("x")).collect_schema(),
        "values",
    ),
    Function(
        "compress, streaming",
        lambda x: x.to_frame().lazy().select(s4.compress("x")).collect(engine="streaming"),
        "values",
        NULL_ITEM,
    ),
    Function("encode", lambda x: x.s4.encode(), "values", NULL_ITEM),
    Function("decompress", lambda x: x.s4.decompress(), errors=DAMAGED),
    Function("decompress of any", lambda x: x.s4.decompress("passthrough")),
    Function("decode", lambda x: x.s4.decode(), errors=FRAMES),
    Function("frame_info", lambda x: x.s4.frame_info(), errors=FRAMES),
    Function("verify", verify("verify")),
    Function("verify_frames", verify("verify_frames")),
    Function("train_dictionary", s4.train_dictionary, "values", TRAINING, False),
    Function("payload", lambda x: restore(manifest(x, payload="x")), errors=UNEQUAL),
    Function(
        "original_size", lambda x: restore(manifest(x, original_size="x")), "integer", UNEQUAL
    ),
    Function("crc32c", lambda x: restore(manifest(x, crc32c="x")), "integer", UNEQUAL),
    Function(
        "payload_crc32c", lambda x: restore(manifest(x, payload_crc32c="x")), "integer", UNEQUAL
    ),
    Function("another field", lambda x: restore(manifest(x, another="x")), "anything"),
    Function("row", lambda x: restore(failing(x), row="x"), "row"),
    Function("row of a struct", lambda x: restore(failing(x), row=pl.struct("x")), "row"),
    Function("arrow.compress", s4_codec.arrow.compress, "values", NULL_ITEM, False),
    Function("arrow.encode", s4_codec.arrow.encode, "values", NULL_ITEM, False),
    Function("arrow.decompress", s4_codec.arrow.decompress, "bytes", DAMAGED, False),
    Function("arrow.decode", s4_codec.arrow.decode, "bytes", FRAMES, False),
    Function(
        "arrow of a frame",
        lambda x: s4_codec.arrow.compress(x.to_frame()),
        "values",
        NULL_ITEM,
        False,
    ),
    Function(
        "arrow.decompress of a struct",
        lambda x: s4_codec.arrow.decompress(manifest(x, original_size="x")["body"], "passthrough"),
        "integer",
        UNEQUAL,
        False,
    ),
    Function(
        "arrow.decompress, payload_crc32c",
        lambda x: s4_codec.arrow.decompress(manifest(x, payload_crc32c="x")["body"], "passthrough"),
        "integer",
        UNEQUAL,
        False,
    ),
    Function("samples", s4_codec.train_dictionary, "values", TRAINING, False),
]


def lacks(kind: Type) -> str | None:
    """Why this Polars cannot have such a column, if so."""
    try:
        kind.make()
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return None


def cell(kind: Type, function: Function) -> str:
    try:
        function.call(kind.make())
    # Polars' panics are no `Exception`.
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return "a result"


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    cells = [(kind, function) for kind in TYPES for function in FUNCTIONS]
    for number, (kind, function) in enumerate(cells):
        if number >= int(sys.argv[1]):
            print(json.dumps(number), flush=True)
            found = None if (reason := lacks(kind)) is None else f"lacks: {reason}"
            print(json.dumps(found or cell(kind, function)), flush=True)
