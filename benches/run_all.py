"""All CPU benchmarks, one after the other, each with its tables as text and as JSON.

    python benches/run_all.py --quick --json DIR
    python benches/run_all.py --full --json DIR
    python benches/run_all.py --quick --json DIR --only oneshot columns
    python benches/run_all.py --full --json DIR --data DATA
    python benches/run_all.py --full --json DIR --published FOLDER

Writes NAME.txt and NAME.json of every benchmark to DIR, and run_all.json, which says what ran,
how long it took, and what was left out and why. Progress goes to stderr. ``--published`` adds
s4-codec 1.5 to columns and objects; published.py says how to install it in FOLDER.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import argument_parser, data_options
from report import write_json

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Benchmark:
    """One run of one program in this folder."""

    name: str
    program: str
    #: Seconds of a quick and of a full run on two cores.
    seconds: tuple[int, int]
    #: Modules without which it cannot start.
    needs: tuple[str, ...] = ()
    #: Whether columns run on one thread instead of all.
    one_thread: bool = False
    #: Whether it also measures the published package.
    takes_published: bool = False


BENCHMARKS = [
    Benchmark("oneshot", "oneshot.py", (45, 300)),
    Benchmark("columns", "columns.py", (40, 200), takes_published=True),
    Benchmark("columns-1-thread", "columns.py", (60, 350), one_thread=True),
    Benchmark("dictionaries", "dictionaries.py", (10, 60)),
    Benchmark("arrow", "arrow.py", (20, 120), ("pyarrow",)),
    Benchmark("bare", "bare.py", (60, 300), ("pyarrow", "zstandard")),
    Benchmark("objects", "objects.py", (15, 90), takes_published=True),
    Benchmark("few-rows", "few_rows.py", (50, 300), ("pyarrow",)),
    Benchmark("scaling", "scaling.py", (60, 400)),
]


@dataclass(frozen=True)
class Outcome:
    """How the run of a benchmark ended."""

    name: str
    #: "done", "skipped" or "failed".
    status: str
    #: Why it was skipped or failed; what it left out, if it is done.
    reasons: Sequence[str]
    seconds: float = 0.0


def run(benchmark: Benchmark, options: Iterable[str], folder: Path) -> Outcome:
    """Runs one benchmark, which writes to ``folder``."""
    missing = [name for name in benchmark.needs if importlib.util.find_spec(name) is None]
    if missing:
        return Outcome(benchmark.name, "skipped", [f"{name} is not installed" for name in missing])
    environment = dict(os.environ)
    if benchmark.one_thread:
        environment |= {"S4_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    document = folder / f"{benchmark.name}.json"
    command = [sys.executable, str(FOLDER / benchmark.program), *options, "--json", str(document)]
    start = time.perf_counter()
    with (folder / f"{benchmark.name}.txt").open("w") as text:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            text.write(line)
    seconds = time.perf_counter() - start
    if process.wait() != 0:
        return Outcome(benchmark.name, "failed", [f"exit status {process.returncode}"], seconds)
    return Outcome(benchmark.name, "done", json.loads(document.read_text())["skipped"], seconds)


def minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 100 else f"{seconds:.0f} s"


def main() -> None:
    parser = argument_parser(__doc__)
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--quick", action="store_true", help="few rounds, small data: minutes")
    length.add_argument("--full", action="store_true", help="the figures that the docs quote")
    parser.add_argument("--json", type=Path, required=True, metavar="DIR", help="where to write")
    names = [each.name for each in BENCHMARKS]
    parser.add_argument("--published", type=Path, metavar="FOLDER", help="s4-codec 1.5")
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=", ".join(names))
    args = parser.parse_args()
    folder: Path = args.json
    folder.mkdir(parents=True, exist_ok=True)
    chosen = [each for each in BENCHMARKS if not args.only or each.name in args.only]
    options = [*(["--quick"] if args.quick else []), *data_options(args.data)]
    start, outcomes = time.perf_counter(), list[Outcome]()
    expected = [each.seconds[0 if args.quick else 1] for each in chosen]
    for number, benchmark in enumerate(chosen):
        elapsed = time.perf_counter() - start
        # This machine's speed relative to the one that the seconds are from.
        pace = elapsed / sum(expected[:number]) if number else 1.0
        print(
            f"[{number + 1}/{len(chosen)}] {benchmark.name}: {minutes(elapsed)} passed, "
            f"about {minutes(pace * sum(expected[number:]))} left",
            file=sys.stderr,
            flush=True,
        )
        print(f"\n== {benchmark.name}\n", flush=True)
        published = benchmark.takes_published and args.published is not None
        extra = ["--published", str(args.published)] if published else []
        outcomes.append(run(benchmark, [*options, *extra], folder))
        runs = [vars(each) for each in outcomes]
        write_json(folder / "run_all.json", {"quick": args.quick, "runs": runs})
    print("\n== summary\n")
    for each in outcomes:
        print(f"{each.name}: {each.status} in {each.seconds:.0f} s", *each.reasons, sep="; ")
    if any(each.status == "failed" for each in outcomes):
        sys.exit(1)


if __name__ == "__main__":
    main()
