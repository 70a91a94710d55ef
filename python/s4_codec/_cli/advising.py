"""The subcommand advise."""

from __future__ import annotations

import contextlib
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
    with contextlib.ExitStack() as files:
        out = None
        if args.plot is not None:
            _check_plot(args.plot)
            source = files.enter_context(Input(args.input))
            check_output(source, args.plot)
            out = files.enter_context(Output(args.plot, source.status))
        column = read_column(args.input, args.column)
        is_shown = args.progress and sys.stderr is not None and sys.stderr.isatty()
        advice = interruptible(lambda: measure(column, progress=is_shown))
        if out is not None:
            out.write(_picture(advice, args.plot))
            commit(out)
    show(print, advice)


def _check_plot(path: str) -> None:
    """Refuses what cannot be drawn before anything is measured."""
    if path in STANDARD_OUTPUT or os.path.splitext(path)[1].lower() not in _FORMATS:
        msg = f"--plot writes a file that ends in {', '.join(_FORMATS)}, not {path}"
        raise Failure(msg)
    try:
        import altair  # noqa: F401
        import vl_convert  # noqa: F401
    except ImportError as error:
        msg = f"--plot needs the package {error.name}; run: pip install 's4-codec[plot]'"
        raise Failure(msg) from error


def _picture(advice: Advice, path: str) -> bytes:
    """The chart in the format that the file's suffix names."""
    kind = _FORMATS[os.path.splitext(path)[1].lower()]
    file = io.BytesIO() if kind == "png" else io.StringIO()
    interruptible(lambda: advice.chart().save(file, format=kind))
    data = file.getvalue()
    return data if isinstance(data, bytes) else data.encode()
