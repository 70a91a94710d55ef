"""A file that compresses what is written to it."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import warnings
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

from .._cli.output import Output, commit
from .._cli.streams import Failure
from ..s4_codec import Codec, _IndexBuilder, num_threads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Buffer


class Target(Protocol):
    """Where bytes go: a file object, or a new file."""

    def write(self, data: bytes, /) -> object: ...


class NewFiles:
    """A new file and its sidecar, which appear under their names when they are complete."""

    def __init__(self, path: str, sidecar: str | None, exclusive: bool) -> None:
        if exclusive and os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        self._stack = contextlib.ExitStack()
        with _system_errors(), contextlib.ExitStack() as stack:
            self.body = stack.enter_context(Output(path, None))
            self.sidecar = None
            if sidecar is not None:
                self.sidecar = stack.enter_context(Output(sidecar, None))
            self._stack = stack.pop_all()

    def commit(self) -> None:
        with _system_errors(), self._stack:
            commit(self.body, self.sidecar)

    def drop(self) -> None:
        self._stack.close()


@contextlib.contextmanager
def _system_errors() -> Iterator[None]:
    """Raises the system's own error where the command would print it."""
    try:
        yield
    except Failure as failure:
        raise failure.__cause__ or OSError(str(failure)) from None


class OriginalWriter(io.BufferedIOBase):
    """Compresses what is written in frames of ``frame_size`` bytes, in parallel.

    It holds as many frames as there are threads, and two more.
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
        self._is_open = True

    @property
    def closed(self) -> bool:
        """Whether the file is closed."""
        return not self._is_open

    def writable(self) -> bool:
        self._check_open()
        return True

    def tell(self) -> int:
        """The number of bytes written so far, before compression."""
        self._check_open()
        return self._position

    def write(self, data: Buffer) -> int:
        self._check_open()
        with memoryview(data) as whole, whole.cast("B") as view:
            size, start = len(view), 0
            while start < size:
                room = self._frame_size - len(self._chunk)
                self._chunk += view[start : start + room]
                start += room
                if len(self._chunk) == self._frame_size:
                    self._end_frame()
        self._position += size
        return size

    def flush(self) -> None:
        """Ends the current frame and writes all frames. Small frames compress less."""
        self._check_open()
        self._end_frame()
        self._write_frames(0)
        if (flush := getattr(self._body, "flush", None)) is not None:
            flush()

    def close(self) -> None:
        """Writes what is left. A file that was opened by its path now appears under its name."""
        if not self._is_open:
            return
        try:
            self.flush()
            if self._sidecar is not None:
                _write_all(self._sidecar, self._index.finish(self._stored))
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

    def _drop(self) -> None:
        self._is_open = False
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._running.clear()
        self._chunk.clear()
        if self._files is not None:
            self._files.drop()

    def _check_open(self) -> None:
        if not self._is_open:
            msg = "I/O operation on closed file"
            raise ValueError(msg)

    def _end_frame(self) -> None:
        if not self._chunk:
            return
        chunk, self._chunk = self._chunk, bytearray()
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._width)
        # As in objects that S4 writes, all frames are of the codec that was asked for.
        work = self._pool.submit(self._codec.encode, chunk, fallback=False)
        self._running.append((len(chunk), work))
        self._write_frames(self._width)

    def _write_frames(self, left: int) -> None:
        """Writes frames in order until ``left`` or fewer are being compressed."""
        while len(self._running) > left:
            size, work = self._running.popleft()
            frame = work.result()
            _write_all(self._body, frame)
            self._index.push(self._stored, len(frame), size)
            self._stored += len(frame)


class TextWriter(io.TextIOWrapper):
    """Text over an :class:`OriginalWriter`, which is dropped as that is."""

    def __exit__(self, kind: object, *rest: object) -> None:
        if kind is not None:
            self._drop()
        self.close()

    def __del__(self) -> None:
        if not self.closed:
            msg = f"{self.name!r} was not closed, so what was written to it is dropped"
            warnings.warn(msg, ResourceWarning, source=self, stacklevel=2)
            self._drop()

    def _drop(self) -> None:
        writer: Any = self.buffer
        writer.abort()


def _write_all(target: Target, data: bytes) -> None:
    """Writes all of ``data``, also to a raw file, which may take a part."""
    with memoryview(data) as view:
        start = 0
        while start < len(view):
            written = target.write(view[start:])  # type: ignore[arg-type]
            if written is None and isinstance(target, io.RawIOBase):
                msg = "the file is non-blocking and takes no data now; pass a blocking file"
                raise BlockingIOError(msg)
            start += written if isinstance(written, int) else len(view)
