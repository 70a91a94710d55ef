"""nvidia.nvcomp, NVIDIA's Python package for the same library, on the values of a column.

Values go up in one copy and are compressed as one batch, and what comes of that goes home by the
batch's own ``cpu()``. Compressed values likewise go up in one copy. Decompressed ones come home by
``cpu()``, or lie back to back on the device and come home in one copy, whichever was faster.
``RAW`` is the codec's own format, for values of one chunk; other values go into NVIDIA's container
(native), which is chunked as ours is. Neither has checksums, ours checks a crc32c of every value.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from cuda import Bytes
from gpu_data import KINDS, NOISE, Data, Kind, load_data
from gpu_limits import CHUNK
from harness import Contender, load

NAME, RAW_NAME = "nvidia.nvcomp", "nvidia.nvcomp RAW"
#: More values than our own batches have would take it a long time.
MOST_ROWS = 32 << 10
#: Enough for any of its codecs.
ALIGNMENT = 16

#: Compressing and decompressing.
Pair = tuple[Contender, Contender]


#: More than it takes to start and to try all codecs.
_PATIENCE_SECONDS = 60


def refusal(device: int) -> str | None:
    """Why the package cannot be measured at all, tried in a process of its own.

    What is wrong there may end that process, or its use of the GPU, and so must not be here.
    """
    command = [sys.executable, __file__, str(device)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        return f"{NAME}: not done after {_PATIENCE_SECONDS} seconds"
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
    return f"{NAME}: {lines[-1]}"


def _try_all(device: int) -> None:
    """A few values with each codec; fails if none of them can be measured."""
    data, found, skipped = load_data(load())[NOISE], [], []
    for kind in KINDS.values():
        for size in (CHUNK, 4 * CHUNK):
            pairs, reasons = peers(device, kind, data, size, rows=16)
            found += pairs
            skipped += reasons
    if not found:
        sys.exit("; ".join(skipped[:1]))


def peers(
    device: int, kind: Kind, data: Data, value_size: int, rows: int
) -> tuple[list[Pair], list[str]]:
    """What can be measured on the first of ``rows`` values, and why the rest cannot."""
    found, skipped = [], []
    for name in (NAME, RAW_NAME) if value_size <= CHUNK else (NAME,):
        try:
            module = importlib.import_module("nvidia.nvcomp")
            values = data.take(min(rows, MOST_ROWS) * value_size)
            coder = _coder(module, device, kind, data, is_raw=name == RAW_NAME)
            found.append(_pair(name, _Batches(module, coder), values, value_size))
        except Exception as error:
            # Whatever its version does not have or refuses.
            skipped.append(f"{name}, {kind.name}: {type(error).__name__}: {error}")
    return found, skipped


def _coder(module: Any, device: int, kind: Kind, data: Data, is_raw: bool) -> Any:
    bitstream = module.BitstreamKind
    options: dict[str, object] = {
        "algorithm": kind.algorithm,
        "device_id": device,
        "uncomp_chunk_size": CHUNK,
        "bitstream_kind": bitstream.RAW if is_raw else bitstream.NVCOMP_NATIVE,
    }
    if kind.function == "Bitcomp":
        options["data_type"] = data.type_string
    return module.Codec(**options)


class _Batches:
    """The package's codec, from host to host. Needs version 6, the first with BatchArray."""

    def __init__(self, module: Any, coder: Any) -> None:
        self._module, self._coder = module, coder
        if not hasattr(module, "BatchArray"):
            msg = f"version {module.__version__} has no BatchArray, 6 has"
            raise RuntimeError(msg)

    def _upload(self, values: Bytes, bounds: tuple[Sequence[int], Sequence[int]]) -> Any:
        there = self._module.as_array(values).cuda()
        return self._module.as_arrays(there, *bounds)

    def compress(self, values: Bytes, bounds: tuple[Sequence[int], Sequence[int]]) -> Any:
        return self._coder.encode(self._upload(values, bounds)).cpu()

    def decompress(self, packed: Bytes, bounds: tuple[Sequence[int], Sequence[int]]) -> Any:
        return self._coder.decode(self._upload(packed, bounds)).cpu()

    def decompresser_into(
        self, size: int, bounds: tuple[Sequence[int], Sequence[int]]
    ) -> Callable[[Bytes, tuple[Sequence[int], Sequence[int]]], Any]:
        """Decompresses to places on the device that ``bounds`` says, and takes all home."""
        room = self._module.as_array(np.zeros(size, np.uint8)).cuda()
        places = self._module.as_arrays(room, *bounds)

        def decompress(packed: Bytes, packed_bounds: tuple[Sequence[int], Sequence[int]]) -> Any:
            decoded = self._coder.decode(self._upload(packed, packed_bounds), out=places)
            # Its sizes are known once it is done.
            assert len(decoded.buffer_sizes) == len(places)
            return room.cpu()

        return decompress


def _pair(name: str, batches: _Batches, values: Bytes, value_size: int) -> Pair:
    count = values.nbytes // value_size
    bounds = ([value_size * i for i in range(count)], [value_size] * count)
    packed, packed_bounds = _packed(batches.compress(values, bounds))

    def at_once(values_at_home: Any) -> Bytes:
        return _bytes(values_at_home)

    def one_by_one(values_at_home: Any) -> Bytes:
        return np.concatenate([_bytes(values_at_home[i]) for i in range(count)])

    def plain() -> object:
        return batches.decompress(packed, packed_bounds)

    ways: list[tuple[Callable[[], object], Callable[[Any], Bytes]]] = [(plain, one_by_one)]
    try:
        into = batches.decompresser_into(values.nbytes, bounds)
        ways.append((lambda: into(packed, packed_bounds), at_once))
        ways[-1][0]()
    except Exception:
        # The plain way is there all the same.
        del ways[1:]
    seconds = [_verified_seconds(run, to_bytes, values) for run, to_bytes in ways]
    decompress = ways[seconds.index(min(seconds))][0]
    return (
        Contender(name, values.nbytes, lambda: batches.compress(values, bounds)),
        Contender(name, values.nbytes, decompress),
    )


def _packed(compressed: Any) -> tuple[Bytes, tuple[list[int], list[int]]]:
    """A batch at home as one buffer, where its items begin there, and how long they are."""
    items = [_bytes(compressed[i]) for i in range(len(compressed))]
    sizes = [item.nbytes for item in items]
    ends = np.cumsum([-(-size // ALIGNMENT) * ALIGNMENT for size in sizes])
    packed, starts = np.zeros(ends[-1], np.uint8), [0, *ends[:-1].tolist()]
    for start, item in zip(starts, items, strict=True):
        packed[start : start + item.nbytes] = item
    return packed, (starts, sizes)


def _bytes(array: Any) -> Bytes:
    return np.asarray(array).reshape(-1).view(np.uint8)


def _verified_seconds(
    run: Callable[[], object], to_bytes: Callable[[Any], Bytes], values: Bytes
) -> float:
    if not np.array_equal(to_bytes(run()), values):
        msg = "what comes back is not what went in"
        raise RuntimeError(msg)
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    _try_all(int(sys.argv[1]))
