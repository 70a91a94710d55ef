"""File objects over bodies: ``open``, as ``gzip.open`` and ``lzma.open`` are."""

from __future__ import annotations

import builtins
import io
import os
import warnings
from typing import TYPE_CHECKING, Any, Literal, overload

from .._arguments import DEFAULT_CODEC, size_limit, with_level
from ..s4_codec import (
    SIDECAR_SUFFIX,
    Codec,
    CpuZstdDict,
    S4Error,
    S4IndexError,
    S4ManifestSizeMismatchError,
    _metadata_frames,
    decode_s4_object,
)
from .body import Body, name_of
from .frames import Decoding, Frames
from .reader import OriginalReader
from .writer import NewFiles, OriginalWriter, TextWriter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Buffer

    from ..dictionaries import DictionarySet

    _Path = str | os.PathLike[str]
    _Dictionary = Buffer | CpuZstdDict | DictionarySet
    _Index = Buffer | _Path | Any

#: As many original bytes as frames of chunked uploads hold.
FRAME_SIZE = 4 << 20
#: A header, an ETag, and 16,777,216 entries of 32 bytes.
_MOST_SIDECAR_BYTES = (512 << 20) + 8192
#: The largest original of a frame, unless ``max_size`` says otherwise.
MAX_SIZE = 5 << 30

_MODES = {"r": "rb", "rb": "rb", "rt": "rt"} | {
    f"{kind}{form}": f"{kind}{form or 'b'}" for kind in "wx" for form in ("", "b", "t")
}


