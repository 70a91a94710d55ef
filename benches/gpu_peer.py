"""nvidia.nvcomp, NVIDIA's Python package for the same library, on the values of a column.

Values are uploaded in one copy, compressed as one batch, and downloaded with the batch's own
``cpu()``. Compressed values are uploaded in one copy too. Decompressed ones are downloaded with
``cpu()``, or written contiguously on the device and downloaded in one copy, whichever is faster.
``RAW`` is the codec's own format, for values of one chunk. Other values go into NVIDIA's container
(native), which is chunked as that of this package is. Neither has checksums; this package verifies
a crc32c of every value.
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
from gpu_data import KINDS, Data, Kind, noise
from gpu_limits import CHUNK
from harness import Contender

NAME, RAW_NAME = "nvidia.nvcomp", "nvidia.nvcomp RAW"
#: The most values in a batch: with more it would take a long time.
MOST_ROWS = 32 << 10
#: Sufficient for all of its codecs.
ALIGNMENT = 16

#: Compressing and decompressing.
Pair = tuple[Contender, Contender]


#: More than it takes to start and to try every codec.
_PATIENCE_SECONDS = 60


def refusal(device: int) -> str | None:
    """Why the package cannot be measured, or None; tried in a process of its own.

    A fault may end that process or break its CUDA context, so it must not happen in this one.
    """
    command = [sys.executable, __file__, str(device)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        return f"{NAME}: not finished after {_PATIENCE_SECONDS} seconds"
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines() or [f"exited with status {done.returncode}"]
    return f"{NAME}: {lines[-1]}"


def _try_all(device: int) -> None:
    """Tries a few values with each codec; exits with an error if none can be measured."""
    data, found, skipped = noise(), [], []
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
    """The contenders for up to ``rows`` values, and the reasons why others are missing."""
    found, skipped = [], []
    for name in (NAME, RAW_NAME) if value_size <= CHUNK else (NAME,):
        try:
            module = importlib.import_module("nvidia.nvcomp")
            values = data.take(min(rows, MOST_ROWS) * value_size)
            coder = _coder(module, device, kind, data, is_raw=name == RAW_NAME)
            found.append(_pair(name, _Batches(module, coder), values, value_size))
        except Exception as error:
            # Whatever this version lacks or refuses.
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
    """A codec of the package, from host to host. Needs version 6, the first with BatchArray."""

    def __init__(self, module: Any, coder: Any) -> None:
        self._module, self._coder = module, coder
        if not hasattr(module, "BatchArray"):
            msg = f"version {module.__version__} has no BatchArray; version 6 or later is needed"
            raise RuntimeError(msg)

    def _upload(self, values: Bytes, bounds: tuple[Sequence[int], Sequence[int]]) -> Any:
        uploaded = self._module.as_array(values).cuda()
        return self._module.as_arrays(uploaded, *bounds)

    def compress(self, values: Bytes, bounds: tuple[Sequence[int], Sequence[int]]) -> Any:
        return self._coder.encode(self._upload(values, bounds)).cpu()

    def decompress(self, packed: Bytes, bounds: tuple[Sequence[int], Sequence[int]]) -> Any:
        return self._coder.decode(self._upload(packed, bounds)).cpu()

    def contiguous_decompressor(
        self, size: int, bounds: tuple[Sequence[int], Sequence[int]]
    ) -> Callable[[Bytes, tuple[Sequence[int], Sequence[int]]], Any]:
        """Decompresses into one buffer on the device, at ``bounds``, and downloads that."""
        output = self._module.as_array(np.zeros(size, np.uint8)).cuda()
        slots = self._module.as_arrays(output, *bounds)

        def decompress(packed: Bytes, packed_bounds: tuple[Sequence[int], Sequence[int]]) -> Any:
            decoded = self._coder.decode(self._upload(packed, packed_bounds), out=slots)
            # Reading the sizes waits until decoding is done.
            assert len(decoded.buffer_sizes) == len(slots)
            return output.cpu()

        return decompress


def _pair(name: str, batches: _Batches, values: Bytes, value_size: int) -> Pair:
    count = values.nbytes // value_size
    bounds = ([value_size * i for i in range(count)], [value_size] * count)
    packed, packed_bounds = _packed(batches.compress(values, bounds))

    def joined(values_on_host: Any) -> Bytes:
        return np.concatenate([_bytes(values_on_host[i]) for i in range(count)])

    def plain() -> object:
        return batches.decompress(packed, packed_bounds)

    variants: list[tuple[Callable[[], object], Callable[[Any], Bytes]]] = [(plain, joined)]
    try:
        contiguous = batches.contiguous_decompressor(values.nbytes, bounds)
        variants.append((lambda: contiguous(packed, packed_bounds), _bytes))
        variants[-1][0]()
    except Exception:
        # The plain variant works without it.
        del variants[1:]
    seconds = [_verified_seconds(run, to_bytes, values) for run, to_bytes in variants]
    decompress = variants[seconds.index(min(seconds))][0]
    return (
        Contender(name, values.nbytes, lambda: batches.compress(values, bounds)),
        Contender(name, values.nbytes, decompress),
    )


def _packed(compressed: Any) -> tuple[Bytes, tuple[list[int], list[int]]]:
    """A downloaded batch as one buffer, with the offsets and lengths of its items."""
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
        msg = "the values are not restored"
        raise RuntimeError(msg)
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    _try_all(int(sys.argv[1]))
