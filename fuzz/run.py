"""Build and run the fuzz targets: `check` for seconds, `long` for hours.

    python fuzz/run.py check                         # build, then a few thousand inputs each
    python fuzz/run.py long --executions 50_000_000  # all targets in turn; may be interrupted
    python fuzz/run.py totals                        # what all long runs did
    python fuzz/run.py pack                          # minimise what they found into fuzz/corpus

It needs cargo-fuzz and a compiler that takes `-Zsanitizer`: nightly, or any with
RUSTC_BOOTSTRAP=1, which this sets. Where there is a clang, the C libraries are instrumented too.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

HERE = Path(__file__).parent
PACKED = HERE / "corpus"
# Ignored by git: corpora that grow, crashes, totals.
WORK = HERE / "work"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", HERE / "target")) / "fuzz"
TARGETS = sorted(path.stem for path in (HERE / "fuzz_targets").glob("*.rs"))
MAX_BYTES = 4096
OPTIONS = [
    f"-max_len={MAX_BYTES}",
    f"-dict={HERE / 's4.dict'}",
    "-timeout=25",
    "-rss_limit_mb=2500",
    "-print_final_stats=1",
]


def build() -> None:
    environment = os.environ | {"RUSTC_BOOTSTRAP": "1"}
    if shutil.which("clang") and shutil.which("clang++"):
        flags = "-fsanitize=address -fsanitize=fuzzer-no-link"
        environment |= {"CC": "clang", "CXX": "clang++", "CFLAGS": flags}
    else:
        print("no clang: the C libraries are not instrumented", flush=True)
    command = ["cargo", "fuzz", "build", "--target-dir", str(TARGET)]
    subprocess.run(command, cwd=HERE.parent, env=environment, check=True)


def unpack(target: str) -> Path:
    """The target's growing corpus; at first what is packed, and the seeds."""
    folder = WORK / "corpus" / target
    if not folder.is_dir():
        folder.mkdir(parents=True)
        packed = PACKED / f"{target}.tar.gz"
        if packed.exists():
            with tarfile.open(packed) as archive:
                archive.extractall(folder, filter="data")
    return folder


def run(target: str, *options: str) -> tuple[int, dict[str, float]]:
    """Runs a target; returns its status and the counts that libFuzzer prints last."""
    artifacts = WORK / "artifacts" / target
    artifacts.mkdir(parents=True, exist_ok=True)
    executables = list(TARGET.glob(f"*/release/{target}"))
    if len(executables) != 1:
        raise SystemExit(f"{target} is not built; run: python fuzz/run.py build")
    command = [str(executables[0]), *OPTIONS, f"-artifact_prefix={artifacts}/", *options]
    done = subprocess.run(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, check=False)
    text = done.stderr.decode(errors="replace")
    counts = re.findall(r"^#\d+.* cov: (\d+) ft: (\d+) corp: (\d+)", text, re.MULTILINE)
    executed = re.findall(r"^stat::number_of_executed_units: *(\d+)", text, re.MULTILINE)
    if done.returncode:
        sys.stdout.write(text[-6000:])
    cov, ft, corpus = counts[-1] if counts else (0, 0, 0)
    found = {"executions": int(executed[-1]) if executed else 0}
    return done.returncode, found | {"cov": int(cov), "ft": int(ft), "corpus": int(corpus)}


def check(executions: int) -> int:
    """The same inputs each time: the packed corpus, and mutations from a fixed seed."""
    build()
    failed = []
    for target in TARGETS:
        start = time.monotonic()
        corpus = unpack(target)
        # A folder before it takes what is new, so that the corpus stays as it is.
        fresh = WORK / "fresh" / target
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        status, found = run(target, "-seed=1", f"-runs={executions}", str(fresh), str(corpus))
        report(target, found, time.monotonic() - start, status)
        if status:
            failed.append(target)
    if failed:
        print("failed:", *failed)
    return 1 if failed else 0


def report(target: str, found: dict[str, float], seconds: float, crashes: int) -> None:
    rate = found["executions"] / max(seconds, 0.001)
    print(
        f"{target:16} {found['executions']:>12,} executions {rate:>8,.0f}/s  "
        f"cov {found['cov']:>6,} ft {found['ft']:>7,} corpus {found['corpus']:>6,} "
        f"crashes {crashes}",
        flush=True,
    )


