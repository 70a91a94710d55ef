"""Standard streams, inputs and temporary files of the command. Every error names the file at
fault."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import sys
import tempfile
from typing import TYPE_CHECKING, BinaryIO

from .signals import waiting

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


class Input:
    """A file, read at any place if it is regular or a block device, else from front to back.

    Nothing is mapped: reading a mapping beyond the end of a file that got shorter ends the
    process.
    """

    def __init__(self, path: str) -> None:
        self.name = "standard input" if path == "-" else path
        self.is_standard = path == "-"
        if not self.is_standard:
            refuse_closed(path)
        with blamed(self.name):
            self.descriptor = (
                waiting(os.open, path, os.O_RDONLY | os.O_CLOEXEC)
                if not self.is_standard
                else standard_stream(0)
            )
            self.status = os.fstat(self.descriptor)
            if stat.S_ISDIR(self.status.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            #: Where the body begins in the file.
            self.start = 0
            #: Its length; None for a stream.
            self.size: int | None = None
            if stat.S_ISREG(self.status.st_mode) or stat.S_ISBLK(self.status.st_mode):
                self.start = os.lseek(self.descriptor, 0, os.SEEK_CUR)
                end = self._end()
                os.lseek(self.descriptor, self.start, os.SEEK_SET)
                # Files of /proc have no length, and are read to their end.
                self.size = end - self.start if end > self.start else None
            self._stream: BinaryIO = os.fdopen(self.descriptor, "rb", closefd=False)
        self.offset = 0

    def _end(self) -> int:
        if stat.S_ISREG(self.status.st_mode):
            return os.fstat(self.descriptor).st_size
        return os.lseek(self.descriptor, 0, os.SEEK_END)

    def read(self, size: int) -> bytes:
        """That many bytes from where reading stands, or fewer at the end."""
        pieces = []
        with blamed(self.name):
            while size > 0 and (piece := self._piece(self.offset, min(size, PIECE))):
                pieces.append(piece)
                size -= len(piece)
                self.offset += len(piece)
        if size > 0 and self.size is not None and self.offset < self.size:
            self.check_length()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _piece(self, offset: int, size: int) -> bytes:
        if self.size is not None:
            return waiting(os.pread, self.descriptor, size, self.start + offset)
        piece = waiting(self._stream.read, size)
        if piece is None:
            msg = "the input is non-blocking and has no data yet"
            raise BlockingIOError(errno.EAGAIN, msg)
        return piece

    def read_all(self) -> bytes:
        """All from where reading stands."""
        return b"".join(iter(lambda: self.read(PIECE), b""))

    def read_at(self, offset: int, size: int) -> bytes:
        """That many bytes of a file, which are there unless it got shorter."""
        pieces = []
        while size > 0:
            with blamed(self.name):
                piece = self._piece(offset, size)
            if not piece:
                raise self._shorter(offset)
            pieces.append(piece)
            offset, size = offset + len(piece), size - len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def check_length(self) -> None:
        """Refuses a file that got shorter since it was opened."""
        if self.size is not None:
            with blamed(self.name):
                size = self._end() - self.start
            if size < self.size:
                raise self._shorter(size)

    def _shorter(self, found: int) -> Failure:
        with blamed(self.name):
            found = min(found, max(0, self._end() - self.start))
        msg = f"{self.name} got shorter while it was read: "
        return Failure(f"{msg}expected {self.size} bytes, found {found}")

    def changed(self) -> Failure:
        return Failure(f"{self.name} changed while it was read")

    def skip(self, size: int) -> int:
        """Passes over that many bytes, or fewer at the end; how many."""
        start = self.offset
        if self.size is not None:
            self.offset = min(start + size, max(start, self.size))
            return self.offset - start
        with blamed(self.name):
            while size > 0 and (piece := self._piece(self.offset, min(size, PIECE))):
                size -= len(piece)
                self.offset += len(piece)
        return self.offset - start

    def __enter__(self) -> Input:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            if not self.is_standard:
                os.close(self.descriptor)
            elif self.size is not None:
                # Whoever reads standard input next goes on where this one stopped.
                os.lseek(self.descriptor, self.start + self.size, os.SEEK_SET)


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
