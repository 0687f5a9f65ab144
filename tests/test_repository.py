"""The files around the package agree with it and with each other: changelog, citation, hooks, workflow, sizes."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import tomllib
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from kedge import __version__

ROOT = Path(__file__).parents[1]
LARGEST, MOST = 500_000, 60_000_000  # bytes of a file, of all tracked files
# Bundled models, a world in the making, recorded runs.
LARGE = ("src/kedge/worlds/emoji/assets/", "docs/results/records/", "docs/results/again/records/")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def project() -> dict[str, Any]:
    data: dict[str, Any] = tomllib.loads(read("pyproject.toml"))
    return data["project"]


def test_the_changelog_knows_the_version():
    """A release has a dated heading; what is developed (``.dev``) is collected under Unreleased."""
    headings = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", read("CHANGELOG.md"), re.MULTILINE)
    assert headings[0] == ("Unreleased", "")
    assert all(date for _, date in headings[1:]), headings
    released = [version for version, _ in headings[1:]]
    assert (__version__ in released) != (".dev" in __version__)


def test_the_citation_names_the_last_release_and_both_papers():
    citation = yaml.safe_load(read("CITATION.cff"))
    release = re.search(r"^## \[([\d.]+)\] - (.+)$", read("CHANGELOG.md"), re.MULTILINE)
    assert release
    assert (citation["version"], citation["date-released"]) == release.groups()
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    papers = {reference["url"] for reference in citation["references"]}
    assert papers == {url for name, url in project()["urls"].items() if "paper" in name}


def test_extras_are_explained():
    rows = re.findall(r"^\| `(\w+)` \|", read("docs/install.md"), re.MULTILINE)
    assert set(rows) == set(project()["optional-dependencies"])


def test_every_dependency_is_pinned():
    pins = [line for line in read("constraints.txt").splitlines() if not line.startswith("#")]
    extras = project()["optional-dependencies"].values()
    wanted = {name_of(text) for text in chain(project()["dependencies"], *extras)}
    absent = wanted - {name_of(text) for text in pins} - {project()["name"]}
    assert not absent, f"constraints.txt has no version of {sorted(absent)}"


def name_of(requirement: str) -> str:
    return canonicalize_name(Requirement(requirement).name)


def test_the_workflow_and_the_hooks_run_what_make_runs():
    assert "run: .ci/run" in read(".github/workflows/ci.yml")
    assert "exec make test" in read(".ci/run")
    hooks = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    assert [repository["repo"] for repository in hooks] == ["local"], "hooks must not fetch anything"
    entries = [hook["entry"].replace(".venv/bin/", "").split() for hook in hooks[0]["hooks"]]
    lint = read("Makefile")
    for command in (entry[0] for entry in entries if entry[0] != "sh"):
        assert f"$(BIN)/{command}" in lint


@pytest.mark.parametrize("path", sorted((ROOT / "bench").glob("*.py")), ids=lambda path: path.stem)
def test_a_bench_imports_what_there_is(path):
    """Benches are not run by the tests: what they take from the package must be there all the same."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("kedge"):
            module = importlib.import_module(str(node.module))
            for name in node.names:
                known = hasattr(module, name.name) or importlib.util.find_spec(f"{node.module}.{name.name}")
                assert known, f"{path.name}, line {node.lineno}: {node.module} has no {name.name}"


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name]


def test_a_checkout_stays_small():
    """Bundled models, records and pictures together; what grows here is cloned by everybody."""
    assert sum(path.lstat().st_size for path in tracked() if path.is_file()) < MOST  # a link is no copy


def test_no_large_files():
    """As the hook for pre-commit says, for those who have none."""
    for path in tracked():
        name = str(path.relative_to(ROOT))
        if path.is_file() and not name.startswith(LARGE):
            assert path.stat().st_size <= LARGEST, name
    hook = read(".pre-commit-config.yaml")
    assert f"-size +{LARGEST}c" in hook
    assert f"^({'|'.join(LARGE)})" in hook
