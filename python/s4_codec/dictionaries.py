"""Dictionaries that are trained, measured, and replaced as the data changes.

>>> import s4_codec
>>> rows = [b'{"user": %d, "action": "view", "item": "item-%d"}' % (n, n * n) for n in range(3000)]
>>> trained = s4_codec.train(rows, size=8192)
>>> trained.ratio > 2 * trained.ratio_without
True
>>> dictionaries = s4_codec.DictionarySet([trained])
>>> frame = dictionaries.codec().encode(rows[0])
>>> s4_codec.decode(frame, dictionary=dictionaries) == rows[0]
True
"""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping
from dataclasses import dataclass, replace
from operator import index
from typing import TYPE_CHECKING, Any, NoReturn

from . import _dictionary_files as files
from . import s4_codec as _native
from .s4_codec import CpuZstd, CpuZstdDict, S4FrameError, decode, dict_id

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator
    from typing import IO, Self, SupportsIndex

    from typing_extensions import Buffer

    from .s4_codec import _ArrowExporter, _Data

__all__ = ["DictionarySet", "TrainedDictionary", "train"]

#: The key of a set in the metadata of Parquet files and Arrow schemas.
METADATA_KEY = "s4.dictionaries"

#: The most bytes that a set in metadata may have.
_MAX_METADATA_BYTES = 256 << 20

#: The ids that zstd leaves to its users: RFC 8878, section 5.
_FREE_IDS = range(32_768, 2**31)


@dataclass(frozen=True, repr=False)
class TrainedDictionary:
    """A dictionary, and what it gains on samples that it was not trained on.

    Sizes are those of payloads of ``CpuZstd`` and ``CpuZstdDict`` at level 3. The bytes of the
    dictionary, which is stored once, are not counted.
    """

    #: The dictionary, for ``CpuZstdDict`` or any other zstd program.
    dict_bytes: bytes
    #: The samples that it was trained on, and their bytes.
    samples: int
    sample_bytes: int
    #: The samples that it was measured on, and their bytes.
    held_out: int
    held_out_bytes: int
    #: The bytes of the held-out samples, compressed with the dictionary.
    stored_bytes: int
    #: The same without a dictionary.
    plain_bytes: int
    #: The same with the dictionary that it was trained to replace, if any.
    current_bytes: int | None = None

    @property
    def dict_id(self) -> str:
        """The dictionary's id in S4: the first 16 hex digits of its SHA-256."""
        return dict_id(self.dict_bytes)

    @property
    def ratio(self) -> float:
        """Original bytes by stored bytes, with the dictionary."""
        return self.held_out_bytes / self.stored_bytes

    @property
    def ratio_without(self) -> float:
        """Original bytes by stored bytes, without a dictionary."""
        return self.held_out_bytes / self.plain_bytes

    @property
    def current_ratio(self) -> float | None:
        """Original bytes by stored bytes, with the dictionary that it was trained to replace."""
        return None if self.current_bytes is None else self.held_out_bytes / self.current_bytes

    @property
    def gain(self) -> float:
        """The share of the stored bytes that the dictionary saves: of those with the dictionary
        that it was trained to replace, if any, else of those without a dictionary. Negative if
        it makes them more."""
        before = self.plain_bytes if self.current_bytes is None else self.current_bytes
        return 1 - self.stored_bytes / before

    def codec(self, level: SupportsIndex = 3) -> CpuZstdDict:
        """The codec with this dictionary."""
        return CpuZstdDict(self.dict_bytes, level)

    def _lines(self) -> list[tuple[str, str]]:
        lines = [
            ("dictionary", f"{self.dict_id}, {len(self.dict_bytes):,} bytes"),
            ("trained on", f"{self.samples:,} samples, {self.sample_bytes:,} bytes"),
            ("measured on", f"{self.held_out:,} others, {self.held_out_bytes:,} bytes"),
            ("ratio", f"{self.ratio:.2f}"),
            ("without a dictionary", f"{self.ratio_without:.2f}"),
        ]
        if self.current_ratio is not None:
            lines.append(("with the one before", f"{self.current_ratio:.2f}"))
        return [*lines, ("gain", f"{self.gain:.1%} of the stored bytes")]

    def __repr__(self) -> str:
        before = "" if self.current_ratio is None else f", current_ratio={self.current_ratio:.2f}"
        return (
            f"TrainedDictionary(dict_id={self.dict_id!r}, dict_len={len(self.dict_bytes)}, "
            f"samples={self.samples}, held_out={self.held_out}, ratio={self.ratio:.2f}, "
            f"ratio_without={self.ratio_without:.2f}{before}, gain={self.gain:.3f})"
        )

    def __str__(self) -> str:
        return "\n".join(f"{name:<20}  {text}" for name, text in self._lines())

    def _repr_html_(self) -> str:
        rows = (
            f"<tr><th style='text-align:left'>{html.escape(name)}</th><td>{html.escape(text)}</td>"
            for name, text in self._lines()
        )
        return f"<table>{'</tr>'.join(rows)}</tr></table>"


