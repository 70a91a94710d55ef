"""What the command writes: files that appear when complete, or streams."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import sys
import tempfile
import threading
from typing import TYPE_CHECKING

from .._reader import PIECE
from .signals import check, interruptible
from .streams import Failure, errors_of, refuse_closed, standard_stream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from typing_extensions import Buffer

    from .inputs import Input

_UMASK = threading.Lock()

#: Names of standard output.
STANDARD_OUTPUT = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


def write_all(descriptor: int, data: Buffer) -> None:
    """Writes all of ``data``, at most ``PIECE`` bytes at a time."""
    with memoryview(data) as view:
        start = 0
        while start < len(view):
            with view[start : start + PIECE] as piece:
                start += interruptible(os.write, descriptor, piece)


@contextlib.contextmanager
def output_errors(name: str, is_standard: bool) -> Iterator[None]:
    """As :func:`errors_of`, but a closed pipe on standard output is not an error to report."""
    try:
        with errors_of(name):
            yield
    except Failure as failure:
        if is_standard and isinstance(failure.__cause__, BrokenPipeError):
            raise failure.__cause__ from None
        raise


class Output:
    """A temporary file that :func:`commit` renames to its final name.

    It gets the permissions of the file that it replaces, else those of the file ``like``, if it is
    a regular one. Standard output and special files, such as devices and named pipes, are written
    directly.
    """

    def __init__(self, path: str, like: os.stat_result | None) -> None:
        self.is_standard = path in STANDARD_OUTPUT
        self.name = "standard output" if self.is_standard else path
        self._scratch: str | None = None
        if self.is_standard:
            with errors_of(self.name):
                self._descriptor = standard_stream(1)
            return
        refuse_closed(path)
        with errors_of(self.name):
            try:
                found: os.stat_result | None = os.stat(path)
            except FileNotFoundError:
                if not os.path.basename(path):
                    raise
                found = None
            if found is not None and not stat.S_ISREG(found.st_mode):
                self._descriptor = interruptible(os.open, path, os.O_WRONLY | os.O_CLOEXEC)
                return
            self._target = os.path.realpath(path)
            self._mode = _permissions(found or like)
            prefix, suffix = _scratch_name(self._target)
            self._descriptor, self._scratch = tempfile.mkstemp(
                suffix, prefix, os.path.dirname(self._target)
            )

    @property
    def folder(self) -> str | None:
        """The folder of the file; None for what is written directly."""
        return None if self._scratch is None else os.path.dirname(self._target)

    def write(self, data: Buffer) -> None:
        """Writes all of ``data``."""
        with self._errors():
            write_all(self._descriptor, data)

    def _errors(self) -> AbstractContextManager[None]:
        return output_errors(self.name, self.is_standard)

    def finish(self) -> None:
        """Flushes what was written to the disk, and raises what failed."""
        with self._errors():
            if self._scratch is not None:
                os.fchmod(self._descriptor, self._mode)
                os.fsync(self._descriptor)
                self._close()
            elif self.is_standard:
                # Some file systems report errors only when a descriptor is closed.
                os.close(os.dup(self._descriptor))
            else:
                self._close()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)

    def place(self) -> None:
        """Renames the file to its final name."""
        if self._scratch is not None:
            with errors_of(self.name):
                os.replace(self._scratch, self._target)
            self._scratch = None

    def remove_old(self) -> None:
        """Removes the file that has the final name."""
        if self._scratch is not None:
            with errors_of(self.name), contextlib.suppress(FileNotFoundError):
                os.unlink(self._target)

    def __enter__(self) -> Output:
        return self

    def __exit__(self, *_: object) -> None:
        if not self.is_standard and self._descriptor >= 0:
            with contextlib.suppress(OSError):
                self._close()
        if self._scratch is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._scratch)


def commit(body: Output, sidecar: Output | None = None, old_sidecar: str | None = None) -> None:
    """Renames a complete file to its final name, and its sidecar with it.

    ``old_sidecar`` is the path of a sidecar that described the file's predecessor.

    A body never lies beside the sidecar of another body: both new files are on the disk before
    the old sidecar is removed, and that happens before the new body gets its name. Other processes
    that write the pair meanwhile wait.
    """
    outputs = [body] if sidecar is None else [body, sidecar]
    for output in outputs:
        output.finish()
    check()
    names = {output.folder: output.name for output in outputs if output.folder is not None}
    with contextlib.ExitStack() as stack:
        folders = []
        for folder, name in names.items():
            with errors_of(name):
                folders.append((name, stack.enter_context(_opened(folder))))
        if sidecar is not None:
            _lock(folders[0][1])
            sidecar.remove_old()
        if old_sidecar is not None and os.path.isfile(old_sidecar) and folders:
            _lock(folders[0][1])
            with errors_of(old_sidecar), contextlib.suppress(FileNotFoundError):
                os.unlink(old_sidecar)
        for output in outputs:
            output.place()
        for name, descriptor in folders:
            with errors_of(name):
                _sync(descriptor)


@contextlib.contextmanager
def _opened(folder: str) -> Iterator[int | None]:
    """The descriptor of a folder, or None if it may not be read."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        yield None
        return
    try:
        yield descriptor
    finally:
        with contextlib.suppress(OSError):
            os.close(descriptor)


