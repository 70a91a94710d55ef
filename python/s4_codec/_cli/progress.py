"""The progress bar."""

from __future__ import annotations

import sys

from .signals import interruptible


class Progress:
    """A progress bar on standard error, if that is a terminal."""

    def __init__(self, total: int | None) -> None:
        self.total = total
        self.done = 0
        self._shown = -1
        self._on = sys.stderr is not None and sys.stderr.isatty()

    def advance(self, size: int) -> None:
        self.done += size
        if not self._on:
            return
        step = self.done * 200 // self.total if self.total else self.done >> 24
        if step == self._shown:
            return
        self._shown = step
        if self.total:
            share = min(self.done / self.total, 1)
            bar = "#" * round(share * 40)
            text = f"[{bar:<40}] {share:4.0%}  {self.done >> 20:,} of {self.total >> 20:,} MiB"
        else:
            text = f"{self.done >> 20:,} MiB"
        interruptible(self._print, f"\r{text}")

    def note(self, text: str) -> None:
        """Shows what is being done, for steps of unknown length."""
        if self._on:
            self._shown = 0
            interruptible(self._print, f"\r\x1b[K{text} ...")

    def _print(self, text: str) -> None:
        try:
            print(text, end="", file=sys.stderr, flush=True)
        except OSError:
            self._on = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._on and self._shown >= 0:
            self._print("\r\x1b[K")
