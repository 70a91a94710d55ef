"""Build the wheels and the sdist, and check them: `python checks/wheels.py --out dist`.

    pip install '.[release]' && python checks/wheels.py --out dist
    python checks/wheels.py --out dist --only x86_64
    python checks/wheels.py --out dist --aarch64-root FOLDER

Wheels are for manylinux_2_17, linked by zig, for x86_64 and aarch64. Of each it checks the
contents, the metadata, the size and the symbols (auditwheel), installs it in a fresh environment
where no Rust is on PATH, and runs `checks/smoke.py` there. The aarch64 wheel is run by
qemu-aarch64 where that is installed and FOLDER is the root of an aarch64 Linux with Python 3.11
or later. The sdist is unpacked elsewhere and built from its own files.

It needs the targets (`rustup target add aarch64-unknown-linux-gnu`). The exit status is 1 if a
check failed; what could not be checked says why.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import venv
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SMOKE = ROOT / "checks" / "smoke.py"
POLICY = "manylinux_2_17"
MOST_BYTES = {".whl": 8 << 20, ".gz": 4 << 20}

#: What a wheel holds; every pattern matches a file, and every file a pattern.
WHEEL = [
    r"s4_codec/(\w+/)*\w+\.py",
    r"s4_codec/py\.typed",
    r"s4_codec/s4_codec\.pyi",
    r"s4_codec/s4_codec\.abi3\.so",
    r"s4_codec-[\d.]+\.dist-info/(METADATA|WHEEL|RECORD|entry_points\.txt)",
    r"s4_codec-[\d.]+\.dist-info/licenses/(LICENSE|THIRD_PARTY_NOTICES\.md)",
    r"s4_codec-[\d.]+\.dist-info/sboms/s4-codec\.cyclonedx\.json",
]
#: What an sdist must hold to build, and to be read and tested.
SDIST = [
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "PKG-INFO",
    "README.md",
    "THIRD_PARTY_NOTICES.md",
    "pyproject.toml",
    "python/s4_codec/s4_codec.pyi",
    "src/lib.rs",
    "tests/python/conftest.py",
]


class Failure(Exception):
    """A check that failed, and why."""


class Unchecked(Exception):
    """A check that cannot run here, and why."""


@dataclass
class Checked:
    """A file of the release, and what is known of it."""

    path: Path
    unchecked: list[str] = field(default_factory=list)
    failed: bool = False

    def check(self, name: str, run: Callable[[], str]) -> None:
        """Runs a check and prints what it says."""
        start = time.perf_counter()
        try:
            line = run()
        except Unchecked as reason:
            line = f"not checked: {reason}"
            self.unchecked.append(f"{self.path.name}: {name}")
        except Failure as reason:
            line, self.failed = f"FAILED: {reason}", True
        print(f"  {name}: {line} ({time.perf_counter() - start:.0f} s)", flush=True)


def command(*arguments: str | Path, **options: object) -> str:
    """Runs a program and returns what it prints; its output is the failure where it fails."""
    found = subprocess.run(  # type: ignore[call-overload]
        [str(each) for each in arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )
    if found.returncode != 0:
        raise Failure(f"{Path(arguments[0]).name} ended with {found.returncode}\n{found.stdout}")
    return str(found.stdout)


def build(out: Path, target: str | None) -> Path:
    """Builds the wheel of a target, or the sdist for None."""
    before = set(out.iterdir())
    arguments = ["sdist"]
    if target is not None:
        arguments = ["build", "--release", "--locked", "--zig"]
        arguments += ["--compatibility", POLICY, "--target", target]
    # maturin finds zig through the first Python on PATH.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path}
    command(*(sys.executable, "-m", "maturin", *arguments, "--out", out), cwd=ROOT, env=environment)
    made = set(out.iterdir()) - before
    if len(made) != 1:
        raise Failure(f"expected one new file in {out}, found {sorted(made)}")
    return made.pop()


def size(path: Path) -> str:
    length, most = path.stat().st_size, MOST_BYTES[path.suffix]
    if length > most:
        raise Failure(f"{length:,} bytes exceed {most:,}")
    return f"{length:,} bytes"


def wheel_contents(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        module = next(each.file_size for each in archive.infolist() if each.filename[-3:] == ".so")
    unknown = [name for name in names if not any(re.fullmatch(each, name) for each in WHEEL)]
    missing = [each for each in WHEEL if not any(re.fullmatch(each, name) for name in names)]
    sources = {
        str(source.relative_to(ROOT / "python"))
        for source in (ROOT / "python").rglob("*.py")
        if "__pycache__" not in source.parts
    }
    missing += sorted(sources - set(names))
    if unknown or missing:
        raise Failure(f"unexpected files {unknown}, missing files {missing}")
    return f"{len(names)} files, module of {module:,} bytes"


def sdist_contents(path: Path) -> str:
    with tarfile.open(path) as archive:
        names = {each.name.partition("/")[2] for each in archive if each.isfile()}
    missing = [name for name in SDIST if name not in names]
    unwanted = [name for name in names if name.startswith((".ci/", "target/", "fuzz/work/"))]
    unwanted += [name for name in names if name.endswith((".so", ".pyc"))]
    if missing or unwanted:
        raise Failure(f"missing files {missing}, unwanted files {unwanted}")
    return f"{len(names)} files"


def metadata_of(path: Path) -> Message:
    """The METADATA of a wheel, the PKG-INFO of an sdist."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("/METADATA"))
            return message_from_bytes(archive.read(name))
    with tarfile.open(path) as sdist:
        name = next(
            each.name
            for each in sdist
            if each.name.count("/") == 1 and each.name.endswith("/PKG-INFO")
        )
        content = sdist.extractfile(name)
        assert content is not None
        return message_from_bytes(content.read())


