"""The command ``s4-codec``: encode, decode, inspect, index and reindex files of S4 frames."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ._decoding import Decoders, Failure, decoded, decoded_pieces, mapped, stored_frames
from ._files import (
    STANDARD_OUTPUT,
    Body,
    Progress,
    StoredFrame,
    in_order,
    output,
    standard_stream,
    write_pieces,
)
from ._listing import print_frames, print_frames_json, print_index, print_index_json
from .s4_codec import (
    SIDECAR_SUFFIX,
    Codec,
    CpuZstdDict,
    S4BackendError,
    S4Error,
    S4FrameError,
    __version__,
    bind_index,
    build_index,
    decode_index,
    pick_chunk_size,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What bad data, a bad file or a bad option raises.
_FAILURES = (S4Error, S4BackendError, OSError, ValueError, MemoryError)

#: The chunk size where the length of the input is not known, as for chunked uploads.
_UNKNOWN_LENGTH_CHUNK = 4 << 20


class Terminated(BaseException):
    """SIGTERM or SIGHUP came."""


def _terminate(*_: object) -> None:
    raise Terminated


@contextlib.contextmanager
def _input(path: str) -> Iterator[BinaryIO]:
    if path == "-":
        with standard_stream("input") as file:
            yield file
        return
    with open(path, "rb") as file:
        yield file


def _dictionary(path: str | None, level: int | None = None) -> CpuZstdDict | None:
    if path is None:
        return None
    return CpuZstdDict(Path(path).read_bytes(), *([] if level is None else [level]))


def encode(args: argparse.Namespace) -> None:
    """Frames of INPUT, coded in parallel."""
    if args.dict is not None and args.codec not in (None, "cpu-zstd-dict"):
        msg = f"--dict goes with --codec cpu-zstd-dict, not {args.codec}"
        raise Failure(msg)
    if args.codec == "cpu-zstd-dict" and args.dict is None:
        msg = "cpu-zstd-dict needs its dictionary: --dict FILE"
        raise Failure(msg)
    codec = _dictionary(args.dict, args.level) or Codec.from_name(
        args.codec or "cpu-zstd", args.level
    )
    _check_output(args.input, args.output)
    frames = original = stored = 0
    sidecar = args.output + SIDECAR_SUFFIX
    if args.index:
        _check_output(args.input, sidecar)
    with (
        _input(args.input) as file,
        output(sidecar, args.input) if args.index else contextlib.nullcontext() as index_file,
        output(args.output, args.input) as out,
    ):
        body = Body(file)
        size = _UNKNOWN_LENGTH_CHUNK if body.size is None else pick_chunk_size(body.size)
        chunks = iter(lambda: body.read(size), b"")
        with Progress(body.size) as progress:
            for chunk_size, frame in in_order(lambda c: (len(c), codec.encode(c)), chunks):
                out.write(frame)
                frames += 1
                original += chunk_size
                stored += len(frame)
                progress.advance(chunk_size)
        if index_file is not None:
            index_file.write(_sidecar(out, stored))
    if not args.index and Path(sidecar).exists():
        print(f"Warning: {sidecar} is of an earlier file; --index rebuilds it", file=sys.stderr)
    print(
        f"encoded {frames} frame(s), {original} original bytes, {stored} stored bytes",
        file=sys.stderr,
    )


def _sidecar(file: BinaryIO, size: int, start: int = 0) -> bytes:
    """The sidecar of a body in a file, bound to the body's length."""
    file.flush()
    if size == 0:
        return bind_index(build_index(b""), 0)
    with mapped(file, start) as view:
        return bind_index(build_index(view), size)


def _check_output(source: str, path: str) -> None:
    """Refuses a terminal, and the input itself."""
    if path in STANDARD_OUTPUT:
        if sys.stdout is not None and sys.stdout.isatty():
            msg = "the result is binary: write it to a file (-o FILE) or a pipe, not a terminal"
            raise Failure(msg)
    elif source != "-" and Path(path).is_file() and os.path.samefile(source, path):
        msg = f"{path} is both the input and the output"
        raise Failure(msg)


def decode(args: argparse.Namespace) -> None:
    """The original of INPUT; nothing of a frame is written before its crc32c holds."""
    _check_output(args.input, args.output)
    decoders = Decoders(_dictionary(args.dict), args.device)
    with _input(args.input) as file:
        body = Body(file)
        pieces = decoded_pieces(body, decoders, args.allow_empty)
        # The first piece tells of structural errors before the output is opened.
        first = list(islice(pieces, 1))
        with output(args.output, args.input) as out, Progress(body.size) as progress:
            totals = [0, 0, 0]
            for end, counts, data in chain(first, pieces):
                write_pieces(out, data)
                totals = [total + count for total, count in zip(totals, counts, strict=True)]
                progress.advance(end - progress.done)
    frames, payload, original = totals
    print(
        f"decoded {frames} frame(s), {payload} payload bytes, {original} original bytes",
        file=sys.stderr,
    )


