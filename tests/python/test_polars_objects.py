"""Columns of Python objects, which Polars makes of values that it has no type for: never bytes."""

from __future__ import annotations

import pathlib
import uuid
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pytest
from codecs_table import text
from polars.exceptions import ComputeError

import s4_codec
import s4_codec.arrow
import s4_codec.polars as s4
from s4_codec import CpuZstd

if TYPE_CHECKING:
    from collections.abc import Callable

OBJECTS = [memoryview(b"blob one"), bytearray(b"blob two"), uuid.UUID(int=3), pathlib.Path("a")]


def objects(value: Any) -> pl.Series:
    """What a query returns as rows: Polars finds the types itself."""
    series = pl.DataFrame([(1, value), (2, None)], schema=["id", "x"], orient="row")["x"]
    return series if series.dtype == pl.Object else pl.Series("x", [value, None], dtype=pl.Object)


def streamed(call: pl.Expr) -> Callable[[pl.Series], Any]:
    return lambda x: x.to_frame().lazy().select(call).collect(engine="streaming")


DOORS: dict[str, Callable[[pl.Series], Any]] = {
    "compress": lambda x: x.to_frame().select(s4.compress("x")),
    "encode": lambda x: x.s4.encode(),
    "decompress": lambda x: x.s4.decompress(),
    "decompress of any": lambda x: x.s4.decompress("passthrough"),
    "decode": lambda x: x.s4.decode(on_error="null"),
    "frame_info": lambda x: x.s4.frame_info(on_error="null"),
    "verify": lambda x: x.to_frame().select(s4.verify("x")),
    "verify_frames": lambda x: x.to_frame().select(s4.verify_frames("x")),
    "plan": lambda x: x.to_frame().lazy().select(s4.compress("x")).collect_schema(),
    "streaming": streamed(s4.compress("x")),
    "group_by": lambda x: x.to_frame().group_by(pl.lit(1)).agg(s4.compress("x")),
    "train_dictionary": s4.train_dictionary,
    "samples": s4_codec.train_dictionary,
    "arrow.compress": s4_codec.arrow.compress,
    "arrow.encode": s4_codec.arrow.encode,
    "arrow.decompress": lambda x: s4_codec.arrow.decompress(x, "passthrough"),
    "arrow.decode": lambda x: s4_codec.arrow.decode(x, on_error="null"),
    "arrow.frame_info": lambda x: s4_codec.arrow.frame_info(x, on_error="null"),
    "arrow.verify": lambda x: s4_codec.arrow.verify(x),
    "arrow.verify_frames": lambda x: s4_codec.arrow.verify_frames(x),
    "arrow of a frame": lambda x: s4_codec.arrow.compress(x.to_frame()),
    "arrow of a wide frame": lambda x: s4_codec.arrow.decompress(
        pl.DataFrame({"payload": x, "original_size": [8, 8], "crc32c": [0, 0]}), "passthrough"
    ),
    "arrow of a collected plan": lambda x: s4_codec.arrow.compress(x.to_frame().lazy().collect()),
}