def _lock(folder: int | None) -> None:
    """Waits until no other process has locked the folder, if the file system supports it; the
    lock ends when its descriptor is closed."""
    if folder is not None:
        with contextlib.suppress(OSError):
            interruptible(fcntl.flock, folder, fcntl.LOCK_EX)


def _sync(folder: int | None) -> None:
    """Flushes the names of new files to the disk, if the file system supports it."""
    if folder is None:
        return
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def _scratch_name(target: str) -> tuple[str, str]:
    """The prefix and suffix of the temporary file's name, which is at most 255 bytes long."""
    name = os.fsencode(os.path.basename(target))[:200].decode(errors="ignore")
    return f".s4-{name}-", ".tmp"


def _permissions(like: os.stat_result | None) -> int:
    if like is not None and stat.S_ISREG(like.st_mode):
        return like.st_mode & 0o777
    return 0o666 & ~_umask()


def _umask() -> int:
    """The process's umask. Setting it, the other way to learn it, races with other threads."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            return next(int(line.split()[1], 8) for line in status if line.startswith("Umask:"))
    except (OSError, StopIteration, ValueError):
        with _UMASK:
            umask = os.umask(0o077)
            os.umask(umask)
            return umask


def _is_one_of(path: str, found: os.stat_result, dictionary: str) -> bool:
    """Whether an output is the dictionary, or in the folder of dictionaries."""
    if os.path.isdir(dictionary):
        folder = os.path.dirname(os.path.realpath(path))
        return os.path.samefile(folder, dictionary)
    return os.path.samestat(found, os.stat(dictionary))


def check_output(source: Input, path: str, dictionary: str | None = None) -> None:
    """Refuses to write to a terminal, to the input, or to the dictionary."""
    if path in STANDARD_OUTPUT:
        if sys.stdout is None:
            return
        if sys.stdout.isatty():
            msg = "the output is binary and standard output is a terminal; use -o FILE or a pipe"
            raise Failure(msg)
        with errors_of("standard output"):
            found = os.fstat(standard_stream(1))
    else:
        try:
            found = os.stat(path)
        except OSError:
            # Opening it will report the error.
            return
        if dictionary not in (None, "-") and _is_one_of(path, found, str(dictionary)):
            msg = f"{dictionary} is both the dictionary and the output; choose another output"
            raise Failure(msg)
        if source.is_standard:
            # A new file replaces the one that is read.
            return
    if stat.S_ISREG(found.st_mode) and os.path.samestat(found, source.status):
        msg = f"{source.name} is both the input and the output; choose another output"
        raise Failure(msg)
