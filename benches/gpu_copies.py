"""The rates at which this machine copies memory: the reference for all other rates."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from cuda import Bytes, CallError, Cuda, Stream
from gpu_limits import rate


@dataclass(frozen=True)
class CopyRate:
    """GB/s of consecutive copies of ``size`` bytes, or the reason why there is no number."""

    kind: str
    size: int
    to_device: float | str
    from_device: float | str
    #: The sum of both directions at once.
    both: float | str


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
        to_device=_attempt(lambda: rate(size, upload, wait)),
        from_device=_attempt(lambda: rate(size, download, wait)),
        both=_attempt(lambda: rate(2 * size, both, wait_for_both)),
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
            return rate(size, lambda: list(pool.map(copy, parts)), _nothing)

    return {count: with_threads(count) for count in sorted({1, threads})}
