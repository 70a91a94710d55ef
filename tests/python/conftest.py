"""Fixtures that run every test over the table of codecs."""

from __future__ import annotations

from pathlib import Path

import pytest
from codecs_table import ROWS

ROOT = Path(__file__).parents[2]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for ``row`` or ``codec`` runs once per codec."""
    if "row" in metafunc.fixturenames:
        metafunc.parametrize("row", ROWS, ids=str)
    if "codec" in metafunc.fixturenames:
        metafunc.parametrize("codec", [row.codec for row in ROWS], ids=[r.name for r in ROWS])


@pytest.fixture
def root() -> Path:
    """The project's folder."""
    return ROOT
