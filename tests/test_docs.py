"""The documentation is true: what it names exists, what it shows runs, what is generated is up to date."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from docs import floors, generate
from PIL import Image
from typer.main import get_command
from typer.testing import CliRunner

import kedge
from kedge.algorithms import ALGORITHMS
from kedge.cli.app import app
from kedge.config import RunConfig, fields, load_config, preset

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.rglob("*.md")), *sorted(ROOT.glob("*.md"))]


def defined(path: Path) -> set[str]:
    """Every name in a file, dotted for what is inside a class: functions, classes, methods, constants."""

    def walk(body: list[ast.stmt], inside: str) -> set[str]:
        names = set()
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(inside + node.name)
                if isinstance(node, ast.ClassDef):
                    names |= walk(node.body, f"{inside}{node.name}.")
            elif isinstance(node, ast.Assign):
                names |= {inside + target.id for target in node.targets if isinstance(target, ast.Name)}
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                names.add(inside + node.target.id)
        return names

    return walk(ast.parse(path.read_text(encoding="utf-8")).body, "")


def missing(page: str, source: Path, tests: Path) -> list[str]:
    """``file.py:name`` below ``source`` and ``file.py::name`` below ``tests`` that the page names but are not there."""
    wrong = []
    for file, colons, name in re.findall(r"`((?!my)[\w/]+\.py)(::?)([\w.]+)`", page):  # my_….py is the reader's
        path = (tests if colons == "::" else source.parent if file.startswith("kedge_papers/") else source) / file
        if not path.is_file() or name not in defined(path):
            wrong.append(f"{file}{colons}{name}")
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_and_tests_that_a_page_names_exist(page):
    assert missing(page.read_text(encoding="utf-8"), ROOT / "src" / "kedge", ROOT / "tests") == []


def rows_without_tests(page: str) -> list[str]:
    """Rows of a page's tables whose last cell is neither tests by their full names nor says that there is none."""
    unheld = []
    for line in page.splitlines():
        cells = re.split(r"\s\|(?:\s|$)", line.removeprefix("| "))
        body = line.startswith("| ") and "case" not in cells[:2]
        if body and not re.fullmatch(r"`[\w/]+\.py::test_\w+`(, `[\w/]+\.py::test_\w+`)*|no test(: .+)?", cells[-2]):
            unheld.append(line)
    return unheld


def test_every_case_on_robustness_names_its_tests_in_full():
    page = (DOCS / "robustness.md").read_text(encoding="utf-8")
    assert rows_without_tests(page) == []
    assert page.count(" | no test") <= 3
    first = page.index("| FAULT-D1 | two runs in one folder")
    for cell in ("`unit/test_files.py`", "…::test_damaged_json_is_named", "–"):
        assert len(rows_without_tests(f"{page[:first]}| a case | before | now | {cell} |\n{page[first:]}")) == 1


def test_no_case_on_robustness_is_skipped():
    page = (DOCS / "robustness.md").read_text(encoding="utf-8")
    bugs = [1, 2, 3, 4, 6, 7, 9, *range(12, 21)]  # the others were right, or the same as upstream and named B
    cases = {"FAULT-D": range(1, 21), "BUG-F": bugs, "BUG-B": range(1, 6), "INTEROP-D": range(1, 14)}
    for kind, numbers in (cases | {"UX-F": range(1, 26)}).items():
        for number in numbers:
            assert re.search(rf"{kind}{number}\D", page), f"{kind}{number}"


def test_the_first_screen_is_a_low_picture_and_the_commands():
    first = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:16]
    width, height = Image.open(DOCS / "images" / "demo.png").size
    assert height < width / 3
    assert any(line.startswith("make demo") for line in first)


def test_the_page_on_expectations_has_all_of_them_and_names_tests_in_full():
    page = (DOCS / "expectations.md").read_text(encoding="utf-8")
    states = re.findall(r"^\| (\d+) \| .+ \| (done|partly|no|written) \| .+ \|$", page, re.MULTILINE)
    assert [int(number) for number, _ in states] == list(range(1, 35))
    assert "…" not in page
    assert not re.search(r"\.py`", page)


def test_the_page_on_the_papers_names_them():
    page = (DOCS / "paper.md").read_text(encoding="utf-8")
    assert len(re.findall(r"`[\w/]+\.py:[\w.]+`", page)) > 40
    assert len(re.findall(r"`[\w/]+\.py::\w+`", page)) > 50
    for name in ("ppo.py:PPO", "ppo.py:Ppo", "no_such.py:X", "ppo.py::PPO"):
        expected = [] if name == "ppo.py:PPO" else [f"algorithms/{name}"]
        assert missing(f"see `algorithms/{name}`", ROOT / "src" / "kedge", ROOT / "tests") == expected


