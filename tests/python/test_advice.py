"""advise: what it measures, how it chooses, and what it says of columns that are unusual."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from codecs_table import DICTIONARY
from test_cli import check, run

import s4_codec
import s4_codec.polars as s4
from s4_codec import Advice, CpuGzip, CpuZstd, CpuZstdDict, DictionarySet, Passthrough, advise
from s4_codec._advice.sample import SeriesRows, sampled

PARQUET = "parquet zstd level 3"

#: Short and similar: a dictionary pays.
EVENTS = [
    json.dumps({"user": n * 7919 % 9973, "action": "view", "item": f"item-{n * n % 99991}"})
    for n in range(20_000)
]


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def sizes(advice: Advice) -> dict[str, int]:
    return dict(advice.table.select("codec", "bytes").iter_rows())


@pytest.fixture(scope="module")
def events() -> Advice:
    return advise(pl.Series("event", EVENTS))


def test_the_table_names_each_way(events: Advice) -> None:
    table = events.table
    assert table.schema == {
        "codec": pl.String,
        "ratio": pl.Float64,
        "bytes": pl.Int64,
        "compress_mb_s": pl.Float64,
        "decompress_mb_s": pl.Float64,
        "read_1pct_s": pl.Float64,
        "grow_share": pl.Float64,
    }
    names = table["codec"].to_list()
    assert {"passthrough", "cpu-zstd level 3", "cpu-gzip level 6", PARQUET} <= set(names)
    assert [name for name in names if "dict" in name] == sorted(
        (f"cpu-zstd-dict level {level}" for level in (3, 9, 19)),
        key=lambda name: sizes(events)[name],
    )
    assert table["bytes"].is_sorted()
    total = sum(map(len, EVENTS))
    assert table["ratio"].to_list() == pytest.approx([total / b for b in table["bytes"]])
    assert table.filter(pl.col("grow_share").is_null())["codec"].to_list() == [PARQUET]
    assert (table["grow_share"].drop_nulls() <= 1).all()
    for speed in ("compress_mb_s", "decompress_mb_s", "read_1pct_s"):
        assert (table[speed] > 0).all()


def test_a_dictionary_is_best_for_short_similar_values(events: Advice) -> None:
    best = events.best
    assert isinstance(best, CpuZstdDict)
    name = f"cpu-zstd-dict level {best.level}"
    assert sizes(events)[name] < sizes(events)["cpu-zstd level 19"] * 0.7
    assert name in events.reason
    value = EVENTS[5].encode()
    assert best.decompress(*best.compress(value)) == value


def test_the_bytes_of_the_dictionary_count() -> None:
    column = pl.Series(EVENTS[:100])
    found = sizes(advise(column, codecs=[CpuZstdDict(DICTIONARY), CpuZstd()]))
    assert found["cpu-zstd-dict level 3"] > len(DICTIONARY)


def test_projected_bytes_are_those_of_the_whole_column() -> None:
    # Only a sample from everywhere shows both halves.
    column = pl.Series([noise(300, n) for n in range(4000)] + [e.encode() * 6 for e in EVENTS])
    codec = CpuGzip(1)
    advice = advise(column, sample_bytes=1 << 20, codecs=[codec])
    packed = column.to_frame("body").select(s4.compress("body", codec))
    payload = packed["body"].struct.field("payload").bin.size().sum()
    rows = len(column)
    assert payload < sizes(advice)["cpu-gzip level 1"] < payload * 1.15 + rows * 24


def test_shares_of_values_that_grow() -> None:
    column = pl.Series([noise(100, n) if n % 4 else b"a" * 200 for n in range(4000)])
    table = advise(column, codecs=["cpu-zstd", "passthrough"]).table
    shares = dict(table.select("codec", "grow_share").iter_rows())
    assert shares["cpu-zstd level 3"] == pytest.approx(0.75, abs=0.05)
    assert shares["passthrough"] == 0


def test_the_seed_chooses_the_sample() -> None:
    column = pl.Series([noise(n % 500, n) + b"a" * (n % 700) for n in range(4000)])
    found = [
        sizes(advise(column, sample_bytes=1 << 16, codecs=["cpu-zstd"], seed=seed))
        for seed in (1, 1, 2)
    ]
    assert found[0] == found[1] != found[2]


LENGTHS = {
    "short": [5] * 90_000,
    "mixed": [n * n % 3000 for n in range(3000)],
    "one huge": [10] * 5000 + [4 << 20] + [10] * 5000,
    "only huge": [3 << 20, 2 << 20],
}


@pytest.mark.parametrize("kind", LENGTHS)
def test_the_sample_is_spread_and_within_its_limit(kind: str) -> None:
    lengths = LENGTHS[kind]
    column = pl.Series([n.to_bytes(4, "big") + bytes(length) for n, length in enumerate(lengths)])
    limit = 1 << 17
    sample = sampled(SeriesRows(column), limit, seed=3)
    assert (sample.rows, sample.bytes) == (len(column), sum(lengths) + 4 * len(column))
    values = pl.concat(sample.runs)
    assert limit / 16 <= values.bin.size().sum() <= limit
    assert values.n_unique() == len(values)
    numbers = [int.from_bytes(value[:4], "big") for value in values]
    if kind in ("short", "mixed"):
        assert {number * 10 // len(lengths) for number in numbers} == set(range(10))


VALUES = [e.encode() for e in EVENTS[:3000]]
TEXT = EVENTS[:3000]

INPUTS: dict[str, Any] = {
    "String series": pl.Series("body", TEXT),
    "frame": pl.DataFrame({"body": TEXT}),
    "chunks and nulls": pl.concat([pl.Series([None, *TEXT[:9]]), pl.Series(TEXT[9:])]),
    "slice": pl.Series(["x", *TEXT, "y"])[1:-1],
    "Arrow string": pa.array(TEXT),
    "Arrow chunks": pa.chunked_array([TEXT[:7], TEXT[7:]], pa.large_string()),
    "Arrow view": pa.array(VALUES, pa.binary_view()),
    "Arrow dictionary": pa.array(TEXT).dictionary_encode(),
    "one-column table": pa.table({"body": TEXT}),
    "bytes": VALUES,
    "iterator": iter(VALUES),
    "bytearrays and None": [None, *map(bytearray, VALUES)],
    "memoryviews": [memoryview(value) for value in VALUES],
    "arrays": [np.frombuffer(value, np.uint8) for value in VALUES],
}


@pytest.fixture(scope="module")
def expected() -> Advice:
    return advise(pl.Series(VALUES), codecs="cpu-zstd")


@pytest.mark.parametrize("kind", INPUTS)
def test_inputs(kind: str, expected: Advice) -> None:
    found = advise(INPUTS[kind], codecs="cpu-zstd")
    assert sizes(found) == sizes(expected)
    assert f"{len(VALUES):,} values" in repr(found)


@pytest.mark.skipif(not hasattr(pl, "Extension"), reason="this Polars has no extension types")
def test_extension_types_are_read_as_stored(expected: Advice) -> None:
    stored = pl.Series(TEXT)
    column = stored.ext.to(pl.Extension("s4.test", pl.String(), None))
    assert sizes(advise(column, codecs="cpu-zstd")) == sizes(expected)
    with pytest.raises(TypeError, match=r"found .*Int64"):
        advise(pl.Series([1]).ext.to(pl.Extension("s4.test", pl.Int64(), None)))


def test_values_without_bytes_count() -> None:
    found = advise([b"", np.empty((0, 3)), b"x", *[b""] * 50], codecs="passthrough")
    assert "53 values, 1 bytes" in repr(found)


def test_codecs_are_objects_or_names() -> None:
    named = advise(VALUES, codecs=[CpuZstd(5), "cpu-gzip", "cpu-zstd-dict", CpuZstd(5)])
    assert sorted(sizes(named)) == [
        "cpu-gzip level 6",
        "cpu-zstd level 5",
        "cpu-zstd-dict level 3",
        PARQUET,
    ]
    assert isinstance(named.best, CpuZstdDict)
    assert sorted(sizes(advise(VALUES, codecs="passthrough"))) == [PARQUET, "passthrough"]


UNUSUAL: dict[str, tuple[list[bytes | None], type, str]] = {
    "empty": ([], object, "no values"),
    "nulls": ([None] * 9, object, "no values"),
    "empty values": ([b""] * 300, object, "All values are empty"),
    "one row": ([b"a fine body " * 9], object, "cpu-"),
    "all equal": ([b"the same bytes in every row, however many there are " * 2] * 5000, object, ""),
    "incompressible": ([noise(3000, n) for n in range(200)], Passthrough, "No codec makes"),
    "repeated noise": ([noise(999)] * 2000, CpuZstdDict, "Parquet's own zstd is smaller here"),
    "one huge value": ([b"row %d " % 7 * 700_000], object, "cpu-"),
    "huge among short": ([*VALUES[:99], b"huge " * 900_000, *VALUES[:99]], object, ""),
    "nothing to train on": ([b"ab", b"cde"], object, ""),
}


@pytest.mark.parametrize("case", UNUSUAL)
def test_unusual_columns_get_an_answer(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, best, words = UNUSUAL[case]
    codecs = ["passthrough", "cpu-zstd", "cpu-gzip", "cpu-zstd-dict"]
    column = pl.Series("body", values, dtype=pl.Binary)
    advice = advise(column, codecs=codecs, sample_bytes=1 << 20)
    assert isinstance(advice.best, best)
    assert words in advice.reason
    assert advice.reason.endswith(".")
    assert "\n" not in advice.reason
    assert advice.reason in repr(advice)
    ElementTree.fromstring(advice._repr_html_())
    assert advice.table["ratio"].is_finite().all()
    assert advice.chart().to_dict()["layer"]
    if case == "nothing to train on":
        assert not advice.table["codec"].str.contains("dict").any()
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"df": column.to_frame()}
    exec(advice.code, names)
    restored = pl.read_parquet("body.s4.parquet").select(s4.decompress("body", names["codec"]))
    assert restored.to_series().equals(column)


def test_a_column_of_type_null() -> None:
    assert "no values" in advise(pl.Series([None, None]), codecs="cpu-zstd").reason


def test_what_only_parquet_makes_smaller_is_left_to_it() -> None:
    advice = advise([noise(999)] * 2000, codecs=["passthrough", "cpu-zstd"])
    assert isinstance(advice.best, Passthrough)
    assert "Parquet's own zstd is smaller here" in advice.reason


def test_more_than_4_gib_in_all() -> None:
    long = pl.Series([b"".join(noise(64, n) * 2 for n in range(1 << 17))] * 8)
    column = pl.concat([long] * 34, rechunk=False)
    total = 34 * 8 * (1 << 24)
    assert total > 1 << 32
    found = sizes(advise(column, codecs=["cpu-zstd", "passthrough"], sample_bytes=4 << 20))
    assert found["passthrough"] == pytest.approx(total, rel=0.01)
    assert found["cpu-zstd level 3"] == pytest.approx(total / 2, rel=0.1)


@pytest.mark.parametrize(
    ("origin", "data"),
    [
        ("df", pl.DataFrame({'it\'s a "body"\n': EVENTS})),
        ("values", [None, *map(str.encode, EVENTS)]),
        ("df", pl.DataFrame({"x" * 5000: EVENTS})),
        ("data", pa.array(EVENTS)),
        ("data", pa.array(EVENTS).dictionary_encode()),
        ("data", pa.table({"body": EVENTS})),
        ("data", pa.record_batch({"body": pa.array(EVENTS, pa.binary())})),
    ],
)
def test_the_code_runs(
    origin: str, data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    advice = advise(data, codecs="cpu-zstd-dict")
    names: dict[str, Any] = {origin: data}
    exec(advice.code, names)
    (stored,) = tmp_path.glob("*.parquet")
    (folder,) = tmp_path.glob("*.s4dict")
    kept = DictionarySet.load(folder)
    column = names["df"].to_series()
    restored = s4.decompress(column.name, dictionary=kept, dtype=column.dtype)
    assert pl.read_parquet(stored).select(restored).to_series().equals(column)
    assert stored.stat().st_size + len(kept.dictionaries[0]) == pytest.approx(
        sizes(advice)["cpu-zstd-dict level 3"], rel=0.1
    )


def test_the_code_runs_with_a_dictionary_of_the_callers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = pl.DataFrame({"body": EVENTS})
    advice = advise(data, codecs=[CpuZstdDict(DICTIONARY)])
    (tmp_path / "body.dict").write_bytes(DICTIONARY)
    exec(advice.code, {"df": data})
    packed = pl.read_parquet(tmp_path / "body.s4.parquet")
    assert packed.select(s4.decompress("body", CpuZstdDict(DICTIONARY), dtype=pl.String)).equals(
        data
    )


def test_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    dtype = pl.Array(pl.Float32, 64)
    vectors = np.random.default_rng(1).integers(0, 9, (2000, 64)).astype(np.float32)
    data = pl.DataFrame({"vector": [*vectors.tolist(), None]}, schema={"vector": dtype})
    advice = advise(data, codecs=["cpu-zstd", "passthrough"])
    assert advice.best == CpuZstd()
    exec(advice.code, {"df": data})
    packed = pl.read_parquet(tmp_path / "vector.s4.parquet")
    assert packed.select(s4.decompress("vector", CpuZstd(), dtype=dtype)).equals(data)


def test_names_that_polars_takes_for_patterns() -> None:
    assert sizes(advise(pl.Series("^a$", VALUES), codecs="zstd")) == sizes(
        advise(pl.Series("a", VALUES), codecs="zstd")
    )


@pytest.mark.parametrize(
    "column", [[], [b"x"], [None] * 9, [b"x"] * 9, pl.Series([[1, 2]] * 500)], ids=repr
)
def test_only_a_dictionary_that_cannot_be_trained(column: Any) -> None:
    with pytest.raises(ValueError, match="a dictionary needs text or bytes, and more of them"):
        advise(column, codecs="cpu-zstd-dict")
    assert advise(column, codecs=["cpu-zstd-dict", "passthrough"]).best == Passthrough()


def test_samples_larger_than_any_column() -> None:
    expected = sizes(advise(VALUES, codecs="zstd"))
    assert sizes(advise(VALUES, codecs="zstd", sample_bytes=2**63)) == expected


def test_the_chart_marks_the_front(events: Advice, tmp_path: Path) -> None:
    chart = events.chart()
    (data,) = chart.to_dict()["datasets"].values()
    front = [row for row in data if row["pareto"]]
    assert front
    for row in data:
        beaten = [
            other
            for other in data
            if other["ratio"] >= row["ratio"]
            and other["decompress_mb_s"] >= row["decompress_mb_s"]
            and other["codec"] != row["codec"]
        ]
        assert bool(beaten) != row["pareto"]
    for suffix, start in {"png": b"\x89PNG", "svg": b"<svg", "html": b"<!DOCTYPE html>"}.items():
        path = tmp_path / f"x.{suffix}"
        chart.save(path)
        assert path.read_bytes().lstrip().startswith(start)
    assert "cpu-zstd-dict" in (tmp_path / "x.svg").read_text()


def test_the_chart_says_what_to_install(events: Advice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "altair", None)
    with pytest.raises(ImportError, match=r"pip install 's4-codec\[plot\]'"):
        events.chart()


def test_progress(capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[tuple[float, str]] = []
    advise(VALUES, codecs=["cpu-gzip"], progress=lambda *call: calls.append(call))
    fractions = [fraction for fraction, _ in calls]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    assert "cpu-gzip level 6" in [text for _, text in calls]
    assert capsys.readouterr().err == ""
    advise(VALUES, codecs=["cpu-gzip"], progress=True)
    bar = capsys.readouterr().err
    assert "#" in bar
    assert bar.endswith("\x1b[K"), "the bar is cleared"


BAD: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
    (pl.Series([object()], dtype=pl.Object), {}, TypeError, "Object .*convert it to a Binary"),
    (pl.Series([1, 2]), {}, TypeError, "advise expects Binary.* numbers, found Int64"),
    (pl.DataFrame({"a": ["x"], "b": ["y"]}), {}, TypeError, r"not a table of 2: \['a', 'b'\]"),
    (pl.LazyFrame({"a": ["x"]}), {}, TypeError, "LazyFrame; pass a series"),
    (pl.col("a"), {}, TypeError, "Expr; pass a series"),
    (pa.array([1]), {}, TypeError, "found Int64"),
    (b"one value", {}, TypeError, "not one bytes; pass a list"),
    ("one text", {}, TypeError, "not one str; pass a list"),
    (7, {}, TypeError, "Polars series, Arrow data or an iterable of buffers, not int"),
    ([np.zeros((4, 4))[:, 1]], {}, TypeError, "value 0 must be a contiguous buffer"),
    (["text"], {}, TypeError, "value 0 must be a contiguous buffer.*encode text"),
    ([b"x", 1], {}, TypeError, "value 1 must be a contiguous buffer"),
    ([b"x"], {"sample_bytes": 0}, ValueError, "sample_bytes must be positive, got 0"),
    ([b"x"], {"sample_bytes": -1}, ValueError, "sample_bytes must be positive, got -1"),
    ([b"x"], {"sample_bytes": 1.5}, TypeError, "integer"),
    ([b"x"], {"seed": "x"}, TypeError, "integer"),
    ([b"x"], {"codecs": []}, ValueError, "codecs is empty"),
    ([b"x"], {"codecs": ["cpu-lz4"]}, s4_codec.S4UnregisteredCodecError, "cpu-lz4"),
    ([b"x"], {"codecs": [3]}, TypeError, "codecs must hold codecs or their names, not int"),
    ([b"x"], {"codecs": CpuZstd}, TypeError, "codecs"),
    ([b"x"], {"progress": 3}, TypeError, "progress must be callable"),
]


@pytest.mark.parametrize(("column", "options", "error", "words"), BAD)
def test_mistakes_are_explained(
    column: Any, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        advise(column, **options)


def test_a_required_codec_that_fails_raises() -> None:
    with pytest.raises(pl.exceptions.ComputeError, match=r"GPU|not a multiple"):
        advise([b"abc"], codecs=[s4_codec.NvcompBitcomp("u64", device="auto")])


@pytest.mark.gpu
def test_gpu_codecs_are_measured_where_there_is_one() -> None:
    found = advise(VALUES)
    assert {"nvcomp-zstd", "nvcomp-gdeflate"} <= set(sizes(found))


def test_the_command(tmp_path: Path) -> None:
    pl.DataFrame({"n": range(3000), "body": TEXT}).write_parquet(tmp_path / "rows.parquet")
    done = run("advise", "rows.parquet", "--plot", "out.svg", cwd=tmp_path)
    lines = check(done).decode().splitlines()
    assert lines[0].startswith("3,000 values, ")
    assert sum("dict" in line for line in lines[:-1]) >= 3
    assert PARQUET in lines[-1] or "Parquet's own zstd" in lines[-1]
    assert (tmp_path / "out.svg").read_text().startswith("<svg")
    assert b"#" not in done.stderr, "a bar is for terminals"
    (tmp_path / "app.log").write_bytes(b"\n".join(VALUES))
    assert b"3,000 values, " in check(run("advise", "app.log", cwd=tmp_path))


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        (
            ["rows.csv"],
            1,
            "2 columns are String or Binary; pass --column NAME",
        ),
        (["rows.csv", "--column", "c"], 1, "rows.csv has no column 'c'"),
        (["nope.csv"], 1, "nope.csv: No such file"),
        (["rows.csv", "--column", "a", "--plot", "x.gif"], 1, "ends in .png, .svg, .html"),
        (["rows.csv", "--column", "a", "--plot", "-"], 1, "ends in .png, .svg, .html"),
        (["rows.csv", "--column", "a", "--plot", "no/x.svg"], 1, "no/x.svg: No such file"),
        ([], 2, "FILE"),
    ],
)
def test_the_command_explains(tmp_path: Path, args: list[str], status: int, words: str) -> None:
    (tmp_path / "rows.csv").write_text("a,b\nx,y\n")
    check(run("advise", *args, cwd=tmp_path), status, words)
