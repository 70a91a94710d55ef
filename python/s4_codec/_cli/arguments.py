"""The command's arguments: a parser that never mixes up its streams, and sizes in bytes."""

from __future__ import annotations

import argparse
import re
import sys
from typing import IO, Any, NoReturn

from .streams import say

_SIZE = re.compile(r"([0-9]+)([KMGT]?)(?:I?B)?", re.IGNORECASE)


def byte_count(text: str) -> int:
    """A number of bytes, such as ``500M``; the suffixes are powers of 1024."""
    found = _SIZE.fullmatch(text)
    size = int(found[1]) << 10 * " KMGT".index(found[2].upper() or " ") if found else -1
    if not 0 <= size < 2**64:
        msg = f"{text!r} is not a number of bytes below 2^64, such as 1048576, 1024K, 500M or 2G"
        raise argparse.ArgumentTypeError(msg)
    return size


class Parser(argparse.ArgumentParser):
    """Where standard error is closed, what argparse has for it would go to standard output."""

    def error(self, message: str) -> NoReturn:
        if sys.stderr is None:
            sys.exit(2)
        super().error(message)

    def _print_message(self, message: str, file: IO[str] | Any = None) -> None:
        if sys.stdout is None and file is None:
            say("Error: standard output is closed")
            sys.exit(1)
        super()._print_message(message, file)