def inspect(args: argparse.Namespace) -> None:
    """What the headers of INPUT say; with --verify also what its payloads are worth."""
    decoders = Decoders(_dictionary(args.dict), args.device)
    states: list[str] = []
    with _input(args.input) as file:
        body = Body(file)
        if args.verify:
            frames = []
            with Progress(body.size) as progress:
                for frame, state in in_order(
                    lambda job: (job[0], _state(*job, decoders)), stored_frames(body)
                ):
                    frames.append(frame)
                    states.append(state)
                    progress.advance(frame.end - progress.done)
            size = body.offset
        else:
            frames = []
            for frame in body.frames():
                body.skip(frame.compressed_size)
                if body.offset < frame.end:
                    msg = f"frame {frame.number} at byte {frame.offset}: the payload is cut"
                    raise S4FrameError(msg)
                frames.append(frame)
            size = body.offset
    (print_frames_json if args.json else print_frames)(frames, states, size)
    if any(state != "ok" for state in states):
        msg = f"{sum(state != 'ok' for state in states)} of {len(states)} frame(s) are bad"
        raise Failure(msg)


def _state(frame: StoredFrame, payload: Any, decoders: Decoders) -> str:
    try:
        decoded(frame, payload, decoders)
    except Failure as error:
        return str(error)
    return "ok"


def index(args: argparse.Namespace) -> None:
    """What the sidecar INPUT says."""
    with _input(args.input) as file:
        found = decode_index(file.read())
    if found["sse"] is not None:
        found["sse"]["enc_salt"] = found["sse"]["enc_salt"].hex()
    if args.json:
        print_index_json(found)
    else:
        print_index(found, args.input)


def reindex(args: argparse.Namespace) -> None:
    """A new sidecar from the frames of BODY, bound to its length."""
    path = args.output or ("-" if args.input == "-" else args.input + SIDECAR_SUFFIX)
    _check_output(args.input, path)
    with _input(args.input) as file:
        body = Body(file)
        if body.size is None:
            data = file.read()
            sidecar = bind_index(build_index(data), len(data))
        else:
            sidecar = _sidecar(file, body.size, body.start)
    with output(path, args.input) as out:
        out.write(sidecar)
    found = decode_index(sidecar)
    print(
        f"indexed {len(found['entries'])} frame(s), {found['total_original_size']} original bytes",
        file=sys.stderr,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="s4-codec",
        description="Encode, decode and inspect files of S4 frames; '-' is a standard stream",
    )
    parser.add_argument("--version", action="version", version=f"s4-codec {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.add_argument("input", metavar="BODY" if name == "reindex" else "INPUT", help="a file")
        made.set_defaults(run=run)
        return made

    def output_option(made: argparse.ArgumentParser) -> None:
        made.add_argument(
            "-o", "--output", default="-", metavar="FILE", help="default: standard output"
        )

    def decoding_options(made: argparse.ArgumentParser) -> None:
        made.add_argument("--dict", metavar="FILE", help="dictionary of frames of cpu-zstd-dict")
        text = "GPU for frames of nvcomp codecs, or auto; default the CPU"
        made.add_argument("--device", metavar="N", help=text)

    made = command("encode", encode, "compress a file to S4F2 frames")
    output_option(made)
    made.add_argument(
        "--codec",
        help="cpu-zstd (default), cpu-gzip, cpu-zstd-dict, passthrough, nvcomp-zstd; on a GPU "
        "also nvcomp-gdeflate and nvcomp-bitcomp",
    )
    made.add_argument("--level", type=int, help="zstd: 1 to 22, gzip: 0 to 9")
    made.add_argument("--dict", metavar="FILE", help="zstd dictionary, for codec cpu-zstd-dict")
    made.add_argument("--index", action="store_true", help="also write FILE.s4index")

    made = command("decode", decode, "restore the original of a file of frames, and verify it")
    output_option(made)
    decoding_options(made)
    made.add_argument("--allow-empty", action="store_true", help="zero bytes are an empty object")

    made = command("inspect", inspect, "list the frames of a file")
    made.add_argument("--json", action="store_true")
    made.add_argument("--verify", action="store_true", help="decode them; add ratio and state")
    decoding_options(made)

    made = command("index", index, "show a sidecar")
    made.add_argument("--json", action="store_true")

    made = command("reindex", reindex, "rebuild the sidecar of a file of frames")
    made.add_argument("-o", "--output", metavar="FILE", help="default: BODY.s4index")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command; its exit status is 0, 1 for a failure, 2 for wrong usage."""
    args = _parser().parse_args(argv)
    if getattr(args, "index", False) and args.output in STANDARD_OUTPUT:
        print("Error: --index needs -o FILE, which it reads back", file=sys.stderr)
        return 2
    try:
        # As an interrupt does, so that no unfinished file stays.
        for kind in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(kind, _terminate)
        if sys.stdout is not None:
            sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        args.run(args)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has gone; Python must not try to flush to it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("Error: interrupted", file=sys.stderr)
        return 130
    except Terminated:
        print("Error: terminated", file=sys.stderr)
        return 143
    except Failure as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except _FAILURES as error:
        what = args.input if isinstance(error, OSError) and not error.filename else ""
        print(f"Error: {f'{what}: ' if what else ''}{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
