"""The examples on Spark, Ray and Dask, run as printed, each with worker processes of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

import s4_codec.polars as s4

#: The modules that each example needs, and the least version of the first.
EXAMPLES = {
    "spark_logs": ("4.1", ["pyspark"]),
    "ray_data": (None, ["ray", "ray.data"]),
    "dask_dataframe": (None, ["dask", "dask.dataframe", "dask.distributed"]),
}

REPORT = r"""column   'body': (?P<rows>[\d,]+) rows, [\d,]+ bytes of binary
codec    CpuZstd\(level=3\) on (Spark|Ray|Dask) [\d.]+, .+
payload  [\d,]+ bytes, ratio (?P<ratio>\d+\.\d+)
speed    compress [\d,]+ rows/s, decompress [\d,]+ rows/s
(sql      found the largest value, [\d,]+ bytes, by original_size
)?verified (?P=rows) of (?P=rows) values came back unchanged
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


def require(example: str) -> None:
    """Skips, and says why, where the engine or its Java is missing."""
    version, modules = EXAMPLES[example]
    for module in modules:
        reason = f"{example}.py needs {module}, which is not installed"
        if module == modules[0] and version:
            reason += f", or older than {version}"
        pytest.importorskip(
            module,
            version if module == modules[0] else None,
            reason=reason,
            exc_type=ImportError,
        )
    has_java = shutil.which("java") is not None or "JAVA_HOME" in os.environ
    if example == "spark_logs" and not has_java:
        pytest.skip("Spark needs Java, which is not installed")


@pytest.fixture(params=EXAMPLES)
def run(request: pytest.FixtureRequest, root: Path, tmp_path: Path) -> Run:
    """Runs an example."""
    require(request.param)

    def run_example(*arguments: object) -> subprocess.CompletedProcess[str]:
        path = root / "examples" / f"{request.param}.py"
        command = [sys.executable, str(path), *map(str, arguments)]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
        )

    return run_example


def test_an_example_runs_without_arguments(run: Run) -> None:
    done = run()
    assert done.returncode == 0, done.stderr
    report = re.fullmatch(REPORT, done.stdout)
    assert report, done.stdout
    assert float(report["ratio"]) > 2


def test_polars_reads_what_an_example_wrote(run: Run, tmp_path: Path) -> None:
    source, output = tmp_path / "logs", tmp_path / "packed"
    source.mkdir()
    values = [None if n % 7 == 3 else f"{n} é" * (n % 50) for n in range(600)]
    table = pl.DataFrame({"id": range(600), "the `text`": values})
    for start in (0, 200, 400):
        table[start : start + 200].write_parquet(source / f"{start}.parquet")
    arguments = ["--column", "the `text`", "--level", 9, "--output", output]
    done = run(source, *arguments)
    assert done.returncode == 0, done.stderr
    assert "CpuZstd(level=9)" in done.stdout
    assert "verified 600 of 600 values" in done.stdout
    packed = pl.read_parquet(output / "*.parquet")
    restored = packed.with_columns(s4.decompress("the `text`", dtype=pl.String)).sort("id")
    assert restored.select(table.columns).equals(table)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no-such-folder"], "no-such-folder"),
        (["{source}", "--column", "id"], "expected a binary or string column"),
        (["--level", "99"], "level must be from 1 to 22, got 99"),
    ],
)
def test_an_example_explains(run: Run, tmp_path: Path, arguments: list[str], words: str) -> None:
    source = tmp_path / "rows.parquet"
    pl.DataFrame({"id": [1]}).write_parquet(source)
    done = run(*[argument.format(source=source) for argument in arguments])
    assert done.returncode != 0
    assert words in done.stderr
    assert "Traceback" not in done.stderr
