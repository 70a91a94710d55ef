"""The command ``s4-codec``: encode, decode, inspect, index and reindex files of S4 frames."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NoReturn

from ._decoding import Decoders, Limits, decoded, decoded_pieces, stored_frames, walk
from ._files import StoredFrame, in_order, skipped_frames
from ._listing import print_frames, print_frames_json, print_index, print_index_json
from ._options import Parser, byte_count
from ._output import STANDARD_OUTPUT, Output, check_output, commit
from ._progress import Progress
from ._signals import Stopped, heard, waiting
from ._streams import (
    Failure,
    Input,
    blamed,
    reason,
    reserve_descriptors,
    say,
    standard_stream,
)
from .s4_codec import (
    SIDECAR_SUFFIX,
    Codec,
    CpuZstdDict,
    S4Error,
    __version__,
    _IndexBuilder,
    decode_index,
    pick_chunk_size,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: What bad data, a bad file or a bad option raises; S4BackendError is a RuntimeError.
_FAILURES = (Failure, S4Error, OSError, RuntimeError, ValueError, OverflowError, MemoryError)

#: The chunk size where the length of the input is not known, as for chunked uploads.
_UNKNOWN_LENGTH_CHUNK = 4 << 20


def _dictionary(path: str | None, level: int | None = None) -> CpuZstdDict | None:
    if path is None:
        return None
    with Input(path) as file:
        return CpuZstdDict(file.read_all(), *([] if level is None else [level]))


def _check_standard_input(args: argparse.Namespace) -> None:
    """Refuses standard input as both the input and the dictionary."""
    if args.input == "-" and args.dict == "-":
        msg = "standard input is both the input and the dictionary"
        raise Failure(msg)


def _compare_sidecar(path: str, size: int | None) -> None:
    """Warns where the sidecar beside a body is of another: nothing else tells that a body is
    cut between two frames."""
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
        say(
            f"Warning: {sidecar} is of a body of {expected} bytes, {path} has {size}: it is cut, "
            "or the sidecar is of an earlier file"
        )


def encode(args: argparse.Namespace) -> str:
    """Frames of INPUT, coded in parallel."""
    if args.dict is not None and args.codec not in (None, "cpu-zstd-dict"):
        msg = f"--dict goes with --codec cpu-zstd-dict, not {args.codec}"
        raise Failure(msg)
    if args.codec == "cpu-zstd-dict" and args.dict is None:
        msg = "cpu-zstd-dict needs its dictionary: --dict FILE"
        raise Failure(msg)
    _check_standard_input(args)
    codec = _dictionary(args.dict, args.level) or Codec.from_name(
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
                msg = f"{sidecar} is a link to {args.output}"
                raise Failure(msg)
            index_out = files.enter_context(Output(sidecar, source))
        out = files.enter_context(Output(args.output, source))
        size = _UNKNOWN_LENGTH_CHUNK if source.size is None else pick_chunk_size(source.size)
        chunks = iter(lambda: source.read(size), b"")
        with Progress(source.size) as progress:
            for chunk_size, frame in in_order(lambda c: (len(c), codec.encode(c)), chunks):
                out.write(frame)
                index.push(stored, len(frame), chunk_size)
                frames += 1
                original += chunk_size
                stored += len(frame)
                progress.advance(chunk_size)
        source.check_length()
        if index_out is not None:
            index_out.write(index.finish(stored))
        commit(out, index_out)
    if not args.index and not out.is_standard and os.path.exists(sidecar):
        say(f"Warning: {sidecar} is of an earlier file; --index rebuilds it")
    return f"encoded {frames} frame(s), {original} original bytes, {stored} stored bytes"


def decode(args: argparse.Namespace) -> str:
    """The original of INPUT; nothing of a frame is written before its crc32c holds."""
    _check_standard_input(args)
    decoders = Decoders(_dictionary(args.dict), args.device)
    limits = Limits(args.max_size, args.max_total_size)
    with Input(args.input) as source:
        check_output(source, args.output, args.dict)
        _compare_sidecar(args.input, source.size)
        pieces = decoded_pieces(source, decoders, limits, args.allow_empty)
        # The first piece tells of structural errors before the output is opened.
        first = list(islice(pieces, 1))
        with Output(args.output, source) as out:
            totals = [0, 0, 0]
            with Progress(source.size) as progress:
                for end, counts, data in chain(first, pieces):
                    out.write(data)
                    totals = [total + count for total, count in zip(totals, counts, strict=True)]
                    progress.advance(end - progress.done)
            commit(out)
    frames, payload, original = totals
    return f"decoded {frames} frame(s), {payload} payload bytes, {original} original bytes"


def inspect(args: argparse.Namespace) -> None:
    """What the headers of INPUT say; with --verify also what its payloads are worth."""
    _check_standard_input(args)
    decoders = Decoders(_dictionary(args.dict), args.device)
    limits = Limits(args.max_size, args.max_total_size)
    frames: list[StoredFrame] = []
    states: list[str] = []
    standard_stream(1)
    with Input(args.input) as source:
        if args.verify:
            with Progress(source.size) as progress:
                for frame, state in in_order(
                    lambda job: (job[0], _state(*job, decoders, limits)),
                    stored_frames(source, limits),
                ):
                    frames.append(frame)
                    states.append(state)
                    progress.advance(frame.end - progress.done)
        else:
            frames.extend(skipped_frames(source))
        source.check_length()
        size = source.offset
    _show(print_frames_json if args.json else print_frames, frames, states, size)
    if any(state != "ok" for state in states):
        msg = f"{sum(state != 'ok' for state in states)} of {len(states)} frame(s) do not verify"
        raise Failure(msg)


def _state(frame: StoredFrame, payload: Any, decoders: Decoders, limits: Limits) -> str:
    try:
        decoded(frame, payload, decoders, limits)
    except Failure as error:
        return str(error)
    return "ok"


def _show(show: Callable[..., None], *args: Any) -> None:
    """Prints all of a listing to standard output."""
    try:
        waiting(show, *args)
        waiting(sys.stdout.flush)
    except BrokenPipeError:
        raise
    except OSError as error:
        msg = f"standard output: {reason(error)}"
        raise Failure(msg) from error


def index(args: argparse.Namespace) -> None:
    """What the sidecar INPUT says."""
    standard_stream(1)
    with Input(args.input) as source:
        found = decode_index(source.read_all())
    if found["sse"] is not None:
        found["sse"]["enc_salt"] = found["sse"]["enc_salt"].hex()
    if args.json:
        _show(print_index_json, found)
    else:
        _show(print_index, found, args.input)


def reindex(args: argparse.Namespace) -> str:
    """A new sidecar from the frames of BODY, bound to its length."""
    path = args.output or ("-" if args.input == "-" else args.input + SIDECAR_SUFFIX)
    builder = _IndexBuilder()
    with Input(args.input) as source:
        check_output(source, path)
        frames = original = 0
        for offset, stored_size, original_size in _places(source):
            builder.push(offset, stored_size, original_size)
            frames += 1
            original += original_size
        source.check_length()
        sidecar = builder.finish(source.offset if source.size is None else source.size)
        with Output(path, source) as out:
            out.write(sidecar)
            commit(out)
    return f"indexed {frames} frame(s), {original} original bytes"


def _places(source: Input) -> Iterator[tuple[int, int, int]]:
    """Where each frame begins, its length and that of its original."""
    if source.size is None:
        for frame in skipped_frames(source):
            yield frame.offset, frame.end - frame.offset, frame.original_size
        return
    for batches, _ in walk(source, 0):
        for start, end, _, _, original_size in batches:
            yield start, end - start, original_size


_EPILOG = (
    "A file that is not complete yet has the name .s4-NAME-XXXXXXXX.tmp. Where s4-codec was "
    "killed, such files stay: delete them while no s4-codec is running."
)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="s4-codec",
        description="Encode, decode and inspect files of S4 frames; '-' is a standard stream",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"s4-codec {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text, epilog=_EPILOG)
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
        text = "the most bytes that a frame may decode to, such as 500M; default 5G"
        made.add_argument("--max-size", type=byte_count, default=5 << 30, metavar="SIZE", help=text)
        text = "the most bytes that all frames may decode to; default no limit"
        made.add_argument("--max-total-size", type=byte_count, metavar="SIZE", help=text)

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
    """Runs the command; its exit status is 0, 1 for a failure, 2 for wrong usage, or 128 and the
    number of the signal that ended it.

    Calls that were under way when it failed may go on for a while on threads of their own.
    """
    reserve_descriptors()
    try:
        args = _parser().parse_args(argv)
    except SystemExit as done:
        # Help, or wrong usage, which was said.
        return _flushed(int(done.code or 0))
    if getattr(args, "index", False) and args.output in STANDARD_OUTPUT:
        say("Error: --index needs -o FILE, for it names the sidecar after it")
        return 2
    try:
        with heard():
            if sys.stdout is not None:
                sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
            text = args.run(args)
    except BrokenPipeError:
        # Whoever read has gone; Python must not try to flush to it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Stopped as stopped:
        say(f"Error: {stopped}")
        return stopped.status
    except _FAILURES as error:
        say(f"Error: {_told(error)}")
        return 1
    if text is not None:
        say(text)
    return 0


def _told(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {reason(error)}"
    return str(error) or type(error).__name__


def _flushed(status: int) -> int:
    """The status, unless what was printed could not be written."""
    try:
        if sys.stdout is not None:
            with blamed("standard output"):
                sys.stdout.flush()
    except Failure as failure:
        if status == 0:
            say(f"Error: {failure}")
        # Python must not try again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return status or 1
    return status


def run() -> NoReturn:
    """Runs the command as a process of its own, which ends at once, whatever is under way."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Before and after the command itself, as in other programs: no traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    status = main()
    os._exit(_flushed(status))


if __name__ == "__main__":
    run()
