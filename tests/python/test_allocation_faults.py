"""Allocations that fail: the right result, or an error that says so."""

from __future__ import annotations

from pathlib import Path

from preloaded import CAUGHT, run_preloaded


def test_allocations_that_fail(tmp_path: Path) -> None:
    """Each operation, with some of its allocations failing alone, and with all from one on. All
    of them: ``preloaded.py allocation_faults``."""
    done = run_preloaded("allocation_faults", tmp_path, "--sample", 2, **CAUGHT)
    assert not done.stderr, done.stderr
    *rows, total = done.stdout.splitlines()
    assert len(rows) > 100, done.stdout
    results, errors = (sum(int(row.split("|")[n]) for row in rows[2:]) for n in (4, 5))
    assert results > 50, total
    assert errors > 50, total
