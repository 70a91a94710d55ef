"""The subcommand train, and the option ``--dict``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..dictionaries import DictionarySet, train
from ..s4_codec import CpuZstdDict
from .inputs import Input
from .output import Output, check_output, commit
from .progress import Progress
from .signals import interruptible
from .streams import report

if TYPE_CHECKING:
    import argparse

_SET_MAGIC = b"S4DS"
_ZSTD_MAGIC = b"\x37\xa4\x30\xec"


def read_dictionaries(path: str | None) -> CpuZstdDict | DictionarySet | None:
    """What ``--dict`` names: a dictionary, a stored set, or a folder of dictionaries."""
    if path is None:
        return None
    if os.path.isdir(path):
        return DictionarySet.load(path)
    with Input(path) as file:
        content = file.read_all()
    if content.startswith(_SET_MAGIC):
        return DictionarySet.from_bytes(content)
    if not content.startswith(_ZSTD_MAGIC):
        report(
            f"Warning: {path} is not a trained dictionary, so its bytes are used as raw content: "
            "decoding needs the same file, and nothing tells it from another"
        )
    return CpuZstdDict(content)


def dictionary_codec(path: str | None, level: int | None) -> CpuZstdDict | None:
    """The codec that compresses with what ``--dict`` names."""
    found = read_dictionaries(path)
    if found is None:
        return None
    levels = [] if level is None else [level]
    if isinstance(found, DictionarySet):
        return found.codec(*levels)
    return CpuZstdDict(found.dict_bytes, *levels)


def train_command(args: argparse.Namespace) -> str:
    """Trains a dictionary on a column of INPUT, and says what it gains on other rows."""
    from .tables import read_column

    with Input(args.input) as source:
        check_output(source, args.output)
        with Output(args.output, source.status) as out:
            with Progress(None, args.progress) as progress:
                progress.note(f"reading {source.name}")
                samples = read_column(args.input, args.column)
                progress.note(f"training on {len(samples):,} values")
                trained = interruptible(train, samples, args.size, args.seed)
            out.write(trained.dict_bytes)
            commit(out)
    if trained.gain <= 0:
        report("Warning: with this dictionary the values become no smaller; do not use it")
    return (
        f"trained dictionary {trained.dict_id}, {len(trained.dict_bytes)} bytes, on "
        f"{trained.samples} values; ratio on {trained.held_out} others: {trained.ratio:.2f}, "
        f"without a dictionary {trained.ratio_without:.2f}, {trained.gain:.1%} saved"
    )
