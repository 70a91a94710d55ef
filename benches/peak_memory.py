"""The peak memory of every operation, each in a process whose address space is limited.

    python benches/peak_memory.py [--mib 256] [--json FILE] [--only TEXT]

One process makes the input of an operation and writes it to a file. Another reads it, may take as
much address space more as the output and a fixed amount (ALLOWANCE), and runs that operation only,
so that nothing it needs was there before. "growth" is what it came to hold at most, beyond the
input. Linux with glibc.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import io
import multiprocessing
import os
import pickle
import resource
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
from harness import argument_parser, data_source, load
from report import machine, versions, write_json

import s4_codec
import s4_codec.arrow as s4a
import s4_codec.polars as s4
from s4_codec import (
    Codec,
    CpuGzip,
    CpuZstd,
    CpuZstdDict,
    NvcompZstd,
    Passthrough,
    _cli,
    num_threads,
)

MIB = 1 << 20
#: What a call may take beyond its input and output: blocks and contexts of each thread, and memory
#: kept for reuse; and the address space that the C library reserves for each thread's heap, which
#: is the pool's threads, the calling one and one for a long call.
ALLOWANCE = (192 + 128 * (num_threads() + 2)) * MIB

#: The input of an operation, and what then runs and is measured; both can be pickled.
Prepared = tuple[Any, Callable[[], Any]]
Operation = Callable[[list[bytes]], Prepared]


@dataclass(frozen=True)
class Peak:
    """The memory of one operation in bytes."""

    operation: str
    input: int
    output: int
    #: What the process came to hold beyond what it held before.
    growth: int
    #: Whether it ran within ``ALLOWANCE``; else the error.
    error: str | None


def codecs(documents: list[bytes]) -> dict[str, Codec]:
    dictionary = s4_codec.train_dictionary(documents[:2000], 16 << 10)
    found = (Passthrough(), CpuZstd(), CpuGzip(), CpuZstdDict(dictionary), NvcompZstd("auto"))
    return {codec.name: codec for codec in found}


NAMES = ("passthrough", "cpu-zstd", "cpu-gzip", "cpu-zstd-dict", "nvcomp-zstd")


def operations() -> Iterator[tuple[str, Operation]]:
    """All operations by name."""
    for name in NAMES:
        for verb in ("compress", "encode", "decompress", "decode"):
            yield f"value, {name}: {verb}", partial(value, name, verb)
    for name in NAMES:
        for verb in ("compress", "encode", "decompress", "decode", "verify"):
            yield f"Polars, {name}: {verb}", partial(polars_column, name, verb)
            yield f"Arrow, {name}: {verb}", partial(arrow_column, name, verb)
    for name in ("cpu-zstd", "cpu-gzip"):
        yield f"Polars, {name}: bare", partial(polars_column, name, "decompress bare")
        yield f"Arrow, {name}: bare", partial(arrow_column, name, "decompress bare")
    yield "Polars: frame_info", partial(polars_column, "cpu-zstd", "frame_info")
    yield "Arrow: frame_info", partial(arrow_column, "cpu-zstd", "frame_info")
    for verb in ("encode", "decode", "decode a range"):
        yield f"object: {verb}", partial(stored_object, verb)
    yield "train_dictionary", training
    for verb in ("encode", "encode --codec gzip", "decode", "inspect --verify", "reindex"):
        yield f"command: {verb}", partial(command, verb)


def value(name: str, verb: str, documents: list[bytes]) -> Prepared:
    codec, data = codecs(documents)[name], b"".join(documents)
    if verb in ("compress", "encode"):
        return data, partial(getattr(codec, verb), data)
    if verb == "decompress":
        sealed = codec.compress(data)
        return sealed[0], partial(codec.decompress, *sealed)
    frame = codec.encode(data, fallback=False)
    dictionary = codec.dict_bytes if isinstance(codec, CpuZstdDict) else None
    return frame, partial(s4_codec.decode, frame, dictionary)


def polars_column(name: str, verb: str, documents: list[bytes]) -> Prepared:
    codec, frame = codecs(documents)[name], pl.DataFrame({"body": documents})
    dictionary = codec if isinstance(codec, CpuZstdDict) else None
    run = {
        "compress": lambda: s4.compress("body", codec),
        "encode": lambda: s4.encode("body", codec),
        "decompress": lambda: s4.decompress("body", codec),
        "decompress bare": lambda: s4.decompress("body", codec),
        "verify": lambda: s4.verify("body", codec),
        "decode": lambda: s4.decode("body", dictionary=dictionary),
        "frame_info": lambda: s4.frame_info("body"),
    }[verb]()
    if verb in ("decode", "frame_info"):
        frame = frame.select(s4.encode("body", codec))
    elif verb not in ("compress", "encode"):
        frame = frame.select(s4.compress("body", codec))
    if verb == "decompress bare":
        frame = frame.select(pl.col("body").struct.field("payload").alias("body"))
    return frame, partial(frame.select, run)


def arrow_column(name: str, verb: str, documents: list[bytes]) -> Prepared:
    codec, array = codecs(documents)[name], pa.array(documents, pa.large_binary())
    dictionary = codec if isinstance(codec, CpuZstdDict) else None
    if verb in ("compress", "encode"):
        return array, partial(getattr(s4a, verb), array, codec)
    if verb in ("decode", "frame_info"):
        frames = s4a.encode(array, codec)
        options = {"dictionary": dictionary} if verb == "decode" else {}
        return frames, partial(getattr(s4a, verb), frames, **options)
    packed = s4a.compress(array, codec)
    if verb == "decompress bare":
        packed = packed.field("payload")
    return packed, partial(s4a.verify if verb == "verify" else s4a.decompress, packed, codec)


def stored_object(verb: str, documents: list[bytes]) -> Prepared:
    data = b"".join(documents)
    if verb == "encode":
        return data, partial(s4_codec.encode_s4_object, data)
    made = s4_codec.encode_s4_object(data)
    part = None if verb == "decode" else (len(data) // 2, len(data) // 2 + 1000)
    stored = (made["body"], made["metadata"], made["sidecar"], part)
    return made["body"], partial(s4_codec.decode_s4_object, *stored)


def training(documents: list[bytes]) -> Prepared:
    column = pa.array(documents, pa.large_binary())
    return column, partial(s4_codec.train_dictionary, column)


def command(verb: str, documents: list[bytes]) -> Prepared:
    """The command reads and writes files, so that nothing of them counts."""
    folder = tempfile.mkdtemp()
    data = b"".join(documents)
    name, *options = verb.split()
    if name != "encode":
        data = s4_codec.encode_s4_object(data)["body"]
    Path(folder, "in").write_bytes(data)
    output = [] if name == "inspect" else ["-o", f"{folder}/out"]
    return b"", partial(run_command, folder, [name, f"{folder}/in", *output, *options])


def run_command(folder: str, arguments: list[str]) -> None:
    with (
        contextlib.redirect_stderr(io.StringIO()),
        open(os.devnull, "w") as null,
        contextlib.redirect_stdout(null),
    ):
        found = _cli.main(arguments)
    Path(folder, "out").unlink(missing_ok=True)
    if found:
        raise MemoryError


def size(data: Any) -> int:
    """The bytes of an input or a result."""
    if isinstance(data, bytes):
        return len(data)
    if isinstance(data, (tuple, list)):
        return sum(map(size, data))
    if isinstance(data, dict):
        return sum(map(size, data.values()))
    if isinstance(data, pl.DataFrame):
        return int(data.estimated_size())
    return int(getattr(data, "nbytes", 0))


def status(key: str) -> int:
    """A line of this process's status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{key}:"))


