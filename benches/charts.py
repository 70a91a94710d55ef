"""Charts of the CPU benchmarks, from what benches/run_all.py wrote.

    python benches/charts.py benches/results/cpu/full docs/images

Draws speed-values and speed-columns, each as NAME-light.svg and NAME-dark.svg with a transparent
background. Needs the extra ``plot``.
"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import polars as pl

OURS = "s4-codec"
RAW = "raw library"
#: What the charts call the contenders of columns.py.
CONTENDERS = {
    "ours, outputs dropped": OURS,
    "zstandard multi-buffer": "zstandard, multi-buffer",
    "map_elements, zstandard": "zstandard, map_elements",
    "map_elements, deflate": "deflate, map_elements",
    "loop over rows, pyarrow": "pyarrow, loop over rows",
    "raw library": RAW,
}
#: Left out of the values: it is zstandard with a checksum, and the raw library is the limit.
LEFT_OUT = {"zstandard+xxh64", "raw"}
UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20}


@dataclass(frozen=True)
class Theme:
    """Colors that can be read on one background."""

    name: str
    text: str
    grid: str
    ours: str
    limit: str
    peers: tuple[str, ...]


THEMES = (
    Theme(
        *("light", "#1f2328", "#d8dee4", "#0969da", "#8c959f"),
        ("#bc4c00", "#1a7f37", "#8250df", "#bf3989", "#9a6700", "#57606a", "#1b7c83", "#cf222e"),
    ),
    Theme(
        *("dark", "#e6edf3", "#3d444d", "#58a6ff", "#8b949e"),
        ("#f0883e", "#3fb950", "#bc8cff", "#f778ba", "#d29922", "#adbac7", "#39c5cf", "#ff7b72"),
    ),
)


def tables(folder: Path, benchmark: str) -> list[dict[str, Any]]:
    """The tables of a benchmark."""
    found: list[dict[str, Any]] = json.loads((folder / f"{benchmark}.json").read_text())["tables"]
    return found


def value_rows(folder: Path) -> pl.DataFrame:
    """The speed of every library relative to ours, by codec, direction and size of value."""
    rows = []
    for table in tables(folder, "oneshot"):
        found = re.fullmatch(r"(Cpu\w+)\(level=(\d+)\), (compress|decompress)", table["title"])
        if found is None:
            continue
        codec, level, direction = found.groups()
        panel = f"{direction}, {codec.removeprefix('Cpu').lower()} level {level}"
        for row in table["rows"]:
            number, unit = row["row"].split()
            rows += [
                {
                    "panel": panel,
                    "bytes": int(number) * UNITS[unit],
                    "library": OURS if name == "ours" else name,
                    "relative": rate / row["ours"],
                }
                for name, rate in row.items()
                if name not in {"row", "rounds", *LEFT_OUT} and name[0] != "/" and rate is not None
            ]
    return pl.DataFrame(rows)


def column_rows(folder: Path) -> pl.DataFrame:
    """MB/s of every contender, data and direction with zstd."""
    rows = []
    for table in tables(folder, "columns"):
        pattern = r"CpuZstd\(level=3\), (\w+), [\d,]+ ([\w ]+) of ([\d,]+) bytes"
        found = re.fullmatch(pattern, table["title"])
        if found is None:
            continue
        direction, what, length = found.groups()
        for row in table["rows"]:
            name = CONTENDERS.get(row["row"])
            if name is None and "s4-codec 1.5" in row["row"]:
                name = row["row"].removeprefix("loop over rows, ") + ", loop over rows"
            if name is not None:
                panel = f"{direction} {what}, {length} B"
                rows.append({"panel": panel, "way": name, **row})
    return pl.DataFrame(rows).select("panel", "way", "MB/s", "/raw")


def values_chart(rows: pl.DataFrame, theme: Theme) -> alt.FacetChart:
    """A line for each library, by size of value."""
    peers = sorted(set(rows["library"]) - {OURS})
    color = alt.Color("library:N", title=None).scale(
        domain=[OURS, *peers], range=[theme.ours, *(theme.peers * 2)[: len(peers)]]
    )
    sizes = [100, 1 << 10, 10 << 10, 100 << 10, 1 << 20, 8 << 20, 32 << 20]
    labels = (
        "datum.value < 1024 ? datum.value + ' B' : datum.value < 1048576 ? "
        "floor(datum.value / 1024) + ' KiB' : floor(datum.value / 1048576) + ' MiB'"
    )
    lines = (
        alt.Chart(rows)
        .mark_line(point={"size": 22})
        .encode(
            x=alt.X("bytes:Q", title="size of the value", scale=alt.Scale(type="log")).axis(
                values=sizes, labelExpr=labels, labelAngle=-40, labelOverlap=False
            ),
            y=alt.Y("relative:Q", title="speed, s4-codec = 1").axis(tickCount=6),
            color=color,
            strokeWidth=alt.condition(alt.datum.library == OURS, alt.value(4), alt.value(1.5)),
        )
        .properties(width=290, height=180)
    )
    return themed(panels(lines, rows), theme)


def panels(chart: alt.Chart | alt.LayerChart, rows: pl.DataFrame) -> alt.FacetChart:
    """Two panels a row, in the order of the results."""
    order = rows["panel"].unique(maintain_order=True).to_list()
    return chart.facet(alt.Facet("panel:N", title=None, sort=order), columns=2)


def columns_chart(rows: pl.DataFrame, theme: Theme) -> alt.FacetChart:
    """Bars of every way to compress a column, one panel for each data and direction."""
    ways = rows.group_by("way").agg(pl.col("/raw").mean()).sort("/raw", descending=True)["way"]
    order = [OURS, RAW, *(way for way in ways if way not in {OURS, RAW})]
    color = alt.Color("way:N", legend=None).scale(
        domain=order, range=[theme.ours, theme.limit] + [theme.peers[0]] * (len(order) - 2)
    )
    base = alt.Chart(rows).encode(
        x=alt.X("MB/s:Q", title="MB/s of original bytes, 2 cores").axis(format=",.0f", tickCount=4),
        y=alt.Y("way:N", title=None, sort=order),
    )
    bars = base.mark_bar(height={"band": 0.72}).encode(color=color)
    text = base.mark_text(align="left", dx=4, color=theme.text).encode(
        text=alt.Text("MB/s:Q", format=",.0f")
    )
    panel = (bars + text).properties(width=250, height=130)
    return themed(panels(panel, rows).resolve_scale(x="independent"), theme)


def themed(chart: alt.FacetChart, theme: Theme) -> alt.FacetChart:
    """The chart in the colors of a theme."""
    return (
        chart.configure(
            background="transparent",
            font="Helvetica, Arial, sans-serif",
            # Room for viewers whose fonts are wider than those that the chart was laid out with.
            padding={"left": 24, "right": 36, "top": 4, "bottom": 4},
        )
        .configure_view(stroke=None)
        .configure_axis(
            **{"labelColor": theme.text, "titleColor": theme.text, "gridColor": theme.grid},
            **{"domainColor": theme.grid, "tickColor": theme.grid, "labelLimit": 220},
            **{"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"},
        )
        .configure_header(labelColor=theme.text, labelFontSize=12, labelFontWeight="bold")
        .configure_legend(labelColor=theme.text, labelFontSize=12, labelLimit=200)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("results", type=Path, help="what run_all.py wrote")
    parser.add_argument("out", type=Path, help="where the charts go")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    values, columns = value_rows(args.results), column_rows(args.results)
    for theme in THEMES:
        for name, chart in (
            ("speed-values", values_chart(values, theme)),
            ("speed-columns", columns_chart(columns, theme)),
        ):
            path = args.out / f"{name}-{theme.name}.svg"
            chart.save(str(path))
            print(path)


if __name__ == "__main__":
    main()
