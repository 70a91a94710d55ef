"""What a damaged zstd chunk does to a process that decodes it on a GPU.

    python benches/gpu_damage.py
    python benches/gpu_damage.py --seconds 40 --json damage.json

Each trial flips bits in a payload made on the GPU and decodes it in a process of its own, with
``S4_GPU_TIMEOUT=3``, until the watchdog ends a call or after 48 trials. Prints for each whether
the call returned, after how many seconds and with which error; what the same process can still
do; whether the process ended and how long that took; and whether the next process has a good
device, which every trial checks before it begins. This process never uses the GPU itself.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from s4_codec import NvcompZstd, crc32c, decode

#: Seconds that the GPU may take beyond what the work should take.
TIMEOUT = 3
TRIALS = 48
#: A process that takes longer did not come back.
_PATIENCE = 4 * TIMEOUT
#: The container's header, and the first bytes of the chunk: damage there never reaches the GPU.
_SOUND_BYTES = 28 + 16
_VALUE = b"".join(b"%d GET /item/%d 200\n" % (i, i * i % 977) for i in range(3000))[: 64 << 10]

Outcome = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", type=int, default=0, help="number of the GPU")
    parser.add_argument("--seconds", type=float, default=40, help="start no trial later")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write all trials to PATH")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        trial(Path(args.child), args.device, args.seed)
        return
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        trials = run_trials(Path(folder) / "payload", args.device, start + args.seconds, args.json)
    fired = any(each.get("timed out") for each in trials)
    print(f"\n{len(trials)} trials; the watchdog {'ended a call' if fired else 'never fired'}")
    if not all(each["device is good"] for each in trials):
        sys.exit(1)


def run_trials(payload: Path, device: int, until: float, path: Path | None) -> list[Outcome]:
    """Trials until the watchdog fires, then one with an undamaged payload. Saves each."""
    trials: list[Outcome] = []
    for seed in range(TRIALS):
        if time.monotonic() > until:
            break
        trials.append(in_process(payload, device, seed))
        print_trial(trials[-1])
        save(trials, path)
        if trials[-1].get("timed out") or not trials[-1]["process ended"]:
            trials.append(in_process(payload, device, None))
            print_trial(trials[-1])
            save(trials, path)
            break
    return trials


def save(trials: list[Outcome], path: Path | None) -> None:
    if path is not None:
        path.write_text(json.dumps({"timeout": TIMEOUT, "trials": trials}, indent=1) + "\n")


def in_process(payload: Path, device: int, seed: int | None) -> Outcome:
    """A trial; without a seed, of the undamaged payload."""
    command = [sys.executable, __file__, "--device", str(device), "--child", str(payload)]
    if seed is not None:
        command += ["--seed", str(seed)]
    environment = {**os.environ, "S4_GPU_TIMEOUT": str(TIMEOUT)}
    started = time.time()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
        try:
            output, _ = child.communicate(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            child.kill()
            output, _ = child.communicate()
            has_ended = False
        else:
            has_ended = True
        ended = time.time()
    # What is missing of it was never reached.
    found: Outcome = {"seed": seed, "device is good": False}
    for line in output.splitlines():
        found.update(json.loads(line))
    found |= {"process ended": has_ended, "status": child.returncode, "total s": ended - started}
    if has_ended and "done at" in found:
        found["exit s"] = ended - found.pop("done at")
    return found


def print_trial(found: Outcome) -> None:
    what = "undamaged" if found["seed"] is None else f"seed {found['seed']}"
    if "call" in found:
        call = f"returned after {found['call s']:.2f} s: {found['call']}"
    else:
        call = "the call did not return" if found["device is good"] else "the device is not good"
    print(f"{what}: {call}")
    for later in ("GPU afterwards", "CPU afterwards"):
        if later in found:
            print(f"    {later}, {found[f'{later} s']:.2f} s: {found[later]}")
    end = f"ended with status {found['status']}" if found["process ended"] else "had to be killed"
    after = f", {found['exit s']:.2f} s after its last call" if "exit s" in found else ""
    print(f"    the process {end}{after}; {found['total s']:.2f} s in all", flush=True)


def trial(path: Path, device: int, seed: int | None) -> None:
    """In the process of a trial: prints what happens, one JSON object a line."""
    codec = NvcompZstd(device)
    if not path.exists():
        path.write_bytes(codec.compress(_VALUE)[0])
    good, frame = path.read_bytes(), codec.encode(_VALUE)
    size, crc = len(_VALUE), crc32c(_VALUE)
    assert codec.decompress(good, size, crc) == _VALUE
    tell({"device is good": True})
    attempt("call", lambda: codec.decompress(damaged(good, seed), size, crc))
    attempt("GPU afterwards", lambda: codec.decompress(good, size, crc))
    attempt("CPU afterwards", lambda: decode(frame))
    tell({"done at": time.time()})


def damaged(payload: bytes, seed: int | None) -> bytes:
    """The payload with 1 to 8 flipped bits in its chunk."""
    if seed is None:
        return payload
    numbers, changed = random.Random(seed), bytearray(payload)
    for _ in range(numbers.randint(1, 8)):
        changed[numbers.randrange(_SOUND_BYTES, len(changed))] ^= 1 << numbers.randrange(8)
    return bytes(changed)


def attempt(name: str, call: Callable[[], bytes]) -> None:
    """Tells how ``call`` ends, and when."""
    start = time.perf_counter()
    try:
        outcome = "the value" if call() == _VALUE else "WRONG BYTES"
    except Exception as error:
        outcome = f"{type(error).__name__}: {error}"
    seconds = time.perf_counter() - start
    has_timed_out = name == "call" and seconds > TIMEOUT
    tell({name: outcome, f"{name} s": seconds} | ({"timed out": True} if has_timed_out else {}))


def tell(found: Outcome) -> None:
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