def prepare(name: str, mib: int, data: Path | None, file: Path) -> tuple[int, int]:
    """Writes what an operation runs to a file. Returns the bytes of its input and output."""
    # What the command reads lies there too.
    tempfile.tempdir = str(file.parent)
    documents = load(data).documents
    copies = mib * MIB // sum(map(len, documents)) + 1
    source, run = dict(operations())[name](documents * copies)
    with file.open("wb") as writer:
        pickle.dump(run, writer, pickle.HIGHEST_PROTOCOL)
    return size(source), size(run())


def measured(name: str, file: Path, source: int, output: int) -> Peak:
    """Runs an operation in this process, with memory for its output and ``ALLOWANCE``."""
    with file.open("rb") as reader:
        run = pickle.load(reader)
    gc.collect()
    # What reading has freed would serve the operation.
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    limit = status("VmSize") + output + ALLOWANCE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    error = None
    try:
        run()
    except (MemoryError, OSError, RuntimeError, pl.exceptions.ComputeError) as failure:
        error = str(failure) or "MemoryError"
    return Peak(name, source, output, status("VmHWM") - before, error)


def in_process(function: Callable[..., Any], *arguments: Any) -> Any:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--mib", type=int, default=256, help="MiB of values (default: 256)")
    parser.add_argument("--only", default="", help="operations whose name contains this")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all numbers to FILE")
    args = parser.parse_args()
    print(f"data: {data_source(args.data)}; {num_threads()} threads")
    print(f"peak memory in MiB; the address space is the output and {ALLOWANCE // MIB} MiB\n")
    row = "{:<32}{:>8}{:>8}{:>8}{:>10}  {}"
    print(row.format("", "input", "output", "growth", "- output", "fits"))
    peaks = []
    for name, _ in operations():
        if args.only not in name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "operation")
            source, output = in_process(prepare, name, args.mib, args.data, file)
            peak = in_process(measured, name, file, source, output)
        numbers = (peak.input, peak.output, peak.growth, peak.growth - peak.output)
        cells = (f"{number / MIB:,.0f}" for number in numbers)
        print(row.format(name, *cells, peak.error or "yes"), flush=True)
        peaks.append(peak)
    failed = [peak.operation for peak in peaks if peak.error]
    beyond = max((peak.growth - peak.output for peak in peaks), default=0)
    print(f"\n{len(peaks)} operations, {len(failed)} do not fit: {', '.join(failed) or 'none'}")
    print(f"the most beyond input and output: {beyond / MIB:,.0f} MiB")
    if args.json is not None:
        document = {"machine": machine(), "versions": versions(()), "threads": num_threads()}
        write_json(args.json, document | {"peaks": [asdict(peak) for peak in peaks]})


if __name__ == "__main__":
    main()
