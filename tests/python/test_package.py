"""The package as installed: imports, stubs, docs and examples."""

from __future__ import annotations

import ast
import inspect
import json
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import polars as pl
import pytest
from codecs_table import text

import s4_codec
import s4_codec.arrow
import s4_codec.polars as s4

PACKAGE = Path(s4_codec.__file__).parent


def run(*args: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, args)]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )


def test_importing_imports_no_other_package() -> None:
    others = {"polars", "pyarrow", "numpy", "duckdb", "numcodecs", "zarr"}
    done = run("-c", f"import s4_codec, sys; print(sorted({others} & set(sys.modules)))")
    assert done.stdout.strip() == "[]", done.stderr


def test_the_version_stands_in_one_place(root: Path) -> None:
    cargo = tomllib.loads((root / "Cargo.toml").read_text())
    assert s4_codec.__version__ == cargo["package"]["version"] == metadata.version("s4-codec")
    assert "version" in tomllib.loads((root / "pyproject.toml").read_text())["project"]["dynamic"]


def test_public_names_exist_and_are_all() -> None:
    modules = {"s4_codec", "polars", "arrow", "gpu", "advice", "dictionaries"}
    modules |= {"duckdb", "numcodecs", "zarr"}
    public = {n for n in dir(s4_codec) if not n.startswith("_")} - modules
    # `import *` leaves Python's own open alone.
    assert public | {"__version__"} == set(s4_codec.__all__) | {"open"}
    assert all(hasattr(s4_codec, name) for name in s4_codec.__all__)
    assert set(s4.__all__) <= set(vars(s4))
    assert set(s4_codec.arrow.__all__) <= set(vars(s4_codec.arrow))


def definitions(body: list[ast.stmt]) -> dict[str, ast.ClassDef | ast.FunctionDef]:
    kinds = (ast.ClassDef, ast.FunctionDef)
    return {node.name: node for node in body if isinstance(node, kinds)}


def test_stubs_tell_the_module() -> None:
    """The stub has every name of the native module and no other, with the same docstrings."""
    assert (PACKAGE / "py.typed").exists()
    native = s4_codec.s4_codec
    tree = ast.parse((PACKAGE / "s4_codec.pyi").read_text())
    stub = definitions(tree.body)
    for protocol in ("_ArrayInterface", "_ArrowArrayExporter", "_ArrowStreamExporter"):
        del stub[protocol]
    constants = {n for n, value in vars(native).items() if isinstance(value, (bytes, int, str))}
    assert {n for n in vars(native) if not n.startswith("__")} - constants == set(stub)
    annotated = {n.target.id for n in tree.body if isinstance(n, ast.AnnAssign)}
    assert {n for n in constants if not n.startswith("__")} | {"__version__"} == annotated
    for name, node in stub.items():
        if name.startswith("_"):
            continue
        real = getattr(native, name)
        assert ast.get_docstring(node) == inspect.getdoc(real), name
        if isinstance(node, ast.ClassDef):
            members = definitions(node.body)
            annotated = {n.target.id for n in node.body if isinstance(n, ast.AnnAssign)}
            public = {n for n in vars(real) if not n.startswith("_")}
            assert public == {n for n in members if not n.startswith("_")} | annotated, name
            for member, definition in members.items():
                assert hasattr(real, member), f"{name}.{member}"
                if not member.startswith("_"):
                    doc = inspect.getdoc(getattr(real, member))
                    assert ast.get_docstring(definition) == doc, f"{name}.{member}"


@pytest.mark.parametrize(
    "module", ["polars", "arrow", "dictionaries", "duckdb", "numcodecs", "zarr"]
)
def test_docstring_examples_run(module: str) -> None:
    code = f"import doctest, s4_codec.{module} as m; r = doctest.testmod(m); print(*r)"
    done = run("-c", f"{code}; exit(r.failed or not r.attempted)")
    assert done.returncode == 0, done.stdout


KINDS = ["parquet", "arrow", "csv", "tsv", "ndjson", "jsonl", "log"]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """One table in every format that the example reads."""
    table = pl.DataFrame({"id": range(50), "body": [text(n * 9).decode() for n in range(50)]})
    paths = {k: tmp_path / f"rows.{k}" for k in KINDS}
    table.write_parquet(paths["parquet"])
    table.write_ipc(paths["arrow"])
    table.write_csv(paths["csv"])
    table.write_csv(paths["tsv"], separator="\t")
    table.write_ndjson(paths["ndjson"])
    table.write_ndjson(paths["jsonl"])
    paths["log"].write_bytes(text(5000) + b"\xff not text\n")
    return paths


def test_the_example_runs_without_arguments(root: Path) -> None:
    done = run(root / "examples/compress_column.py")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^speed    compress [\d,]+ MB/s, decompress [\d,]+ MB/s$", done.stdout, re.M)
    ratio = re.search(r"ratio (\d+\.\d+)", done.stdout)
    assert ratio
    assert float(ratio[1]) > 2
    count = re.search(r"verified ([\d,]+) of \1 values", done.stdout)
    assert count


