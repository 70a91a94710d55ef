"""The subcommands: encode, decode, inspect, index and reindex."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from .._files.body import Body
from .._files.frames import READ_AHEAD, Decoding, Frames
from .._reader import walked
from ..s4_codec import (
    FRAME_MAGIC,
    SIDECAR_SUFFIX,
    Codec,
    S4Error,
    _FrameWalk,
    _IndexBuilder,
    decode_index,
    pick_chunk_size,
)
from .decoding import Decoders, Limits, decoded, decoded_pieces, stored_frames
from .dictionaries import dictionary_codec, read_dictionaries
from .files import Frames as FrameList
from .files import in_order
from .inputs import Input
from .listing import print_frames, print_frames_json, print_index, print_index_json
from .output import Output, check_output, commit, output_errors, write_all
from .progress import Progress
from .signals import interruptible
from .streams import Failure, report, standard_stream

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from ..s4_codec import _StoredFrame

#: The chunk size for inputs of unknown length, as for chunked uploads.
_UNKNOWN_LENGTH_CHUNK = 4 << 20


def _check_standard_input(args: argparse.Namespace) -> None:
    """Refuses standard input as both the input and the dictionary."""
    if args.input == "-" and args.dict == "-":
        msg = "standard input is both the input and the dictionary; pass a file for one of them"
        raise Failure(msg)


def _compare_sidecar(path: str, size: int | None) -> None:
    """Warns if the sidecar beside a body describes a body of another length: nothing else shows
    that a body is truncated between two frames."""
    sidecar = path + SIDECAR_SUFFIX
    if size is None or not os.path.isfile(sidecar):
        return
    try:
        with Input(sidecar) as file:
            found = decode_index(file.read_all())
    except (Failure, S4Error):
        return
    expected = found["source_compressed_size"] or found["total_padded_size"]
    if expected != size:
        report(
            f"Warning: {sidecar} describes a body of {expected} bytes, but {path} has {size}: "
            "the body is truncated, or the sidecar is stale and reindex rebuilds it"
        )


def encode(args: argparse.Namespace) -> str:
    """Compresses INPUT to frames, in parallel."""
    if args.dict is not None and args.codec not in (None, "cpu-zstd-dict"):
        msg = f"--dict is for codec cpu-zstd-dict, not {args.codec}; leave one of them out"
        raise Failure(msg)
    if args.codec == "cpu-zstd-dict" and args.dict is None:
        msg = "codec cpu-zstd-dict needs a dictionary; pass --dict FILE"
        raise Failure(msg)
    _check_standard_input(args)
    codec = dictionary_codec(args.dict, args.level) or Codec.from_name(
        "cpu-zstd" if args.codec is None else args.codec, args.level
    )
    frames = original = stored = 0
    sidecar = args.output + SIDECAR_SUFFIX
    index = _IndexBuilder()
    with contextlib.ExitStack() as files:
        source = files.enter_context(Input(args.input))
        check_output(source, args.output, args.dict)
        index_out = None
        if args.index:
            check_output(source, sidecar, args.dict)
            if os.path.realpath(sidecar) == os.path.realpath(args.output):
                msg = f"{sidecar} is a link to {args.output}; remove the link"
                raise Failure(msg)
            index_out = files.enter_context(Output(sidecar, source.status))
        out = files.enter_context(Output(args.output, source.status))
        size = _UNKNOWN_LENGTH_CHUNK if source.size is None else pick_chunk_size(source.size)
        chunks = iter(lambda: source.read(size), b"")
        coded = in_order(lambda chunk: (len(chunk), _encoded(codec, chunk)), chunks)
        with Progress(source.size, args.progress) as progress:
            for chunk_size, frame in coded:
                out.write(frame)
                index.push(stored, len(frame), chunk_size)
                frames += 1
                original += chunk_size
                stored += len(frame)
                progress.advance(chunk_size)
        source.check_length()
        if index_out is not None:
            index_out.write(index.finish(stored))
        is_stale = not args.index and not out.is_standard and os.path.isfile(sidecar)
        commit(out, index_out, sidecar if is_stale else None)
    if is_stale:
        report(f"Removed {sidecar}, which described an earlier file; reindex makes a new one")
    return f"encoded {frames} frame(s), {original} original bytes, {stored} stored bytes"


def _encoded(codec: Codec, chunk: bytes) -> bytes:
    """The frame of a chunk. As in objects that S4 writes, all frames are of the codec that was
    asked for: chunks are large, so that those that do not shrink hardly grow."""
    return codec.encode(chunk, fallback=False)


def decode(args: argparse.Namespace) -> str:
    """Decodes INPUT; a frame is written only after its crc32c was verified."""
    _check_standard_input(args)
    if args.range is not None:
        return _decode_range(args, *args.range)
    decoders = Decoders(read_dictionaries(args.dict), args.device)
    limits = Limits(args.max_size, args.max_total_size)
    with Input(args.input) as source:
        check_output(source, args.output, args.dict)
        _compare_sidecar(args.input, source.size)
        pieces = decoded_pieces(source, decoders, limits, args.allow_empty)
        # The first piece raises structural errors before the output is opened.
        first = list(islice(pieces, 1))
        with Output(args.output, source.status) as out:
            totals = [0, 0, 0]
            with Progress(source.size, args.progress) as progress:
                for end, counts, data in chain(first, pieces):
                    out.write(data)
                    totals = [total + count for total, count in zip(totals, counts, strict=True)]
                    progress.advance(end - progress.done)
            commit(out)
    frames, payload, original = totals
    return f"decoded {frames} frame(s), {payload} payload bytes, {original} original bytes"


class _File(io.FileIO):
    """A file whose reads end when a signal arrives."""

    def read(self, size: int | None = -1, /) -> bytes:
        return interruptible(super().read, size)


def _decode_range(args: argparse.Namespace, start: int, end: int) -> str:
    """Decodes a range of the original; with a sidecar that fits, only the frames that hold it."""
    if args.max_total_size is not None and end - start > args.max_total_size:
        msg = f"the range has {end - start} bytes, which exceeds the limit of {args.max_total_size}"
        raise Failure(msg)
    decoders = Decoders(read_dictionaries(args.dict), args.device)
    decoding = Decoding(decoders.dictionary, args.max_size, decoders.device)
    with Input(args.input) as source:
        check_output(source, args.output, args.dict)
        body = Body(_File(source.descriptor, closefd=False), source.name)
        frames = Frames(body, decoding, None)
        sidecar = args.input + SIDECAR_SUFFIX
        if os.path.realpath(args.output) == os.path.realpath(sidecar):
            msg = f"{sidecar} is both the sidecar and the output; choose another output"
            raise Failure(msg)
        has_sidecar = not source.is_standard and body.size is not None
        has_sidecar = has_sidecar and _add_sidecar(frames, sidecar)
        with Output(args.output, source.status) as out:
            with Progress(end - start, args.progress) as progress:
                for data in _range(frames, start, end):
                    out.write(data)
                    progress.advance(len(data))
            commit(out)
    how = "" if has_sidecar else "; without a sidecar, all frames before them were decoded too"
    return f"decoded the bytes {start} to {end} of the original{how}"


def _range(frames: Frames, start: int, end: int) -> Iterator[memoryview]:
    """The bytes from ``start`` to ``end`` of the original, piece by piece."""
    if start == end > 0 and frames.read(end - 1, 0) is None:
        msg = f"the range ends at {end}, but the original has {frames.end} bytes"
        raise Failure(msg)
    while start < end:
        piece = frames.read(start, min(end - start, READ_AHEAD))
        if piece is None:
            msg = f"the range ends at {end}, but the original has {frames.end} bytes"
            raise Failure(msg)
        with memoryview(piece.data) as whole:
            data = whole[start - piece.start : end - piece.start]
            start += len(data)
            yield data


def _add_sidecar(frames: Frames, sidecar: str) -> bool:
    """Adds the sidecar beside a body, if it exists and fits."""
    if not os.path.isfile(sidecar):
        return False
    with Input(sidecar) as file:
        content = file.read_all()
    try:
        frames.add_sidecar(content)
    except S4Error as error:
        report(f"Warning: {sidecar} is not used: {error}")
        return False
    return True


def inspect(args: argparse.Namespace) -> None:
    """Lists the frame headers of INPUT; with --verify, also whether the payloads decode."""
    _check_standard_input(args)
    decoders = Decoders(read_dictionaries(args.dict), args.device)
    limits = Limits(args.max_size, args.max_total_size)
    frames: list[_StoredFrame] = []
    states: list[str] = []
    standard_stream(1)
    with Input(args.input) as source:
        if args.verify:
            with Progress(source.size, args.progress) as progress:
                for frame, state in in_order(
                    lambda job: (job[0], _state(*job, decoders, limits)),
                    stored_frames(source, limits),
                ):
                    frames.append(frame)
                    states.append(state)
                    progress.advance(frame.end - progress.done)
        else:
            frames.extend(FrameList(source))
        source.check_length()
        size = source.offset
    show(print_frames_json if args.json else print_frames, frames, states, size)
    if any(state != "ok" for state in states):
        msg = f"{sum(state != 'ok' for state in states)} of {len(states)} frame(s) do not verify"
        raise Failure(msg)


def _state(frame: _StoredFrame, payload: Any, decoders: Decoders, limits: Limits) -> str:
    try:
        decoded(frame, payload, decoders, limits)
    except Failure as error:
        return str(error)
    return "ok"


def show(call: Callable[..., None], *args: Any) -> None:
    """Prints a listing to standard output, which may be unbuffered: Python then drops what a short
    write leaves."""
    listing = io.StringIO()
    with contextlib.redirect_stdout(listing):
        call(*args)
    data = listing.getvalue().encode(sys.stdout.encoding, "backslashreplace")
    with output_errors("standard output", is_standard=True):
        write_all(standard_stream(1), data)


def index(args: argparse.Namespace) -> None:
    """Prints the sidecar INPUT."""
    standard_stream(1)
    with Input(args.input) as source:
        content = source.read_all()
    if content.startswith(FRAME_MAGIC):
        msg = f"{args.input} is a body; its sidecar is {args.input}{SIDECAR_SUFFIX}"
        raise Failure(msg)
    found = decode_index(content)
    if found["sse"] is not None:
        found["sse"]["enc_salt"] = found["sse"]["enc_salt"].hex()
    if args.json:
        show(print_index_json, found)
    else:
        show(print_index, found, args.input)


def reindex(args: argparse.Namespace) -> str:
    """Builds a sidecar from the frames of BODY, bound to its length."""
    path = args.output or ("-" if args.input == "-" else args.input + SIDECAR_SUFFIX)
    builder = _IndexBuilder()
    with Input(args.input) as source:
        check_output(source, path)
        frames = original = 0
        # Each frame is a batch.
        walk = _FrameWalk(source.size, 0)
        with Progress(source.size, args.progress) as progress:
            for start, end, _, _, size in walked(source, walk, walk.batches):
                builder.push(start, end - start, size)
                frames += 1
                original += size
                progress.advance(end - progress.done)
        source.check_length()
        sidecar = builder.finish(source.offset)
        with Output(path, source.status) as out:
            out.write(sidecar)
            commit(out)
    return f"indexed {frames} frame(s), {original} original bytes"
