"""The types of the command's arguments, and a parser for closed standard streams."""

from __future__ import annotations

import argparse
import re
import sys
from typing import IO, Any, NoReturn

from .streams import report

_SIZE = re.compile(r"([0-9]+)([KMGT]?)(?:I?B)?", re.IGNORECASE)


def byte_count(text: str) -> int:
    """Parses a number of bytes, such as ``500M``; the suffixes are powers of 1024."""
    found = _SIZE.fullmatch(text)
    size = int(found[1]) << 10 * " KMGT".index(found[2].upper() or " ") if found else -1
    if not 0 <= size < 2**64:
        msg = f"{text!r} is not a number of bytes below 2^64, such as 1048576, 1024K, 500M or 2G"
        raise argparse.ArgumentTypeError(msg)
    return size


_RANGE = re.compile(r"([0-9]+)-([0-9]+)")


def byte_range(text: str) -> tuple[int, int]:
    """Parses a half-open range of bytes, such as ``0-100``."""
    found = _RANGE.fullmatch(text)
    if found is None or int(found[1]) > int(found[2]) or int(found[2]) >= 2**64:
        msg = f"{text!r} is not a range A-B of bytes, from A up to but without B, such as 0-100"
        raise argparse.ArgumentTypeError(msg)
    return int(found[1]), int(found[2])


def thread_count(text: str) -> int:
    """Parses a number of threads."""
    if not text.isdecimal() or not 1 <= int(text) <= 1024:
        msg = f"{text!r} is not a number of threads from 1 to 1024"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


class Parser(argparse.ArgumentParser):
    """A parser that prints errors to standard error only: argparse falls back to standard output
    where that is closed."""

    def error(self, message: str) -> NoReturn:
        if sys.stderr is None:
            sys.exit(2)
        super().error(message)

    def _print_message(self, message: str, file: IO[str] | Any = None) -> None:
        if sys.stdout is None and file is None:
            report("Error: standard output is closed")
            sys.exit(1)
        super()._print_message(message, file)
