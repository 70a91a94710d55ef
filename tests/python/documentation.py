"""The blocks of README.md and docs/, run as a reader runs them.

    python tests/python/documentation.py              # all pages; prints how many blocks ran
    python tests/python/documentation.py docs/tour.md

The ``python`` blocks of a page run in order in one namespace, in a folder of their own, and so do
the ``bash`` blocks, with this Python's ``s4-codec``. What a line of Python prints stands in the
comment behind it. An HTML comment before a block says what it needs, or why it cannot run:

    <!-- needs: gpu, torch -->
    <!-- not run: installs the package -->
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", *sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("docs/**/*.md"))]

#: Blocks of these languages run; the others only show something.
RUN, SHOWN = {"python", "bash"}, {"text", "sql", "toml", "json"}
FENCE = re.compile(
    r"(?:^ *<!-- (?P<mark>needs|not run): (?P<words>.*?) -->\n)?"
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<code>.*?)^(?P=indent)```$",
    re.M | re.S,
)
PRINTED = re.compile(r"^ *print\(.*\)(?:  # (.*))?$", re.M)


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    language: str
    code: str
    needs: tuple[str, ...] = ()
    #: Why it never runs here; empty otherwise.
    not_run: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    def missing(self) -> str:
        """Why the block cannot run; empty if it can."""
        absent = [need for need in self.needs if not is_there(need)]
        return self.not_run or (f"needs {', '.join(absent)}" if absent else "")


def is_there(need: str) -> bool:
    """Whether a GPU, a program or a module is."""
    if need == "gpu":
        import s4_codec

        return s4_codec.gpu_available()
    return importlib.util.find_spec(need) is not None or shutil.which(need) is not None


def blocks(page: str) -> Iterator[Block]:
    """The blocks of a page that run."""
    text = (ROOT / page).read_text()
    for match in FENCE.finditer(text):
        language, mark = match["language"], match["mark"]
        line = text.count("\n", 0, match.start("language")) + 1
        if language not in RUN | SHOWN:
            raise ValueError(f"{page}:{line}: expected one of {RUN | SHOWN}, found {language!r}")
        if language in RUN:
            code = textwrap.dedent(match["code"])
            needs = tuple(match["words"].split(", ")) if mark == "needs" else ()
            not_run = match["words"] if mark == "not run" else ""
            yield Block(page, line, language, code, needs, not_run)


def run_python(block: Block, namespace: dict[str, Any]) -> None:
    printed = io.StringIO()
    # As many lines before it as in the page, so that tracebacks have its numbers.
    code = compile("\n" * block.line + block.code, block.page, "exec")
    with contextlib.redirect_stdout(printed):
        exec(code, namespace)
    expected = PRINTED.findall(block.code)
    found = printed.getvalue().splitlines()
    assert found == expected, f"expected the output {expected}, found {found}"


def run_bash(block: Block) -> None:
    command = f's4-codec() {{ "{sys.executable}" -m s4_codec "$@"; }}\n{block.code}'
    options = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", command], check=False, **options)
    assert done.returncode == 0, done.stderr


def run_page(page: str) -> dict[str, str]:
    """Runs the blocks of a page here: by place, why they failed or were skipped, or nothing."""
    lines = [f"10.0.{n % 7}.{n % 250} GET /item/{n * n % 9973} 200\n" for n in range(5000)]
    Path("access.log").write_text("".join(lines))
    # A module of its own, so that engines can send its functions to their workers.
    namespace: dict[str, Any] = {"__name__": "__main__"}
    outcomes = dict[str, str]()
    failed = ""
    for block in blocks(page):
        if missing := block.missing():
            outcomes[str(block)] = f"skipped: {missing}"
            continue
        if failed:
            outcomes[str(block)] = f"not reached: {failed} failed"
            continue
        try:
            run_python(block, namespace) if block.language == "python" else run_bash(block)
            outcomes[str(block)] = ""
        except Exception:
            failed = str(block)
            outcomes[str(block)] = traceback.format_exc(limit=-3)
    return outcomes


def outcomes_of(page: str) -> dict[str, str]:
    """The same in a process and a folder of their own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--here", page]
        environment = os.environ | {"PYSPARK_PYTHON": sys.executable}
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, f"{page}: {done.stderr}"
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="*", default=PAGES)
    parser.add_argument("--here", action="store_true", help="in this process and folder, as JSON")
    args = parser.parse_args()
    if args.here:
        print("\n" + json.dumps(run_page(args.pages[0])), flush=True)
        return
    found = {place: text for page in args.pages for place, text in outcomes_of(page).items()}
    skipped = {p: t for p, t in found.items() if t.startswith("skipped: ")}
    failed = {p: t for p, t in found.items() if t and p not in skipped}
    for place, text in (skipped | failed).items():
        print(f"{place}: {text}")
    ran = len(found) - len(skipped) - len(failed)
    print(
        f"{len(args.pages)} pages: {ran} blocks ran, {len(skipped)} skipped, {len(failed)} failed"
    )
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
