"""Values in a GPU's memory, of any library, compressed as the host compresses them."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from arrow_table import BYTES, FIXED, TEXTS, WIDTH
from codecs_table import noise, text
from device_consumer import CudaArray, DeviceExport, DlpackProducer, OnlyDlpack

import s4_codec
import s4_codec.arrow
from s4_codec import Codec, NvcompBitcomp, NvcompZstd, Passthrough, S4BackendError, gpu

if TYPE_CHECKING:
    from device_consumer import Gpu

pytestmark = pytest.mark.gpu


def check(data: Any, expected: pa.Array, codec: Codec) -> None:
    """Compressed and encoded, ``data`` is what the GPU makes of the same values on the host."""
    # On "auto" the CPU compresses small columns to other zstd frames.
    on_gpu = NvcompZstd(0) if isinstance(codec, NvcompZstd) else codec
    packed = gpu.compress(data, codec)
    packed.validate(full=True)
    assert packed.equals(s4_codec.arrow.compress(expected, on_gpu))
    for fallback in (True, False):
        frames = gpu.encode(data, codec, fallback=fallback)
        frames.validate(full=True)
        assert frames.equals(s4_codec.arrow.encode(expected, on_gpu, fallback=fallback))


def rows_of(matrix: Any) -> pa.Array:
    return pa.array([row.tobytes() for row in matrix], pa.large_binary())


# --- Columns and their matrices ------------------------------------------------------------


def test_columns_of_ours(codec: Codec) -> None:
    values = pa.array([None, b"", b"ab", *BYTES, text(300_000)], pa.large_binary())
    packed = s4_codec.arrow.compress(values, codec)
    column = gpu.decompress(packed, codec)
    check(column, values, codec)
    as_text = gpu.decompress(packed, codec, dtype="large_string")
    check(as_text, values, codec)
    for empty in ([], [None] * 3, [b""] * 3):
        array = pa.array(empty, pa.large_binary())
        check(gpu.decompress(s4_codec.arrow.compress(array, codec), codec), array, codec)


def test_codecs_by_name() -> None:
    values = pa.array([text(1000)] * 3, pa.large_binary())
    column = gpu.decompress(s4_codec.arrow.compress(values, NvcompZstd()), "nvcomp-zstd")
    assert gpu.compress(column, "nvcomp-zstd").equals(gpu.compress(column, NvcompZstd("auto")))
    assert gpu.decode(gpu.encode(column, "cpu-zstd")).to_arrow().equals(values)


def test_matrices(codec: Codec) -> None:
    matrix = (np.arange(200 * 48).reshape(200, 48) % 119).astype("float32")
    expected = rows_of(matrix)
    column = gpu.decompress(s4_codec.arrow.compress(expected, codec), codec)

    def lists(dtype: str, width: int) -> pa.Array:
        """The same rows as numbers, which Bitcomp takes for that type."""
        numbers = np.frombuffer(matrix.tobytes(), dtype)
        return pa.FixedSizeListArray.from_arrays(pa.array(numbers), width)

    for dtype, width in (("float32", 48), ("uint8", 192), ("int64", 24)):
        check(column.matrix(dtype, width), lists(dtype, width), codec)
        check(OnlyDlpack(column.matrix(dtype, width)), lists(dtype, width), codec)
    # The CUDA array interface has no bfloat16.
    check(column.matrix("bfloat16", 96), lists("uint16", 96), codec)


def test_values_larger_than_a_batch() -> None:
    """And than a step of downloads, between values that are not."""
    values = [text(n) for n in (100, 40 << 20, 0, 17 << 20, 65_537)]
    values = pa.array([*values, noise(33 << 20), noise(17 << 20)], pa.large_binary())
    for codec in (NvcompZstd(), NvcompBitcomp()):
        packed = s4_codec.arrow.compress(values, codec)
        column = gpu.decompress(packed, codec)
        assert gpu.compress(column, codec).equals(packed)
        assert gpu.encode(column, codec).equals(s4_codec.arrow.encode(values, codec))


def test_values_that_do_not_shrink(codec: Codec) -> None:
    """Alone and in runs, between others: near ones, distant ones and nulls."""
    shrinks, near, far = text(20_000), text(9000), text(200_000)
    runs = [noise(n) for n in (5, 70_000, 1, 300)]
    for values in (
        [*runs, shrinks, None, b"", *runs],
        [shrinks, *runs, near, noise(9), near, noise(8), far, noise(7), far, None, noise(6)],
        [noise(1 << 20)] * 20 + [far] + [noise(n) for n in range(1, 2000)],
        [None, noise(100)],
        [noise(17 << 20)] * 2,
    ):
        array = pa.array(values, pa.large_binary())
        column = gpu.decompress(s4_codec.arrow.compress(array, codec), codec)
        check(column, array, codec)
        frames = gpu.encode(column, codec).to_pylist()
        for value, frame in zip(values, frames, strict=True):
            assert (value is None) is (frame is None)
            assert value is None or len(frame) <= len(value) + s4_codec.FRAME_HEADER_BYTES
            if value is not None and value not in (shrinks, near, far):
                assert frame == Passthrough().encode(value)


# --- Arrays of other libraries -------------------------------------------------------------


def arrays() -> dict[str, pa.Array]:
    """Every type, with nulls, as a whole and sliced."""
    types: list[tuple[list[Any], pa.DataType]] = [
        *[(BYTES, dtype) for dtype in (pa.binary(), pa.large_binary())],
        *[(TEXTS, dtype) for dtype in (pa.string(), pa.large_string())],
        (FIXED, pa.binary(WIDTH)),
        ([b"", None, b""] * 10, pa.binary(0)),
    ]
    made = {}
    for values, dtype in types:
        array = pa.array(values, dtype)
        present = pa.array([value for value in values if value is not None], dtype)
        made[f"{dtype}"] = array
        made[f"{dtype} sliced"] = array.slice(3, len(array) - 10)
        made[f"{dtype} sliced by bytes of bits"] = array.slice(8, 9)
        made[f"{dtype} without nulls"] = present.slice(1)
        made[f"{dtype} only nulls"] = pa.nulls(9, dtype)
        made[f"{dtype} no rows"] = array[:0]
        made[f"{dtype} sliced to no rows"] = array.slice(5, 0)
    return made


@pytest.mark.parametrize("array", arrays().values(), ids=arrays())
def test_arrow_device_arrays(device_memory: Gpu, array: pa.Array) -> None:
    for codec in (NvcompZstd(), NvcompBitcomp(), s4_codec.CpuGzip()):
        exports = [DeviceExport(device_memory, array) for _ in range(2)]
        packed, frames = gpu.compress(exports[0], codec), gpu.encode(exports[1], codec)
        assert packed.equals(s4_codec.arrow.compress(array, codec))
        assert frames.equals(s4_codec.arrow.encode(array, codec))
        assert [export.released for export in exports] == [1, 1]


def test_an_event_comes_first(device_memory: Gpu) -> None:
    array = pa.array([text(5000)] * 3, pa.binary())
    with device_memory.event() as event:
        export = DeviceExport(device_memory, array, event=event)
        packed = gpu.compress(export, NvcompZstd())
    assert packed.equals(s4_codec.arrow.compress(array, NvcompZstd()))


def test_the_cuda_array_interface(device_memory: Gpu) -> None:
    matrix = (np.arange(60 * 10).reshape(60, 10) % 97).astype("<i2")
    address = device_memory.upload(matrix.tobytes())
    codec, shape = NvcompZstd(), (60, 10)
    for items in (
        {"typestr": "<i2"},
        {"typestr": "<i2", "strides": None, "stream": None, "mask": None, "descr": []},
        {"typestr": "<i2", "strides": (20, 2), "version": 2},
        {"typestr": "<i2", "stream": 1},
        {"typestr": "<i2", "stream": 2},
    ):
        check(CudaArray(address, shape, **items), rows_of(matrix), codec)
    with device_memory.stream() as stream:
        check(CudaArray(address, shape, typestr="<i2", stream=stream), rows_of(matrix), codec)
        data = CudaArray(address, shape, typestr="<i2")
        for asked in (None, -1, 1, 2, stream):
            assert len(gpu.compress(data, codec, stream=asked)) == 60
    one_row = CudaArray(address, (1, 600), typestr="<i2", strides=(7, 2))
    check(one_row, rows_of(matrix.reshape(1, 600)), codec)
    one_item = CudaArray(address, (600, 1), typestr="<i2", strides=(2, 999))
    check(one_item, rows_of(matrix.reshape(600, 1)), codec)
    for empty in ((0, 10), (0, 0)):
        check(CudaArray(0, empty), pa.array([], pa.large_binary()), codec)
    check(CudaArray(0, (3, 0)), pa.array([b""] * 3, pa.large_binary()), codec)


def test_dlpack(device_memory: Gpu) -> None:
    matrix = (np.arange(60 * 10).reshape(60, 10) % 97).astype("<i2")
    address, codec = device_memory.upload(b"before" + matrix.tobytes()), NvcompZstd()
    at, shape = address + 6, (60, 10)
    for options in (
        {"bits": 16},
        {"bits": 16, "strides": (10, 1)},
        {"bits": 8, "lanes": 2},
    ):
        producer = DlpackProducer(at, shape, **options)
        check(producer, rows_of(matrix), codec)
        assert [asked.get("stream") for asked in producer.asked] == [1] * 3
        assert producer.freed == 3
        # No capsule is taken for a call that cannot work.
        for call in (gpu.compress, gpu.encode):
            with pytest.raises(s4_codec.S4UnregisteredCodecError, match="lz4"):
                call(producer, "lz4")
        assert (len(producer.asked), producer.freed) == (3, 3)
    shifted = DlpackProducer(address, shape, bits=16, byte_offset=6)
    check(shifted, rows_of(matrix), codec)
    check(DlpackProducer(0, (0, 10)), pa.array([], pa.large_binary()), codec)


# --- What is wrong ------------------------------------------------------------------------

ALIGNED = {"typestr": "<f4"}
WRONG_ARRAYS: dict[str, tuple[tuple[int, ...], dict[str, Any], type[Exception], str]] = {
    "one dimension": ((100,), {}, ValueError, "2 dimensions, each row a value, found one of 1"),
    "three dimensions": ((2, 5, 10), {}, ValueError, "2 dimensions, .* found one of 3"),
    "columns first": ((5, 5), {"strides": (1, 5)}, BufferError, "not C-contiguous"),
    "every other row": ((5, 5), {"strides": (10, 1)}, BufferError, "ascontiguousarray"),
    "backwards": ((5, 5), {"strides": (-5, 1)}, BufferError, "not C-contiguous"),
    "strides of one": ((5, 5), {"strides": (1,)}, BufferError, "not C-contiguous"),
    "masked": ((5, 5), {"mask": object()}, ValueError, "masked arrays are not supported"),
    "no typestr": ((5, 5), {"typestr": "f"}, ValueError, "expected a typestr such as '<f4'"),
    "too large": ((2**40, 2**40), {}, ValueError, "too large"),
    "negative": ((-5, 5), {}, ValueError, "negative"),
}


@pytest.mark.parametrize("wrong", WRONG_ARRAYS)
def test_wrong_cuda_arrays(device_memory: Gpu, wrong: str) -> None:
    shape, items, expected, match = WRONG_ARRAYS[wrong]
    data = CudaArray(device_memory.upload(bytes(100)), shape, **items)
    for call in (gpu.compress, gpu.encode):
        with pytest.raises(expected, match=match):
            call(data, NvcompZstd())


def test_wrong_tensors(device_memory: Gpu) -> None:
    address = device_memory.upload(bytes(100))
    wrong: list[tuple[DlpackProducer, type[Exception], str]] = [
        (DlpackProducer(address, (100,)), ValueError, "2 dimensions"),
        (DlpackProducer(address, (5, 5), strides=(1, 5)), BufferError, "not C-contiguous"),
        (DlpackProducer(address, (5, 5), bits=4), ValueError, "whole bytes, found items of 4 bits"),
        (DlpackProducer(address, (-1, 5)), ValueError, "negative"),
        (DlpackProducer(address, (5, 5), device=(1, 0)), TypeError, "device type 1"),
    ]
    for producer, expected, match in wrong:
        with pytest.raises(expected, match=match):
            gpu.compress(producer, NvcompZstd())
        assert producer.freed == len(producer.asked), "what was taken is freed"


def test_wrong_arrow_arrays(device_memory: Gpu) -> None:
    for array in (pa.array([1, 2]), pa.array([1, 2])[:0], pa.array(["a"], pa.string_view())):
        export = DeviceExport(device_memory, array)
        with pytest.raises(TypeError, match="expected binary, string or fixed-size binary"):
            gpu.compress(export, NvcompZstd())
        assert export.released == 1
    on_host = DeviceExport(device_memory, pa.array([b"a"]), device_type=1)
    with pytest.raises(TypeError, match=r"device type 1; s4_codec\.arrow compresses"):
        gpu.compress(on_host, NvcompZstd())
    assert on_host.released == 1
    absent = DeviceExport(device_memory, pa.array([b"a"]))
    absent.array.device_id = 99
    with pytest.raises(S4BackendError, match="no GPU 99"):
        gpu.compress(absent, NvcompZstd())
    taken = DeviceExport(device_memory, pa.array([b"a"]))
    gpu.compress(taken, NvcompZstd())
    with pytest.raises(ValueError, match="released"):
        gpu.compress(taken, NvcompZstd())


MALFORMED: dict[str, tuple[pa.Array, Any]] = {
    "length -1": (pa.array([b"ab"]), lambda array: setattr(array, "length", -1)),
    "offset -1": (pa.array([b"ab"]), lambda array: setattr(array, "offset", -1)),
    "no buffers": (pa.array([b"ab"]), lambda array: setattr(array, "n_buffers", 1)),
    "no offsets": (pa.array([b"ab"]), lambda array: array.buffers.__setitem__(1, None)),
    "no large offsets": (
        pa.array([b"ab"], pa.large_binary()),
        lambda array: array.buffers.__setitem__(1, None),
    ),
    "no values": (pa.array([b"ab"]), lambda array: array.buffers.__setitem__(2, None)),
    "no values of a fixed size": (
        pa.array([b"ab"], pa.binary(2)),
        lambda array: array.buffers.__setitem__(1, None),
    ),
}


@pytest.mark.parametrize("array", MALFORMED.values(), ids=MALFORMED)
def test_malformed_arrow_arrays(device_memory: Gpu, array: tuple[pa.Array, Any]) -> None:
    values, change = array
    export = DeviceExport(device_memory, values)
    change(export.array.array)
    with pytest.raises(ValueError, match="malformed Arrow data"):
        gpu.compress(export, NvcompZstd())
    assert export.released == 1


@pytest.mark.parametrize("ends", [[0, 5, 3], [-1, 2, 3], [5, 0, 7]])
@pytest.mark.parametrize("dtype", [pa.binary(), pa.large_binary()], ids=str)
def test_offsets_that_descend(device_memory: Gpu, ends: list[int], dtype: pa.DataType) -> None:
    kind = np.int32 if dtype == pa.binary() else np.int64
    export = DeviceExport(device_memory, pa.array([b"some", b"bytes"], dtype))
    export.array.array.buffers[1] = device_memory.upload(np.array(ends, kind).tobytes())
    with pytest.raises(ValueError, match="offsets are negative or descend"):
        gpu.compress(export, NvcompZstd())


@pytest.mark.parametrize("data", [[b"a"], b"abc", None, np.zeros((3, 3)), pa.array([b"a"])])
def test_data_that_is_not_on_a_gpu(data: Any) -> None:
    for call in (gpu.compress, gpu.encode):
        with pytest.raises(TypeError, match=r"s4_codec\.arrow compresses data in the host's"):
            call(data, NvcompZstd())


def test_wrong_arguments() -> None:
    column = gpu.decompress(s4_codec.arrow.compress(pa.array(["abc"]), NvcompZstd()), "nvcomp-zstd")
    for call in (gpu.compress, gpu.encode):
        with pytest.raises(ValueError, match="stream 0 is ambiguous"):
            call(column, NvcompZstd(), stream=0)
        with pytest.raises(ValueError, match="expected a CUDA stream, got -2"):
            call(column, NvcompZstd(), stream=-2)
        with pytest.raises(TypeError):
            call(column, NvcompZstd(), stream=1.5)
        with pytest.raises((s4_codec.S4Error, ValueError), match="no-such"):
            call(column, "no-such")


def test_a_value_that_a_codec_does_not_take() -> None:
    """Of a wrong length, for one of Bitcomp's data types."""
    values = pa.array([b"abcdefgh", None, b"abc", b"a"], pa.large_binary())
    column = gpu.decompress(s4_codec.arrow.compress(values, NvcompZstd()), "nvcomp-zstd")
    codec = NvcompBitcomp("f64")
    texts = []
    for call in (
        lambda: s4_codec.arrow.compress(values, codec),
        lambda: gpu.compress(column, codec),
    ):
        with pytest.raises(S4BackendError, match="not a multiple of the 8 bytes of f64") as raised:
            call()
        assert raised.value.row == 2
        texts.append(str(raised.value))
    assert texts[0] == texts[1]


def test_what_is_compressed_is_kept_alive_and_let_go(device_memory: Gpu) -> None:
    matrix = np.arange(600, dtype=np.uint8).reshape(60, 10)
    address = device_memory.upload(matrix.tobytes())
    producer = DlpackProducer(address, (60, 10))
    assert gpu.compress(producer, s4_codec.Passthrough()).field(0).to_pylist() == [
        row.tobytes() for row in matrix
    ]
    gc.collect()
    assert producer.freed == 1
