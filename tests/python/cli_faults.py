"""The command with one call to the system after the other going wrong, each in its own process.

Usage: preloaded.py cli_faults [--sample N] [--only TEXT] [--kills N] [--writers N], which compiles
and preloads cli_faults.c. Every call counts that concerns a file, standard input or standard
output: it fails, moves fewer bytes than it was asked to, meets an input that was truncated, or a
signal comes before or after it. With --kills, SIGKILL comes at random times; with --writers, so
many processes write one output at once.

Prints a line for every outcome that must not be, then a table: calls to the system, faults, and
how many of them ended with success, with an error, or by the signal.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import mmap
import os
import shutil
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from codecs_table import DICTIONARY

from s4_codec import CpuZstd, Passthrough, _cli, bind_index, build_index, decode
from s4_codec._cli import advising, decoding, dictionaries, files, tables  # noqa: F401

#: What goes wrong, by the numbers of the library, and the error or signal.
ERROR, SHORT, TRUNCATE, SIGNAL_BEFORE, SIGNAL_AFTER = range(1, 6)
KINDS: dict[str, tuple[int, int]] = {
    "EIO": (ERROR, errno.EIO),
    "ENOSPC": (ERROR, errno.ENOSPC),
    "EINTR": (ERROR, errno.EINTR),
    "short": (SHORT, 0),
    "truncated input": (TRUNCATE, 0),
    "SIGTERM": (SIGNAL_BEFORE, signal.SIGTERM),
    "SIGINT": (SIGNAL_BEFORE, signal.SIGINT),
    "SIGHUP": (SIGNAL_BEFORE, signal.SIGHUP),
    "SIGKILL before": (SIGNAL_BEFORE, signal.SIGKILL),
    "SIGKILL after": (SIGNAL_AFTER, signal.SIGKILL),
}
#: Calls that are undone by nobody where they themselves fail.
CLEANING = {"unlink", "close"}
#: Seconds after which a command counts as hanging.
PATIENCE = 120

DATA = b"a fine body, rather short " * 4000
OLD = Passthrough().encode(b"old")
OLD_SIDECAR = bind_index(build_index(OLD), len(OLD))
BODY = b"".join(
    CpuZstd().encode(DATA[start : start + 30_000]) for start in range(0, 104_000, 30_000)
)
SIDECAR = bind_index(build_index(BODY), len(BODY))
LINES = b"".join(b"%d GET /item/%d 200 %d\n" % (n, n * 37 % 101, n * n % 977) for n in range(900))

Files = dict[str, bytes]


@dataclass(frozen=True)
class Command:
    """A command line, the files before, and what may differ from run to run."""

    arguments: list[str]
    before: Files
    #: Whether a large frame goes through a temporary file.
    is_large: bool = False
    #: Whether what it prints is the same every time.
    prints_same: bool = True
    outputs: set[str] = field(default_factory=lambda: {"out", "out.s4index", "in.s4index"})


COMMANDS = {
    "encode": Command(["encode", "in", "-o", "out"], {"in": DATA, "out": OLD}),
    "encode --index": Command(
        ["encode", "in", "-o", "out", "--index"],
        {"in": DATA, "out": OLD, "out.s4index": OLD_SIDECAR},
    ),
    "encode --index, all new": Command(["encode", "in", "-o", "out", "--index"], {"in": DATA}),
    "encode --dict": Command(
        ["encode", "in", "-o", "out", "--dict", "dict"],
        {"in": DATA, "out": OLD, "dict": DICTIONARY},
    ),
    "encode to standard output": Command(["encode", "in"], {"in": DATA}),
    "encode standard input": Command(["encode", "-", "-o", "out"], {"in": DATA, "out": OLD}),
    "decode": Command(["decode", "in", "-o", "out"], {"in": BODY, "out": OLD}),
    "decode by files": Command(["decode", "in", "-o", "out"], {"in": BODY}, is_large=True),
    "decode to standard output": Command(["decode", "in"], {"in": BODY}),
    "decode standard input": Command(["decode", "-", "-o", "out"], {"in": BODY}),
    "inspect": Command(["inspect", "in"], {"in": BODY}),
    "inspect --verify": Command(["inspect", "--verify", "--json", "in"], {"in": BODY}),
    "index": Command(["index", "in"], {"in": SIDECAR}),
    "reindex": Command(["reindex", "in"], {"in": BODY, "in.s4index": OLD_SIDECAR}),
    "train": Command(["train", "in", "-o", "out", "--size", "2K"], {"in": LINES, "out": OLD}),
    "advise": Command(["advise", "in"], {"in": LINES}, prints_same=False),
}


@dataclass(frozen=True)
class Outcome:
    """How a command ended, what it left, and what it said."""

    #: The exit status, or minus the signal.
    status: int
    files: Files
    stray: set[str]
    output: bytes
    errors: str
    #: The calls to the system, and the one that went wrong, if any.
    calls: int
    call: str


class Runner:
    """Runs commands in forks of this process."""

    def __init__(self, library: str) -> None:
        self._library = ctypes.CDLL(library)
        #: The files, beside the library.
        self._folder = os.path.realpath(library) + ".files"
        self._streams = [f"{self._folder}.{name}" for name in ("out", "err")]
        #: What the library reports: a long, and a name.
        self._report = mmap.mmap(-1, mmap.PAGESIZE)

    def run(self, command: Command, kind: tuple[int, int], number: int) -> Outcome:
        return self._ended(self._start(command, kind, number))

    def kill(self, command: Command, seconds: float) -> Outcome:
        """The outcome of SIGKILL after some time."""
        child = self._start(command, (0, 0), 0)
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        return self._ended(child)

    def write_at_once(self, commands: list[Command]) -> list[Outcome]:
        """The outcomes of commands that run at once on the files of the first; all of them see
        the files that the last one left."""
        self._prepare(commands[0])
        children = [self._fork(command, (0, 0), 0) for command in commands]
        statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        return [replace(self._found(), status=status) for status in statuses]

    def _start(self, command: Command, kind: tuple[int, int], number: int) -> int:
        self._prepare(command)
        return self._fork(command, kind, number)

    def _prepare(self, command: Command) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        os.makedirs(f"{self._folder}/tmp")
        os.chdir(self._folder)
        for name, data in command.before.items():
            Path(name).write_bytes(data)
        self._report[:] = bytes(len(self._report))

    def _fork(self, command: Command, kind: tuple[int, int], number: int) -> int:
        child = os.fork()
        if child == 0:
            self._in_child(command, kind, number)
        return child

    def _ended(self, child: int) -> Outcome:
        _, status = os.waitpid(child, 0)
        return replace(self._found(), status=os.waitstatus_to_exitcode(status))

    def _found(self) -> Outcome:
        found = {path.name: path.read_bytes() for path in Path().iterdir() if path.is_file()}
        stray = {name for name in found if name.startswith(".s4-")} | set(os.listdir("tmp"))
        output, errors = (Path(path).read_bytes() for path in self._streams)
        calls = int.from_bytes(self._report[:8], sys.byteorder)
        call = self._report[8:].partition(b"\0")[0].decode()
        found = {name: data for name, data in found.items() if name not in stray}
        return Outcome(0, found, stray, output, errors.decode(), calls, call)

    def _in_child(self, command: Command, kind: tuple[int, int], number: int) -> None:
        signal.alarm(PATIENCE)
        for each in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_DFL)
        os.environ["TMPDIR"] = f"{self._folder}/tmp"
        os.dup2(os.open("in", os.O_RDONLY), 0)
        for descriptor, path in enumerate(self._streams, 1):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
        if command.is_large:
            files.IN_MEMORY = decoding.IN_MEMORY = decoding.BATCH = 1000
        sys.argv = ["s4-codec", *command.arguments]
        report = ctypes.addressof(ctypes.c_char.from_buffer(self._report))
        self._library.faults_arm(
            self._folder.encode() + b"/", ctypes.c_void_p(report), *kind, ctypes.c_long(number)
        )
        _cli.run()


def judged(command: Command, kind: str, clean: Outcome, found: Outcome) -> str:
    """What is wrong with the outcome of a fault; empty if nothing is."""
    given = {name: data for name, data in command.before.items() if name not in command.outputs}
    left = {name: found.files.get(name) for name in given}
    if kind == "truncated input":
        left["in"] = given["in"]
    if left != given:
        return "an input is another"
    ending = f"status {found.status}, {found.errors!r}, with {sorted(found.files)}"
    if "Traceback" in found.errors:
        return ending
    outputs, before, after = (
        {name: data for name, data in each.items() if name in command.outputs}
        for each in (found.files, command.before, clean.files)
    )
    # What could not be removed is still there.
    is_cleaning = kind[0] == "E" and found.call in CLEANING
    if found.stray and not is_cleaning and found.status != -signal.SIGKILL:
        return f"stray files {sorted(found.stray)}: {ending}"
    if found.status == 0 and kind == "truncated input" and is_of_truncated(found):
        # The input was shorter before anybody asked for its length.
        return ""
    if found.status == 0:
        is_right = found.output == clean.output or not command.prints_same
        return "" if outputs == after and is_right else f"wrong: {ending}"
    # The body is the old one or the new one, and a sidecar its own or none.
    allowed = [before, after]
    if "out.s4index" in command.before or "--index" in command.arguments:
        allowed += [{"out": each["out"]} for each in (before, after) if "out" in each]
    if outputs not in allowed:
        return f"wrong files: {ending}"
    if command.prints_same and not clean.output.startswith(found.output):
        return f"wrong output: {ending}"
    signalled = kind.startswith("SIG") and getattr(signal, kind.split()[0])
    if found.status == -signal.SIGKILL == -signalled:
        return ""
    if signalled and found.status == -signalled:
        return ""
    lines = found.errors.splitlines()
    if not lines or not lines[-1].startswith("Error: "):
        return ending
    if found.status != (128 + signalled if signalled else 1) or kind == "short":
        return ending
    return ""


def is_of_truncated(found: Outcome) -> bool:
    """Whether a command has encoded, with success, what is left of its input."""
    body = found.files.get("out", found.output)
    index = found.files.get("out.s4index")
    if not body.startswith(OLD[:4]) or found.stray:
        return False
    is_right = index is None or index == bind_index(build_index(body), len(body))
    return is_right and decode(body, DICTIONARY) == found.files["in"]


def kill_at_random(runner: Runner, kills: int) -> None:
    """SIGKILL at random times of commands that write files."""
    random, seen = Random(0), Counter[str]()
    names = [name for name, command in COMMANDS.items() if "out" in command.arguments]
    clean, seconds = {}, {}
    for name in names:
        start = time.monotonic()
        clean[name] = runner.run(COMMANDS[name], (0, 0), 0)
        seconds[name] = time.monotonic() - start
    for _ in range(kills):
        name = random.choice(names)
        found = runner.kill(COMMANDS[name], random.uniform(0, seconds[name] * 1.2))
        if wrong := judged(COMMANDS[name], "SIGKILL", clean[name], found):
            print(f"{name}, killed: {wrong}", file=sys.stderr)
            seen["wrong"] += 1
        else:
            is_new = found.files.get("out") == clean[name].files["out"]
            seen["new" if is_new else "old"] += 1
    print(f"{kills} kills: {seen['old']} old files, {seen['new']} new ones, {seen['wrong']} wrong")


def write_at_once(runner: Runner, writers: int, rounds: int) -> None:
    """Processes that write one output: the file is that of one of them, with its own sidecar."""
    values = [DATA[: 90_000 + n] for n in range(writers)]
    inputs = {f"in{n or ''}": value for n, value in enumerate(values)}
    commands = [
        Command(["encode", name, "-o", "out", "--index"], {**inputs, "out": OLD}) for name in inputs
    ]
    wrong = 0
    for _ in range(rounds):
        found = runner.write_at_once(commands)
        body, index = (found[0].files.get(name, b"") for name in ("out", "out.s4index"))
        is_right = decode(body) in values and index == bind_index(build_index(body), len(body))
        wrong += not is_right or bool(found[0].stray) or any(each.status for each in found)
    print(f"{writers} writers at once, {rounds} times: {wrong} wrong")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="preloaded.py cli_faults", description="Lets calls of the command fail."
    )
    parser.add_argument("library", help=argparse.SUPPRESS)
    parser.add_argument("--sample", type=int, default=1 << 30, help="faults of a kind of a command")
    parser.add_argument("--only", default="", help="commands whose name contains this")
    parser.add_argument("--kills", type=int, default=0, help="SIGKILL at random times")
    parser.add_argument("--writers", type=int, default=0, help="processes that write one output")
    parser.add_argument("--rounds", type=int, default=20, help="how often they write")
    options = parser.parse_args()
    runner = Runner(options.library)
    if options.kills or options.writers:
        kill_at_random(runner, options.kills)
        write_at_once(runner, options.writers, options.rounds)
        return
    total: Counter[str] = Counter()
    print("| command | calls | faults | success | error | signal |\n|---|---|---|---|---|---|")
    for name, command in COMMANDS.items():
        if options.only not in name:
            continue
        clean = runner.run(command, (0, 0), 0)
        check_clean(name, command, clean)
        calls = clean.calls
        seen: Counter[str] = Counter()
        for kind, fault in KINDS.items():
            step = max(1, calls / options.sample)
            for number in sorted({int(n * step) + 1 for n in range(min(calls, options.sample))}):
                found = runner.run(command, fault, number)
                if not found.call:
                    continue
                if wrong := judged(command, kind, clean, found):
                    where = f"{name}, {kind} at call {number}, {found.call}"
                    print(f"{where}: {wrong}", file=sys.stderr)
                    seen["wrong"] += 1
                elif found.status == 0:
                    seen["success"] += 1
                else:
                    seen["error" if found.status > 0 else "signal"] += 1
        row = (name, calls, seen.total(), seen["success"], seen["error"], seen["signal"])
        print(f"| {' | '.join(map(str, row))} |", flush=True)
        total += seen
    print(f"{total.total()} faults, {total['wrong']} wrong")
    sys.exit(total["wrong"] > 0)


def check_clean(name: str, command: Command, clean: Outcome) -> None:
    """Checks the outcome without a fault."""
    out = clean.files.get("out", clean.output)
    is_right = clean.status == 0 and not clean.stray
    if command.arguments[0] == "encode":
        is_right &= decode(out, DICTIONARY) == DATA
    elif command.arguments[0] == "decode":
        is_right &= out == DATA
    if not is_right:
        sys.exit(f"{name} without a fault: {clean.status}, {clean.errors}, {clean.stray}")


main()
