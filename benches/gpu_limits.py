"""The limits of the hardware for a column: nvCOMP's kernels, and copies of pinned memory.

A limit is the rate of the best program for the same bytes: the column's own chunks, in batches
of several sizes, each batch in a stream with temporary memory of its own, nothing verified and
nothing copied within the host. Steps of different batches overlap.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from cuda import Arrays, Batched, Bytes, CallError, Cuda, Nvcomp, Stream
from gpu_data import Data, Kind

MIB = 1 << 20
#: Bytes per chunk, as in the containers of this package.
CHUNK = 64 << 10
#: Sizes of batches, in bytes of originals. The fastest counts.
BATCH_MIB = (64, 128, 256)
#: Batches in flight.
STREAMS = 3
#: Sufficient for the input and the output of all codecs.
_ALIGNMENT = 256

_SAMPLES = 5
_LEAST_SECONDS = 0.04
_MOST_RUNS = 500

Numbers = npt.NDArray[np.uint64]

#: The steps of each limit beside the kernel, by direction: whether there is an upload, and
#: whether there is a download.
LIMITS: dict[str, dict[str, tuple[bool, bool]]] = {
    "compress": {
        "kernel": (False, False),
        "kernel + download": (False, True),
        "upload + kernel + download": (True, True),
    },
    "decompress": {
        "kernel": (False, False),
        "upload + kernel": (True, False),
        "upload + kernel + download": (True, True),
    },
}


@dataclass(frozen=True)
class Limit:
    """GB/s of original bytes, and the bytes of originals per batch that gave it."""

    steps: str
    rate: float
    batch_size: int


def rate(
    size: int, queue: Callable[[], object], wait: Callable[[], object], samples: int = _SAMPLES
) -> float:
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
    return size / statistics.median(sample(runs) for _ in range(samples)) / 1e9


@dataclass(frozen=True)
class _Chunks:
    """The chunks of a column, side by side: one array item per chunk."""

    originals: Bytes
    starts: Numbers
    sizes: Numbers
    #: Compressed, each at a multiple of 16 bytes.
    packed: Bytes
    packed_starts: Numbers
    packed_sizes: Numbers

    @classmethod
    def of(cls, values: pa.LargeBinaryArray, packed: pa.StructArray) -> _Chunks:
        """The chunks of ``values`` and of their payloads."""
        value_ends = _offsets(values)
        payloads = packed.field("payload")
        payload_ends, payload_bytes = _offsets(payloads), memoryview(payloads.buffers()[2])
        starts, sizes, sources, packed_sizes = [], [], [], []
        for row in range(len(payloads)):
            start, end = payload_ends[row], payload_ends[row + 1]
            # See docs/format.md, "Container".
            count = int.from_bytes(payload_bytes[start + 20 : start + 24], "little")
            data = start + 24 + 4 * count
            for size in memoryview(payload_bytes[start + 24 : data]).cast("I"):
                sources.append(payload_bytes[data : data + size])
                packed_sizes.append(size)
                data += size
            assert data == end, f"row {row}: expected a container of {end - start} bytes"
            for at in range(value_ends[row], value_ends[row + 1], CHUNK):
                starts.append(at)
                sizes.append(min(CHUNK, value_ends[row + 1] - at))
        strides = -(-np.array(packed_sizes, np.uint64) // 16) * 16
        packed_ends = np.cumsum(strides, dtype=np.uint64)
        joined = np.zeros(int(packed_ends[-1]), np.uint8)
        packed_starts = packed_ends - strides
        for at, source in zip(packed_starts.tolist(), sources, strict=True):
            joined[at : at + len(source)] = np.frombuffer(source, np.uint8)
        return cls(
            np.frombuffer(values.buffers()[2], np.uint8)[: value_ends[-1]],
            np.array(starts, np.uint64),
            np.array(sizes, np.uint64),
            joined,
            packed_starts,
            np.array(packed_sizes, np.uint64),
        )

    def batches(self, size: int) -> Iterator[slice]:
        """Consecutive chunks of about ``size`` bytes of originals."""
        first = 0
        for chunk in range(1, len(self.starts) + 1):
            is_last = chunk == len(self.starts)
            if is_last or int(self.starts[chunk] - self.starts[first]) >= size:
                yield slice(first, chunk)
                first = chunk


def _offsets(array: pa.Array) -> list[int]:
    """The offsets of a large_binary or binary array that is no slice."""
    assert array.offset == 0
    width = np.int64 if pa.types.is_large_binary(array.type) else np.int32
    offsets: list[int] = np.frombuffer(array.buffers()[1], width)[: len(array) + 1].tolist()
    return offsets


@dataclass
class _Batch:
    """Chunks that are coded by one launch, with what is copied before and after it."""

    stream: Stream
    arrays: Arrays
    temp: tuple[int, int]
    upload: tuple[int, Bytes]
    #: Known after the first run where it compresses.
    download: tuple[Bytes, int]


class _Pipeline:
    """A column in batches, one direction, in memory that is allocated once."""

    def __init__(
        self,
        stack: ExitStack,
        cuda: Cuda,
        batched: Batched,
        direction: str,
        chunks: _Chunks,
        pinned: tuple[Bytes, Bytes],
        batch_size: int,
    ) -> None:
        self._stack, self._cuda, self._batched = stack, cuda, batched
        self._direction, self._chunks = direction, chunks
        self.streams = [stack.enter_context(cuda.stream()) for _ in range(STREAMS)]
        self._numbers = stack.enter_context(cuda.pinned_memory(chunks.starts.nbytes))
        self._longest = int(chunks.sizes.max())
        is_compression = direction == "compress"
        source = chunks.originals if is_compression else chunks.packed
        self._source = pinned[0][: source.nbytes]
        self._source[:] = source
        self._target = pinned[1]
        if is_compression:
            stride = -(-batched.max_output(self._longest) // _ALIGNMENT) * _ALIGNMENT
            starts = np.arange(len(chunks.starts), dtype=np.uint64) * np.uint64(stride)
            self._inputs, self._outputs = (chunks.starts, chunks.sizes), starts
            output_size = stride * len(starts)
        else:
            self._inputs = (chunks.packed_starts, chunks.packed_sizes)
            self._outputs, output_size = chunks.starts, chunks.originals.nbytes
        self._input = self._allocate(source.nbytes)
        self._output = self._allocate(output_size)
        parts = list(chunks.batches(batch_size))
        temp_size = max(1, *(self._temp_size(part) for part in parts))
        temps = [(self._allocate(temp_size), temp_size) for _ in self.streams[: len(parts)]]
        self.batches = [
            self._batch(part, self.streams[number % STREAMS], temps[number % STREAMS])
            for number, part in enumerate(parts)
        ]
        self.run(has_upload=True, has_download=False)
        self.wait()
        if is_compression:
            self._find_downloads()

    def _allocate(self, size: int) -> int:
        return self._stack.enter_context(self._cuda.device_memory(size))

    def _temp_size(self, part: slice) -> int:
        sizes = self._chunks.sizes[part]
        count, total = len(sizes), int(sizes.sum())
        return self._batched.temp_size(
            self._direction, count, self._longest, total, self.streams[0]
        )

    def _array(self, values: Numbers) -> int:
        """The address of a copy on the device."""
        address = self._allocate(values.nbytes)
        pinned = self._numbers[: values.nbytes]
        pinned[:] = values.view(np.uint8)
        self.streams[0].upload(address, pinned)
        self.streams[0].synchronize()
        return address

    def _batch(self, part: slice, stream: Stream, temp: tuple[int, int]) -> _Batch:
        starts, sizes = self._inputs
        nothing = np.zeros(part.stop - part.start, np.uint64)
        arrays = Arrays(
            count=part.stop - part.start,
            inputs=self._array(np.uint64(self._input) + starts[part]),
            input_sizes=self._array(sizes[part]),
            outputs=self._array(np.uint64(self._output) + self._outputs[part]),
            capacities=self._array(self._chunks.sizes[part]),
            output_sizes=self._array(nothing),
            statuses=self._array(nothing),
        )
        first, last = int(starts[part.start]), part.stop - 1
        end = int(starts[last] + sizes[last])
        at = int(self._outputs[part.start])
        size = int(self._chunks.sizes[part].sum())
        return _Batch(
            stream,
            arrays,
            temp,
            upload=(self._input + first, self._source[first:end]),
            download=(self._target[at : at + size], self._output + at),
        )

    def _find_downloads(self) -> None:
        """The compressed bytes of each batch, as if they lay side by side."""
        end = 0
        for batch in self.batches:
            sizes = self._read(batch.arrays.output_sizes, batch.arrays.count, np.uint64)
            start, end = end, end + int(sizes.sum())
            batch.download = (self._target[start:end], batch.download[1])

    def _read(self, address: int, count: int, dtype: type) -> npt.NDArray[np.generic]:
        pinned = self._numbers[: count * np.dtype(dtype).itemsize]
        self.streams[0].download(pinned, address)
        self.streams[0].synchronize()
        return pinned.view(dtype)

    def run(self, has_upload: bool, has_download: bool) -> None:
        """Queues the whole column."""
        for batch in self.batches:
            if has_upload:
                batch.stream.upload(*batch.upload)
            if self._direction == "compress":
                self._batched.compress(batch.arrays, self._longest, *batch.temp, batch.stream)
            else:
                self._batched.decompress(batch.arrays, *batch.temp, batch.stream)
            if has_download:
                batch.stream.download(*batch.download)

    def wait(self) -> None:
        for stream in self.streams:
            stream.synchronize()

    def verify(self) -> None:
        """Checks the statuses, and the originals where they were downloaded."""
        for batch in self.batches:
            statuses = self._read(batch.arrays.statuses, batch.arrays.count, np.int32)
            if statuses.any():
                msg = f"expected status 0 of every chunk, found {statuses[statuses != 0][0]}"
                raise CallError(msg)
        originals = self._chunks.originals
        is_decompression = self._direction == "decompress"
        if is_decompression and not np.array_equal(self._target[: originals.nbytes], originals):
            msg = "the originals are not restored"
            raise CallError(msg)


class Limits:
    """Measures limits, in pinned memory for columns of up to ``size`` bytes."""

    def __init__(self, stack: ExitStack, device: int, size: int) -> None:
        self.cuda, self._nvcomp = Cuda(device), Nvcomp()
        with self.cuda.current():
            # Payloads of noise are a little longer than their originals.
            longest = size + size // 8 + MIB
            self._pinned = (self._memory(stack, longest), self._memory(stack, longest))

    def _memory(self, stack: ExitStack, size: int) -> Bytes:
        memory = stack.enter_context(self._pinned_memory(size))
        memory.fill(1)
        return memory

    @contextmanager
    def _pinned_memory(self, size: int) -> Iterator[Bytes]:
        with self.cuda.current(), self.cuda.pinned_memory(size) as memory:
            yield memory

    def measure(
        self,
        kind: Kind,
        data: Data,
        values: pa.LargeBinaryArray,
        packed: pa.StructArray,
        batches: Sequence[int] = BATCH_MIB,
    ) -> dict[str, list[Limit]]:
        """All limits by direction, the fastest batch size of each."""
        chunks = _Chunks.of(values, packed)
        batched = Batched(self._nvcomp, kind.function, data.number)
        sizes = sorted({min(mib * MIB, chunks.originals.nbytes) for mib in batches})
        found = {}
        for direction in LIMITS:
            measured = [self._with_batches(batched, direction, chunks, size) for size in sizes]
            found[direction] = [
                max(limits, key=lambda limit: limit.rate) for limits in zip(*measured, strict=True)
            ]
        return found

    def _with_batches(
        self, batched: Batched, direction: str, chunks: _Chunks, batch_size: int
    ) -> list[Limit]:
        """The limits of one direction with batches of one size."""
        size, found = chunks.originals.nbytes, []
        with ExitStack() as stack:
            stack.enter_context(self.cuda.current())
            column = (direction, chunks, self._pinned, batch_size)
            pipeline = _Pipeline(stack, self.cuda, batched, *column)
            for steps, (has_upload, has_download) in LIMITS[direction].items():
                queue = partial(pipeline.run, has_upload, has_download)
                reached = rate(size, queue, pipeline.wait, samples=3)
                found.append(Limit(steps, reached, batch_size))
            pipeline.verify()
        return found