def metadata(path: Path) -> str:
    found = metadata_of(path)
    wanted = [
        "Name",
        "Version",
        "Summary",
        "Author",
        "License-Expression",
        "Requires-Python",
        "Classifier",
        "Project-URL",
        "Description-Content-Type",
    ]
    missing = [name for name in wanted if not found.get(name)]
    if not str(found.get_payload()).startswith("# s4-codec"):
        missing.append("description (the README)")
    if missing:
        raise Failure(f"missing fields {missing}")
    return f"version {found['Version']}, Python {found['Requires-Python']}"


def audit(path: Path) -> str:
    said = command(sys.executable, "-m", "auditwheel", "show", path)
    found = re.search(r'constrained by the following tag[^"]*"([^"]+)"|tag:\s*"([^"]+)"', said)
    if POLICY not in said or found is None:
        raise Failure(f"expected {POLICY}, auditwheel says\n{said}")
    return f"auditwheel: {found.group(1) or found.group(2)}"


def without_rust() -> dict[str, str]:
    """The environment of somebody who has no Rust and no checkout."""
    folders = os.environ.get("PATH", "").split(os.pathsep)
    kept = [each for each in folders if shutil.which("cargo", path=each) is None]
    kept = [each for each in kept if shutil.which("rustc", path=each) is None]
    names = ("HOME", "TMPDIR", "LANG", "PIP_INDEX_URL", "PIP_CONFIG_FILE", "SSL_CERT_FILE")
    return {"PATH": os.pathsep.join(kept)} | {
        name: os.environ[name] for name in names if name in os.environ
    }


def fresh_environment(folder: Path) -> Path:
    """The Python of a new virtual environment."""
    venv.create(folder, with_pip=True)
    return folder / "bin" / "python"


def install_and_run(path: Path, environment: dict[str, str] | None = None) -> str:
    """Installs into a fresh environment and runs the smoke test outside the checkout."""
    options = {"env": environment or without_rust()}
    with tempfile.TemporaryDirectory() as folder:
        python = fresh_environment(Path(folder) / "fresh")
        command(python, "-m", "pip", "install", "--quiet", path, cwd=folder, **options)
        return command(python, SMOKE, cwd=folder, **options).strip()


