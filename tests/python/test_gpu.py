"""GPU codecs where there is no GPU: how libraries are found or missed, and the stand-in."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

from s4_codec import NvcompBitcomp, NvcompGDeflate, NvcompZstd

OURS = ("S4_CUDA_LIBRARY", "S4_NVCOMP_LIBRARY", "NVCOMP_HOME", "LD_LIBRARY_PATH")
ABSENT = {"S4_CUDA_LIBRARY": "/absent/libcuda.so.1"}

USE = """
import s4_codec
codec = s4_codec.NvcompZstd()
assert codec.decompress(*codec.compress(b"a fine body " * 9000)) == b"a fine body " * 9000
print(s4_codec.gpu_status())
"""


def run(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs ``code`` in a process that knows no libraries but those of ``env``."""
    inherited = {name: value for name, value in os.environ.items() if name not in OURS}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=inherited | env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def check(code: str, **env: str) -> str:
    done = run(code, **env)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def fails(code: str, words: str, **env: str) -> None:
    done = run(code, **env)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode != 0
    assert last.startswith("s4_codec.S4BackendError: "), last
    assert words in last, last


@pytest.fixture
def both(standin: Path) -> dict[str, str]:
    """The environment in which the stand-in stands for both libraries."""
    return {"S4_CUDA_LIBRARY": str(standin), "S4_NVCOMP_LIBRARY": str(standin)}


def test_the_gpu_tests_hold_on_the_stand_in(root: Path, both: dict[str, str]) -> None:
    """What a real GPU is tested with passes here, so that it runs at the first try there."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-p", "no:cacheprovider", "-q", "-rs"]
    command += ["-n", "auto"]
    done = subprocess.run(
        [*command, "tests/python"],
        cwd=root,
        env=os.environ | both,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    skipped = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
    assert not any("GPU" in line for line in skipped), skipped
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    assert int(passed[1]) > 900


# --- Finding the libraries ----------------------------------------------------------------


def test_importing_loads_nothing(both: dict[str, str]) -> None:
    code = """
import s4_codec, s4_codec.polars, pathlib
loaded = lambda: "gpu_standin" in pathlib.Path("/proc/self/maps").read_text()
print(loaded(), s4_codec.gpu_available(), loaded())
"""
    assert check(code, **both) == "False True True"


def test_without_a_driver() -> None:
    code = """
import s4_codec
from s4_codec import *
assert not gpu_available()
assert gpu_status().startswith("not available: no NVIDIA driver found"), gpu_status()
release_gpu_memory()
for make in (NvcompZstd, NvcompBitcomp, NvcompGDeflate):
    try:
        make()
    except S4BackendError as error:
        assert "no NVIDIA driver found" in str(error)
    else:
        raise AssertionError(make)
    make("auto") if make is not NvcompBitcomp else make(None, "auto")
value = b"a fine body " * 9000
codec = NvcompZstd("auto")
assert codec.decompress(*codec.compress(value)) == value
for call in (lambda: decode(codec.encode(value, fallback=False), device=0),
             lambda: s4_codec.polars.decode("body", device=0),
             lambda: NvcompGDeflate("auto").compress(value),
             lambda: NvcompBitcomp("f32", "auto").compress(value)):
    import s4_codec.polars
    try:
        call()
    except S4BackendError as error:
        assert "NVIDIA" in str(error), error
    else:
        raise AssertionError("needs a GPU")
