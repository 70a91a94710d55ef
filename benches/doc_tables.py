"""The tables of figures in README.md and docs/, written from the JSON under benches/results/.

    python benches/doc_tables.py          # writes them anew
    python benches/doc_tables.py --check  # exit status 1 if a page says something else

A page has a table between ``<!-- figures: NAME ARGUMENT ... -->`` and ``<!-- end -->``. The names
are those of the functions in ``TABLES``.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = Path("benches/results/cpu")
PAGES = ["README.md", *sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("docs/*.md"))]
MARK = re.compile(r"(<!-- figures: ([^>]*?) -->\n).*?(<!-- end -->)", re.S)

NAMES = {"ours": "s4-codec", "raw": "raw library"}
CODECS = {"cpu-zstd": "CpuZstd(level=3)", "cpu-gzip": "CpuGzip(level=6)"}
#: Title in the JSON, name on the page.
FILES = {"log lines": "log lines", "JSON documents": "JSON", "HTML of 100 KiB": "HTML, 100 KiB"}
READERS = {"Polars filter": "Polars", "Arrow scanner": "PyArrow", "DuckDB query": "DuckDB"}


@cache
def results(name: str) -> tuple[Path, dict[str, Any]]:
    """The results of a benchmark and their file: of a full run, else of a quick one."""
    paths = [RESULTS / kind / f"{name}.json" for kind in ("full", "quick")]
    path = next(path for path in paths if (ROOT / path).exists())
    found: dict[str, Any] = json.loads((ROOT / path).read_text())
    return path, found


def table(name: str, *words: str) -> dict[str, Any]:
    """The table whose title starts with the first word and contains all others."""
    found: list[dict[str, Any]] = [
        each
        for each in results(name)[1]["tables"]
        if each["title"].startswith(words[0]) and all(word in each["title"] for word in words)
    ]
    if not found:
        raise SystemExit(f"{results(name)[0]}: expected a table with {words} in its title")
    return found[0]


def number(value: float | None) -> str:
    """Three digits that count."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{1 if abs(value) >= 10 else 2}f}"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; numbers to the right."""
    left = [index == 0 or not cell[:1].isdigit() for index, cell in enumerate(rows[0])]
    line = "|" + "".join("---|" if each else "---:|" for each in left)
    return "\n".join([f"| {' | '.join(header)} |", line, *[f"| {' | '.join(r)} |" for r in rows]])


def contenders(row: dict[str, Any]) -> list[str]:
    return [name for name in row if name not in ("row", "rounds") and "/" not in name]


def values(codec: str, direction: str) -> str:
    """MB/s of single values by size; the last row says who refuses a damaged payload."""
    measured = table("oneshot", f"{CODECS[codec]}, {direction}")
    names = contenders(measured["rows"][0])
    rows = [[r["row"], *[number(r.get(name)) for name in names]] for r in measured["rows"]]
    if direction == "decompress":
        refuses = {
            r["row"]: r["checks output"].partition(":")[0]
            for r in table("oneshot", f"{CODECS[codec]}: refuses")["rows"]
        }
        rows.append(["refuses a flipped bit", *[refuses.get(name, "-") for name in names]])
    return markdown(["value", *[NAMES.get(name, name) for name in names]], rows)


def columns(codec: str, direction: str) -> str:
    """Million rows a second of Polars columns, and the ratio to the raw library."""
    header, cells = [""], dict[str, list[str]]()
    for kind in ("log lines", "JSON documents"):
        measured = table("columns", CODECS[codec], direction, kind)
        size = measured["title"].rpartition(" of ")[2]
        header += [f"{kind} of {size}: Mrow/s", "of raw"]
        for row in measured["rows"]:
            figures = [number(row["Mrow/s"]), number(row["/raw"])]
            cells.setdefault(row["row"].replace("ours", "s4-codec"), []).extend(figures)
    return markdown(header, [[name, *figures] for name, figures in cells.items()])


def dictionaries() -> str:
    """Ratio and speed with and without a dictionary."""
    cells = dict[tuple[str, str], list[str]]()
    for direction in ("compress", "decompress"):
        for kind in ("log lines", "JSON documents"):
            measured = table("dictionaries", direction, kind)
            size = measured["title"].rpartition(" of ")[2]
            for row in measured["rows"]:
                start = [number(row["ratio"])] if direction == "compress" else []
                key = (f"{kind} of {size}", row["row"])
                cells.setdefault(key, []).extend([*start, number(row["Mrow/s"])])
    header = ["values", "codec", "ratio", "compress Mrow/s", "decompress Mrow/s"]
    return markdown(header, [[*key, *figures] for key, figures in cells.items()])


def scaling(codec: str, direction: str) -> str:
    """Rows a second on one thread and on all, and the speedup."""
    measured = table("scaling", f"{CODECS[codec]}, {direction}")["rows"]
    most = max(int(name.partition(":")[0]) for name in measured[0] if ": " in name)
    names = ["1: rows/s", f"{most}: rows/s", f"{most}: speedup", f"{most}: /raw"]
    header = ["values", *[name.replace("/raw", "of raw") for name in names]]
    return markdown(header, [[r["row"], *[number(r[name]) for name in names]] for r in measured])


def objects() -> str:
    """MB/s of S4 objects, and of the same as files."""
    rows = [
        [each["title"], row["row"].replace("ours", "s4-codec"), number(row["MB/s"])]
        for each in results("objects")[1]["tables"]
        for row in each["rows"]
    ]
    return markdown(["", "with", "MB/s"], rows)


def file_sizes() -> str:
    """The files of the few rows: pages compressed by Parquet, values compressed here."""
    rows = []
    for title, name in FILES.items():
        sizes = {r["row"]: r["file MB"] for r in table("few-rows", title, "rows of")["rows"]}
        rows.append([name, *[f"{sizes[k]:.0f}" for k in ("pages", "s4", "s4 dictionary")]])
    header = ["MB of a Parquet file", "pages by zstd", "values by CpuZstd", "with a dictionary"]
    return markdown(header, rows)


def pays() -> str:
    """Size and time of the few rows by Polars, in one table."""
    kinds, rows = ("pages", "s4", "s4 dictionary"), []
    for title in FILES:
        sizes = table("few-rows", title, "rows of")
        megabytes = {r["row"]: r["file MB"] for r in sizes["rows"]}
        cells = [title.partition(":")[0], " / ".join(f"{megabytes[kind]:.0f}" for kind in kinds)]
        for which in ("random", "range"):
            measured = {r["row"]: r for r in table("few-rows", title, f", {which},")["rows"]}
            row = measured["Polars filter"]
            cells.append(" / ".join(f"{row[f'{kind} ms']:.0f}" for kind in kinds))
        rows.append([sizes["title"].replace(": ", ", "), *cells[1:]])
    header = ["rows", "MB of the file", "ms for 1% at random", "ms for 1% in one range"]
    return markdown(header, rows)


def few_rows() -> str:
    """The time and the bytes of reading 1% of the rows."""
    rows = []
    kinds = ("pages", "s4", "s4 dictionary")
    for title, name in FILES.items():
        for which in ("range", "random"):
            measured = {r["row"]: r for r in table("few-rows", title, f", {which},")["rows"]}
            for reader, shown in READERS.items():
                row = measured[reader]
                ratios = [f"{row[f'{kind} x']:.1f}" for kind in kinds[1:]]
                pair = [
                    " / ".join(f"{row[f'{kind} {unit}']:.1f}" for kind in kinds)
                    for unit in ("ms", "MB read")
                ]
                rows.append([f"{name}, {which}", shown, *ratios, *pair])
    header = ["rows", "reader", "speed", "with a dictionary"]
    return markdown([*header, "ms: pages / values / dictionary", "MB read: the same"], rows)


def source(name: str) -> str:
    """Where the figures are from: file, command, date, machine and versions."""
    path, found = results(name)
    machine, program = found["machine"], found["command"].split()[1]
    quick = " --quick" if "--quick" in found["command"] else ""
    versions = ", ".join(f"{key} {value}" for key, value in found["versions"].items())
    text = (
        f"From `{path}`, of {found['date'][:10]}: `python benches/{program}{quick}`, medians of "
        f"{found['rounds']} rounds, {found['threads']} of {machine['cores']} cores "
        f"({machine['cpu']}); {versions}."
    )
    return textwrap.fill(text, 118, break_long_words=False, break_on_hyphens=False)


TABLES: dict[str, Callable[..., str]] = {
    each.__name__: each
    for each in (
        values,
        columns,
        dictionaries,
        scaling,
        objects,
        file_sizes,
        pays,
        few_rows,
        source,
    )
}


def written(text: str) -> str:
    """The page with its tables as the results have them."""

    def anew(match: re.Match[str]) -> str:
        name, *arguments = match[2].split()
        return f"{match[1]}\n{TABLES[name](*arguments)}\n\n{match[3]}"

    return MARK.sub(anew, text)


def main() -> None:
    stale = []
    for page in PAGES:
        path = ROOT / page
        text = path.read_text()
        if (new := written(text)) != text:
            stale.append(page)
            if "--check" not in sys.argv:
                path.write_text(new)
    if stale and "--check" in sys.argv:
        sys.exit(f"figures differ from benches/results in {stale}: python benches/doc_tables.py")
    print(*[f"wrote {page}" for page in stale], sep="\n")


if __name__ == "__main__":
    main()
