"""How much memory a stretch of a test touches."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PROCESS = Path("/proc/self")


def peak_kib() -> int:
    """The most that the process has held since the last reset."""
    status = (PROCESS / "status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


@contextlib.contextmanager
def touches_at_most(mib: int) -> Iterator[None]:
    """Fails where the process comes to hold that much more than it does now, if only for a
    moment. An allocation that nobody writes to does not count."""
    try:
        # Without this what was freed before could be taken again unseen.
        (PROCESS / "clear_refs").write_text("5")
    except OSError as error:
        yield
        pytest.skip(f"the most memory that was held cannot be reset here: {error}")
    before = peak_kib()
    yield
    grown = (peak_kib() - before) / 1024
    assert grown < mib, f"memory grew by {grown:.0f} MiB"