def load_totals() -> dict[str, dict[str, float]]:
    path = WORK / "totals.json"
    totals: dict[str, dict[str, float]] = json.loads(path.read_text()) if path.exists() else {}
    return totals


def long(executions: int, seconds: float, slice_seconds: int) -> int:
    """All targets in turn, a slice of time each, until either limit; crashes are kept and passed
    over."""
    end = time.monotonic() + seconds
    totals, done, seed = load_totals(), 0, int(time.time())
    while done < executions and time.monotonic() < end:
        for target in TARGETS:
            left = int(min(slice_seconds, end - time.monotonic()))
            if left < 1 or done >= executions:
                break
            seed += 1
            start = time.monotonic()
            options = (f"-max_total_time={left}", f"-seed={seed}", str(unpack(target)))
            status, found = run(target, *options)
            total = totals.setdefault(target, {"executions": 0, "seconds": 0, "crashes": 0})
            total["executions"] += found.pop("executions")
            total["seconds"] += time.monotonic() - start
            total["crashes"] += status != 0
            total |= {name: max(count, total.get(name, 0)) for name, count in found.items()}
            done = done + int(total["executions"]) - int(total.get("counted", 0))
            total["counted"] = total["executions"]
            totals[target] = total
            WORK.mkdir(exist_ok=True)
            (WORK / "totals.json").write_text(json.dumps(totals, indent=1))
        print(time.strftime("%H:%M:%S"), f"{done:,} executions in this run", flush=True)
    return print_totals()


def print_totals() -> int:
    totals = load_totals()
    for target, total in sorted(totals.items()):
        report(target, total, total["seconds"], int(total["crashes"]))
    print(f"{sum(total['executions'] for total in totals.values()):,} executions in all")
    return int(any(total["crashes"] for total in totals.values()))


def seed() -> None:
    """Adds the seeds to the growing corpora."""
    from seeds import MOST, SEEDS

    for target, make in SEEDS.items():
        folder = unpack(target)
        for i, content in enumerate(make()):
            if len(content) <= MOST:
                (folder / f"seed-{i:03}").write_bytes(content)


def pack(most_bytes: int) -> None:
    """Minimises each corpus and packs its shortest inputs, `most_bytes` of them."""
    PACKED.mkdir(exist_ok=True)
    for target in TARGETS:
        merged = WORK / "merged" / target
        shutil.rmtree(merged, ignore_errors=True)
        merged.mkdir(parents=True)
        run(target, "-merge=1", str(merged), str(unpack(target)))
        inputs = sorted(merged.iterdir(), key=lambda path: (path.stat().st_size, path.name))
        taken, size = [], 0
        for path in inputs:
            size += path.stat().st_size
            if size > most_bytes:
                break
            taken.append(path)
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as archive:
            for i, path in enumerate(taken):
                entry = tarfile.TarInfo(f"{i:04}")
                entry.size = path.stat().st_size
                archive.addfile(entry, io.BytesIO(path.read_bytes()))
        packed = gzip.compress(content.getvalue(), mtime=0)
        (PACKED / f"{target}.tar.gz").write_bytes(packed)
        print(f"{target:16} {len(taken):>5} of {len(inputs)} inputs, {len(packed):>8,} bytes")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build", help="build all targets")
    command = commands.add_parser("check", help="build, then run each for a fixed number")
    command.add_argument("--executions", type=int, default=3000, help="of each target")
    command = commands.add_parser("long", help="run all in turn")
    command.add_argument("--executions", type=int, default=50_000_000, help="of all targets")
    command.add_argument("--seconds", type=float, default=float("inf"))
    command.add_argument("--slice", type=int, default=60, help="seconds for a target at a time")
    commands.add_parser("seed", help="add seeds to the corpora; needs the package")
    command = commands.add_parser("pack", help="minimise the corpora into fuzz/corpus")
    command.add_argument("--bytes", type=int, default=150_000, help="of each target's inputs")
    commands.add_parser("totals", help="print what the long runs did")
    options = parser.parse_args()
    match options.command:
        case "build":
            build()
        case "check":
            return check(options.executions)
        case "long":
            return long(options.executions, options.seconds, options.slice)
        case "seed":
            seed()
        case "pack":
            pack(options.bytes)
        case "totals":
            return print_totals()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
