"""The progress bar."""

from __future__ import annotations

import sys
import time

from .signals import interruptible

#: Work that takes less, in seconds, shows nothing.
_QUIET = 1.0
#: Between two updates, in seconds.
_STEP = 0.1
_WIDTH = 30


class Progress:
    """A progress bar on standard error for work that takes over a second, if that is a terminal and
    the bar is wanted."""

    def __init__(self, total: int | None, is_wanted: bool = True) -> None:
        self.total = total
        self.done = 0
        self._start = time.monotonic()
        self._next = self._start + _QUIET
        self._is_shown = False
        self._on = is_wanted and sys.stderr is not None and sys.stderr.isatty()

    def advance(self, size: int) -> None:
        """Counts ``size`` bytes more."""
        self.done += size
        if self._on and (now := time.monotonic()) >= self._next:
            self._next = now + _STEP
            self._show(self._state(now - self._start))

    def note(self, text: str) -> None:
        """Shows what is being done, for steps of unknown length."""
        if self._on:
            self._show(f"{text} ...")

    def _state(self, seconds: float) -> str:
        rate = self.done / seconds
        done, speed = f"{self.done >> 20:,}", f"{rate / 1e6:,.0f} MB/s"
        if not self.total:
            return f"{done} MiB  {speed}"
        share = min(self.done / self.total, 1)
        left = max(0, self.total - self.done) / rate if rate else 0
        bar = "#" * round(share * _WIDTH)
        of = f"{done} of {self.total >> 20:,} MiB"
        return f"[{bar:<{_WIDTH}}] {share:4.0%}  {of}  {speed}  {_clock(left)} left"

    def _show(self, text: str) -> None:
        self._is_shown = True
        interruptible(self._print, f"\r\x1b[K{text}")

    def _print(self, text: str) -> None:
        try:
            print(text, end="", file=sys.stderr, flush=True)
        except OSError:
            self._on = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._on and self._is_shown:
            self._print("\r\x1b[K")


def _clock(seconds: float) -> str:
    """Minutes and seconds, and hours if there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
