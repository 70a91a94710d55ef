"""Where the time of a GPU column goes: each step on its own, and with steps overlapped.

    python benches/gpu_steps.py
    python benches/gpu_steps.py --mib 512 --value-kib 64 --device 0
    python benches/gpu_steps.py --data DIR

"serial" waits for every step of a batch (filling, staging, upload, coding, gathering, download,
the workers' part) before the next (``S4_GPU_TIMINGS=serial``), which shows each step's share of
the work. "overlapped" is the same column in normal operation: steps overlap, so only the time
spent waiting shows. "around" is the part of the call before and after the session.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpu_data import EMBEDDINGS, KINDS, LOG, POSTINGS, load_data
from harness import argument_parser, data_options, data_source, load, table

import s4_codec
import s4_codec.arrow
import s4_codec.gpu

CASES = [("zstd", LOG), ("gdeflate", LOG), ("bitcomp", POSTINGS), ("bitcomp", EMBEDDINGS)]
#: Printed before each call of a case, to tell sessions apart.
CALLS = ["== compress", "== decompress", "== to the device", "== from the device"]
CALL = re.compile(r"call ([\d.]+) s")
LINE = re.compile(r"gpu session: (\d+) \w+, (\d+) bytes of originals, ([\d.]+) s in all(.*)")


def run_case(
    folder: Path | None, kind: str, data: str, mib: int, value_kib: int, device: int
) -> None:
    """Makes every call on one column three times; the last time is warm."""
    source = load_data(load(folder))[data]
    column = source.column(value_kib << 10, mib << 20)
    codec = KINDS[kind].make(device, source.data_type)
    compressed = s4_codec.arrow.compress(column, codec)
    resident = s4_codec.gpu.decompress(compressed, codec, device=device)
    runs: list[Callable[[], Any]] = [
        lambda: s4_codec.arrow.compress(column, codec),
        lambda: s4_codec.arrow.decompress(compressed, codec),
        lambda: s4_codec.gpu.decompress(compressed, codec, device=device),
        lambda: s4_codec.gpu.compress(resident, codec),
    ]
    results: list[Any] = []
    for _ in range(3):
        results.clear()
        for call, run in zip(CALLS, runs, strict=True):
            print(call, file=sys.stderr, flush=True)
            start = time.perf_counter()
            results.append(run())
            print(f"call {time.perf_counter() - start:.6f} s", file=sys.stderr, flush=True)
            # Blocks of page-locked memory are made after the call that missed them.
            time.sleep(0.5)
    packed, restored, on_device, packed_there = results
    assert restored.equals(column)
    assert on_device.to_arrow().equals(column)
    assert packed_there.equals(packed)


def measured(mode: str, arguments: list[str]) -> list[list[str]]:
    """The last call of each kind: GB/s, ms, and the steps with their shares."""
    done = subprocess.run(
        [sys.executable, __file__, *arguments],
        env=os.environ | {"S4_GPU_TIMINGS": mode},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        print(done.stderr[-2000:], file=sys.stderr)
        return []
    rows = []
    name = "overlapped" if mode == "1" else mode
    for call in CALLS:
        last = done.stderr.split(call)[-1].split("== ")[0]
        lines = [match for line in last.splitlines() if (match := LINE.match(line))]
        label = f"{call[3:]}, {name}"
        whole = CALL.search(last)
        if not lines or not whole:
            rows.append([label, "not on the GPU", "", ""])
            continue
        total = float(whole[1])
        size = sum(int(line[2]) for line in lines)
        # A column of more than 256 MiB may take several sessions.
        spent = {"around": total - sum(float(line[3]) for line in lines)}
        for line in lines:
            for step, seconds in re.findall(r"(\w+) ([\d.]+)", line[4]):
                spent[step] = spent.get(step, 0.0) + float(seconds)
        steps = ", ".join(f"{step.lower()} {each / total:.0%}" for step, each in spent.items())
        rows.append([label, f"{size / total / 1e9:.2f}", f"{total * 1e3:.1f}", steps])
    return rows


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--mib", type=int, default=512, help="size of the column")
    parser.add_argument("--value-kib", type=int, default=64, help="size of a value")
    parser.add_argument("--device", type=int, default=0, help="number of the GPU")
    parser.add_argument("--case", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        kind, data = args.case
        run_case(args.data, kind, data, args.mib, args.value_kib, args.device)
        return
    if not s4_codec.gpu_available():
        print(s4_codec.gpu_status())
        sys.exit(2)
    print(s4_codec.gpu_status())
    print(f"data: {data_source(args.data)}")
    options = ["--mib", str(args.mib), "--value-kib", str(args.value_kib)]
    options += ["--device", str(args.device), *data_options(args.data)]
    for kind, data in CASES:
        rows = [
            row
            for mode in ("serial", "1")
            for row in measured(mode, ["--case", kind, data, *options])
        ]
        header = ["", "GB/s", "ms", "steps"]
        table(f"{kind}, {data}, {args.mib} MiB of {args.value_kib} KiB values", header, rows)


if __name__ == "__main__":
    main()
