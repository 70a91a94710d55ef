"""README.md and docs/: every block runs, every figure has its file, every link its target."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from documentation import PAGES, Block, blocks, outcomes_of

import s4_codec

#: Blocks that need what may not be there: each is a test, so that its reason is printed.
SPECIAL = [
    pytest.param(block, id=str(block), marks=[pytest.mark.gpu] if "gpu" in block.needs else [])
    for page in PAGES
    for block in blocks(page)
    if block.needs or block.not_run
]

#: A process runs a page once.
run_page = functools.cache(outcomes_of)


@pytest.mark.parametrize("page", [page for page in PAGES if any(blocks(page))])
def test_blocks_run(page: str) -> None:
    outcomes = run_page(page)
    failed = {b: text for b, text in outcomes.items() if text and not text.startswith("skipped: ")}
    assert not failed, "\n".join(f"{block}: {text}" for block, text in failed.items())


@pytest.mark.parametrize("block", SPECIAL)
def test_block_runs_where_it_can(block: Block) -> None:
    if missing := block.missing():
        pytest.skip(missing)
    assert run_page(block.page)[str(block)] == ""


def test_figures_are_those_of_the_results(root: Path) -> None:
    command = [sys.executable, root / "benches/doc_tables.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


class Links(HTMLParser):
    """The places of a page, and where it points to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids, self.links, self.loaded = set[str](), list[str](), list[str]()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids |= {found.get("id") or "", found.get("name") or ""}
        place = found.get("href" if tag in ("a", "link") else "src")
        if place and tag == "a":
            self.links.append(place)
        elif place:
            self.loaded.append(place)


def slug(heading: str) -> str:
    """The anchor of a heading on the pages of a forge."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize(
    "page", ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", *PAGES[1:]]
)
def test_links_in_the_source_have_targets(root: Path, page: str) -> None:
    text = (root / page).read_text()
    for link in [
        *re.findall(r"\]\(([^)\s]+)\)", text),
        *re.findall(r'(?:src|srcset)="(.*?)"', text),
    ]:
        parts = urlsplit(link)
        if parts.scheme:
            continue
        target = (root / page).parent / parts.path if parts.path else root / page
        assert target.exists(), f"{page}: {link}"
        if parts.fragment and target.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.M)
            assert parts.fragment in {slug(each) for each in headings}, f"{page}: {link}"


def test_the_site_has_every_page_and_name(root: Path) -> None:
    navigation = (root / "zensical.toml").read_text()
    assert [page for page in PAGES[1:] if f'"{page.removeprefix("docs/")}"' not in navigation] == []
    reference = "".join(path.read_text() for path in root.glob("docs/reference/*.md"))
    named = set(re.findall(r"^::: s4_codec\.(\w+)$", reference, re.M))
    assert set(s4_codec.__all__) - {"__version__"} - named == set()


def test_the_site_builds_strictly_and_needs_nothing_from_elsewhere(root: Path) -> None:
    pytest.importorskip("zensical", reason="zensical is not installed: pip install '.[docs]'")
    pytest.importorskip("mkdocstrings", reason="mkdocstrings is not installed: '.[docs]'")
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    site = root / "target/site"
    pages = {path: Links(path) for path in site.rglob("*.html")}
    assert len(pages) > len(PAGES) - 1
    for path, page in pages.items():
        for link in [*page.links, *page.loaded]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                assert link in page.links, f"{path}: loads {link}"
                continue
            base, place = (site if parts.path.startswith("/") else path.parent), parts.path
            target = (base / unquote(place.lstrip("/"))).resolve() if place else path
            assert target.exists(), f"{path}: {link}"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].ids, f"{path}: {link}"
