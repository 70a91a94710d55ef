"""What the command reads: files, streams, and parts of files."""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from .._reader import PIECE, WINDOW, Reader
from .signals import interruptible
from .streams import Failure, errors_of, refuse_closed, standard_stream


class Input(Reader):
    """A file, which can be read at any position if it is regular or a block device.

    Nothing is mapped: reading a mapping beyond the end of a file that was truncated ends the
    process.
    """

    error = Failure

    def __init__(self, path: str) -> None:
        self.is_standard = path == "-"
        super().__init__("standard input" if self.is_standard else path, 0, None)
        if not self.is_standard:
            refuse_closed(path)
        with errors_of(self.name):
            self.descriptor = (
                interruptible(os.open, path, os.O_RDONLY | os.O_CLOEXEC)
                if not self.is_standard
                else standard_stream(0)
            )
            self.status = os.fstat(self.descriptor)
            if stat.S_ISDIR(self.status.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            #: Where the body begins in the file.
            self.start = 0
            if stat.S_ISREG(self.status.st_mode) or stat.S_ISBLK(self.status.st_mode):
                self.start = os.lseek(self.descriptor, 0, os.SEEK_CUR)
                end = self._end()
                os.lseek(self.descriptor, self.start, os.SEEK_SET)
                # Files of /proc have no length, and are read to their end.
                self.size = end - self.start if end > self.start else None

    def _end(self) -> int:
        if stat.S_ISREG(self.status.st_mode):
            return os.fstat(self.descriptor).st_size
        return os.lseek(self.descriptor, 0, os.SEEK_END)

    def _fetch(self, offset: int, size: int) -> bytes:
        with errors_of(self.name):
            if self.size is None:
                return self._next(min(size, WINDOW))
            piece = interruptible(os.pread, self.descriptor, size, self.start + offset)
        if not piece and offset < self.size:
            self.check_length()
        return piece

    def _next(self, size: int) -> bytes:
        try:
            return interruptible(os.read, self.descriptor, size)
        except BlockingIOError as error:
            msg = "the input is non-blocking and has no data yet; use a blocking one"
            raise BlockingIOError(errno.EAGAIN, msg) from error

    def read_all(self) -> bytes:
        """All bytes that are left."""
        return b"".join(iter(lambda: self.read(PIECE), b""))

    def read_at(self, offset: int, size: int) -> bytes:
        """``size`` bytes of a file from ``offset`` on; any thread may call this."""
        pieces = []
        while size > 0:
            with errors_of(self.name):
                piece = interruptible(os.pread, self.descriptor, size, self.start + offset)
            if not piece:
                raise self._truncated(offset)
            pieces.append(piece)
            offset, size = offset + len(piece), size - len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def check_length(self) -> None:
        """Refuses a file that was truncated since it was opened."""
        if self.size is not None:
            with errors_of(self.name):
                size = self._end() - self.start
            if size < self.size:
                raise self._truncated(size)

    def _truncated(self, found: int) -> Failure:
        with errors_of(self.name):
            found = min(found, max(0, self._end() - self.start))
        msg = f"{self.name} was truncated while it was read: "
        return Failure(f"{msg}expected {self.size} bytes, found {found}")

    def __enter__(self) -> Input:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            if not self.is_standard:
                os.close(self.descriptor)
            elif self.size is not None:
                # The next program to read standard input continues where this one stopped.
                os.lseek(self.descriptor, self.start + self.size, os.SEEK_SET)


class Part(Reader):
    """The bytes from ``start`` to ``end`` of a file, or ``data``, which was read from there.

    Several threads may read parts of one file.
    """

    error = Failure

    def __init__(self, source: Input, start: int, end: int, data: bytes | None = None) -> None:
        super().__init__(source.name, start, end)
        self._source = source
        self._start, self._stop = start, end
        self._data = data

    def _fetch(self, offset: int, size: int) -> bytes:
        size = min(size, self._stop - offset)
        if self._data is None:
            return self._source.read_at(offset, size)
        at = offset - self._start
        return self._data[at : at + size]