def train(
    samples: Iterable[_Data] | _ArrowExporter, size: SupportsIndex = 112_640, seed: int = 0
) -> TrainedDictionary:
    """Train a dictionary, and measure it on samples that were held out of the training.

    Parameters
    ----------
    samples
        An iterable of buffers, a Polars series, or binary or string Arrow data, as for
        :func:`train_dictionary`: some thousands of the values to compress, at least 9. Of every
        five in a row one is held out.
    size
        The maximum length of the dictionary in bytes; at least 256.
    seed
        Chooses which samples are held out. Equal samples, sizes and seeds give equal results.

    Returns
    -------
    TrainedDictionary
        The dictionary and the report.

    Raises
    ------
    S4BackendError
        There are too few samples, or they are too short.
    TypeError
        ``samples`` is of another type, such as an expression, text or a single buffer.
    ValueError
        ``size`` is less than 256.
    """
    return _train(samples, size, seed, None)


def _train(
    samples: Iterable[_Data] | _ArrowExporter,
    size: SupportsIndex,
    seed: int,
    current: DictionarySet | None,
) -> TrainedDictionary:
    measured = _native._train(samples, size, index(seed) % 2**64, current)
    return TrainedDictionary(**measured)


class DictionarySet(_native._DictionarySet):
    """Dictionaries of one kind of data: the current one compresses, and every one decodes.

    Frames and payloads name their dictionary by the id that zstd gives it, so data that was
    compressed with any dictionary of the set is decoded with the set. Pass it as ``dictionary=``
    wherever a dictionary is taken, for values, objects, Polars, Arrow and Spark.

    Sets are values: immutable, hashable, equal by their dictionaries and the current one,
    picklable, and safe to share between threads.

    Parameters
    ----------
    dictionaries
        One dictionary or more, oldest first: their bytes, codecs that have one, or results of
        :func:`train`.
    current
        The one that compresses: its position, or its S4 id.

    Raises
    ------
    ValueError
        There is no dictionary, or no current one; one is raw content without an id, or two have
        the same zstd id, so that payloads could not tell them apart.
    S4BackendError
        A dictionary is damaged.
    TypeError
        A dictionary is not a buffer.
    """

    __slots__ = ("_report",)

    _report: TrainedDictionary | None

    def __new__(
        cls,
        dictionaries: Iterable[Buffer | CpuZstdDict | TrainedDictionary],
        current: SupportsIndex | str = -1,
    ) -> Self:
        if isinstance(dictionaries, (str, bytes, bytearray, memoryview, CpuZstdDict)):
            kind = type(dictionaries).__name__
            msg = f"dictionaries must be an iterable of dictionaries, not one {kind}; pass a list"
            raise TypeError(msg)
        members = [_bytes_of(dictionary) for dictionary in dictionaries]
        made = super().__new__(cls, members, _position(members, current))
        object.__setattr__(made, "_report", None)
        return made

    def __setattr__(self, name: str, value: object) -> NoReturn:
        msg = f"a DictionarySet is immutable; cannot set {name!r}"
        raise AttributeError(msg)

    def __delattr__(self, name: str) -> NoReturn:
        msg = f"a DictionarySet is immutable; cannot delete {name!r}"
        raise AttributeError(msg)

    @property
    def report(self) -> TrainedDictionary | None:
        """What :meth:`refresh` measured, if it returned this set."""
        return self._report

    def codec(self, level: SupportsIndex = 3) -> CpuZstdDict:
        """The codec that compresses with the current dictionary."""
        return CpuZstdDict(self.dictionaries[self._current_position], level)

    def refresh(
        self,
        samples: Iterable[_Data] | _ArrowExporter,
        min_gain: float = 0.05,
        *,
        size: SupportsIndex = 112_640,
        seed: int = 0,
    ) -> DictionarySet:
        """Train a dictionary on recent samples, and make it the current one if it gains enough.

        Parameters
        ----------
        samples, size, seed
            As for :func:`train`.
        min_gain
            The share of the stored bytes that the new dictionary must save, from 0 to 1, on
            held-out samples beside the current dictionary.

        Returns
        -------
        DictionarySet
            A set with the new dictionary added as the current one; or one equal to this set if
            the gain is smaller. Its :attr:`report` says what was measured in either case.

        Raises
        ------
        ValueError
            ``min_gain`` or ``size`` is out of range.
        S4BackendError, TypeError
            As for :func:`train`.
        """
        if not 0 <= min_gain <= 1:
            msg = f"min_gain must be from 0 to 1, a share of the stored bytes, not {min_gain!r}"
            raise ValueError(msg)
        trained = _train(samples, size, seed, self)
        if trained.gain < min_gain:
            found = DictionarySet(self, self.current)
        elif trained.dict_bytes in self:
            found = DictionarySet(self, trained.dict_id)
        else:
            trained = _with_free_id(trained, self.zstd_ids)
            found = DictionarySet([*self, trained])
        object.__setattr__(found, "_report", trained)
        return found

    @classmethod
    def from_bytes(cls, data: _Data) -> Self:
        """Read what :meth:`to_bytes` wrote.

        Raises
        ------
        S4FrameError
            The bytes are not a set, are cut or damaged, or hold dictionaries that cannot be one
            set.
        """
        return cls(*_native._parse_dictionary_set(data))

    def to_metadata(self) -> dict[str, str]:
        """The set as metadata of a Parquet file or an Arrow schema: one key with text.

        ``df.write_parquet(path, metadata=dictionaries.to_metadata())`` keeps the set with the
        data, and :meth:`from_parquet` reads it.

        Raises
        ------
        ValueError
            The set has more than 256 MiB.
        """
        data = self.to_bytes()
        if len(data) > _MAX_METADATA_BYTES:
            msg = (
                f"a set of {len(data)} bytes exceeds the maximum of {_MAX_METADATA_BYTES} for "
                "metadata; use save"
            )
            raise ValueError(msg)
        stored = CpuZstd(9).encode(data)
        return {METADATA_KEY: base64.b64encode(stored).decode()}

    @classmethod
    def from_metadata(cls, metadata: Mapping[Any, Any] | None) -> Self:
        """Read a set from metadata, whose keys and values are text or bytes.

        Raises
        ------
        ValueError
            The metadata has no set.
        S4Error, S4IoError
            The set is damaged.
        """
        if metadata is None:
            metadata = {}
        elif not isinstance(metadata, Mapping):
            msg = f"metadata must be a mapping, such as a dict, not {type(metadata).__name__}"
            raise TypeError(msg)
        text = metadata.get(METADATA_KEY, metadata.get(METADATA_KEY.encode()))
        if text is None:
            msg = f"the metadata has no dictionary set: no key {METADATA_KEY!r}"
            raise ValueError(msg)
        try:
            stored = base64.b64decode(text, validate=True)
        except (TypeError, ValueError) as error:
            msg = f"the metadata's {METADATA_KEY!r} is damaged: {error}"
            raise S4FrameError(msg) from None
        return cls.from_bytes(decode(stored, max_size=_MAX_METADATA_BYTES))

    @classmethod
    def from_parquet(cls, source: str | os.PathLike[str] | IO[bytes]) -> Self:
        """Read the set from the metadata of a Parquet file.

        Raises
        ------
        ValueError, S4Error, S4IoError
            As for :meth:`from_metadata`.
        """
        return cls.from_metadata(files.parquet_metadata(source))

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the dictionaries to a folder, as the S4 gateway keeps them in ``.s4dict``: each
        as the file of its S4 id. Their order and the current one are in ``index.json``.

        Files of other dictionaries stay. Readers never see a file half written.
        """
        contents = dict(zip(self.ids, self.dictionaries, strict=True))
        files.save(folder, contents, self.current)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read all dictionaries of a folder that :meth:`save` or the S4 gateway wrote.

        Dictionaries that ``index.json`` does not list come first, by the time of their last
        change. Without it the newest is the current one.

        Raises
        ------
        OSError
            The folder cannot be read, or has no dictionary.
        S4Error
            A dictionary or ``index.json`` is damaged or missing.
        ValueError
            The dictionaries cannot be one set.
        """
        return cls(*files.load(folder))

    def __iter__(self) -> Iterator[bytes]:
        """The bytes of each dictionary."""
        return iter(self.dictionaries)

    def __contains__(self, dictionary: object) -> bool:
        """Whether a dictionary is in the set: its S4 id, its bytes, or a codec that has it."""
        if isinstance(dictionary, str):
            return dictionary in self.ids
        return dict_id(_bytes_of(dictionary)) in self.ids

    def __repr__(self) -> str:
        return f"DictionarySet(ids={list(self.ids)}, current={self.current!r})"

    def __reduce__(self) -> tuple[Callable[..., DictionarySet], tuple[Any, ...]]:
        return type(self), (self.dictionaries, self._current_position)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        return self