assert decode(codec.encode(value, fallback=False), device="auto") == value
"""
    check(code, **ABSENT)
    done = run("import s4_codec._cli, sys; sys.exit(s4_codec._cli.main())", **ABSENT)
    assert "Traceback" not in done.stderr


def test_the_command_says_why_not(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"a fine body")
    arguments = ["encode", str(tmp_path / "in"), "--codec", "nvcomp-gdeflate"]
    code = f"import sys, s4_codec._cli; sys.argv[1:] = {arguments}; sys.exit(s4_codec._cli.main())"
    done = run(code, **ABSENT)
    assert done.returncode == 1
    assert "Error: nvcomp-gdeflate: GPU: no NVIDIA driver found" in done.stderr


@pytest.mark.parametrize("version", ["5000", "5100", "5300", "6000"])
def test_supported_versions(both: dict[str, str], version: str) -> None:
    dotted = f"{version[0]}.{version[1]}.0"
    assert f"nvCOMP {dotted}" in check(USE, STANDIN_VERSION=version, **both)


@pytest.mark.parametrize("version", ["4200", "7000", "0"])
def test_other_versions_are_refused(both: dict[str, str], version: str) -> None:
    words = f"is nvCOMP {version[0]}.{version[1:2] or 0}.0; versions 5 and 6 are supported"
    fails(USE, words, STANDIN_VERSION=version, **both)


@pytest.mark.parametrize("variable", ["S4_CUDA_LIBRARY", "S4_NVCOMP_LIBRARY"])
def test_files_that_are_no_library(both: dict[str, str], tmp_path: Path, variable: str) -> None:
    (tmp_path / "text.so").write_text("not a library\n")
    fails(USE, variable, **(both | {variable: str(tmp_path / "text.so")}))
    fails(USE, "No such file", **(both | {variable: str(tmp_path / "absent.so")}))
    fails(USE, "lacks", **(both | {variable: "libm.so.6"}))


@pytest.mark.parametrize("folder", ["lib64", "lib"])
def test_nvcomp_home(standin: Path, tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "libnvcomp.so.5").symlink_to(standin)
    env = {"S4_CUDA_LIBRARY": str(standin)}
    assert str(tmp_path) in check(USE, NVCOMP_HOME=str(tmp_path), **env)
    fails(USE, "NVCOMP_HOME", NVCOMP_HOME=str(tmp_path / "empty"), **env)


def test_the_wheel_and_the_system(standin: Path, tmp_path: Path) -> None:
    """The driver comes from the loader's path; libnvcomp from a wheel, or from there too."""
    libraries, packages = tmp_path / "system", tmp_path / "packages"
    wheel = packages / "nvidia/libnvcomp/lib64"
    for folder in (libraries, wheel):
        folder.mkdir(parents=True)
    (libraries / "libcuda.so.1").symlink_to(standin)
    env = {"LD_LIBRARY_PATH": str(libraries)}
    fails(USE, "pip install 's4-codec[gpu]'", **env)
    (libraries / "libnvcomp.so.6").symlink_to(standin)
    assert "(libnvcomp.so.6)" in check(USE, **env)
    (wheel / "libnvcomp.so.5").symlink_to(standin)
    assert f"({wheel}/libnvcomp.so.5)" in check(USE, PYTHONPATH=str(packages), **env)


def test_no_device(both: dict[str, str]) -> None:
    fails(USE, "the NVIDIA driver finds no GPU", STANDIN_DEVICES="0", **both)


def test_devices_that_are_not_there(both: dict[str, str]) -> None:
    fails("import s4_codec; s4_codec.NvcompZstd(2)", "no GPU 2; GPUs 0 to 1 are present",
          STANDIN_DEVICES="2", **both)  # fmt: skip
    code = """
import s4_codec
codec = s4_codec.NvcompGDeflate(1)
assert codec.decompress(*codec.compress(b"abc" * 999)) == b"abc" * 999
assert (codec.device, repr(codec)) == (1, "NvcompGDeflate(device=1)")
assert codec != s4_codec.NvcompGDeflate(0) != s4_codec.NvcompGDeflate("auto")
"""
    check(code, STANDIN_DEVICES="2", **both)


@pytest.mark.parametrize(
    ("device", "expected"),
    [("cuda:0", ValueError), (-1, OverflowError), (2**40, OverflowError), (1.5, TypeError)],
)
def test_devices_that_cannot_be(device: object, expected: type[Exception]) -> None:
    for make in (NvcompZstd, NvcompGDeflate, lambda device: NvcompBitcomp("u8", device)):
        with pytest.raises(expected):
            make(device)  # type: ignore[operator]


def test_unknown_data_types() -> None:
    with pytest.raises(ValueError, match="expected data_type to be one of char, u8, "):
        NvcompBitcomp("float", "auto")


