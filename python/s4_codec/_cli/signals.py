"""Signals that end the command.

They raise an exception only during calls that may block, never between two steps that belong
together, such as creating a temporary file and recording its name.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

#: The signals, and the message for each.
_WORDS = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "terminated",
    signal.SIGHUP: "the terminal hung up",
}


class Stopped(BaseException):
    """A signal that ends the command arrived."""

    def __init__(self, number: int) -> None:
        super().__init__(_WORDS[signal.Signals(number)])
        #: The exit status that shells expect.
        self.status = 128 + number


#: The first signal that arrived.
_pending: int | None = None
#: Whether the main thread is in a call that a signal may end.
_is_interruptible = False


def _on_signal(number: int, _: Any) -> None:
    global _pending, _is_interruptible
    # Signals after the first must not disturb the cleanup.
    if _pending is None:
        _pending = number
    if _is_interruptible:
        _is_interruptible = False
        raise Stopped(_pending)


@contextlib.contextmanager
def handling_signals() -> Iterator[None]:
    """Makes signals raise :class:`Stopped`, but only within :func:`interruptible`.

    Ignored signals, such as SIGHUP under nohup, stay ignored.
    """
    global _pending, _is_interruptible
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _pending, _is_interruptible = None, False
    before = {kind: signal.getsignal(kind) for kind in _WORDS}
    try:
        for kind, handler in before.items():
            if handler not in (signal.SIG_IGN, None):
                signal.signal(kind, _on_signal)
        yield
    finally:
        _pending, _is_interruptible = None, False
        for kind, handler in before.items():
            if handler not in (signal.SIG_IGN, None):
                signal.signal(kind, handler)


def interruptible(call: Callable[..., T], *args: Any) -> T:
    """Makes a call that may block; a signal before or during it raises :class:`Stopped`."""
    global _is_interruptible
    if threading.current_thread() is not threading.main_thread():
        return call(*args)
    _is_interruptible = True
    try:
        if _pending is not None:
            raise Stopped(_pending)
        return call(*args)
    finally:
        _is_interruptible = False


def check() -> None:
    """Raises :class:`Stopped` if a signal has arrived."""
    if _pending is not None:
        raise Stopped(_pending)
