"""Which codec pays for a column: :func:`advise`."""

from __future__ import annotations

import contextlib
import html
import operator
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex

import polars as pl

from ._advice.choice import best_of, code_for, reason_for, seconds_text, size_text
from ._advice.measure import measured
from ._advice.sample import VALUE, BufferRows, Sample, SeriesRows, sampled, series_of
from ._advice.ways import Way, default_codecs, given_codecs

if TYPE_CHECKING:
    import altair

    from .s4_codec import Codec

__all__ = ["Advice", "advise"]

Progress = Callable[[float, str], object]


class Advice:
    """What :func:`advise` found. Shows itself as a table, in a notebook as HTML."""

    def __init__(
        self, ways: Sequence[Way], best: Way, reason: str, code: str, sample: Sample
    ) -> None:
        self._best, self._reason, self._code = best, reason, code
        values = f"{sample.rows:,} value{'s' * (sample.rows != 1)}"
        self._title = (
            f"{values}, {size_text(sample.bytes)}; best codec of single values: {best.name}"
        )
        self._table = pl.DataFrame(
            {
                "codec": [way.name for way in ways],
                "ratio": [way.ratio for way in ways],
                "bytes": [way.bytes for way in ways],
                "compress_mb_s": [way.compress for way in ways],
                "decompress_mb_s": [way.decompress for way in ways],
                "read_1pct_s": [way.read for way in ways],
                "grow_share": [way.grow for way in ways],
            },
            schema_overrides={"bytes": pl.Int64, "grow_share": pl.Float64},
        )

    @property
    def table(self) -> pl.DataFrame:
        """What every way costs, the smallest first.

        - ``codec``: its name and level, with ``dict`` in those with a dictionary; and
          ``parquet zstd level 3``, Parquet's own compression.
        - ``ratio``: original bytes divided by ``bytes``.
        - ``bytes``: projected for the whole column in a Parquet file, with the sizes and
          checksums that :func:`s4_codec.polars.compress` stores, and with the dictionary.
        - ``compress_mb_s``, ``decompress_mb_s``: MB/s of original bytes on all threads.
        - ``read_1pct_s``: projected seconds to read 1% of the rows, at random.
        - ``grow_share``: the share of values whose payload is longer than the value; null for
          Parquet.
        """
        return self._table

    @property
    def best(self) -> Codec:
        """The best codec, with the dictionary that was trained on the sample if it has one."""
        assert self._best.codec is not None
        return self._best.codec

    @property
    def reason(self) -> str:
        """One sentence that names the trade, with figures."""
        return self._reason

    @property
    def code(self) -> str:
        """Code that compresses the column with the best codec, stores it and reads it.

        It uses the table ``df`` for a series or a table, the list ``values`` for buffers, and
        ``data`` for Arrow data.
        """
        return self._code

    def chart(self) -> altair.LayerChart:
        """Draw ratio against decompression speed as an Altair chart.

        Points that no other beats in both are filled, and joined by a line. Save it with
        ``.save("x.png")``, ``"x.svg"`` or ``"x.html"``.

        Raises
        ------
        ImportError
            Altair is missing: ``pip install 's4-codec[plot]'``.
        """
        from ._advice.chart import chart_of

        return chart_of(self._table, self._best.name, self._reason)

    def _cells(self) -> list[list[str]]:
        """The table as text, with its header."""
        cells = [["codec", "ratio", "size", "compress", "decompress", "read 1%", "grow"]]
        for name, ratio, size, compress, decompress, read, grow in self._table.iter_rows():
            cells.append(
                [
                    name,
                    f"{ratio:.2f}",
                    size_text(size),
                    f"{compress:,.{0 if compress >= 10 else 1}f} MB/s",
                    f"{decompress:,.{0 if decompress >= 10 else 1}f} MB/s",
                    seconds_text(read),
                    "-" if grow is None else f"{grow:.1%}",
                ]
            )
        return cells

    def __repr__(self) -> str:
        rows = [
            [f"{'*' if line[0] == self._best.name else ' '} {line[0]}", *line[1:]]
            for line in self._cells()
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
            for row in rows
        ]
        return "\n".join([self._title, "", *lines, "", self._reason])

    def _repr_html_(self) -> str:
        header, *rows = self._cells()
        lines = ["<tr>" + "".join(f"<th>{html.escape(cell)}</th>" for cell in header) + "</tr>"]
        for row in rows:
            style = ' style="font-weight: bold"' if row[0] == self._best.name else ""
            cells = "".join(f"<td>{html.escape(cell)}</td>" for cell in row)
            lines.append(f"<tr{style}>{cells}</tr>")
        return (
            f"<div><p>{html.escape(self._title)}</p>\n<table>\n"
            + "\n".join(lines)
            + f"\n</table>\n<p>{html.escape(self._reason)}</p></div>"
        )


