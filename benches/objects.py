"""Whole objects: encode_s4_object and decode, against another release of the package.

    python benches/objects.py --other PYTHON
    python benches/objects.py --quick
    python benches/objects.py --data DIR

PYTHON is the interpreter of a virtual environment with another ``s4-codec``, such as the
published 1.5.1. It handles the same bytes in a process of its own, call by call, in rounds that
alternate with this package; it decodes frame by frame, as its clients do.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from functools import partial
from pathlib import Path

from harness import (
    Contender,
    load,
    measure,
    progress,
    ratio,
    speed,
)
from report import Report, benchmark_parser

from s4_codec import decode, encode_s4_object, num_threads

COLUMNS = {"": "", "MB/s": ",.0f", "ours/it": ".2f"}

WORKER = """
import sys, s4_codec as s4
data = open(sys.argv[1], "rb").read()
body = s4.encode_s4_object(data)["body"]
codec = s4.CpuZstd()
def decode():
    frames = s4.frame_iter(body)
    return b"".join(codec.decompress(p, h["original_size"], h["crc32c"]) for h, p in frames)
assert decode() == data
work = {"encode": lambda: s4.encode_s4_object(data), "decode": decode}
print(s4.__version__, flush=True)
for line in sys.stdin:
    work[line.strip()]()
    print("done", flush=True)
"""


class Other:
    """Another release, in another interpreter."""

    def __init__(self, python: str, data: Path) -> None:
        self._process = subprocess.Popen(
            [python, "-c", WORKER, str(data)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        )
        self.version = self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def run(self, verb: str) -> None:
        assert self._process.stdin is not None
        print(verb, file=self._process.stdin, flush=True)
        assert self._answer() == "done"


def main() -> None:
    parser = benchmark_parser(__doc__, rounds=7, quick="5 rounds, 64 MiB")
    parser.add_argument("--other", help="interpreter with another s4-codec")
    parser.add_argument("--mib", type=int, default=256, help="size of the object; default: 256")
    args = parser.parse_args()
    rounds, mib = (5, 64) if args.quick else (args.rounds, args.mib)
    corpus, size = load(args.data), mib << 20
    data = (corpus.text * -(-size // len(corpus.text)))[:size]
    body = encode_s4_object(data)["body"]
    assert decode(body) == data
    report = Report(args, corpus, rounds, num_threads())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data"
        path.write_bytes(data)
        other = Other(args.other, path) if args.other else None
        for verb, ours in (
            ("encode", lambda: encode_s4_object(data)),
            ("decode", lambda: decode(body)),
        ):
            contenders = [Contender("ours", size, ours)]
            if other is not None:
                name = f"s4-codec {other.version}"
                contenders.append(Contender(name, size, partial(other.run, verb)))
            progress(f"{verb} {mib} MiB")
            rates = measure(contenders, rounds)
            progress("")
            lines = [(name, speed(rates, name), ratio(rates, "ours", name)) for name in rates]
            title = f"{verb} {mib} MiB, stored in {len(body):,} bytes"
            report.table(title, COLUMNS, lines, [{name: rates[name]} for name in rates])


if __name__ == "__main__":
    main()
