"""Allocations that fail: the right result, or an error that says so."""

from __future__ import annotations

from pathlib import Path

from preloaded import CAUGHT, run_preloaded

#: Operations on columns of thousands of chunks, which take seconds.
CHUNKS = "chunks:"


def outcomes(folder: Path, *options: object) -> list[list[str]]:
    """The rows of the table that the script prints, which says nothing else."""
    done = run_preloaded("allocation_faults", folder, *options, **CAUGHT)
    assert not done.stderr, done.stderr
    _, _, *rows, _ = done.stdout.splitlines()
    return [row.split("|") for row in rows]


def test_allocations_that_fail(tmp_path: Path) -> None:
    """Each operation, with some of its allocations failing alone, and with all from one on. More
    of them: ``preloaded.py allocation_faults``."""
    rows = outcomes(tmp_path, "--sample", 2, "--without", CHUNKS)
    assert len(rows) > 100, rows
    results, errors = (sum(int(row[n]) for row in rows) for n in (4, 5))
    assert results > 50, rows
    assert errors > 50, rows


def test_thousands_of_chunks(tmp_path: Path) -> None:
    """Each chunk takes allocations that cannot fail: the call ends before they use up the pool."""
    rows = outcomes(tmp_path, "--sample", 6, "--only", f"{CHUNKS} compress")
    assert [row[1].strip() for row in rows] == [
        f"{library}: {CHUNKS} compress" for library in ("Polars", "Arrow")
    ]
    assert all(int(row[5]) > 0 for row in rows), rows