CALLS = ["cuInit", "cuDeviceGetCount", "nvcompGetProperties"]


@pytest.mark.parametrize("call", CALLS)
def test_calls_before_a_device_is_there_may_fail(both: dict[str, str], call: str) -> None:
    code = f"""
import s4_codec
try:
    s4_codec.NvcompZstd()
except s4_codec.S4BackendError as error:
    assert "{call} failed" in str(error), error
else:
    raise AssertionError("{call} failed")
{USE}"""
    check(code, STANDIN_FAIL=f"{call}:0:{10 if call.startswith('nv') else 1}:0", **both)


# --- Codec objects ------------------------------------------------------------------------


def test_pickles_open_where_no_gpu_is(both: dict[str, str]) -> None:
    code = """
import pickle, s4_codec
codecs = [s4_codec.NvcompZstd(0), s4_codec.NvcompGDeflate(0), s4_codec.NvcompBitcomp("f32", 0)]
assert pickle.loads(pickle.dumps(codecs)) == codecs
print(pickle.dumps(codecs).hex())
"""
    pickled = bytes.fromhex(check(code, **both))
    code = f"""
import pickle, s4_codec
codecs = pickle.loads({pickled!r})
assert repr(codecs[2]) == "NvcompBitcomp(data_type='f32', device=0)"
for codec in codecs:
    try:
        codec.compress(b"abcd")
    except s4_codec.S4BackendError as error:
        assert "no NVIDIA driver found" in str(error)
    else:
        raise AssertionError(codec)
"""
    check(code, **ABSENT)


@pytest.mark.parametrize("device", ["auto"])
def test_codecs_are_values(device: str) -> None:
    for codec in (NvcompZstd(device), NvcompGDeflate(device), NvcompBitcomp("u16", device)):
        assert pickle.loads(pickle.dumps(codec)) == codec
        assert hash(pickle.loads(pickle.dumps(codec))) == hash(codec)
        assert eval(repr(codec)) == codec
        assert codec.device == device
    assert NvcompBitcomp("u16", device) != NvcompBitcomp("u32", device)


# --- Columns ------------------------------------------------------------------------------

CONTROL = """
import ctypes, os, warnings
import polars as pl, pyarrow as pa
import s4_codec, s4_codec.arrow, s4_codec.polars as s4
from s4_codec import NvcompZstd, NvcompGDeflate, NvcompBitcomp
gpu = ctypes.CDLL(os.environ["S4_CUDA_LIBRARY"])
gpu.standin_launches.restype = gpu.standin_violations.restype = ctypes.c_uint64
"""


def test_polars_hands_over_whole_columns(both: dict[str, str]) -> None:
    code = (
        CONTROL
        + """
values = [b"a value of some length %d" % i * 20 for i in range(60_000)]
frame = pl.concat([pl.DataFrame({"body": values[i::6]}) for i in range(6)], rechunk=False)
lazy = frame.lazy().with_columns(packed=s4.compress("body", NvcompZstd()))
packed = lazy.collect(engine="streaming")
# One batch, of two size classes at most.
assert gpu.standin_launches() <= 2, gpu.standin_launches()
restored = packed.lazy().select(s4.decompress("packed", NvcompZstd()))
assert restored.collect(engine="streaming")["packed"].equals(frame["body"], check_names=False)
assert gpu.standin_launches() <= 4, gpu.standin_launches()
assert not gpu.standin_violations()
"""
    )
    check(code, STANDIN_MEMORY=str(64 << 30), **both)


