"""Signals that end the command: heard while it waits, and never between two steps that belong
together, such as making a temporary file and noting its name."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

#: The signals, and what the command says of each.
_WORDS = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "terminated",
    signal.SIGHUP: "the terminal hung up",
}


class Stopped(BaseException):
    """A signal came that ends the command."""

    def __init__(self, number: int) -> None:
        super().__init__(_WORDS[signal.Signals(number)])
        #: The exit status, as shells have it.
        self.status = 128 + number


#: The signal that came first.
_pending: int | None = None
#: Whether the main thread waits for something that a signal may end.
_waiting = False


def _note(number: int, _: Any) -> None:
    global _pending, _waiting
    # Those that follow the first must not disturb the cleaning up.
    if _pending is None:
        _pending = number
    if _waiting:
        _waiting = False
        raise Stopped(_pending)


@contextlib.contextmanager
def heard() -> Iterator[None]:
    """While this lasts, signals raise :class:`Stopped`, in :func:`waiting` alone.

    Signals that the process was told to ignore, as by nohup, stay ignored.
    """
    global _pending, _waiting
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _pending, _waiting = None, False
    before = {kind: signal.getsignal(kind) for kind in _WORDS}
    try:
        for kind, handler in before.items():
            if handler not in (signal.SIG_IGN, None):
                signal.signal(kind, _note)
        yield
    finally:
        _pending, _waiting = None, False
        for kind, handler in before.items():
            if handler not in (signal.SIG_IGN, None):
                signal.signal(kind, handler)


def waiting(call: Callable[..., T], *args: Any) -> T:
    """Calls something that may take long; a signal before or meanwhile raises."""
    global _waiting
    if threading.current_thread() is not threading.main_thread():
        return call(*args)
    _waiting = True
    try:
        if _pending is not None:
            raise Stopped(_pending)
        return call(*args)
    finally:
        _waiting = False


def check() -> None:
    """Raises if a signal came."""
    if _pending is not None:
        raise Stopped(_pending)
