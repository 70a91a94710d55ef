"""Charts of the documentation, from the JSON of benches/gpu.py.

    python benches/gpu_charts.py telling.json sizes.json docs/images

Draws gpu-paths.svg, every path of the telling columns beside its limit and all cores, and
gpu-sizes.svg, the GPU and all cores by size of the column. Needs the extra ``plot``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import altair as alt
import polars as pl
from gpu_columns import ARROW, CPU, CPU_ZSTD, FROM_COLUMN, TO_DEVICE
from gpu_data import LOG
from gpu_limits import CHUNK

LIMIT, GPU, CORES = "limit of the hardware", "GPU", "16 cores, CpuZstd(3)"
COLORS = alt.Scale(domain=[LIMIT, GPU, CORES], range=["#b8b8b8", "#2f7ed8", "#d9822b"])
PATHS = {
    ("decompress", TO_DEVICE): "decompress to the device",
    ("decompress", ARROW): "decompress, host to host",
    ("compress", FROM_COLUMN): "compress from the device",
    ("compress", ARROW): "compress, host to host",
}
TICKS = [1, 10, 100, 1000]
MIB = 1 << 20


def path_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The bars of each path and column."""

    def key(row: dict[str, Any]) -> tuple[str, str, str]:
        return row["codec"], row["data"], row["direction"]

    cores = {key(row): row["GB/s"] for row in rows if row["path"] == CPU_ZSTD}
    bars = []
    for row in rows:
        path = PATHS.get((row["direction"], row["path"]))
        if path is None:
            continue
        found = {
            LIMIT: row["limit"]["rate"],
            GPU: row["GB/s"],
            CORES: cores.get(key(row)),
        }
        column = f"{row['codec']}, {row['data']}"
        bars += [
            {"column": column, "path": path, "what": what, "rate": rate}
            for what, rate in found.items()
            if rate is not None
        ]
    return bars


def paths_chart(rows: list[dict[str, Any]]) -> alt.FacetChart:
    bars = pl.DataFrame(path_rows(rows))
    y = alt.Y("what:N", title=None, sort=[LIMIT, GPU, CORES], axis=None)
    base = alt.Chart(bars).encode(y=y)
    rate = alt.X("rate:Q", title="GB/s of original bytes (log scale)", axis=alt.Axis(values=TICKS))
    marks = base.mark_bar().encode(
        # Bars on a logarithmic scale have no zero to start from.
        x=rate.scale(type="log", domain=[1, 1000]),
        x2=alt.datum(1),
        color=alt.Color("what:N", title=None, scale=COLORS).legend(orient="top"),
    )
    labels = base.mark_text(align="left", dx=3, fontSize=10).encode(
        x="rate:Q", text=alt.Text("rate:Q", format=".1f")
    )
    return (
        (marks + labels)
        .properties(width=180, height=54)
        .facet(
            column=alt.Column("path:N", title=None, sort=list(PATHS.values())),
            row=alt.Row(
                "column:N", title=None, sort=bars["column"].unique(maintain_order=True)
            ).header(labelAngle=0, labelAlign="left"),
        )
    )


def sizes_chart(rows: list[dict[str, Any]]) -> alt.FacetChart:
    points = [
        {
            "direction": row["direction"],
            "size": row["column_size"] / MIB,
            "rate": row["GB/s"],
            "what": GPU if row["path"] == ARROW else "16 cores",
        }
        for row in rows
        if (row["codec"], row["data"], row["value_size"]) == ("zstd", LOG, CHUNK)
        and row["threads"] > 1
        and row["path"] in (ARROW, CPU if row["direction"] == "decompress" else CPU_ZSTD)
    ]
    colors = alt.Scale(domain=[GPU, "16 cores"], range=["#2f7ed8", "#d9822b"])
    return (
        alt.Chart(pl.DataFrame(points))
        .mark_line(point=True)
        .encode(
            x=alt.X("size:Q", title="size of the column, MiB (log scale)").scale(
                type="log", base=2
            ),
            y=alt.Y("rate:Q", title="GB/s of original bytes"),
            color=alt.Color("what:N", title=None, scale=colors).legend(orient="top"),
        )
        .properties(width=320, height=220)
        .facet(column=alt.Column("direction:N", title=None, sort=["decompress", "compress"]))
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("telling", type=Path, metavar="TELLING.JSON")
    parser.add_argument("sizes", type=Path, metavar="SIZES.JSON")
    parser.add_argument("folder", type=Path, help="where to write the charts")
    args = parser.parse_args()
    telling, sizes = (json.loads(path.read_text()) for path in (args.telling, args.sizes))
    args.folder.mkdir(parents=True, exist_ok=True)
    charts = {
        "gpu-paths.svg": paths_chart(telling["rows"]),
        "gpu-sizes.svg": sizes_chart(sizes["rows"]),
    }
    for name, chart in charts.items():
        # Readable on pages of either colour.
        chart.configure(background="white").save(str(args.folder / name))


if __name__ == "__main__":
    main()
