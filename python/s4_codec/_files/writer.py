"""A file that compresses what is written to it."""

from __future__ import annotations

import contextlib
import errno
import io
import operator
import os
import threading
import warnings
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from .._cli.output import Output, commit
from .._cli.streams import Failure
from ..s4_codec import SIDECAR_SUFFIX, Codec, _IndexBuilder, num_threads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Buffer


class Target(Protocol):
    """Where bytes go: a file object, or a new file."""

    def write(self, data: memoryview, /) -> object: ...


class NewFiles:
    """A new file and its sidecar, which appear under their names when they are complete.

    A sidecar that describes the old file does not survive it.
    """

    def __init__(self, path: str, sidecar: str | None, is_exclusive: bool) -> None:
        if is_exclusive and os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        if sidecar is not None and os.path.realpath(sidecar) == os.path.realpath(path):
            msg = f"{sidecar} is both the file and its sidecar; choose another index"
            raise ValueError(msg)
        self._path, self._is_exclusive = path, is_exclusive
        with system_errors(path), contextlib.ExitStack() as stack:
            self.body = stack.enter_context(Output(path, None))
            self.sidecar = None
            if sidecar is not None:
                self.sidecar = stack.enter_context(Output(sidecar, None))
            self._stack = stack.pop_all()

    def commit(self) -> None:
        """Gives the files their names."""
        if self._is_exclusive:
            # Fails if another process has made such a file meanwhile; it is replaced at once.
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC))
        try:
            with system_errors(), self._stack:
                commit(self.body, self.sidecar, self._path + SIDECAR_SUFFIX)
        except BaseException:
            if self._is_exclusive:
                with contextlib.suppress(OSError):
                    os.unlink(self._path)
            raise

    def drop(self) -> None:
        """Removes what does not have its name yet."""
        self._stack.close()


@contextlib.contextmanager
def system_errors(path: str | None = None) -> Iterator[None]:
    """Raises the system's own error, about ``path``, where the command would print it."""
    try:
        yield
    except Failure as failure:
        error = failure.__cause__ or OSError(str(failure))
        if isinstance(error, OSError) and error.filename is not None and path is not None:
            # Not the temporary file.
            error.filename = path
        raise error from None