@overload
def open(
    file: _Path | Any,
    mode: Literal["r", "rb"] = "rb",
    *,
    dictionary: _Dictionary | None = None,
    index: _Index | None = None,
    metadata: Mapping[str, str] | None = None,
    max_size: int | None = None,
    device: int | Literal["auto"] | None = None,
) -> io.BufferedReader: ...
@overload
def open(
    file: _Path | Any,
    mode: Literal["w", "wb", "x", "xb"],
    codec: Codec | str | None = None,
    *,
    level: int | None = None,
    dictionary: _Dictionary | None = None,
    index: _Path | Any | None = None,
    frame_size: int = FRAME_SIZE,
) -> OriginalWriter: ...
@overload
def open(
    file: _Path | Any,
    mode: Literal["rt", "wt", "xt"],
    codec: Codec | str | None = None,
    *,
    level: int | None = None,
    dictionary: _Dictionary | None = None,
    index: _Index | None = None,
    metadata: Mapping[str, str] | None = None,
    frame_size: int = FRAME_SIZE,
    max_size: int | None = None,
    device: int | Literal["auto"] | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> io.TextIOWrapper: ...
def open(
    file: _Path | Any,
    mode: str = "rb",
    codec: Codec | str | None = None,
    *,
    level: int | None = None,
    dictionary: _Dictionary | None = None,
    index: _Index | None = None,
    metadata: Mapping[str, str] | None = None,
    frame_size: int = FRAME_SIZE,
    max_size: int | None = None,
    device: int | Literal["auto"] | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> io.BufferedReader | OriginalWriter | io.TextIOWrapper:
    """Open a file of frames, to read its original or to compress what is written.

    Reading decodes and verifies frame by frame. With a sidecar, a seek costs nothing and a read
    fetches and decodes only the frames that it needs. Without one, the frames before a position
    must have been decoded once, since nothing else confirms their sizes. A file that cannot seek
    is read from front to back.

    Writing compresses frames in parallel. A file that is opened by its path is written under a
    temporary name and appears when it is closed, complete; after an exception in a ``with`` block,
    and if it is never closed, the old file stays.

    Parameters
    ----------
    file
        A path, or a binary file object: of Python, fsspec, obstore or others. Its bytes from its
        position on are the body. It is not closed.
    mode
        ``"rb"``, ``"wb"``, ``"xb"`` (as ``"wb"``, but only if there is no such file), or
        ``"rt"``, ``"wt"`` and ``"xt"`` for text.
    codec
        When writing: a codec or its name; default ``CpuZstd()``. Frames name their codec, so
        reading needs none.
    level
        When writing, of a codec by name.
    dictionary
        For frames of cpu-zstd-dict: the dictionary's bytes, a :class:`CpuZstdDict`, or a
        :class:`DictionarySet`. When writing, it stands for ``codec``.
    index
        The sidecar: its bytes when reading, a path, a file object, or True for ``file`` with the
        suffix ``.s4index``. When reading a path, None takes that file if it exists and fits, and
        False takes none. When writing, None writes none.
    metadata
        When reading: the metadata of an object, which says how it is stored. An object that is
        not stored as frames is decoded at once. Frames are checked against the stated sizes, but
        not against the checksum of the whole.
    frame_size
        When writing: the original bytes of a frame, 4 MiB unless set.
    max_size
        When reading: the most bytes that a frame may decode to; default 5 GiB.
    device
        When reading: the number of a GPU, or ``"auto"``, as for :func:`decode`.
    encoding, errors, newline
        For text, as for the built-in ``open``.

    Returns
    -------
    io.BufferedReader or io.BufferedIOBase or io.TextIOWrapper

    Raises
    ------
    S4FrameError
        The body is not frames, or is truncated.
    S4ManifestSizeMismatchError
        The sidecar or the metadata is of a body of another length.
    ValueError
        An unknown mode, or an argument that is not for this mode.
    S4Error, S4IoError, S4BackendError
        When reading: a frame is damaged, as :func:`decode` raises them. Nothing of a damaged frame
        is returned.
    """
    if mode not in _MODES:
        msg = f"expected mode rb, wb, xb, rt, wt or xt, got {mode!r}"
        raise ValueError(msg)
    mode = _MODES[mode]
    reading = mode[0] == "r"
    foreign: dict[str, Any] = (
        {"codec": codec, "level": level, "frame_size": None if frame_size == FRAME_SIZE else 0}
        if reading
        else {"metadata": metadata, "max_size": max_size, "device": device}
    )
    if mode[1] == "b":
        foreign |= {"encoding": encoding, "errors": errors, "newline": newline}
    for name, value in foreign.items():
        if value is not None:
            msg = f"{name}= is not for mode {mode!r}"
            raise ValueError(msg)
    if reading:
        limit = size_limit(MAX_SIZE if max_size is None else max_size) or 0
        decoding = Decoding(dictionary, limit, device)  # type: ignore[arg-type]
        reader = _open_reader(file, decoding, index, metadata)
        return io.TextIOWrapper(reader, encoding, errors, newline) if mode == "rt" else reader
    if not isinstance(frame_size, int) or not 1 <= frame_size <= MAX_SIZE:
        msg = f"expected a frame_size of 1 byte to 5 GiB, got {frame_size!r}"
        raise ValueError(msg)
    writer = _open_writer(file, mode, _codec(codec, level, dictionary), index, frame_size)
    if mode[1] == "b":
        return writer
    try:
        return TextWriter(writer, encoding, errors, newline)
    except BaseException:
        writer.abort()
        raise


def _codec(codec: Codec | str | None, level: int | None, dictionary: Any) -> Codec:
    if dictionary is None:
        found = with_level(DEFAULT_CODEC if codec is None else codec, level)
        return found if isinstance(found, Codec) else Codec.from_name(found)
    if codec not in (None, "cpu-zstd-dict"):
        msg = f"dictionary= is for codec cpu-zstd-dict, not {codec}; leave one of them out"
        raise ValueError(msg)
    if isinstance(dictionary, CpuZstdDict):
        return dictionary if level is None else CpuZstdDict(dictionary.dict_bytes, level)
    options = {} if level is None else {"level": level}
    if hasattr(dictionary, "codec"):
        made: Codec = dictionary.codec(**options)
        return made
    return CpuZstdDict(dictionary, **options)


def _path_of(file: Any) -> str | None:
    """The path, if ``file`` is one."""
    if isinstance(file, (str, bytes, os.PathLike)):
        path = os.fsdecode(file)
        # Not the name of a standard stream here.
        return os.path.join(".", path) if path == "-" else path
    return None


def _open_reader(
    file: Any, decoding: Decoding, index: Any, metadata: Mapping[str, str] | None
) -> io.BufferedReader:
    path = _path_of(file)
    opened = file if path is None else builtins.open(path, "rb", buffering=0)  # noqa: SIM115
    try:
        if not hasattr(opened, "read"):
            msg = f"expected a path or a binary file object, got {type(file).__name__}"
            raise TypeError(msg)
        body = Body(opened, path or name_of(file))
        name = path if path is not None else getattr(file, "name", None)
        is_framed, original, stored = True, None, None
        if metadata is not None:
            is_framed, original, stored = _metadata_frames(metadata)
        if is_framed:
            _check_length(body, stored)
            frames = Frames(body, decoding, original)
            if path is not None and index is None:
                _add_sidecar_beside(frames, path + SIDECAR_SUFFIX, body)
            elif index is not None and index is not False:
                frames.add_sidecar(_read_sidecar(path, index, body))
            close = opened.close if path is not None else _nothing
            raw: Any = OriginalReader(frames, name, body.size is not None, close)
        else:
            raw = io.BytesIO(
                decode_s4_object(
                    body.read_all(),
                    metadata,
                    dictionary=decoding.dictionary,
                    max_size=decoding.max_size,
                    device=decoding.device,
                )
            )
            raw.name = name
            if path is not None:
                opened.close()
    except BaseException:
        if path is not None:
            opened.close()
        raise
    return io.BufferedReader(raw, 128 << 10)


def _nothing() -> None:
    """Leaves a file open that the caller opened."""


def _check_length(body: Body, stored: int | None) -> None:
    """Compares the body with the length that the metadata states."""
    if stored is not None and body.size not in (None, stored):
        msg = f"the metadata states a body of {stored} bytes, but {body.name} has {body.size}"
        raise S4ManifestSizeMismatchError(msg)


def _read_sidecar(path: str | None, index: Any, body: Body) -> bytes:
    """The bytes of the sidecar that ``index`` names."""
    if body.size is None:
        msg = f"index= needs a file that can seek, and {body.name} cannot"
        raise ValueError(msg)
    if index is True:
        if path is None:
            msg = "index=True needs a path; pass the sidecar's bytes, path or file object"
            raise ValueError(msg)
        index = path + SIDECAR_SUFFIX
    if isinstance(index, (str, os.PathLike)):
        return _read_index(os.fspath(index))
    if isinstance(index, int):
        msg = f"index= is a sidecar's bytes, path or file object, or True or False, not {index!r}"
        raise TypeError(msg)
    return bytes(index.read()) if hasattr(index, "read") else bytes(index)


def _read_index(path: str) -> bytes:
    """A sidecar's file, which is no longer than a sidecar can be."""
    with builtins.open(path, "rb") as file:
        found = file.read(_MOST_SIDECAR_BYTES + 1)
    if len(found) > _MOST_SIDECAR_BYTES:
        msg = f"{path} is longer than a sidecar can be, {_MOST_SIDECAR_BYTES} bytes"
        raise S4IndexError(msg)
    return found


def _add_sidecar_beside(frames: Frames, path: str, body: Body) -> None:
    """Adds the sidecar of a file, if it exists and fits."""
    if body.size is None or not os.path.isfile(path):
        return
    try:
        frames.add_sidecar(_read_index(path))
    except S4Error as error:
        msg = f"{path} is not used: {error}"
        warnings.warn(msg, RuntimeWarning, stacklevel=4)


def _index_file(index: Any) -> Any | None:
    """What a sidecar is written to, if it is a file object."""
    if index is None or index is False:
        return None
    if not hasattr(index, "write"):
        msg = f"index= is a path, a file object, True or False, not {index!r}"
        raise TypeError(msg)
    return index


def _open_writer(file: Any, mode: str, codec: Codec, index: Any, frame_size: int) -> OriginalWriter:
    path, sidecar_path = _path_of(file), _path_of(index)
    if path is None:
        if not hasattr(file, "write"):
            msg = f"expected a path or a binary file object, got {type(file).__name__}"
            raise TypeError(msg)
        if mode[0] == "x" or sidecar_path is not None or index is True:
            msg = "mode xb and an index by path need a file by path; pass a file object as index="
            raise ValueError(msg)
        return OriginalWriter(codec, frame_size, file, _index_file(index), None, name_of(file))
    if index is True:
        sidecar_path = path + SIDECAR_SUFFIX
    index_file = _index_file(index) if sidecar_path is None else None
    files = NewFiles(path, sidecar_path, mode[0] == "x")
    sidecar = files.sidecar if sidecar_path is not None else index_file
    return OriginalWriter(codec, frame_size, files.body, sidecar, files, path)
