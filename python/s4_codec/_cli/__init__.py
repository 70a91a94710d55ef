"""The command ``s4-codec``: its arguments, exit statuses and messages."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from ..s4_codec import S4Error, __version__, set_num_threads
from .advising import advise
from .arguments import Parser, byte_count, byte_range, thread_count
from .commands import decode, encode, index, inspect, reindex
from .dictionaries import train_command
from .output import STANDARD_OUTPUT
from .signals import Stopped, handling_signals
from .streams import Failure, errors_of, reason, report, reserve_descriptors

if TYPE_CHECKING:
    import argparse

#: What bad data, a bad file or a bad option raises; S4BackendError is a RuntimeError.
_FAILURES = (Failure, S4Error, OSError, RuntimeError, ValueError, OverflowError, MemoryError)

_EPILOG = (
    "An incomplete output file is named .s4-NAME-XXXXXXXX.tmp. If s4-codec is killed, such files "
    "stay; delete them while no s4-codec is running."
)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="s4-codec",
        description="Encode, decode and inspect files of S4 frames. '-' means standard input or "
        "output.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"s4-codec {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text, epilog=_EPILOG)
        metavar = {"reindex": "BODY", "advise": "FILE"}.get(name, "INPUT")
        made.add_argument("input", metavar=metavar, help="a file, or - for standard input")
        made.set_defaults(run=run)
        return made

    def output_option(made: argparse.ArgumentParser) -> None:
        made.add_argument(
            "-o", "--output", default="-", metavar="FILE", help="default: standard output"
        )

    def decoding_options(made: argparse.ArgumentParser) -> None:
        text = "the dictionary of cpu-zstd-dict frames, or a folder of dictionaries (.s4dict)"
        made.add_argument("--dict", metavar="FILE_OR_FOLDER", help=text)
        text = "decode nvcomp frames on GPU N; auto: on a GPU if there is one (default: the CPU)"
        made.add_argument("--device", metavar="N", help=text)
        text = "maximum decoded size of a frame, such as 500M (default: 5G)"
        made.add_argument("--max-size", type=byte_count, default=5 << 30, metavar="SIZE", help=text)
        text = "maximum decoded size of all frames together (default: no limit)"
        made.add_argument("--max-total-size", type=byte_count, metavar="SIZE", help=text)

    def working_options(made: argparse.ArgumentParser) -> None:
        text = "number of threads (default: S4_NUM_THREADS, or one per core)"
        made.add_argument("--threads", type=thread_count, metavar="N", help=text)
        text = "show no progress; it is shown on a terminal for work of over a second"
        made.add_argument("--no-progress", dest="progress", action="store_false", help=text)

    made = command("encode", encode, "compress a file to S4F2 frames")
    output_option(made)
    made.add_argument(
        "--codec",
        help="zstd (default), gzip, cpu-zstd-dict, passthrough or nvcomp-zstd; with a GPU also "
        "nvcomp-gdeflate or nvcomp-bitcomp",
    )
    made.add_argument("--level", type=int, help="zstd: 1 to 22, gzip: 0 to 9")
    made.add_argument(
        "--dict",
        metavar="FILE_OR_FOLDER",
        help="a zstd dictionary, or a folder of dictionaries (.s4dict), of which the current one "
        "compresses; selects codec cpu-zstd-dict",
    )
    made.add_argument("--index", action="store_true", help="also write the sidecar FILE.s4index")
    working_options(made)

    made = command("decode", decode, "decode a file of frames, and verify it")
    output_option(made)
    decoding_options(made)
    made.add_argument(
        "--allow-empty", action="store_true", help="decode an empty input to an empty output"
    )
    text = "decode only the bytes A up to B of the original, with INPUT.s4index if it fits: then "
    text += "only the frames that hold them are read; else all before B"
    made.add_argument("--range", type=byte_range, metavar="A-B", help=text)
    working_options(made)

    text = "train a zstd dictionary on a column: Parquet, Arrow IPC, CSV, NDJSON, or lines of text"
    made = command("train", train_command, text)
    output_option(made)
    made.add_argument("--column", metavar="NAME", help="default: the only text or binary column")
    text = "maximum length of the dictionary (default: 110K)"
    made.add_argument("--size", type=byte_count, default=110 << 10, metavar="SIZE", help=text)
    text = "chooses the values that are held out to measure with (default: 0)"
    made.add_argument("--seed", type=int, default=0, metavar="N", help=text)
    working_options(made)

    made = command("inspect", inspect, "list the frames of a file")
    made.add_argument("--json", action="store_true", help="print JSON")
    text = "decode the frames too; show their ratio and state"
    made.add_argument("--verify", action="store_true", help=text)
    decoding_options(made)
    working_options(made)

    made = command("index", index, "show a sidecar")
    made.add_argument("--json", action="store_true", help="print JSON")

    made = command("reindex", reindex, "rebuild the sidecar of a file of frames")
    made.add_argument("-o", "--output", metavar="FILE", help="default: BODY.s4index")
    working_options(made)

    made = command("advise", advise, "measure which codec pays for a column of a table")
    text = "a column of a Parquet, Arrow, CSV or NDJSON file (default: the only one with text or "
    made.add_argument("--column", metavar="NAME", help=f"{text}bytes); other files: their lines")
    made.add_argument("--plot", metavar="OUT", help="also draw OUT.png, OUT.svg or OUT.html")
    working_options(made)
    _add_completion(parser)
    return parser


def _add_completion(parser: argparse.ArgumentParser) -> None:
    """Adds ``--print-completion``, if shtab is installed, which makes the scripts of shells."""
    try:
        import shtab
    except ImportError:
        return
    shtab.add_argument_to(parser, ["--print-completion"])


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status: 0 for success, 1 for a failure, 2 for wrong
    usage, or 128 plus the number of the signal that ended it.

    After a failure, calls in progress may continue for a while on other threads.
    """
    reserve_descriptors()
    try:
        args = _parser().parse_args(argv)
    except SystemExit as done:
        # Help was printed, or an error about the usage.
        return _flushed(int(done.code or 0))
    if getattr(args, "index", False) and args.output in STANDARD_OUTPUT:
        report("Error: --index needs -o FILE, which names the sidecar: FILE.s4index")
        return 2
    try:
        with handling_signals():
            if getattr(args, "threads", None) is not None:
                set_num_threads(args.threads)
            if sys.stdout is not None:
                sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
            text = args.run(args)
    except BrokenPipeError:
        # The reader is gone. Python must not flush to it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Stopped as stopped:
        report(f"Error: {stopped}")
        return stopped.status
    except KeyboardInterrupt:
        # Polars handles SIGINT itself while it works.
        report("Error: interrupted")
        return 130
    except _FAILURES as error:
        report(f"Error: {_message(error)}")
        return 1
    if text is not None:
        report(text)
    return 0


def _message(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {reason(error)}"
    return str(error) or type(error).__name__


def _flushed(status: int) -> int:
    """The exit status; 1 instead of 0 if standard output could not be flushed."""
    try:
        if sys.stdout is not None:
            with errors_of("standard output"):
                sys.stdout.flush()
    except Failure as failure:
        if status == 0:
            report(f"Error: {failure}")
        # Python must not flush again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return status or 1
    return status


def run() -> NoReturn:
    """Runs the command and ends the process, without waiting for other threads."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # An interrupt before or after the command itself ends the process without a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    status = main()
    os._exit(_flushed(status))
