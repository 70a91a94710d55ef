"""1% of the rows of a Parquet file: values that are compressed one by one, or pages by Parquet.

    python benches/few_rows.py
    python benches/few_rows.py --quick
    python benches/few_rows.py --data DIR

Three files hold the same rows, an id and a value: "pages" is compressed by Parquet itself with
zstd at level 3; "s4" holds the struct of `s4_codec.polars.compress` with `CpuZstd(3)`, and
"s4 dictionary" with a trained dictionary, both in uncompressed pages. Each reader returns the ids
and the values of 1% of the rows, one range of ids or ids at random: milliseconds, the speed
relative to "pages", and the bytes that the process asked the system for in one run (``rchar`` of
/proc/self/io). The files are in the page cache, so the time is that of the processor.

The last tables show what the number of rows in a row group, and the size of a page, change for
one reader.
"""

from __future__ import annotations

import functools
import itertools
import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
from harness import Contender, Corpus, Rates, load, measure, optional, progress, ratio, speed
from report import Cell, Report, benchmark_parser
from synthetic import pages

import s4_codec.arrow
import s4_codec.polars
from s4_codec import Codec, CpuZstd, CpuZstdDict, num_threads, train_dictionary

BODY, ID = "body", "id"
PAGES, S4, DICTIONARY = "pages", "s4", "s4 dictionary"
SHARE = 100
PAGE_BYTES = 100 << 10
SHORT_LIST = 20

#: Original bytes of a row group, in most tables and in those of the layout.
GROUP_BYTES = 4 << 20
GROUPS = (256 << 10, 1 << 20, 4 << 20, 16 << 20, 64 << 20)
DATA_PAGES = (8 << 10, 64 << 10, 1 << 20)

#: Ids and values.
Table = Any
Reader = Callable[["File", "Selection"], Table]


@dataclass(frozen=True)
class File:
    """A Parquet file with ids and values."""

    path: Path
    #: What its values are compressed with; None: its pages are, by Parquet.
    codec: Codec | None

    @functools.cached_property
    def size(self) -> int:
        return self.path.stat().st_size


@dataclass(frozen=True)
class Selection:
    """Ascending ids of rows; a row's id is its position in the file."""

    name: str
    ids: list[int]

    @property
    def is_range(self) -> bool:
        return self.ids[-1] - self.ids[0] + 1 == len(self.ids)


