"""The columns that GPUs are measured on: text, numbers and noise, in values of equal size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from cuda import Bytes
from harness import Corpus

from s4_codec import Codec, CpuZstd, NvcompBitcomp, NvcompGDeflate, NvcompZstd

SEED = 20
#: Numbers repeat after this many bytes, which is further than any codec looks back.
PERIOD = 16 << 20
#: How far back zstd looks at level 3: text that repeats sooner would compress too well.
WINDOW = 2 << 20

LOG, JSON, POSTINGS, IDS = "log text", "JSON text", "u32 postings", "u32 sorted ids"
EMBEDDINGS, NOISE = "f32 embeddings", "random bytes"


def size_name(size: int) -> str:
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} B"


@dataclass(frozen=True)
class Kind:
    """A codec, with the names of this package and those of nvCOMP."""

    name: str
    #: A function of the GPU's number and the data type.
    make: Callable[[int, str], Codec]
    #: Its name in nvCOMP's functions, and in nvCOMP's Python package.
    function: str
    algorithm: str
    #: The codec to compare with on the CPU.
    cpu_codec: Codec | None
    has_cpu_decoder: bool


ZSTD = Kind("zstd", lambda device, _: NvcompZstd(device), "Zstd", "Zstd", CpuZstd(3), True)
GDEFLATE = Kind(
    "gdeflate", lambda device, _: NvcompGDeflate(device), "Gdeflate", "GDeflate", None, True
)
BITCOMP = Kind(
    "bitcomp",
    lambda device, data_type: NvcompBitcomp(data_type, device),  # type: ignore[arg-type]
    "Bitcomp",
    "Bitcomp",
    None,
    False,
)
KINDS = {kind.name: kind for kind in (ZSTD, GDEFLATE, BITCOMP)}


@dataclass(eq=False)
class Data:
    """Bytes, repeated to any length."""

    name: str
    period: Bytes
    #: The data type for Bitcomp, with nvCOMP's number and NumPy's string for it.
    data_type: str
    number: int
    type_string: str

    def __post_init__(self) -> None:
        self._longest = self.period

    def take(self, size: int) -> Bytes:
        """The first ``size`` bytes, in memory that all calls share."""
        if self._longest.nbytes < size:
            self._longest = np.resize(self.period, size)
        return self._longest[:size]

    def column(self, value_size: int, size: int) -> pa.LargeBinaryArray:
        """Values of ``value_size`` bytes, at most ``size`` bytes in total."""
        rows = size // value_size
        offsets = np.arange(rows + 1, dtype=np.int64) * value_size
        values = self.take(rows * value_size)
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(values)]
        return pa.LargeBinaryArray.from_buffers(pa.large_binary(), rows, buffers)


def load_data(corpus: Corpus) -> dict[str, Data]:
    """All data sets by name; the text is that of ``corpus``."""
    random = np.random.default_rng(SEED)
    gaps = random.geometric(1 / 32, PERIOD // 4).astype(np.uint32)
    normals = random.standard_normal(PERIOD // 4, dtype=np.float32)
    ids = np.cumsum(gaps, dtype=np.uint32)

    def text(lines: list[bytes]) -> npt.NDArray[np.uint8]:
        joined = b"\n".join(lines) + b"\n"
        return np.frombuffer(joined if len(joined) > WINDOW else corpus.text, np.uint8)

    def numbers(name: str, values: npt.NDArray[np.uint32 | np.float32]) -> Data:
        return Data(name, values.view(np.uint8), "f32" if name == EMBEDDINGS else "u32", 5, "<u4")

    found = [
        Data(LOG, text(corpus.lines), "char", 0, "|i1"),
        Data(JSON, text(corpus.documents), "char", 0, "|i1"),
        numbers(POSTINGS, gaps),
        numbers(IDS, ids),
        numbers(EMBEDDINGS, normals),
        noise(),
    ]
    return {data.name: data for data in found}


def noise() -> Data:
    """Bytes that no codec can compress."""
    values = np.random.default_rng(SEED).integers(0, 256, PERIOD, dtype=np.uint8)
    return Data(NOISE, values, "char", 0, "|i1")


ABOUT_DATA = f"""\
text is the corpus, repeated and cut into values of one size; repeats are further apart than
zstd looks back. {POSTINGS}: gaps between sorted ids, geometric with mean 32; {IDS}:
their running sum. {EMBEDDINGS}: standard normal. Numbers and noise are pseudo-random from
seed {SEED} and repeat after 16 MiB."""
