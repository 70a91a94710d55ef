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

#: Bytes that are read or written at a time.
PIECE = 1 << 20

_DESCRIPTOR = re.compile(r"/dev/(std(?:in|out|err))|(?:/dev|/proc/self)/fd/([012])")
_STREAMS = ("stdin", "stdout", "stderr")


class Failure(Exception):
    """What ends a command with a message and exit status 1."""


def reserve_descriptors() -> None:
    """Gives closed standard streams a place, so that no file is opened in it.

    Whatever still writes there, such as a library to standard error, would write into the file.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError as error:
            # The lowest free descriptor is the one that is opened.
            if error.errno == errno.EBADF:
                os.open(os.devnull, os.O_RDWR)


def say(text: str) -> None:
    """Writes a line to standard error, if somebody is there to read it."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            print(" ".join(text.splitlines()), file=sys.stderr, flush=True)


def reason(error: OSError) -> str:
    return error.strerror or str(error)


@contextlib.contextmanager
def blamed(name: str) -> Iterator[None]:
    """Errors of the system are those of the file ``name``."""
    try:
        yield
    except OSError as error:
        msg = f"{name}: {reason(error)}"
        raise Failure(msg) from error


def standard_stream(number: int) -> int:
    """The descriptor of standard input or output."""
    stream = getattr(sys, _STREAMS[number])
    if stream is None:
        msg = f"standard {'output' if number else 'input'} is closed"
        raise Failure(msg)
    if number:
        stream.flush()
    return int(stream.fileno())


def refuse_closed(path: str) -> None:
    """Refuses names of standard streams that are closed: the null device has their place."""
    if found := _DESCRIPTOR.fullmatch(path):
        number = _STREAMS.index(found[1]) if found[1] else int(found[2])
        if getattr(sys, _STREAMS[number]) is None:
            msg = f"{path}: the standard stream is closed"
            raise Failure(msg)


@contextlib.contextmanager
def spool() -> Iterator[int]:
    """The descriptor of a temporary file without a name, which nobody else can change."""
    with contextlib.ExitStack() as files:
        with spooling():
            file = files.enter_context(
                tempfile.TemporaryFile(buffering=0, prefix=".s4-", suffix=".tmp")
            )
        yield file.fileno()


@contextlib.contextmanager
def spooling() -> Iterator[None]:
    """Errors of the system are those of the folder of temporary files."""
    try:
        yield
    except OSError as error:
        folder = tempfile.tempdir or os.environ.get("TMPDIR") or "/tmp"
        msg = f"{folder}: {reason(error)}, for a temporary file; TMPDIR names another folder"
        raise Failure(msg) from error
