"""A column of equal values, and every way to compress and decompress it, each tried first."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from gpu_data import Data, Kind, size_name
from gpu_limits import LIMITS, Limit
from harness import Contender

import s4_codec.arrow
import s4_codec.polars as s4
from s4_codec import Codec, CpuZstd

#: From host to host, warm: results are dropped before the next run.
ARROW, POLARS = "Arrow", "Polars"
#: The same with all results kept, so that each needs memory of its own.
KEPT = "Arrow, results kept"
#: Values that stay on the device.
TO_DEVICE = "to the device"
FROM_COLUMN, FROM_MATRIX = "from a device column", "from a device matrix"
#: The same payloads, and this library's fastest codec for text, on all cores.
CPU, CPU_ZSTD = "CPU, same payloads", "CpuZstd(3)"

#: The limit of each path, by direction.
LIMIT_OF = {
    "compress": {
        ARROW: "upload + kernel + download",
        POLARS: "upload + kernel + download",
        FROM_COLUMN: "kernel + download",
        FROM_MATRIX: "kernel + download",
    },
    "decompress": {
        TO_DEVICE: "upload + kernel",
        ARROW: "upload + kernel + download",
        POLARS: "upload + kernel + download",
        KEPT: "upload + kernel + download",
    },
}
assert all(set(paths.values()) < set(LIMITS[each]) for each, paths in LIMIT_OF.items())

#: Packages that put a matrix on a device, in order of preference.
_MATRIX_MAKERS: dict[str, Callable[[Any, Any, int], Any]] = {
    "cupy": lambda cupy, host, device: _on_cupy(cupy, host, device),
    "torch": lambda torch, host, device: torch.from_numpy(host).to(f"cuda:{device}"),
}


def _on_cupy(cupy: Any, host: Any, device: int) -> Any:
    with cupy.cuda.Device(device):
        return cupy.asarray(host)


@dataclass(frozen=True)
class Case:
    """Values of one size, for one codec."""

    data: Data
    kind: Kind
    value_size: int
    column_size: int

    def __str__(self) -> str:
        sizes = f"{size_name(self.column_size)} of {size_name(self.value_size)}"
        return f"{self.kind.name}, {self.data.name}, {sizes}"


@dataclass
class Column:
    """The column of a case, and its payloads from the GPU."""

    case: Case
    device: int
    values: pa.LargeBinaryArray
    codec: Codec
    packed: pa.StructArray
    #: By direction, if they were measured.
    limits: dict[str, list[Limit]] = field(default_factory=dict)
    #: Why a path cannot be measured.
    skipped: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, case: Case, device: int) -> Column:
        values = case.data.column(case.value_size, case.column_size)
        codec = case.kind.make(device, case.data.data_type)
        return cls(case, device, values, codec, s4_codec.arrow.compress(values, codec))

    @property
    def size(self) -> int:
        """Bytes of the values."""
        return len(self.values) * self.case.value_size

    @property
    def ratio(self) -> float:
        """Original bytes divided by payload bytes."""
        payloads = self.packed.field("payload")
        ends = memoryview(payloads.buffers()[1]).cast("q")
        return self.size / (ends[len(payloads)] - ends[0])

    def contenders(self, direction: str, *names: str) -> list[Contender]:
        """Those of ``names`` that work, verified; the others are listed in ``skipped``."""
        make = self._compressor if direction == "compress" else self._decompressor
        found = []
        for name in names:
            try:
                run, to_arrow = make(name)
                # Twice, because the first run may find that memory is short of warm blocks.
                for _ in range(2):
                    self._verify(direction, to_arrow(run()))
            except _Inapplicable:
                continue
            except ImportError as error:
                self.skipped.append(f"{direction}, {name}: {error}")
                continue
            except Exception as error:
                text = f"{type(error).__name__}: {error}"
                self.skipped.append(f"{self.case}, {direction}, {name}: {text}")
                continue
            found.append(Contender(name, self.size, run, keep=name == KEPT))
        return found

    def _verify(self, direction: str, result: pa.Array) -> None:
        if direction == "decompress":
            is_right = self.values.equals(result)
        else:
            sizes = result.field("original_size")
            is_right = len(result) == len(self.values) and set(sizes.unique().to_pylist()) <= {
                self.case.value_size
            }
        if not is_right:
            msg = "the result is not that of the column"
            raise AssertionError(msg)

    def _compressor(self, name: str) -> tuple[Callable[[], Any], Callable[[Any], pa.Array]]:
        if name == ARROW:
            return partial(s4_codec.arrow.compress, self.values, self.codec), _as_is
        if name == POLARS:
            frame = pl.DataFrame({"body": pl.from_arrow(self.values)})
            return partial(frame.select, s4.compress("body", self.codec)), _body
        if name == CPU_ZSTD:
            if not self.case.kind.has_cpu_decoder:
                raise _Inapplicable
            return partial(s4_codec.arrow.compress, self.values, CpuZstd(3)), _as_is
        gpu = importlib.import_module("s4_codec.gpu")
        if name == FROM_COLUMN:
            on_device = gpu.decompress(self.packed, self.codec, device=self.device)
        else:
            on_device = self._matrix()
        return partial(gpu.compress, on_device, self.codec), pa.array

    def _matrix(self) -> Any:
        shape = (len(self.values), self.case.value_size)
        host = np.frombuffer(self.values.buffers()[2], np.uint8)[: self.size].reshape(shape)
        for package, make in _MATRIX_MAKERS.items():
            try:
                module = importlib.import_module(package)
            except ImportError:
                continue
            return make(module, host.copy() if package == "torch" else host, self.device)
        msg = f"needs {' or '.join(_MATRIX_MAKERS)}"
        raise ImportError(msg)

    def _decompressor(self, name: str) -> tuple[Callable[[], Any], Callable[[Any], pa.Array]]:
        if name in (ARROW, KEPT):
            return partial(s4_codec.arrow.decompress, self.packed, self.codec), _as_is
        if name == POLARS:
            frame = pl.DataFrame({"body": pl.from_arrow(self.packed)})
            return partial(frame.select, s4.decompress("body", self.codec)), _body
        if name == TO_DEVICE:
            gpu = importlib.import_module("s4_codec.gpu")
            return partial(gpu.decompress, self.packed, self.codec, device=self.device), _home
        if not self.case.kind.has_cpu_decoder:
            raise _Inapplicable
        if name == CPU:
            # The only way to have the CPU decode the payloads of a GPU codec: as frames.
            frames = s4_codec.arrow.encode(self.values, self.codec)
            return partial(s4_codec.arrow.decode, frames), _as_is
        packed = s4_codec.arrow.compress(self.values, CpuZstd(3))
        return partial(s4_codec.arrow.decompress, packed, CpuZstd(3)), _as_is


class _Inapplicable(Exception):
    """No CPU can do this."""


def _as_is(result: pa.Array) -> pa.Array:
    return result


def _body(frame: pl.DataFrame) -> pa.Array:
    array = frame["body"].to_arrow()
    return array if pa.types.is_struct(array.type) else array.cast(pa.large_binary())


def _home(column: Any) -> pa.Array:
    return pa.array(column.to_arrow())
