"""The codecs of numcodecs and of Zarr: one id for each codec that compresses."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

import pytest
from codecs_table import DICTIONARY, ROWS

DICTIONARY_TEXT = base64.b64encode(DICTIONARY).decode()


@dataclass(frozen=True)
class Id:
    """An id, the codec of its frames, and settings that are not the default ones."""

    id: str
    codec: str
    settings: dict[str, Any] = field(default_factory=dict)
    #: Settings without a default.
    required: dict[str, Any] = field(default_factory=dict)
    on_gpu: bool = False


IDS = [
    Id("s4-zstd", "cpu-zstd", {"level": 9}),
    Id("s4-gzip", "cpu-gzip", {"level": 1}),
    Id("s4-zstd-dict", "cpu-zstd-dict", {"level": 9}, {"dictionary": DICTIONARY_TEXT}),
    Id("s4-nvcomp-zstd", "nvcomp-zstd"),
    Id("s4-nvcomp-gdeflate", "nvcomp-gdeflate", on_gpu=True),
    Id("s4-nvcomp-bitcomp", "nvcomp-bitcomp", {"data_type": "u32"}, on_gpu=True),
]
assert {entry.codec for entry in IDS} == {row.name for row in ROWS} - {"passthrough"}

#: Runs a test once per id.
of_ids = pytest.mark.parametrize(
    "entry",
    [
        pytest.param(entry, id=entry.id, marks=[pytest.mark.gpu] if entry.on_gpu else [])
        for entry in IDS
    ],
)
