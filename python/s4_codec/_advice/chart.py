"""The chart of an advice: ratio against decompression speed."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Sequence

    import altair

_WIDTH, _HEIGHT = 640, 400

#: The size of a label's characters, and the radius of a point and of the ring around the best,
#: in pixels.
_CHARACTER, _LINE, _POINT, _RING = 6.5, 12.0, 6.0, 12.0

#: Colours that can be told apart, and read on white and on black.
_COLOURS = {
    "passthrough": "#7f7f7f",
    "cpu-zstd": "#3b82f6",
    "cpu-zstd-dict": "#e0457b",
    "cpu-gzip": "#d97706",
    "nvcomp-zstd": "#059669",
    "nvcomp-gdeflate": "#65a30d",
    "nvcomp-bitcomp": "#0e9bb5",
    "parquet zstd": "#9061f9",
}
_GREY = "#888888"


def chart_of(table: pl.DataFrame, best: str, reason: str) -> altair.Chart | altair.LayerChart:
    """An Altair chart of the table of an advice."""
    try:
        import altair as alt
    except ImportError as error:
        msg = "Advice.chart needs Altair; run: pip install 's4-codec[plot]'"
        raise ImportError(msg) from error
    data, (low, high), (slow, fast) = _placed(table, best)
    x = alt.X(
        "ratio:Q",
        title="ratio: original bytes / stored bytes (log scale)",
        scale=alt.Scale(type="log", domain=[low, high], nice=False),
        axis=alt.Axis(format="~g", tickCount=8, gridOpacity=0.5),
    )
    y = alt.Y(
        "decompress_mb_s:Q",
        title="decompression, MB/s (log scale)",
        scale=alt.Scale(type="log", domain=[slow, fast], nice=False),
        axis=alt.Axis(format="~s", tickCount=6, gridOpacity=0.5),
    )
    families = data["family"].unique(maintain_order=True).to_list()
    colours = alt.Scale(domain=families, range=[_COLOURS.get(each, _GREY) for each in families])
    colour = alt.Color("family:N", title=None, scale=colours)
    tooltip = [
        alt.Tooltip("codec:N"),
        alt.Tooltip("ratio:Q", format=".2f"),
        alt.Tooltip("bytes:Q", format=","),
        alt.Tooltip("compress_mb_s:Q", format=",.0f", title="compress, MB/s"),
        alt.Tooltip("decompress_mb_s:Q", format=",.0f", title="decompress, MB/s"),
        alt.Tooltip("read_1pct_s:Q", format=".3f", title="read 1% of the rows, s"),
        alt.Tooltip("grow_share:Q", format=".1%", title="values that grow"),
    ]
    base = alt.Chart(data)
    front = base.transform_filter("datum.pareto").mark_line(
        color=_GREY, strokeDash=[4, 3], strokeWidth=1.5
    )
    ring = base.transform_filter(alt.datum.codec == best).mark_point(
        size=260, color=_GREY, strokeWidth=1.5, opacity=1
    )
    points = base.mark_point(size=70, strokeWidth=2, opacity=1).encode(
        color=colour,
        fill=alt.condition("datum.pareto", colour, alt.value("transparent")),
        tooltip=tooltip,
    )
    labels = base.mark_text(fontSize=11, align="center", baseline="middle").encode(
        x="label_x:Q", y="label_y:Q", text="label:N", color=colour, tooltip=tooltip
    )
    layers = [
        front.encode(x=x, y=y, order="ratio:Q"),
        ring.encode(x=x, y=y),
        points.encode(x=x, y=y),
        labels,
    ]
    legend = "numbers: levels; ring: best; filled, dashed line: no other is better in both"
    title = alt.Title(
        f"best: {best}",
        subtitle=[*textwrap.wrap(reason, 110), legend],
        anchor="start",
        subtitleColor=_GREY,
    )
    return alt.layer(*layers).properties(width=_WIDTH, height=_HEIGHT, title=title)


def is_on_front(table: pl.DataFrame) -> list[bool]:
    """Which ways no other beats in both ratio and decompression speed."""
    found = list(zip(table["ratio"], table["decompress_mb_s"], strict=True))
    return [
        not any(other != each and other[0] >= each[0] and other[1] >= each[1] for other in found)
        for each in found
    ]


def _placed(
    table: pl.DataFrame, best: str
) -> tuple[pl.DataFrame, tuple[float, float], tuple[float, float]]:
    """The table with places for labels, and the domains of both axes."""
    ratios = [max(ratio, 1e-3) for ratio in table["ratio"]]
    speeds = [max(speed, 1e-3) for speed in table["decompress_mb_s"]]
    (low, high), (slow, fast) = _domain(ratios, 0.1), _domain(speeds, 0.1)

    def pixels(ratio: float, speed: float) -> tuple[float, float]:
        across = math.log(ratio / low) / math.log(high / low)
        up = math.log(speed / slow) / math.log(fast / slow)
        return across * _WIDTH, (1 - up) * _HEIGHT

    def values(across: float, down: float) -> tuple[float, float]:
        ratio = low * math.pow(high / low, across / _WIDTH)
        return ratio, slow * math.pow(fast / slow, 1 - down / _HEIGHT)

    points = [pixels(*each) for each in zip(ratios, speeds, strict=True)]
    # A level, or Bitcomp's type; the legend names the codecs.
    names = [name.partition(" ")[2].replace("level ", "") for name in table["codec"]]
    names = ["" if name == "zstd 3" else name for name in names]
    radii = [_RING if name == best else _POINT for name in table["codec"]]
    found = [values(*each) for each in _labels(points, names, radii)]
    data = table.with_columns(
        pl.Series("ratio", ratios, dtype=pl.Float64),
        pl.Series("decompress_mb_s", speeds, dtype=pl.Float64),
        pl.Series("pareto", is_on_front(table), dtype=pl.Boolean),
        pl.Series("label", names, dtype=pl.String),
        pl.Series("label_x", [x for x, _ in found], dtype=pl.Float64),
        pl.Series("label_y", [y for _, y in found], dtype=pl.Float64),
        pl.col("codec").str.replace(r"( level \d+| [a-z]+\d+| char)$", "").alias("family"),
    )
    return data, (low, high), (slow, fast)


#: Where a label may be, the best first.
_DIRECTIONS = ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (1, 1), (-1, -1), (-1, 1))


def _domain(values: Sequence[float], margin: float) -> tuple[float, float]:
    """The ends of a logarithmic axis, with a margin on either side."""
    low, high = min(values), max(values)
    factor = math.pow(max(high / low, 1.5), margin)
    return low / factor, high * factor


_Box = tuple[float, float, float, float]


def _labels(
    points: Sequence[tuple[float, float]], names: Sequence[str], radii: Sequence[float]
) -> list[tuple[float, float]]:
    """The middles of labels near their points that overlap as little as may be."""
    taken: list[_Box] = [
        (x - radius, y - radius, x + radius, y + radius)
        for (x, y), radius in zip(points, radii, strict=True)
    ]
    placed: list[tuple[float, float]] = []
    for (x, y), name, radius in zip(points, names, radii, strict=True):
        width = len(name) * _CHARACTER
        aside, above = width / 2 + radius + 2, _LINE / 2 + radius + 2
        places = [
            (x + across * far * aside, y + down * far * above)
            for far in (1, 1.5, 2.2, 3)
            for across, down in (
                (1, 0),
                (-1, 0),
                (0, -1),
                (0, 1),
                (1, -1),
                (1, 1),
                (-1, -1),
                (-1, 1),
            )
        ]

        def badness(place: tuple[float, float], width: float = width) -> float:
            box = _box(*place, width)
            outside = box[0] < 0 or box[2] > _WIDTH or box[1] < 0 or box[3] > _HEIGHT
            return sum(_overlap(box, other) for other in taken) + 1e6 * outside

        best = min(places, key=badness)
        taken.append(_box(*best, width))
        placed.append(best)
    return placed


def _box(x: float, y: float, width: float) -> _Box:
    return x - width / 2, y - _LINE / 2, x + width / 2, y + _LINE / 2


def _overlap(one: _Box, other: _Box) -> float:
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, across) * max(0.0, down)