def test_auto_warns_and_goes_on(both: dict[str, str]) -> None:
    code = (
        CONTROL
        + """
# The fewer threads, the sooner a GPU pays.
s4_codec.set_num_threads(1)
values = [os.urandom(1 << 16) * 16 for _ in range(20)]
series, codec = pl.Series("body", values), NvcompZstd("auto")
packed = series.s4.compress(codec)
assert gpu.standin_launches() > 0
for call in (lambda: series.s4.compress(codec),
             lambda: packed.s4.decompress(codec),
             lambda: s4_codec.arrow.compress(pa.array(values), codec),
             lambda: codec.decompress(*codec.compress(b"".join(values)))):
    gpu.standin_reset()
    gpu.standin_fail_call(ctypes.c_uint64(9), 999, 1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call()
    assert caught and all(each.category is RuntimeWarning for each in caught), caught
    assert "the CPU does the work instead" in str(caught[0].message)
    if isinstance(result, bytes):
        assert result == b"".join(values)
    elif result.dtype == pl.Binary if isinstance(result, pl.Series) else False:
        assert result.equals(series)
gpu.standin_reset()
gpu.standin_fail_call(ctypes.c_uint64(9), 700, 1)
try:
    series.s4.compress(NvcompZstd(0))
except pl.exceptions.ComputeError as error:
    assert "S4BackendError: GPU: " in str(error), error
    assert "CUDA in this process is lost" in str(error), error
else:
    raise AssertionError("a number falls back to nothing")
"""
    )
    check(code, **both)


def test_bad_rows_are_named(both: dict[str, str]) -> None:
    code = (
        CONTROL
        + """
series = pl.Series("body", [b"abc" * 99] * 5)
packed = series.s4.compress(NvcompGDeflate())
# One row of each alike is not sent twice: the row is made to differ.
fields = packed.struct.unnest().with_columns(
    original_size=pl.when(pl.int_range(5) == 3).then(17).otherwise(pl.col("original_size"))
)
bad = fields.to_struct("body")
try:
    bad.s4.decompress(NvcompGDeflate())
except pl.exceptions.ComputeError as error:
    assert "S4SizeMismatchError: row 3 of the 5" in str(error), error
else:
    raise AssertionError("a bad row")
assert bad.s4.decompress(NvcompGDeflate(), on_error="null").is_null().to_list() == [
    False, False, False, True, False
]
try:
    pl.Series([b"abcd", b"abcde"]).s4.compress(NvcompBitcomp("f32"))
except pl.exceptions.ComputeError as error:
    assert "row 1 of the 2" in str(error) and 'data_type="char"' in str(error), error
else:
    raise AssertionError("no whole number of floats")
"""
    )
    check(code, **both)


def test_a_forked_child_goes_on(both: dict[str, str]) -> None:
    code = (
        CONTROL
        + """
codec = NvcompZstd()
packed = codec.compress(b"before" * 999)
child = os.fork()
if child == 0:
    # The stand-in works in a child, which CUDA does not; nothing may hang in either.
    try:
        ok = codec.decompress(*packed) == b"before" * 999
        ok &= s4_codec.CpuZstd().decompress(*s4_codec.CpuZstd().compress(b"x")) == b"x"
    finally:
        os._exit(0 if ok else 1)
assert os.waitpid(child, 0)[1] == 0
assert codec.decompress(*packed) == b"before" * 999
"""
    )
    check(code, **both)


def test_the_command_asks_before_it_uses_a_gpu(both: dict[str, str], tmp_path: Path) -> None:
    code = (
        CONTROL
        + f"""
import pathlib, s4_codec._cli
folder = pathlib.Path({str(tmp_path)!r})
(folder / "in").write_bytes(b"a fine body " * 60_000)
def call(*arguments):
    gpu.standin_reset()
    status = s4_codec._cli.main([str(a) for a in arguments])
    return status, gpu.standin_launches() > 0
for codec in ("nvcomp-zstd", "nvcomp-gdeflate", "nvcomp-bitcomp"):
    stored = folder / codec
    assert call("encode", folder / "in", "-o", stored, "--codec", codec)[0] == 0
    here, there = folder / "here", folder / "there"
    is_bitcomp = codec == "nvcomp-bitcomp"
    assert call("decode", stored, "-o", here) == (int(is_bitcomp), False), codec
    assert call("inspect", "--verify", stored)[1] is False
    assert call("decode", stored, "-o", there, "--device", "0") == (0, True), codec
    assert there.read_bytes() == (folder / "in").read_bytes()
    assert call("inspect", "--verify", stored, "--device", "0") == (0, True)
assert call("decode", stored, "-o", there, "--device", "5") == (1, False)
assert call("decode", stored, "-o", there, "--device", "x") == (1, False)
"""
    )
    check(code, **both)