@dataclass(frozen=True)
class Block:
    """A block of code on a page.

    Attributes:
        marked: it stands below ``<!-- run -->``.
        file: its first line is ``# file.py`` or ``# file.yaml``: it is that file.
    """

    language: str
    text: str
    marked: bool

    @property
    def file(self) -> str | None:
        match = re.match(r"# ([\w-]+\.(?:py|yaml))\n", self.text)
        return match[1] if match else None

    def commands(self) -> Iterator[list[str]]:
        """The lines that start with ``kedge``, as arguments."""
        if self.language == "sh":
            for line in re.sub(r"\\\n", " ", self.text).splitlines():
                words = shlex.split(line, comments=True)
                if words[:1] == ["kedge"]:
                    yield words[1 : words.index(">")] if ">" in words else words[1:]


def blocks(page: Path) -> list[Block]:
    parts = re.findall(r"(<!-- run -->\n)?```(\w+)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return [Block(language, text, bool(mark)) for mark, language, text in parts]


RUNNABLE = [page for page in PAGES if any(block.marked for block in blocks(page))]


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: page.name)
def test_marked_examples_run(page, tmp_path, monkeypatch, families_as_they_are):
    """In their order and in one folder, with the page's files; Python blocks share their names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before, names = set(sys.modules), {"__name__": page.stem}
    for block in blocks(page):
        if block.file:
            (tmp_path / block.file).write_text(block.text)
        elif block.marked and block.language == "python":
            exec(compile(block.text, str(page), "exec"), names)
        elif block.marked:
            for arguments in block.commands():
                result = CliRunner().invoke(app, arguments, catch_exceptions=False)
                assert result.exit_code == 0, result.output
    for module in set(sys.modules) - before:
        if (tmp_path / f"{module}.py").exists():
            del sys.modules[module]


def test_the_page_on_extending_is_one_of_them():
    assert "extending.md" in [page.name for page in RUNNABLE]


def commands() -> list[tuple[str, list[str]]]:
    return [(page.name, arguments) for page in PAGES for block in blocks(page) for arguments in block.commands()]


def test_commands_on_the_pages_are_real():
    """Each names a command, options and recipes that there are, and keys that can be set."""
    assert len(commands()) > 30
    for page, arguments in commands():
        try:
            check_command(arguments)
        except Exception as error:
            pytest.fail(f"{page}: kedge {' '.join(arguments)}: {error}")


def check_command(arguments: list[str]) -> None:
    command, rest = get_command(app), list(arguments)
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        command = command.commands[rest.pop(0)]
    parameters = command.make_context(arguments[0], rest).params
    recipe = parameters.get("recipe") or parameters.get("preset")
    if recipe and "/" not in recipe and not recipe.endswith(".yaml"):
        own = [text for text in parameters.get("overrides") or [] if not re.search(r"\$|:\w", text)]
        load_config(preset(recipe).path, own)


def test_a_wrong_command_is_noticed():
    for wrong in ("trian x", "train emoji-rcom", "train emoji-rocm lr=1", "train emoji-rocm --outt x", "sample x"):
        with pytest.raises((Exception, SystemExit)):
            check_command(wrong.split())
    check_command(["train", "emoji-rocm", "optimizer.lr=1e-4"])


def keys() -> set[str]:
    """Every dotted key of a recipe, those of all algorithms included."""
    known = {f"algorithm.{field.name}" for name in ALGORITHMS for field in fields.config_fields(ALGORITHMS.get(name))}
    pending: list[tuple[str, type]] = [("", RunConfig)]
    while pending:
        prefix, cls = pending.pop()
        for field in fields.config_fields(cls):
            known.add(f"{prefix}{field.name}")
            inner = fields.block(cls, field.name)
            if inner is not None:
                pending.append((f"{prefix}{field.name}.", inner))
    return known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_keys_that_a_page_names_exist(page):
    parts = "algorithm|model|backprop|memory|speed|prompts|optimizer|training|watch|checkpoint"
    named = re.findall(rf"`((?:{parts})\.[a-z_.]+)(?:[:= ][^`]*)?`", page.read_text(encoding="utf-8"))
    assert {name for name in named if not name.endswith((".txt", ".safetensors", ".xz"))} <= keys()


def test_the_overview_leads_to_every_algorithm():
    """That the pages are there is checked with all links."""
    overview = (ROOT / "docs" / "algorithms" / "README.md").read_text(encoding="utf-8")
    links = " ".join(re.findall(r"\[[^]]*\]\(\w+\.md\)", overview))  # several may share a page
    assert [name for name in ALGORITHMS if f"`{name}`" not in links and f"({name}.md)" not in links] == []


def test_python_on_the_pages_imports_what_there_is():
    for page in PAGES:
        for block in blocks(page):
            for node in ast.walk(ast.parse(block.text)) if block.language == "python" else ():
                if isinstance(node, ast.ImportFrom) and str(node.module).startswith("kedge"):
                    module = importlib.import_module(str(node.module))
                    absent = [name.name for name in node.names if not hasattr(module, name.name)]
                    assert not absent, f"{page.name}: {node.module} has no {absent}"
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "kedge":
                    assert hasattr(kedge, node.attr), f"{page.name}: kedge has no {node.attr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_pages_and_headings(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        assert place.exists(), f"{page.name} links to {target}"
        if anchor and not anchor.startswith("kedge."):  # the reference's own, which the site's strict build checks
            assert anchor in anchors(place), f"{page.name} links to {target}"


def anchors(page: Path) -> set[str]:
    """The headings of a page as links name them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_reference_lists_what_import_kedge_offers():
    listed = re.findall(r"^\| \[`(\w+)`\]", (DOCS / "api" / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(set(kedge.__all__) - {"__version__"})


PLACES = (ROOT, ROOT / "src" / "kedge")


@pytest.mark.parametrize("page", [ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_files_that_a_page_on_the_code_names_exist(page):
    """Below the repository or the package; ``my_…`` is the reader's."""
    text = page.read_text(encoding="utf-8")
    names = re.findall(r"`((?:[\w.-]+/)+[\w.-]*|[\w-]+\.(?:py|md|toml|txt|yml|cff))`", text)
    tree = re.search(r"## The tree\n+```\n(.*?)```", text, re.DOTALL)
    if tree:
        names += re.findall(r"(?:^|(?<=  ))([\w.-]+(?:/[\w.-]*)+|\w+\.\w+|Makefile)(?=  |$)", tree[1], re.MULTILINE)
    assert len(names) > 10
    absent = [name for name in names if not re.search(r"\bmy[_-]", name) and not exists(name)]
    assert not absent, f"{page.name} names {absent}"


def exists(name: str) -> bool:
    return any((place / name).exists() for place in PLACES)


def test_a_parts_floor_is_above_what_it_imports():
    """The picture of the house is a function of the law alone: another law, another picture."""
    law = {"tool": [], "gaussian": [], "a": ["gaussian", "tool"], "b": ["a", "gaussian"], "c": ["a", "b", "gaussian"]}
    house = floors.House(law)
    assert house.ground == ["tool"]
    assert house.floors == [["c"], ["b"], ["a"], ["gaussian"]]
    assert [house.arrows(part) for part in "abc"] == [["gaussian"], ["a"], ["b"]]
    drawn = floors.picture(house)
    assert drawn.count("<path d=") == 1 + 3  # an arrow's head, and the arrows
    assert all(f">{part}</text>" in drawn for part in ("a", "b", "c", "gaussian"))
    assert floors.picture(floors.House({**law, "c": ["a", "gaussian"]})) != drawn


def test_the_picture_has_every_part():
    text = (DOCS / "images" / "floors.svg").read_text(encoding="utf-8")
    house = floors.house()
    for part in [part for floor in house.floors for part in floor]:
        assert f">{part}</text>" in text
        assert floors.purpose(part), f"{part} does not say what it is for"


def test_nobody_is_told_to_install_a_strangers_package():
    """The index has another ``kedge``: ours is the checkout, or ``kedge-rl``."""
    sources = [*PAGES, ROOT / "constraints.txt", *(ROOT / "src").rglob("*.py")]
    for path in sources:
        wrong = re.findall(r"pip install .*\bkedge(?!-rl)\b.*", path.read_text(encoding="utf-8"))
        assert not wrong, f"{path}: {wrong}"


def test_generated_pages_are_up_to_date():
    for file, text in generate.written().items():
        assert file.read_text(encoding="utf-8") == text, f"{file.name} is not what the package says: run make docs"
