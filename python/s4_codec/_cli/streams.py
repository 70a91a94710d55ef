"""Standard streams, temporary files, and errors that name the file at fault."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_DESCRIPTOR = re.compile(r"/dev/(std(?:in|out|err))|(?:/dev|/proc/self)/fd/([012])")
_STREAMS = ("stdin", "stdout", "stderr")


class Failure(Exception):
    """Ends the command with a message and exit status 1."""


def reserve_descriptors() -> None:
    """Opens the null device for closed standard streams, so that no file gets their descriptors.

    A library that prints to standard error would otherwise write into that file.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError as error:
            # The system opens the lowest free descriptor, which is this one.
            if error.errno == errno.EBADF:
                os.open(os.devnull, os.O_RDWR)


def report(text: str) -> None:
    """Prints a line to standard error, if that is open."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            print(" ".join(text.splitlines()), file=sys.stderr, flush=True)


def reason(error: OSError) -> str:
    return error.strerror or str(error)


@contextlib.contextmanager
def errors_of(name: str) -> Iterator[None]:
    """Turns system errors into failures that name the file ``name``."""
    try:
        yield
    except OSError as error:
        msg = f"{name}: {reason(error)}"
        raise Failure(msg) from error


def standard_stream(number: int) -> int:
    """The descriptor of standard input (0) or output (1)."""
    stream = getattr(sys, _STREAMS[number])
    if stream is None:
        msg = f"standard {'output' if number else 'input'} is closed"
        raise Failure(msg)
    if number:
        stream.flush()
    return int(stream.fileno())


def refuse_closed(path: str) -> None:
    """Refuses paths of closed standard streams, which would open the null device."""
    if found := _DESCRIPTOR.fullmatch(path):
        number = _STREAMS.index(found[1]) if found[1] else int(found[2])
        if getattr(sys, _STREAMS[number]) is None:
            msg = f"{path}: the standard stream is closed"
            raise Failure(msg)


@contextlib.contextmanager
def temporary_file() -> Iterator[int]:
    """The descriptor of a temporary file without a name, which no other process can change."""
    with contextlib.ExitStack() as files:
        with spool_errors():
            file = files.enter_context(
                tempfile.TemporaryFile(buffering=0, prefix=".s4-", suffix=".tmp")
            )
        yield file.fileno()


def choose_temporary_folder() -> None:
    """Chooses the folder of temporary files. Python tries each by writing a file to it, which
    would stay if that were left to a thread and a signal ended the command meanwhile."""
    with spool_errors():
        tempfile.gettempdir()


@contextlib.contextmanager
def spool_errors() -> Iterator[None]:
    """Turns system errors into failures that name the folder of temporary files."""
    try:
        yield
    except OSError as error:
        folder = tempfile.tempdir or os.environ.get("TMPDIR") or "/tmp"
        msg = f"{folder}: {reason(error)}, for a temporary file; set TMPDIR to use another folder"
        raise Failure(msg) from error
