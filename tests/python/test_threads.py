"""Thread counts and forks, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

COLUMN = """
import polars as pl, s4_codec, s4_codec.polars as s4
series = pl.Series("body", [b"a value of some length" * (i % 50) for i in range(50_000)])
assert series.s4.compress().s4.decompress().equals(series)
"""


def run(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def count_threads(code: str, **env: str) -> int:
    """How many of our threads live after ``code``."""
    tail = """
import contextlib, pathlib
names = []
for task in pathlib.Path("/proc/self/task").iterdir():
    with contextlib.suppress(FileNotFoundError):  # It may be on its way out.
        names.append((task / "comm").read_text())
print(sum(name.startswith("s4-codec") for name in names))
"""
    done = run(code + tail, **env)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


needs_proc = pytest.mark.skipif(
    not os.path.isdir("/proc/self/task"), reason="counts threads by /proc, which is not here"
)


@needs_proc
def test_importing_starts_no_thread() -> None:
    assert count_threads("import s4_codec.polars") == 0


@needs_proc
@pytest.mark.parametrize("n", [1, 3])
def test_environment_sets_the_number(n: int) -> None:
    assert count_threads(COLUMN, S4_NUM_THREADS=str(n)) == n


@needs_proc
def test_a_call_sets_the_number_and_wins() -> None:
    again = COLUMN + "s4_codec.set_num_threads(4)" + COLUMN
    assert count_threads("import s4_codec\ns4_codec.set_num_threads(2)" + COLUMN) == 2
    assert count_threads(again, S4_NUM_THREADS="1") == 4


def test_the_default_is_the_cores_of_this_process() -> None:
    code = "import s4_codec; print(s4_codec.num_threads())"
    first = min(os.sched_getaffinity(0))
    limited = f"import os; os.sched_setaffinity(0, [{first}])\n" + code
    assert int(run(code).stdout) <= len(os.sched_getaffinity(0))
    assert int(run(limited).stdout) == 1


@pytest.mark.parametrize("value", ["0", "-1", "many", "2.5", "1025"])
def test_a_bad_environment_is_an_error(value: str) -> None:
    done = run(COLUMN, S4_NUM_THREADS=value)
    assert "S4_NUM_THREADS must be a whole number from 1 to 1024" in done.stderr
    small = run(
        "import polars as pl, s4_codec.polars; pl.Series([b'']).s4.compress()", S4_NUM_THREADS=value
    )
    assert "ValueError: S4_NUM_THREADS" in small.stderr, "whatever the column's size"
    asked = run("import s4_codec; s4_codec.num_threads()", S4_NUM_THREADS=value)
    assert "ValueError: S4_NUM_THREADS" in asked.stderr
    values = run("import s4_codec; s4_codec.CpuZstd().compress(b'abc')", S4_NUM_THREADS=value)
    assert values.returncode == 0, "one value needs no pool"


def test_an_empty_environment_is_none() -> None:
    done = run("import s4_codec; print(s4_codec.num_threads())", S4_NUM_THREADS=" ")
    assert int(done.stdout) >= 1


def test_a_forked_child_works() -> None:
    """The parent uses everything, the child uses the classes; neither hangs."""
    code = (
        COLUMN
        + """
import os
codec = s4_codec.CpuZstd()
packed = codec.compress(b"before")
for _ in range(20):
    child = os.fork()
    if child == 0:
        ok = codec.decompress(*packed) == b"before"
        ok &= codec.decompress(*codec.compress(b"after" * 1000)) == b"after" * 1000
        os._exit(0 if ok else 1)
    assert os.waitpid(child, 0)[1] == 0
assert series.s4.compress().s4.decompress().equals(series)
"""
    )
    done = run(code)
    assert done.returncode == 0, done.stderr


def test_multiprocessing_with_fork_works() -> None:
    code = """
import multiprocessing, s4_codec
codec = s4_codec.CpuGzip()
codec.compress(b"in the parent")
def work(n):
    return codec.decompress(*codec.compress(bytes(n))) == bytes(n)
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert all(pool.map(work, range(200)))
"""
    done = run(code)
    assert done.returncode == 0, done.stderr


def test_many_threads_share_a_codec_while_the_pool_is_resized() -> None:
    code = """
import random, threading
import polars as pl, s4_codec, s4_codec.arrow, s4_codec.polars
from s4_codec import CpuZstdDict, train_dictionary
values = [b"%d GET /item/%d 200" % (n, n * 37 % 101) * 3 for n in range(2000)]
codec = CpuZstdDict(train_dictionary(values, 4096))
series = pl.Series("body", [*values, None])
packed = series.s4.compress(codec)
done, failed = threading.Event(), []

def work(seed):
    rng = random.Random(seed)
    try:
        for _ in range(6):
            value = rng.choice(values)
            assert codec.decompress(*codec.compress(value)) == value
            assert packed.s4.decompress(codec).equals(series)
            assert s4_codec.decode(codec.encode(value), dictionary=codec) == value
            rows = s4_codec.arrow.decompress(s4_codec.arrow.compress(series, codec), codec)
            assert rows.to_pylist() == series.to_list()
    except BaseException as error:
        failed.append(error)

def resize():
    while not done.is_set():
        s4_codec.set_num_threads(random.randrange(1, 9))

threads = [threading.Thread(target=work, args=[seed]) for seed in range(64)]
resizer = threading.Thread(target=resize)
for thread in [resizer, *threads]:
    thread.start()
for thread in threads:
    thread.join()
done.set()
resizer.join()
assert not failed, failed[0]
"""
    done = run(code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_columns_in_started_processes(method: str, tmp_path: Path) -> None:
    """Polars and the pool, used in the parent first."""
    script = tmp_path / "script.py"
    script.write_text(
        f"""
import multiprocessing
import polars as pl, s4_codec, s4_codec.polars

def work(codec):
    series = pl.Series("body", [b"a value of some length" * (n % 50) for n in range(3000)])
    return series.s4.compress(codec).s4.decompress(codec).equals(series)

if __name__ == "__main__":
    dictionary = s4_codec.CpuZstdDict(b"a value of some length" * 9)
    codecs = [s4_codec.CpuZstd(9), s4_codec.CpuGzip(), dictionary, s4_codec.Passthrough()]
    assert all(map(work, codecs))
    with multiprocessing.get_context("{method}").Pool(2) as pool:
        assert all(pool.map(work, codecs))
"""
    )
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("before", ["", "import s4_codec"])
def test_a_subinterpreter_is_refused(before: str) -> None:
    """Clearly, and the main interpreter goes on."""
    code = """
import importlib, importlib.util
names = ["_interpreters", "_xxsubinterpreters"]
found = [name for name in names if importlib.util.find_spec(name)]
interpreters = importlib.import_module(found[0])
other = interpreters.create()
failed = interpreters.run_string(other, '''
try:
    import s4_codec
except ImportError as error:
    assert "interpreter" in str(error), error
else:
    raise AssertionError("imported")
''')
assert failed is None, failed
interpreters.destroy(other)
import s4_codec
codec = s4_codec.CpuZstd()
assert codec.decompress(*codec.compress(b"main")) == b"main"
"""
    done = run(before + code)
    assert done.returncode == 0, done.stderr