def _bytes_of(dictionary: Any) -> Any:
    """The bytes of a dictionary, in whatever form it was given."""
    has_bytes = isinstance(dictionary, (CpuZstdDict, TrainedDictionary))
    return dictionary.dict_bytes if has_bytes else dictionary


def _position(members: list[Any], current: SupportsIndex | str) -> int:
    """The position of the current dictionary, from 0."""
    if isinstance(current, str):
        ids = [dict_id(member) for member in members]
        if current in ids:
            return ids.index(current)
        msg = f"current must be the id of a dictionary of the set, not {current!r}"
        raise ValueError(msg)
    position = index(current)
    count = len(members)
    if count and not -count <= position < count:
        msg = f"current must be a position from {-count} to {count - 1}, not {position}"
        raise ValueError(msg)
    return position % max(count, 1)


def _with_free_id(trained: TrainedDictionary, taken: tuple[int, ...]) -> TrainedDictionary:
    """The same with the next zstd id that is free.

    zstd's trainer hashes the content to an id of 31 bits, so that two may have the same.
    """
    magic, rest = trained.dict_bytes[:4], trained.dict_bytes[8:]
    zstd_id = int.from_bytes(trained.dict_bytes[4:8], "little")
    while zstd_id in taken:
        zstd_id = _FREE_IDS[(zstd_id + 1 - _FREE_IDS.start) % len(_FREE_IDS)]
    return replace(trained, dict_bytes=magic + zstd_id.to_bytes(4, "little") + rest)
