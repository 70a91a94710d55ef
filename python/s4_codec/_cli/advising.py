"""The subcommand advise."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING

from .inputs import Input
from .output import STANDARD_OUTPUT, Output, check_output, commit
from .signals import interruptible
from .streams import Failure, standard_stream

if TYPE_CHECKING:
    import argparse

    from ..advice import Advice

#: The formats of pictures, by suffix.
_FORMATS = {".png": "png", ".svg": "svg", ".html": "html"}


def advise(args: argparse.Namespace) -> None:
    """Prints which codec pays for a column of INPUT, and draws it."""
    from ..advice import advise as measure
    from .commands import show
    from .tables import read_column

    standard_stream(1)
    if args.plot is not None:
        _check_plot(args.plot)
        with Input(args.input) as source:
            check_output(source, args.plot)
    column = read_column(args.input, args.column)
    is_shown = sys.stderr is not None and sys.stderr.isatty()
    advice = interruptible(lambda: measure(column, progress=is_shown))
    show(print, advice)
    if args.plot is not None:
        _save(advice, args.plot, args.input)


def _check_plot(path: str) -> None:
    """Refuses what cannot be drawn before anything is measured."""
    if path in STANDARD_OUTPUT or os.path.splitext(path)[1].lower() not in _FORMATS:
        msg = f"--plot writes a file that ends in {', '.join(_FORMATS)}, not {path}"
        raise Failure(msg)
    try:
        import altair  # noqa: F401
    except ImportError as error:
        msg = "--plot needs Altair; run: pip install 's4-codec[plot]'"
        raise Failure(msg) from error


def _save(advice: Advice, path: str, source: str) -> None:
    """Writes the chart to a file, which appears under its name when it is complete."""
    kind = _FORMATS[os.path.splitext(path)[1].lower()]
    picture = io.BytesIO() if kind == "png" else io.StringIO()
    interruptible(lambda: advice.chart().save(picture, format=kind))
    data = picture.getvalue()
    with Input(source) as like, Output(path, like) as out:
        out.write(data if isinstance(data, bytes) else data.encode())
        commit(out)