@pytest.mark.parametrize("value", OBJECTS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("door", DOORS)
def test_objects_are_refused(door: str, value: Any) -> None:
    with pytest.raises((ComputeError, TypeError), match="Python objects") as raised:
        DOORS[door](objects(value))
    assert "Object" in str(raised.value)
    assert "pl.Series([bytes(value), ...], dtype=pl.Binary)" in str(raised.value)


def test_what_the_message_advises_works() -> None:
    for value in OBJECTS[:2]:
        series = objects(value)
        advised = [
            series.map_elements(bytes, return_dtype=pl.Binary),
            pl.Series([None if v is None else bytes(v) for v in series], dtype=pl.Binary),
        ]
        for column in advised:
            assert column.s4.compress().s4.decompress().to_list() == [bytes(value), None]


def test_a_plan_that_states_another_type_is_refused_when_it_runs() -> None:
    stated = pl.LazyFrame({"x": [b"a", b"b"]}).map_batches(
        lambda frame: frame.select(x=objects(OBJECTS[0])),
        schema={"x": pl.Binary},
        validate_output_schema=False,
    )
    plan = stated.select(s4.compress("x"))
    assert plan.collect_schema() == {"x": s4.COMPRESSED_DTYPE}
    with pytest.raises(ComputeError, match=r"compress expects Binary or String, .*found Object"):
        plan.collect()


def test_rows_are_not_named_by_objects() -> None:
    packed = pl.Series("body", [b"a", b"b"]).s4.compress()
    frame = packed.to_frame().with_columns(objects(OBJECTS[0]))
    for call in (s4.decompress("body", row="x"), s4.decode(pl.lit(b""), row="x")):
        with pytest.raises(ComputeError, match="row cannot name rows by Object"):
            frame.lazy().select(call).collect_schema()


def test_objects_that_nobody_reads_do_no_harm() -> None:
    frame = objects(OBJECTS[0]).to_frame().with_columns(body=pl.Series([b"a", None]))
    packed = frame.with_columns(s4.compress("body"))
    assert packed.select(s4.decompress("body")).to_series().to_list() == [b"a", None]


def test_objects_in_a_wrapper_of_narwhals() -> None:
    """Narwhals passes on what it wraps."""
    wrapper = type("Series", (), {"__module__": "narwhals.stable.v2"})
    wrapped = wrapper()
    wrapper.to_native = lambda self: objects(OBJECTS[0])
    wrapper.__arrow_c_stream__ = lambda self, requested_schema=None: pytest.fail("is not asked")
    with pytest.raises(TypeError, match="Python objects"):
        s4_codec.arrow.compress(wrapped)


def test_eight_bytes_that_are_bytes_pass() -> None:
    values = [b"8 bytes.", None, bytes(8)]
    array = pa.array(values, pa.binary(8))
    columns = [array, pa.table({"x": array}), pl.Series("x", array), pl.DataFrame({"x": array})]
    for column in columns:
        packed = s4_codec.arrow.compress(column)
        assert s4_codec.arrow.decompress(packed).to_pylist() == values
    assert pl.Series("x", array).s4.compress().s4.decompress().to_list() == values


@pytest.mark.parametrize(
    ("name", "values"),
    [("uuid", [bytes(range(16))]), ("json_", [b'{"a": 1}'])],
)
def test_extension_types_are_read_as_they_are_stored(name: str, values: list[bytes]) -> None:
    if not hasattr(pa, name):
        pytest.skip(f"pyarrow {pa.__version__} has no {name}")
    dtype = getattr(pa, name)()
    array = pa.ExtensionArray.from_storage(dtype, pa.array(values).cast(dtype.storage_type))
    for column in (array, pa.chunked_array([array]), pa.table({"x": array})):
        packed = s4_codec.arrow.compress(column)
        assert s4_codec.arrow.decompress(packed).to_pylist() == values
    try:
        series = pl.Series("x", array)
    except ComputeError as error:
        pytest.skip(f"polars {pl.__version__}: {error}")
    assert series.s4.compress().s4.decompress().to_list() == values


def test_an_extension_of_the_compressed_struct_is_that_struct() -> None:
    if not hasattr(pl, "Extension"):
        pytest.skip(f"polars {pl.__version__} has no extension types")
    packed = pl.Series("body", [text(100), None]).s4.compress(CpuZstd())
    named = packed.ext.to(pl.Extension("s4.compressed", packed.dtype, None))
    assert named.s4.decompress().to_list() == [text(100), None]
    payload = packed.struct.field("payload")
    named = payload.ext.to(pl.Extension("s4.payload", pl.Binary, None))
    fields = packed.struct.unnest().with_columns(payload=named)
    assert fields.select(s4.decompress(pl.struct(pl.all()))).to_series().to_list() == [
        text(100),
        None,
    ]