def advise(
    column: Any,
    *,
    sample_bytes: SupportsIndex = 64 << 20,
    codecs: Iterable[Codec | str] | Codec | str | None = None,
    seed: SupportsIndex = 0,
    progress: Progress | bool | None = None,
) -> Advice:
    """Measure on a sample which codec pays for a column, beside Parquet's own compression.

    Slow codecs are measured on a part of the sample, each for about 0.1 s in each direction.

    The best codec is the one with the fewest projected bytes, weighted by time: a codec must save
    5% for twice the time to compress, 5% for twice the time to decompress, and 5% for a
    dictionary, which has to be kept with the data. A column that no codec makes 5% smaller is
    best stored as it is. Parquet's own compression is never ``best``, because it is no codec;
    the reason says where it is smaller.

    To read 1% of the rows at random, ``scan_parquet(file).filter(row.is_in(picked))`` selects
    them by their number from a file in memory, compressed with zstd level 3 for Parquet's own
    compression. For a codec this is measured once, on a file of payloads that Parquet leaves as
    they are, and scaled to the codec's bytes; the time to decompress the rows is added.

    Parameters
    ----------
    column
        A Polars series, a frame of one column, Arrow data, or an iterable of buffers. Binary,
        String or lists of numbers; nulls are left out.
    sample_bytes
        The most bytes to sample. Runs of neighbouring rows are taken, spread evenly over the
        column at random places. Of a value longer than an eighth of it, only the beginning is
        measured.
    codecs
        Codecs or their names to measure instead of the usual ones. The name ``"cpu-zstd-dict"``
        stands for a dictionary that is trained on one half of the sample and measured on the
        other.
    seed
        Chooses the sample: the same column and seed give the same rows.
    progress
        Called with the fraction that is done, from 0 to 1, and the name of what is measured
        next; or True for a bar on standard error.

    Returns
    -------
    Advice

    Raises
    ------
    TypeError
        ``column`` is of another type; or ``codecs`` holds something else.
    ValueError
        ``sample_bytes`` is not positive; ``codecs`` is empty, or only a dictionary, and there is
        too little to train one.
    S4UnregisteredCodecError
        A codec's name is unknown.
    polars.exceptions.ComputeError
        One of ``codecs`` cannot compress these values, or needs a GPU that is missing.
    """
    sample_bytes, seed = operator.index(sample_bytes), operator.index(seed)
    if sample_bytes <= 0:
        msg = f"sample_bytes must be positive, got {sample_bytes}"
        raise ValueError(msg)
    series = series_of(column)
    if series is not None:
        rows: SeriesRows | BufferRows = SeriesRows(series)
        dtype = series.dtype
        name, origin = series.name or VALUE, "pl.DataFrame(data)"
        if isinstance(column, (pl.Series, pl.DataFrame)):
            name, origin = series.name, "df"
        elif not series.name:
            # An array, and not a table.
            cast = ".cast(pl.String)" if dtype == pl.String else ""
            origin = f"pl.Series({VALUE!r}, data){cast}.to_frame()"
    else:
        rows = BufferRows(_buffers(column))
        name, origin, dtype = VALUE, _TABLE_OF_BUFFERS, pl.Binary()
    chosen = default_codecs(dtype) if codecs is None else given_codecs(codecs)
    report = _reporter(progress)
    sample = sampled(rows, sample_bytes, seed)
    try:
        ways = measured(sample, chosen, seed, codecs is not None, report)
    finally:
        if progress is True:
            _show("\r\x1b[K")
    if all(way.codec is None for way in ways):
        msg = (
            "none of codecs can compress this column: a dictionary needs text or bytes, and more "
            'of them; add another codec, such as "cpu-zstd"'
        )
        raise ValueError(msg)
    ways.sort(key=lambda way: way.bytes)
    best = best_of(ways)
    code = code_for(best, sample, origin, name, dtype)
    return Advice(ways, best, reason_for(best, ways, sample), code, sample)


#: The table of a list of buffers, for :attr:`Advice.code`.
_TABLE_OF_BUFFERS = f"""pl.DataFrame(
    {{{VALUE!r}: [None if value is None else bytes(value) for value in values]}},
    schema={{{VALUE!r}: pl.Binary}},
)"""


def _buffers(column: Any) -> Iterable[Any]:
    """Refuses what is iterable but holds no buffers."""
    expected = "column must be a Polars series, Arrow data or an iterable of buffers"
    if isinstance(column, (str, bytes, bytearray, memoryview)):
        msg = f"{expected}, not one {type(column).__name__}; pass a list of values"
        raise TypeError(msg)
    try:
        values: Iterable[Any] = iter(column)
    except TypeError:
        msg = f"{expected}, not {type(column).__name__}"
        raise TypeError(msg) from None
    return values


def _reporter(progress: Progress | bool | None) -> Progress:
    if progress is True:
        return _show_bar
    if progress is None or progress is False:
        return lambda _fraction, _text: None
    if not callable(progress):
        msg = f"progress must be callable, a bool or None, not {type(progress).__name__}"
        raise TypeError(msg)
    return progress


def _show_bar(fraction: float, text: str) -> None:
    bar = "#" * round(fraction * 40)
    _show(f"\r\x1b[K[{bar:<40}] {fraction:4.0%}  {text}")


def _show(text: str) -> None:
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(text, end="", file=sys.stderr, flush=True)