def selections(rows: int) -> list[Selection]:
    """One range, and rows at random."""
    count = max(1, rows // SHARE)
    start = rows // 3
    chosen = sorted(random.Random(0).sample(range(rows), count))
    return [Selection("range", list(range(start, start + count))), Selection("random", chosen)]


def restored(frame: pl.LazyFrame, file: File) -> pl.LazyFrame:
    if file.codec is None:
        return frame
    return frame.with_columns(s4_codec.polars.decompress(BODY, file.codec))


def polars_predicate(selection: Selection) -> pl.Expr:
    if selection.is_range:
        return pl.col(ID).is_between(selection.ids[0], selection.ids[-1])
    # Polars compares each id of a short list with the statistics of the row groups, which takes
    # it 20 ms for 100 ids; with a series it skips no row groups.
    if len(selection.ids) <= SHORT_LIST:
        return pl.col(ID).is_in(selection.ids)
    return pl.col(ID).is_in(pl.Series(selection.ids).implode())


def polars_filter(file: File, selection: Selection) -> Table:
    scan = pl.scan_parquet(file.path).filter(polars_predicate(selection))
    return restored(scan, file).collect()


def polars_streaming(file: File, selection: Selection) -> Table:
    scan = pl.scan_parquet(file.path).filter(polars_predicate(selection))
    return restored(scan, file).collect(engine="streaming")


def polars_join(file: File, selection: Selection) -> Table:
    wanted = pl.LazyFrame({ID: selection.ids})
    return restored(pl.scan_parquet(file.path).join(wanted, on=ID, how="semi"), file).collect()


def polars_gather(file: File, selection: Selection) -> Table:
    scan = pl.scan_parquet(file.path).select(pl.all().gather(selection.ids))
    return restored(scan, file).collect()


def arrow_values(table: pa.Table, file: File) -> Table:
    if file.codec is None:
        return table
    return pa.table({ID: table[ID], BODY: s4_codec.arrow.decompress(table[BODY], file.codec)})


def arrow_scanner(file: File, selection: Selection) -> Table:
    field = ds.field(ID)
    first, last = selection.ids[0], selection.ids[-1]
    condition = field.isin(selection.ids)
    if selection.is_range:
        condition = (field >= first) & (field <= last)
    return arrow_values(ds.dataset(file.path).to_table(filter=condition), file)


def arrow_take(file: File, selection: Selection) -> Table:
    return arrow_values(ds.dataset(file.path).take(pa.array(selection.ids)), file)


@functools.cache
def duckdb_connection() -> Any | None:
    """A connection that reads the file in every query, as the others do."""
    duckdb = optional("duckdb", "duckdb")
    if duckdb is None:
        return None
    connection = duckdb.connect()
    connection.execute("SET enable_external_file_cache = false")
    return connection


def duckdb_query(file: File, selection: Selection) -> Table:
    connection = duckdb_connection()
    assert connection is not None
    first, last = selection.ids[0], selection.ids[-1]
    condition = f"BETWEEN {first} AND {last}" if selection.is_range else f"IN {selection.ids}"
    query = f"SELECT {ID}, {BODY} FROM '{file.path}' WHERE {ID} {condition}"
    return arrow_values(connection.sql(query).to_arrow_table(), file)


READERS: dict[str, Reader] = {
    "Polars filter": polars_filter,
    "Polars filter, streaming": polars_streaming,
    "Polars semi join": polars_join,
    "Polars gather": polars_gather,
    "Arrow scanner": arrow_scanner,
    "Arrow take": arrow_take,
    "DuckDB query": duckdb_query,
}


def readers() -> dict[str, Reader]:
    found = dict(READERS)
    if duckdb_connection() is None:
        del found["DuckDB query"]
    return found


def bytes_asked_for() -> int:
    """The bytes that this process has asked the system to read so far."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("rchar"))


def bytes_read(run: Callable[[], object]) -> int:
    """The bytes that one run asks for."""
    overhead = -bytes_asked_for() + bytes_asked_for()
    before = bytes_asked_for()
    run()
    return bytes_asked_for() - before - overhead


def numbered(values: list[bytes], count: int) -> list[bytes]:
    """``count`` values, each with its number: none repeats, or Parquet would store it once."""
    repeated = itertools.islice(itertools.cycle(values), count)
    return [b"%d %s" % (number, value) for number, value in enumerate(repeated)]


def html(count: int) -> list[bytes]:
    """Values of about 100 KiB, joined from pages of HTML; they repeat after 10 MiB."""
    parts = pages(1_500)
    joined, found, size = list[bytes](), list[bytes](), 0
    for part in itertools.islice(itertools.cycle(parts), count * 20):
        joined.append(part)
        size += len(part)
        if size >= PAGE_BYTES:
            found.append(b"".join(joined))
            joined, size = [], 0
    return found[:count]


def sets(corpus: Corpus, quick: bool) -> Iterator[tuple[str, list[bytes]]]:
    """The columns by name."""
    yield "log lines", numbered(corpus.lines, 200_000 if quick else 1_000_000)
    yield "JSON documents", numbered(corpus.documents, 10_000 if quick else 40_000)
    yield "HTML of 100 KiB", numbered(html(600), 600 if quick else 2_000)


def write(
    folder: Path, values: list[bytes], group_bytes: int, page_bytes: int | None = None
) -> dict[str, File]:
    """The three files, with row groups and pages of about these original bytes."""
    frame = pl.DataFrame(
        {ID: range(len(values)), BODY: values}, schema={ID: pl.Int64, BODY: pl.Binary}
    )
    total = sum(map(len, values))
    group = max(1, group_bytes * len(values) // total)
    samples = values[:: max(1, total // (16 << 20))]
    codecs: dict[str, Codec | None] = {
        PAGES: None,
        S4: CpuZstd(3),
        DICTIONARY: CpuZstdDict(train_dictionary(samples), 3),
    }
    files = {}
    for name, codec in codecs.items():
        path = folder / f"{name.replace(' ', '-')}-{group_bytes}-{page_bytes}.parquet"
        if codec is None:
            frame.write_parquet(
                path,
                compression="zstd",
                compression_level=3,
                row_group_size=group,
                data_page_size=page_bytes,
            )
        else:
            frame.with_columns(s4_codec.polars.compress(BODY, codec)).write_parquet(
                path, compression="uncompressed", row_group_size=group, data_page_size=page_bytes
            )
        files[name] = File(path, codec)
    return files


def check(table: Table, selection: Selection, values: list[bytes]) -> None:
    """Asserts that a reader returned the rows that were asked for."""
    frame = table if isinstance(table, pl.DataFrame) else pl.DataFrame(pl.from_arrow(table))
    frame = frame.sort(ID)
    assert frame[ID].to_list() == selection.ids
    assert frame[BODY].to_list() == [values[row] for row in selection.ids]


def milliseconds(rates: Rates, name: str, size: int) -> float:
    return size / speed(rates, name) / 1e3


def bench_readers(
    report: Report, what: str, files: dict[str, File], values: list[bytes], rounds: int
) -> None:
    """All readers of the three files."""
    for selection in selections(len(values)):
        size = sum(len(values[row]) for row in selection.ids)
        rows: list[list[Cell]] = []
        measured: list[Rates] = []
        for reader, read in readers().items():
            progress(f"{what}, {selection.name}: {reader}")
            runs = {name: functools.partial(read, file, selection) for name, file in files.items()}
            for run in runs.values():
                check(run(), selection, values)
            asked = [bytes_read(run) / 1e6 for run in runs.values()]
            rates = measure([Contender(name, size, run) for name, run in runs.items()], rounds)
            times = [milliseconds(rates, name, size) for name in files]
            ratios = [ratio(rates, name, PAGES) for name in (S4, DICTIONARY)]
            rows.append([reader, *times, *ratios, *asked])
            measured.append(rates)
        progress("")
        columns = {f"{name} ms": ".1f" for name in files}
        columns |= {f"{name} x": ".2f" for name in (S4, DICTIONARY)}
        columns |= {f"{name} MB read": ".2f" for name in files}
        count = f"{len(selection.ids):,} of {len(values):,} rows"
        report.table(f"{what}, {selection.name}, {count}", {"": "", **columns}, rows, measured)


def bench_layouts(report: Report, what: str, values: list[bytes], rounds: int) -> None:
    """One reader of files with other row groups, and other pages."""
    total = sum(map(len, values))
    layouts: list[tuple[int, int | None]] = [(group, None) for group in GROUPS if group < total]
    layouts += [(GROUP_BYTES, page) for page in DATA_PAGES]
    rows: list[list[Cell]] = []
    measured: list[Rates] = []
    for group, page in layouts:
        progress(f"{what}: row groups of {group >> 10:,} KiB")
        with tempfile.TemporaryDirectory() as name:
            files = write(Path(name), values, group, page)
            row: list[Cell] = [f"{group >> 10:,} KiB"]
            row.append("default" if page is None else f"{page >> 10:,} KiB")
            row += [files[each].size / 1e6 for each in (PAGES, S4)]
            found: Rates = {}
            for selection in selections(len(values)):
                size = sum(len(values[each]) for each in selection.ids)
                runs = {
                    f"{selection.name} {each}": functools.partial(
                        polars_filter, files[each], selection
                    )
                    for each in (PAGES, S4)
                }
                rates = measure([Contender(each, size, run) for each, run in runs.items()], rounds)
                row += [milliseconds(rates, each, size) for each in runs]
                row += [bytes_read(run) / 1e6 for run in runs.values()]
                found |= rates
            rows.append(row)
            measured.append(found)
    progress("")
    columns = {"row group": "", "data page": "", "pages MB": ".1f", "s4 MB": ".1f"}
    for kind, unit in itertools.product(("range", "random"), ("ms", "MB read")):
        columns |= {f"{kind} {each} {unit}": ".2f" for each in (PAGES, S4)}
    report.table(f"{what}, Polars filter, by layout (original bytes)", columns, rows, measured)


def main() -> None:
    parser = benchmark_parser(__doc__, rounds=11, quick="5 rounds, smaller files")
    args = parser.parse_args()
    rounds = 5 if args.quick else args.rounds
    corpus = load(args.data)
    report = Report(args, corpus, rounds, num_threads(), ["duckdb"])
    for what, values in sets(corpus, args.quick):
        mean = sum(map(len, values)) / len(values)
        progress(f"{what}: writing")
        with tempfile.TemporaryDirectory() as name:
            files = write(Path(name), values, GROUP_BYTES)
            rows: list[list[Cell]] = [[each, file.size / 1e6] for each, file in files.items()]
            title = f"{what}: {len(values):,} rows of {mean:,.0f} bytes"
            report.table(title, {"": "", "file MB": ".1f"}, rows)
            bench_readers(report, what, files, values, rounds)
        bench_layouts(report, what, values, rounds)


if __name__ == "__main__":
    main()
