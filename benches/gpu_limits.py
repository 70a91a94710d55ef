"""What the machine can do without us: rates of copies, and of nvCOMP's kernels alone."""

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
#: Bytes of a chunk, as in our containers.
CHUNK = 64 << 10
#: Enough for any codec's alignments.
ALIGNMENT = 256

_SAMPLES = 5
_LEAST_SECONDS = 0.04
_MOST_RUNS = 500


@dataclass(frozen=True)
class CopyRate:
    """GB/s of copies of ``size`` bytes one after the other, or why there is no number."""

    kind: str
    size: int
    to_device: float | str
    from_device: float | str
    #: Both ways at once, and both counted.
    both: float | str


@dataclass(frozen=True)
class KernelRate:
    """GB/s of original bytes, of one batch of 64 KiB chunks that is on the device already."""

    data: str
    codec: str
    #: Bytes of the batch.
    size: int
    compress: float
    decompress: float
    #: Original bytes over compressed ones.
    ratio: float


def _rate(size: int, queue: Callable[[], object], wait: Callable[[], object]) -> float:
    """GB/s where ``queue`` starts work on ``size`` bytes and ``wait`` waits for all of it.

    The median of samples, each of enough runs to take a while, after a warm-up.
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
    """The rate, or why it cannot be measured."""
    try:
        return measured()
    except CallError as error:
        return f"skipped: {error}"


def copy_rates(cuda: Cuda, sizes: Sequence[int]) -> list[CopyRate]:
    """Copies between host and device by size, from pinned memory and, the last, pageable."""
    largest = max(sizes)
    with ExitStack() as stack:
        stack.enter_context(cuda.current())
        there = [stack.enter_context(cuda.device_memory(largest)) for _ in range(2)]
        streams = (stack.enter_context(cuda.stream()), stack.enter_context(cuda.stream()))
        pinned = [stack.enter_context(cuda.pinned_memory(largest)) for _ in range(2)]
        # Pages that were never written to are all the same one.
        pageable = [np.full(largest, 1, np.uint8) for _ in range(2)]
        for memory in pinned:
            memory.fill(1)
        found = [
            _copies("pinned", [memory[:size] for memory in pinned], there, streams)
            for size in sorted(sizes)
        ]
        return [*found, _copies("pageable", pageable, there, streams)]


def _copies(
    kind: str, here: list[Bytes], there: list[int], streams: tuple[Stream, Stream]
) -> CopyRate:
    first, second = streams
    size = here[0].nbytes

    def both() -> None:
        first.upload(there[0], here[0])
        second.download(here[1], there[1])

    def wait_for_both() -> None:
        first.synchronize()
        second.synchronize()

    wait = first.synchronize
    return CopyRate(
        kind,
        size,
        to_device=_attempt(lambda: _rate(size, lambda: first.upload(there[0], here[0]), wait)),
        from_device=_attempt(lambda: _rate(size, lambda: first.download(here[0], there[0]), wait)),
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
    """A batch of chunks on the device, with room for what becomes of them."""

    def __init__(self, stack: ExitStack, cuda: Cuda, batched: Batched, batch: Bytes) -> None:
        self._batched, self._stack, self._cuda = batched, stack, cuda
        self.stream = stack.enter_context(cuda.stream())
        self._pinned = stack.enter_context(cuda.pinned_memory(batch.nbytes))
        self._batch, self.count = batch, batch.nbytes // CHUNK
        originals, restored = self._room(batch.nbytes), self._room(batch.nbytes)
        stride = -(-batched.max_output(CHUNK) // ALIGNMENT) * ALIGNMENT
        compressed = self._room(stride * self.count)
        self._put(originals, batch)
        numbers = np.arange(self.count, dtype=np.uint64)
        self._sizes = self._array(np.full(self.count, CHUNK, np.uint64))
        self._restored = restored
        self.there = Arrays(
            self.count,
            inputs=self._array(originals + numbers * CHUNK),
            input_sizes=self._sizes,
            outputs=self._array(compressed + numbers * stride),
            capacities=self._sizes,
            output_sizes=self._array(numbers),
            statuses=self._array(numbers),
        )
        self.back = replace(
            self.there,
            inputs=self.there.outputs,
            input_sizes=self.there.output_sizes,
            outputs=self._array(restored + numbers * CHUNK),
            output_sizes=self._array(numbers),
        )
        self._temp_size = batched.temp_size(self.count, CHUNK, batch.nbytes, self.stream)
        self._temp = self._room(max(1, self._temp_size))

    def _room(self, size: int) -> int:
        return self._stack.enter_context(self._cuda.device_memory(size))

    def _put(self, to: int, values: Bytes) -> None:
        self._pinned[: values.nbytes] = values
        self.stream.upload(to, self._pinned[: values.nbytes])
        self.stream.synchronize()

    def _array(self, values: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> int:
        address = self._room(values.nbytes)
        self._put(address, values.view(np.uint8))
        return address

    def _get(self, source: int, size: int) -> Bytes:
        self.stream.download(self._pinned[:size], source)
        self.stream.synchronize()
        return self._pinned[:size].copy()

    def compress(self) -> None:
        """Queues compressing the batch."""
        memory = (self._temp, self._temp_size)
        self._batched.compress(self.there, CHUNK, *memory, self.stream)

    def decompress(self) -> None:
        """Queues decompressing what was compressed."""
        self._batched.decompress(self.back, self._temp, self._temp_size, self.stream)

    def verify(self) -> float:
        """Checks what came of both, and returns the ratio of compression."""
        for arrays in (self.there, self.back):
            statuses = self._get(arrays.statuses, 4 * self.count).view(np.int32)
            if statuses.any():
                msg = f"a chunk has status {statuses[statuses != 0][0]}"
                raise CallError(msg)
        if not np.array_equal(self._get(self._restored, self._batch.nbytes), self._batch):
            msg = "a chunk is not what it was"
            raise CallError(msg)
        sizes = self._get(self.there.output_sizes, 8 * self.count).view(np.uint64)
        return self._batch.nbytes / int(sizes.sum())


def kernel_rate(cuda: Cuda, nvcomp: Nvcomp, data: Data, kind: Kind, size: int) -> KernelRate:
    """The rates of nvCOMP's calls on a batch of ``size`` bytes, from launch to the end of it."""
    batched = Batched(nvcomp, kind.function, data.number)
    with ExitStack() as stack:
        stack.enter_context(cuda.current())
        there = _OnDevice(stack, cuda, batched, data.take(size))
        wait = there.stream.synchronize
        compress = _rate(size, there.compress, wait)
        decompress = _rate(size, there.decompress, wait)
        return KernelRate(data.name, kind.name, size, compress, decompress, there.verify())