@pytest.mark.parametrize("kind", KINDS)
def test_the_example_reads(root: Path, files: dict[str, Path], kind: str, tmp_path: Path) -> None:
    column = [] if kind == "log" else ["--column", "body"]
    out = tmp_path / "out.parquet"
    options = [*column, "--codec", "cpu-gzip", "--level", "9", "--output", out]
    done = run(root / "examples/compress_column.py", files[kind], *options)
    assert done.returncode == 0, done.stderr
    assert "CpuGzip(level=9)" in done.stdout
    name = "line" if kind == "log" else "body"
    restored = pl.read_parquet(out).select(s4.decompress(name, "cpu-gzip")).to_series()
    if kind == "log":
        assert restored.to_list() == files[kind].read_bytes().splitlines()
    else:
        want = pl.read_parquet(files["parquet"])["body"].cast(pl.Binary)
        # CSV and TSV cannot tell the empty string from null.
        assert restored.fill_null(b"").to_list() == want.to_list()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["no-such-file.parquet"], "cannot read no-such-file.parquet"),
        (["{csv}", "--column", "id"], "expected a Binary or String column, but 'id' is not one"),
        (["{csv}", "--column", "no"], "expected a Binary or String column, but 'no' is not one"),
        (["{csv}", "--output", "no-such-folder/x.parquet"], "cannot write no-such-folder"),
        (["rows.csv.gz"], "compressed already"),
        (["{csv}", "--level", "99"], "level must be from 1 to 22, got 99"),
        (["--codec", "passthrough", "--level", "1"], "passthrough has no level"),
    ],
)
def test_the_example_explains(
    root: Path, files: dict[str, Path], args: list[str], words: str
) -> None:
    args = [arg.format(csv=files["csv"]) for arg in args]
    done = run(root / "examples/compress_column.py", *args)
    assert done.returncode != 0
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_the_dataset_example_runs_without_arguments(root: Path) -> None:
    done = run(root / "examples/arrow_dataset.py")
    assert done.returncode == 0, done.stderr
    assert re.search(
        r"^written  \d+ files, [\d,]+ bytes, with CpuZstd\(level=3\)$", done.stdout, re.M
    )
    assert re.search(r"^scanned  [\d,]+ rows, all values unchanged$", done.stdout, re.M)
    assert re.search(r"^duckdb   found the largest value, [\d,]+ bytes", done.stdout, re.M)


def test_the_dataset_example_reads_and_partitions(
    root: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "dataset"
    options = ["--column", "body", "--partition", "id", "--codec", "cpu-gzip", "--output", out]
    done = run(root / "examples/arrow_dataset.py", files["parquet"], *options)
    assert done.returncode == 0, done.stderr
    assert "written  50 files" in done.stdout
    assert len(list(out.glob("id=*/*.parquet"))) == 50
    again = run(root / "examples/arrow_dataset.py", files["parquet"], *options)
    assert "cannot write" in again.stderr, "nothing is overwritten"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["no-such-file.parquet"], "cannot read no-such-file.parquet"),
        (
            ["{parquet}", "--column", "id"],
            "expected a binary or string column, but 'id' is not one",
        ),
        (["{parquet}", "--partition", "no"], "no column 'no' to partition by"),
        (["{csv}"], "cannot read"),
        (["--codec", "passthrough", "--level", "1"], "passthrough has no level"),
    ],
)
def test_the_dataset_example_explains(
    root: Path, files: dict[str, Path], args: list[str], words: str
) -> None:
    args = [arg.format(csv=files["csv"], parquet=files["parquet"]) for arg in args]
    done = run(root / "examples/arrow_dataset.py", *args)
    assert done.returncode != 0
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_the_package_contains_notices_and_a_bill_of_materials() -> None:
    files = {path.name for path in metadata.files("s4-codec") or []}
    assert {"LICENSE", "THIRD_PARTY_NOTICES.md", "s4-codec.cyclonedx.json"} <= files


def test_notices_name_every_crate_that_is_linked_in(root: Path) -> None:
    cargo = shutil.which("cargo")
    if cargo is None:
        pytest.skip("cargo, which lists the crates, is not on PATH")
    command = [cargo, "tree", "--locked", "--features", "python", "--edges", "normal"]
    options = ["--prefix", "none", "--format", "{p}"]
    lines = subprocess.check_output([*command, *options], cwd=root, text=True).splitlines()
    crates = {tuple(line.split()[:2]) for line in lines}
    crates = {(name, version) for name, version in crates if name != "s4-codec"}
    linked = {f"- {name} {version.removeprefix('v')}" for name, version in crates}
    listed = (root / "THIRD_PARTY_NOTICES.md").read_text().splitlines()
    assert linked - set(listed) == set(), "write it again; CONTRIBUTING.md has the command"


def test_frozen_vectors_are_listed(root: Path) -> None:
    folder = root / "tests/vectors"
    listed = {entry["file"] for entry in json.loads((folder / "manifest.json").read_text())}
    others = {"manifest.json", "make.py", "written.json", "written.py", "__pycache__"}
    kept = {path.name for path in folder.iterdir()} - others
    assert listed == kept
