"""Three generations of data that drifts, a dictionary of each, and what they compress."""

from __future__ import annotations

import polars as pl

import s4_codec.polars  # noqa: F401, registers Series.s4
from s4_codec import DictionarySet, train

SIZE = 2048


def rows(generation: int, count: int = 600) -> list[bytes]:
    """Rows of one generation of data, which share little with those of another."""
    kind = f"kind-{generation * 7919}-{generation**5}"
    return [
        f'{{"{kind}": "view-{generation}", "user": {n * 31}, "item": "{n * n}-{kind}"}}'.encode()
        for n in range(count)
    ]


TRAINED = [train(rows(generation), SIZE) for generation in range(3)]
SET = DictionarySet(TRAINED)
CODECS = [trained.codec() for trained in TRAINED]

#: Some rows of every generation, compressed each with the dictionary of its own.
VALUES = [row for generation in range(3) for row in rows(generation, 20)]
COLUMN = pl.concat(
    pl.Series("x", rows(generation, 20)).s4.compress(codec)
    for generation, codec in enumerate(CODECS)
)
FRAMES = pl.concat(
    pl.Series("x", rows(generation, 20)).s4.encode(codec) for generation, codec in enumerate(CODECS)
)