def emulated(path: Path, root: Path | None) -> str:
    """The smoke test of the aarch64 wheel under qemu-aarch64."""
    qemu = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
    if qemu is None:
        raise Unchecked("qemu-aarch64 is not installed")
    if root is None:
        raise Unchecked("--aarch64-root names no aarch64 Linux with Python")
    pythons = sorted(root.glob("usr/bin/python3.[1-9][0-9]"))
    if not pythons:
        raise Unchecked(f"{root} has no usr/bin/python3.11 or later")
    version = pythons[-1].name.removeprefix("python")
    platforms = [
        f"--platform=manylinux{tag}_aarch64" for tag in ("2014", "_2_17", "_2_24", "_2_28")
    ]
    with tempfile.TemporaryDirectory() as folder:
        command(
            *(sys.executable, "-m", "pip", "install", "--quiet", "--target", folder),
            *(*platforms, "--python-version", version, "--only-binary=:all:", path),
        )
        variables = [
            f"PYTHONPATH={folder}",
            f"PYTHONHOME={root / 'usr'}",
            "POLARS_SKIP_CPU_CHECK=1",
        ]
        settings = [option for each in variables for option in ("-E", each)]
        return command(qemu, "-L", root, *settings, pythons[-1], SMOKE, cwd=folder).strip()


def rebuilt(path: Path) -> str:
    """Builds a wheel of the sdist's own files, elsewhere, and runs the smoke test."""
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(path) as archive:
            archive.extractall(folder, filter="data")
        source = next(Path(folder).iterdir())
        wheels = Path(folder) / "wheels"
        build_wheel = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", wheels]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment["CARGO_TARGET_DIR"] = str(Path(folder) / "target")
        command(sys.executable, *build_wheel, source, cwd=folder, env=environment)
        return install_and_run(next(wheels.iterdir()))


def checks_of(path: Path, aarch64_root: Path | None) -> Iterator[tuple[str, Callable[[], str]]]:
    """The checks of a file of the release, by name."""
    yield "size", lambda: size(path)
    yield "metadata", lambda: metadata(path)
    if path.suffix == ".gz":
        yield "contents", lambda: sdist_contents(path)
        yield "builds alone", lambda: rebuilt(path)
        return
    yield "contents", lambda: wheel_contents(path)
    yield "symbols", lambda: audit(path)
    if path.stem.endswith(os.uname().machine):
        yield "runs", lambda: install_and_run(path)
    elif path.stem.endswith("aarch64"):
        yield "runs", lambda: emulated(path, aarch64_root)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where to write")
    products = {
        "x86_64": "x86_64-unknown-linux-gnu",
        "aarch64": "aarch64-unknown-linux-gnu",
        "sdist": None,
    }
    parser.add_argument("--only", nargs="+", choices=products, default=list(products))
    parser.add_argument("--aarch64-root", type=Path, metavar="FOLDER", help="to run that wheel in")
    args = parser.parse_args()
    out: Path = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    done, failed = list[Checked](), list[str]()
    for number, name in enumerate(args.only, 1):
        print(f"[{number}/{len(args.only)}] {name}: building", flush=True)
        start = time.perf_counter()
        try:
            path = build(out, products[name])
        except Failure as reason:
            print(f"  FAILED: {reason}")
            failed.append(name)
            continue
        print(f"  {path.name}, built in {time.perf_counter() - start:.0f} s", flush=True)
        checked = Checked(path)
        for title, run in checks_of(path, args.aarch64_root):
            checked.check(title, run)
        done.append(checked)
    failed += [each.path.name for each in done if each.failed]
    for each in done:
        for line in each.unchecked:
            print(f"not checked: {line}")
    print("failed: " + ", ".join(failed) if failed else f"no check failed; the files are in {out}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
