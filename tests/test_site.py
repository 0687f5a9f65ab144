"""The documentation site: it builds strictly and offline, holds every page, and fetches nothing when it is read."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("mkdocs", reason="needs the extra docs")
pytest.importorskip("material", reason="needs the extra docs")

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "mkdocs.yml"


def build(config: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--config-file", str(config), "--site-dir", str(site)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(CONFIG, folder)
    assert done.returncode == 0, done.stderr
    return folder


def pages_of(navigation: Any) -> list[str]:
    """Every page that a navigation names."""
    if isinstance(navigation, str):
        return [navigation]
    inner = navigation.values() if isinstance(navigation, dict) else navigation
    return [page for item in inner for page in pages_of(item)]


def test_the_navigation_names_every_page():
    pages = pages_of(yaml.safe_load(re.sub(r"!!python\S+", "", CONFIG.read_text(encoding="utf-8")))["nav"])
    assert len(pages) == len(set(pages))
    docs = ROOT / "docs"
    there = {str(path.relative_to(docs)) for path in docs.rglob("*.md")}
    assert there <= set(pages), f"name these in mkdocs.yml: {sorted(there - set(pages))}"


def test_no_module_is_described_twice():
    pages = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "api").glob("*.md"))
    modules = re.findall(r"^::: (\S+)$", pages, re.MULTILINE)
    assert len(modules) > 30
    assert len(modules) == len(set(modules))


def test_every_page_is_built(site):
    docs = ROOT / "docs"
    for path in docs.rglob("*.md"):
        built = site / path.relative_to(docs).with_suffix(".html")
        built = built.with_name("index.html") if path.name == "README.md" else built
        assert built.is_file(), path


class Resources(HTMLParser):
    """What a browser fetches by itself for a page, and where its links lead."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.anchors |= {values[key] or "" for key in ("id", "name") if key in values}
        if tag == "a":
            self.links.append(values.get("href") or "")
        elif tag in ("script", "img", "iframe", "source"):
            self.fetched.append(values.get("src") or "")
        elif tag == "link" and "canonical" not in (values.get("rel") or ""):
            self.fetched.append(values.get("href") or "")


@pytest.fixture(scope="module")
def read(site) -> dict[Path, Resources]:
    pages = {}
    for path in site.rglob("*.html"):
        pages[path.resolve()] = Resources()
        pages[path.resolve()].feed(path.read_text(encoding="utf-8"))
    return pages


def test_a_reader_without_network_has_everything(site, read):
    for path, page in read.items():
        for target in filter(None, page.fetched):
            assert "//" not in target, f"{path.name} fetches {target}"
            if path.name != "404.html":  # that one counts from the server's root
                assert (path.parent / target.partition("?")[0]).exists(), f"{path.name} lacks {target}"


def test_no_link_is_broken(site, read):
    count = 0
    for path, page in read.items():
        for target in page.links:
            if "://" in target or target.startswith("mailto:") or path.name == "404.html":
                continue
            place, _, anchor = target.partition("#")
            goal = (path.parent / place).resolve() if place else path
            goal = goal / "index.html" if goal.is_dir() else goal
            assert goal.exists(), f"{path.relative_to(site)} links to {target}"
            if anchor and goal in read:
                assert anchor in read[goal].anchors, f"{path.relative_to(site)} links to {target}"
            count += 1
    assert count > 2000


def test_the_reference_describes_what_a_user_extends(site):
    inventory = "".join(path.read_text(encoding="utf-8") for path in (site / "api").glob("*.html"))
    for name in (
        "kedge.policies.base.Policy.transition",
        "kedge.policies.base.rollout",
        "kedge.rewards.base.Reward",
        "kedge.rewards.load_reward",
        "kedge.algorithms.base.Algorithm.updates",
        "kedge.algorithms.rocm.ROCM",
        "kedge.divergences.FDivergence",
        "kedge.config.schema.RunConfig",
        "kedge.training.callbacks.Callback",
    ):
        assert f'id="{name}"' in inventory
    assert ":class:" not in inventory
    assert re.search(
        r'<a [^>]*href="#kedge\.policies\.base\.PairedPolicy"[^>]*><code>PairedPolicy</code></a>', inventory
    )


def test_the_search_knows_the_pages_and_the_reference(site):
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))["docs"]
    places = {entry["location"] for entry in index}
    assert {"tutorial.html", "algorithms/rocm.html", "api/divergences.html#kedge.divergences.Hellinger"} <= places
    assert (site / "search" / "search_index.js").is_file()  # the same for pages that are opened from disk


GOOD = "# Page\n\n## Part\n\n[there](index.md#part)\n"


@pytest.mark.parametrize(
    ("page", "complaint"),
    [
        (GOOD, None),
        ("[x](nowhere.md)", "nowhere.md"),
        ("[x](index.md#nowhere)", "#nowhere"),
        ("![x](nowhere.png)", "nowhere.png"),
        ("[x](folder)", "unrecognized relative link"),
        ("[x][kedge.nowhere]", "kedge.nowhere"),
        ("::: kedge.nowhere", "kedge.nowhere"),
    ],
)
def test_a_fault_stops_the_build(tmp_path, page, complaint):
    done = build(small(tmp_path, {"index.md": page}), tmp_path / "site")
    assert (done.returncode == 0) == (complaint is None), done.stderr
    assert complaint is None or complaint in done.stderr


def test_a_forgotten_page_stops_the_build(tmp_path):
    done = build(small(tmp_path, {"index.md": GOOD, "forgotten.md": GOOD}), tmp_path / "site")
    assert done.returncode != 0
    assert "forgotten.md" in done.stderr


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('"""See :class:`Nowhere`."""', "names Nowhere"),
        ('def f(a: int) -> None:\n    """F.\n\n    Args:\n        b: no such.\n    """', "'b' does not appear"),
        ('def f(a: int, b: int) -> None:\n    """F.\n\n    Args:\n        a, b: two.\n    """', None),
    ],
)
def test_a_wrong_docstring_stops_the_build(tmp_path, text, complaint):
    (tmp_path / "toy.py").write_text(text)
    done = build(small(tmp_path, {"index.md": "# Toy\n\n::: toy\n"}, sources=tmp_path), tmp_path / "site")
    assert (done.returncode == 0) == (complaint is None), done.stderr
    assert complaint is None or complaint in done.stderr


def small(folder: Path, pages: dict[str, str], sources: Path | None = None) -> Path:
    """The site's own configuration with these pages in place of its own."""
    (folder / "docs").mkdir()
    for name, text in pages.items():
        (folder / "docs" / name).write_text(text)
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    config |= {"docs_dir": str(folder / "docs"), "nav": ["index.md"], "hooks": [], "extra": {}, "extra_css": []}
    for plugin in config["plugins"]:
        if isinstance(plugin, dict) and "mkdocstrings" in plugin:
            handler = plugin["mkdocstrings"]["handlers"]["python"]
            handler["paths"] = [str(sources or ROOT / "src")]
            handler["options"]["extensions"] = [str(ROOT / "docs" / "docstrings.py")]
    (folder / "mkdocs.yml").write_text(yaml.safe_dump(config))
    return folder / "mkdocs.yml"
