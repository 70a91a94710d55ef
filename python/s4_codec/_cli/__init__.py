"""The command ``s4-codec``: its arguments, exit statuses and messages."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from ..s4_codec import S4Error, __version__
from .arguments import Parser, byte_count
from .commands import decode, encode, index, inspect, reindex
from .output import STANDARD_OUTPUT
from .signals import Stopped, heard
from .streams import Failure, blamed, reason, reserve_descriptors, say

if TYPE_CHECKING:
    import argparse

#: What bad data, a bad file or a bad option raises; S4BackendError is a RuntimeError.
_FAILURES = (Failure, S4Error, OSError, RuntimeError, ValueError, OverflowError, MemoryError)

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
