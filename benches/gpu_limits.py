"""The limits of the machine: rates of copies, and of nvCOMP's kernels alone."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
from cuda import Arrays, Batched, Bytes, CallError, Cuda, Nvcomp, Stream
from gpu_data import Data, Kind

MIB = 1 << 20
#: Bytes per chunk, as in the containers of this package.
CHUNK = 64 << 10
#: Sufficient for all codecs.
ALIGNMENT = 256

_SAMPLES = 5
_LEAST_SECONDS = 0.04
_MOST_RUNS = 500


@dataclass(frozen=True)
class CopyRate:
    """GB/s of consecutive copies of ``size`` bytes, or the reason why there is no number."""

    kind: str
    size: int
    to_device: float | str
    from_device: float | str
    #: The sum of both directions at once.
    both: float | str


@dataclass(frozen=True)
class KernelRate:
    """GB/s of original bytes for one batch of 64 KiB chunks already on the device."""

    data: str
    codec: str
    #: Bytes of the batch.
    size: int
    compress: float
    decompress: float
    #: Original bytes divided by compressed bytes.
    ratio: float


def _rate(size: int, queue: Callable[[], object], wait: Callable[[], object]) -> float:
    """GB/s where ``queue`` starts work on ``size`` bytes and ``wait`` waits for all of it.

    The median of samples of about 40 ms each, after a warm-up.
    """

    def sample(runs: int) -> float:
        start = time.perf_counter()
        for _ in range(runs):
            queue()
        wait()
        return (time.perf_counter() - start) / runs

    sample(1)
    runs = max(1, min(_MOST_RUNS, round(_LEAST_SECONDS / sample(1))))
    return size / statistics.median(sample(runs) for _ in range(_SAMPLES)) / 1e9


def _nothing() -> None:
    """Nothing to wait for."""


def _attempt(measured: Callable[[], float]) -> float | str:
    """The rate, or the reason why it cannot be measured."""
    try:
        return measured()
    except CallError as error:
        return f"skipped: {error}"


def copy_rates(cuda: Cuda, sizes: Sequence[int]) -> list[CopyRate]:
    """Copies between host and device: pinned memory by size, then pageable memory."""
    largest = max(sizes)
    with ExitStack() as stack:
        stack.enter_context(cuda.current())
        device = [stack.enter_context(cuda.device_memory(largest)) for _ in range(2)]
        streams = (stack.enter_context(cuda.stream()), stack.enter_context(cuda.stream()))
        pinned = [stack.enter_context(cuda.pinned_memory(largest)) for _ in range(2)]
        # Pages never written to would all be mapped to the same zero page.
        pageable = [np.full(largest, 1, np.uint8) for _ in range(2)]
        for memory in pinned:
            memory.fill(1)
        found = [
            _copies("pinned", [memory[:size] for memory in pinned], device, streams)
            for size in sorted(sizes)
        ]
        return [*found, _copies("pageable", pageable, device, streams)]


def _copies(
    kind: str, host: list[Bytes], device: list[int], streams: tuple[Stream, Stream]
) -> CopyRate:
    first, second = streams
    size = host[0].nbytes

    def upload() -> None:
        first.upload(device[0], host[0])

    def download() -> None:
        first.download(host[0], device[0])

    def both() -> None:
        first.upload(device[0], host[0])
        second.download(host[1], device[1])

    def wait_for_both() -> None:
        first.synchronize()
        second.synchronize()

    wait = first.synchronize
    return CopyRate(
        kind,
        size,
        to_device=_attempt(lambda: _rate(size, upload, wait)),
        from_device=_attempt(lambda: _rate(size, download, wait)),
        both=_attempt(lambda: _rate(2 * size, both, wait_for_both)),
    )


def host_copy_rates(size: int, threads: int) -> dict[int, float]:
    """GB/s at which the host copies ``size`` bytes within its memory, by number of threads."""
    source, target = np.full(size, 1, np.uint8), np.full(size, 2, np.uint8)

    def copy(part: slice) -> None:
        np.copyto(target[part], source[part])

    def with_threads(count: int) -> float:
        bounds = [size * i // count for i in range(count + 1)]
        parts = [slice(*pair) for pair in itertools.pairwise(bounds)]
        with ThreadPoolExecutor(count) as pool:
            return _rate(size, lambda: list(pool.map(copy, parts)), _nothing)

    return {count: with_threads(count) for count in sorted({1, threads})}


class _OnDevice:
    """A batch of chunks on the device, with memory for their compressed and restored forms."""

    def __init__(self, stack: ExitStack, cuda: Cuda, batched: Batched, batch: Bytes) -> None:
        self._batched, self._stack, self._cuda = batched, stack, cuda
        self.stream = stack.enter_context(cuda.stream())
        self._pinned = stack.enter_context(cuda.pinned_memory(batch.nbytes))
        self._batch, self.count = batch, batch.nbytes // CHUNK
        originals, restored = self._allocate(batch.nbytes), self._allocate(batch.nbytes)
        stride = -(-batched.max_output(CHUNK) // ALIGNMENT) * ALIGNMENT
        compressed = self._allocate(stride * self.count)
        self._upload(originals, batch)
        numbers = np.arange(self.count, dtype=np.uint64)
        self._sizes = self._array(np.full(self.count, CHUNK, np.uint64))
        self._restored = restored
        self._compression = Arrays(
            self.count,
            inputs=self._array(originals + numbers * CHUNK),
            input_sizes=self._sizes,
            outputs=self._array(compressed + numbers * stride),
            capacities=self._sizes,
            output_sizes=self._array(numbers),
            statuses=self._array(numbers),
        )
        self._decompression = replace(
            self._compression,
            inputs=self._compression.outputs,
            input_sizes=self._compression.output_sizes,
            outputs=self._array(restored + numbers * CHUNK),
            output_sizes=self._array(numbers),
        )
        self._temp_size = batched.temp_size(self.count, CHUNK, batch.nbytes, self.stream)
        self._temp = self._allocate(max(1, self._temp_size))

    def _allocate(self, size: int) -> int:
        return self._stack.enter_context(self._cuda.device_memory(size))

    def _upload(self, to: int, values: Bytes) -> None:
        self._pinned[: values.nbytes] = values
        self.stream.upload(to, self._pinned[: values.nbytes])
        self.stream.synchronize()

    def _array(self, values: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> int:
        address = self._allocate(values.nbytes)
        self._upload(address, values.view(np.uint8))
        return address

    def _download(self, source: int, size: int) -> Bytes:
        self.stream.download(self._pinned[:size], source)
        self.stream.synchronize()
        return self._pinned[:size].copy()

    def compress(self) -> None:
        """Queues compressing the batch."""
        memory = (self._temp, self._temp_size)
        self._batched.compress(self._compression, CHUNK, *memory, self.stream)

    def decompress(self) -> None:
        """Queues decompressing the compressed batch."""
        self._batched.decompress(self._decompression, self._temp, self._temp_size, self.stream)

    def verify(self) -> float:
        """Checks the results of both, and returns the compression ratio."""
        for arrays in (self._compression, self._decompression):
            statuses = self._download(arrays.statuses, 4 * self.count).view(np.int32)
            if statuses.any():
                msg = f"expected status 0 of every chunk, found {statuses[statuses != 0][0]}"
                raise CallError(msg)
        if not np.array_equal(self._download(self._restored, self._batch.nbytes), self._batch):
            msg = "the chunks are not restored"
            raise CallError(msg)
        sizes = self._download(self._compression.output_sizes, 8 * self.count).view(np.uint64)
        return self._batch.nbytes / int(sizes.sum())


def kernel_rate(cuda: Cuda, nvcomp: Nvcomp, data: Data, kind: Kind, size: int) -> KernelRate:
    """The rates of nvCOMP's calls on a batch of ``size`` bytes, from launch to completion."""
    batched = Batched(nvcomp, kind.function, data.number)
    with ExitStack() as stack:
        stack.enter_context(cuda.current())
        batch = _OnDevice(stack, cuda, batched, data.take(size))
        wait = batch.stream.synchronize
        compress = _rate(size, batch.compress, wait)
        decompress = _rate(size, batch.decompress, wait)
        return KernelRate(data.name, kind.name, size, compress, decompress, batch.verify())