class OriginalWriter(io.BufferedIOBase):
    """Compresses what is written in frames of ``frame_size`` bytes, in parallel.

    It holds as many frames as there are threads, and two more. Threads may share it; after a call
    that failed or was interrupted, something may be missing, so it can only be dropped.
    """

    mode = "wb"

    def __init__(
        self,
        codec: Codec,
        frame_size: int,
        body: Any,
        sidecar: Any | None,
        files: NewFiles | None,
        name: Any,
    ) -> None:
        self.name = name
        self._codec = codec
        self._frame_size = frame_size
        self._body, self._sidecar, self._files = body, sidecar, files
        self._index = _IndexBuilder()
        self._chunk = bytearray()
        self._width = num_threads()
        self._pool: ThreadPoolExecutor | None = None
        #: Frames that are compressed, with the lengths of their originals.
        self._running: deque[tuple[int, Future[bytes]]] = deque()
        self._position = self._stored = 0
        self._lock = threading.RLock()
        self._process = os.getpid()
        #: Whether a call is in progress, or did not end.
        self._is_busy = False
        self._is_open = True

    @property
    def closed(self) -> bool:
        """Whether the file is closed."""
        return not self._is_open

    def __repr__(self) -> str:
        state = "closed " if self.closed else ""
        return f"<{state}s4_codec writer {self.name!r}, {self._codec!r}>"

    def writable(self) -> bool:
        self._check_open()
        return True

    def tell(self) -> int:
        """The number of bytes written so far, before compression."""
        self._check_open()
        return self._position

    def write(self, data: Buffer) -> int:
        if isinstance(data, str):
            msg = "expected bytes, found str; open the file with mode 'wt' to write text"
            raise TypeError(msg)
        with self._call(), memoryview(data) as whole:
            if "O" in whole.format:
                msg = "expected bytes or numbers, found an array of Python objects"
                raise TypeError(msg)
            if whole.nbytes:
                with whole.cast("B") as view:
                    self._add(view)
            self._position += whole.nbytes
            return whole.nbytes

    def flush(self) -> None:
        """Ends the current frame and writes all frames. Small frames compress less."""
        with self._call():
            self._flush()

    def close(self) -> None:
        """Writes what is left. A file that was opened by its path now appears under its name.

        Raises
        ------
        OSError
            An earlier call failed or was interrupted, so what was written is incomplete: a file
            that was opened by its path stays as it was.
        """
        with self._lock:
            if not self._is_open:
                return
            try:
                with self._call():
                    self._flush()
                    if self._sidecar is not None:
                        self._write_all(self._sidecar, self._index.finish(self._stored))
                    if self._files is not None:
                        self._files.commit()
            finally:
                self._drop()

    def abort(self) -> None:
        """Closes without completing: a file that was opened by its path stays as it was."""
        self._drop()

    def __exit__(self, kind: object, *rest: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def __del__(self) -> None:
        if getattr(self, "_is_open", False):
            msg = f"{self.name!r} was not closed, so what was written to it is dropped"
            warnings.warn(msg, ResourceWarning, source=self, stacklevel=2)
            self.abort()

    def __getstate__(self) -> object:
        msg = f"cannot pickle or copy {type(self).__name__!r}"
        raise TypeError(msg)

    @contextlib.contextmanager
    def _call(self) -> Iterator[None]:
        """A call, which may be the last if it fails."""
        with self._lock:
            self._check_open()
            if self._process != os.getpid():
                msg = "the file was opened by the parent process, which alone may write to it"
                raise OSError(msg)
            if self._is_busy:
                msg = "an earlier call failed, so what was written is incomplete; write it again"
                raise OSError(msg)
            self._is_busy = True
            with system_errors():
                yield
            self._is_busy = False

    def _check_open(self) -> None:
        if not self._is_open:
            msg = "I/O operation on closed file"
            raise ValueError(msg)

    def _drop(self) -> None:
        self._is_open = False
        if self._process != os.getpid():
            # The files and threads are those of the parent.
            return
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._running.clear()
        self._chunk.clear()
        if self._files is not None:
            self._files.drop()

    def _add(self, view: memoryview) -> None:
        start = 0
        while start < len(view):
            room = self._frame_size - len(self._chunk)
            self._chunk += view[start : start + room]
            start += room
            if len(self._chunk) == self._frame_size:
                self._end_frame()

    def _flush(self) -> None:
        self._end_frame()
        self._write_frames(0)
        if (flush := getattr(self._body, "flush", None)) is not None:
            flush()

    def _end_frame(self) -> None:
        if not self._chunk:
            return
        chunk, self._chunk = self._chunk, bytearray()
        # As in objects that S4 writes, all frames are of the codec that was asked for.
        encode = partial(self._codec.encode, chunk, fallback=False)
        try:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._width)
            work = self._pool.submit(encode)
        except RuntimeError:
            # When the interpreter ends, it starts no more threads.
            work = Future()
            work.set_result(encode())
        self._running.append((len(chunk), work))
        self._write_frames(self._width)

    def _write_frames(self, left: int) -> None:
        """Writes frames in order until ``left`` or fewer are being compressed."""
        while len(self._running) > left:
            size, work = self._running.popleft()
            frame = work.result()
            self._write_all(self._body, frame)
            self._index.push(self._stored, len(frame), size)
            self._stored += len(frame)

    def _write_all(self, target: Target, data: bytes) -> None:
        """Writes all of ``data``, also to a raw file, which may take a part."""
        if isinstance(target, Output):
            target.write(data)
            return
        with memoryview(data) as view:
            start = 0
            while start < len(view):
                written = target.write(view[start:])
                if written is None:
                    if isinstance(target, io.RawIOBase):
                        msg = "the file is non-blocking and takes no data now; pass a blocking one"
                        raise BlockingIOError(msg)
                    return
                count = operator.index(written)  # type: ignore[arg-type]
                if not 1 <= count <= len(view) - start:
                    msg = f"the file's write returned {count} for {len(view) - start} bytes"
                    raise OSError(msg)
                start += count


class TextWriter(io.TextIOWrapper):
    """Text over an :class:`OriginalWriter`, which is dropped as that is."""

    def __exit__(self, kind: object, *rest: object) -> None:
        if kind is not None:
            self._drop()
        self.close()

    def __del__(self) -> None:
        # A wrapper that was not made, or was detached, has no buffer.
        with contextlib.suppress(ValueError, AttributeError):
            if not self.closed:
                msg = f"{self.name!r} was not closed, so what was written to it is dropped"
                warnings.warn(msg, ResourceWarning, source=self, stacklevel=2)
                self._drop()

    def _drop(self) -> None:
        writer: Any = self.buffer
        writer.abort()
