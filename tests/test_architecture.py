"""The house rules, read from the source: who may import whom, what stays light, how long, how well described.

``python tests/test_architecture.py`` prints the longest files and functions.
"""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
from docs.counts import circles, source_files

from kedge.policies.families import FAMILIES

SOURCE = Path(__file__).parents[1] / "src"

FILE_LINES = 300
FUNCTION_LINES = 70
POSITIONAL = 109  # calls with more than four arguments by their place
DENSE = 0  # statements with two comprehensions, or a choice inside one
COMPREHENSIONS = 20  # in 1,000 lines that are neither empty nor comments
# Words for files, classes and functions that only we would know → the field's.
PRIVATE = {
    "economy": "memory settings",
    "kinds": "families",
    "blueprint": "skeletons",
    "rehearsal": "a step on the meta device",
    "counting": "operations",
    "spending": "meter",
    "ledger": "partial scores",
    "student": "t distribution",
    "usage": "snippet, usage errors",
    "alongside": "reference steps",
    "nowhere": "no reference",
}
SIZES = ("reshape", "permute", "zeros")
VAGUE = {"found", "told", "made", "here", "asked", "given", "kept", "some", "mine"}

# Small tools that import nothing of kedge: whoever imports anything of it may use them.
TOOLS = ("units", "files", "lru", "pixels", "user_code", "vocabulary")

# Package or module below kedge → those that it may import. Nobody imports cli; rewards and policies do not know each
# other; evaluation, study and export know no training.
MAY_IMPORT = {
    part: [*allowed.split(), *TOOLS] if allowed else []
    for part, allowed in {
        "gaussian": "",
        "ranges": "",
        "registry": "user_code",
        "quiet": "",
        "lazy_import": "",
        "no_grad": "",
        **dict.fromkeys(TOOLS, ""),
        "waiting": "units",
        "devices": "",
        "hashing": "files",
        "models": "registry",
        "divergences": "gaussian registry",
        "divergence_strength": "gaussian divergences",
        "policies": "gaussian ranges registry models quiet hashing",
        "rewards": "registry quiet hashing",
        "algorithms": "gaussian registry no_grad divergences divergence_strength policies rewards",
        "worlds": "registry models rewards",
        "prompts": "registry worlds config evaluation",
        "evaluation": "registry quiet policies rewards",
        "config": "ranges registry models policies rewards algorithms",
        "export": "quiet policies config models",
        "random_models": "registry quiet policies",
        "runs": "registry policies rewards config",
        "study": "registry quiet policies rewards algorithms worlds evaluation",
        "training": "registry quiet devices hashing models policies rewards algorithms config prompts evaluation"
        " export runs",
        "planning": "registry quiet devices models random_models policies rewards algorithms config prompts",
        "live": "registry config evaluation runs study",
        "workflows": "registry lazy_import waiting live devices hashing models policies rewards algorithms worlds"
        " config prompts evaluation study export runs training planning",
        "cli": "registry lazy_import prompts config policies evaluation study random_models workflows",
        "__main__": "cli",
        "papers": "registry hashing models divergences policies rewards algorithms worlds config prompts evaluation"
        " study runs training planning workflows cli",
    }.items()
}

# Where a package may use a part of another only.
ONLY = {
    # The world's models are in the published formats; its build measures them as any reward.
    ("worlds", "rewards"): (
        *("kedge.rewards", "kedge.rewards.aesthetic", "kedge.rewards.blip", "kedge.rewards.image_reward"),
        *("kedge.rewards.openclip", "kedge.rewards.patches", "kedge.rewards.preprocess", "kedge.rewards.vqa"),
        "kedge.rewards.weights",
    ),
    ("study", "algorithms"): ("kedge.algorithms.votes",),  # the format of recorded votes, and the noise they stand for
    ("prompts", "evaluation"): ("kedge.evaluation.run_log",),  # what a set of them is called
    ("prompts", "worlds"): ("kedge.worlds.emoji.captions",),  # its captions are a named set
    ("cli", "evaluation"): ("kedge.evaluation.rendering", "kedge.evaluation.tables"),  # a command parses and prints
    ("cli", "study"): ("kedge.study",),
    ("cli", "policies"): ("kedge.policies.families.words",),  # for the help texts
}

HEAVY = ("torch", "diffusers", "transformers", "peft", "accelerate", "matplotlib")
# What must answer at once: the command, and everything that reads or describes a recipe.
LIGHT = (
    *("kedge", "kedge.cli", "kedge.config", "kedge.prompts", "kedge.registry", "kedge.models", "kedge.export.card"),
    *("kedge.policies", "kedge.algorithms", "kedge.rewards", "kedge.evaluation", "kedge.training", "kedge.worlds"),
    *("kedge.policies.families.words", "kedge.policies.settings"),
    "kedge.random_models",
    *("kedge.rewards.catalogue", "kedge.rewards.description", "kedge.rewards.expression", "kedge.rewards.sources"),
    *("kedge.rewards.spec", "kedge.rewards.user", "kedge.evaluation.statistics", "kedge.runs.folder"),
)
LIGHT_THROUGHOUT = ("kedge.cli", "kedge.config", "kedge.prompts")


@dataclass(frozen=True)
class Module:
    """One file of the package."""

    name: str
    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def part(self) -> str:
        """The package or module directly below kedge that it belongs to; ``papers`` for the whole of kedge_papers."""
        return part_of(self.name)

    def imports(self) -> Iterator[tuple[str, int]]:
        """Everything that is imported anywhere in the file, as full names, with its line."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((name.name, node.lineno) for name in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.path}:{node.lineno}: imports are written in full, not relative"
                yield from ((f"{node.module}.{name.name}", node.lineno) for name in node.names)

    @property
    def lines(self) -> int:
        return len(self.text.splitlines())

    @property
    def code_lines(self) -> int:
        """Lines that are neither empty nor comments."""
        return sum(1 for line in self.text.splitlines() if line.strip() and not line.strip().startswith("#"))

    @property
    def comprehensions(self) -> int:
        kinds = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
        return sum(isinstance(node, kinds) for node in ast.walk(self.tree))

    @property
    def dense(self) -> Iterator[int]:
        """Lines of statements with more than one comprehension, and of comprehensions with a choice inside."""
        kinds = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
        for statement in ast.walk(self.tree):
            if not isinstance(statement, ast.stmt):
                continue
            inside = [node for node in expressions(statement) if isinstance(node, kinds)]
            choices = [node for each in inside for node in ast.walk(element(each)) if isinstance(node, ast.IfExp)]
            if len(inside) > 1 or choices:
                yield statement.lineno

    @property
    def long_calls(self) -> list[int]:
        """Lines of calls with more than four arguments by place; not those of a tensor's sizes, nor unpacked ones."""
        lines = []
        for node in ast.walk(self.tree):
            if not isinstance(node, ast.Call) or len(node.args) <= 4:
                continue
            unpacks = any(isinstance(argument, ast.Starred) for argument in node.args)
            if not unpacks and ast.unparse(node.func).rpartition(".")[2] not in SIZES:
                lines.append(node.lineno)
        return lines

    def variables(self) -> Iterator[tuple[str, int]]:
        """Every name that is assigned or is a parameter, with its line."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id, node.lineno
            elif isinstance(node, ast.arg):
                yield node.arg, node.lineno

    def functions(self) -> Iterator[tuple[str, int]]:
        """Every function with its length, docstring included."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def expressions(statement: ast.stmt) -> Iterator[ast.AST]:
    """What a statement is made of, without the statements inside it."""
    waiting = list(ast.iter_child_nodes(statement))
    while waiting:
        node = waiting.pop()
        if not isinstance(node, ast.stmt):
            yield node
            waiting += ast.iter_child_nodes(node)


def element(comprehension: ast.AST) -> ast.AST:
    """What a comprehension makes for each item; of a mapping, the pair."""
    if isinstance(comprehension, ast.DictComp):
        return ast.Tuple([comprehension.key, comprehension.value])
    return comprehension.elt  # type: ignore[attr-defined]


def modules() -> list[Module]:
    parts_of_kedge = []
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        parts_of_kedge.append(Module(".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return parts_of_kedge


MODULES = modules()
NAMES = {module.name for module in MODULES}


def part_of(module: str) -> str:
    """``kedge.policies.base`` → ``policies``; anything of the papers' own package → ``papers``."""
    package, _, rest = module.partition(".")
    return "papers" if package == "kedge_papers" else rest.partition(".")[0]


def owner(imported: str) -> str:
    """The module that ``kedge.policies.base.Policy`` is imported from: ``kedge.policies.base``."""
    while imported not in NAMES:
        imported = imported.rpartition(".")[0]
    return imported


def violations(module: Module) -> Iterator[str]:
    """Its imports that go against :data:`MAY_IMPORT` or :data:`ONLY`."""
    for imported, line in module.imports():
        if not imported.startswith(("kedge.", "kedge_papers")) or not module.part:
            continue
        source = owner(imported)
        part = part_of(source)  # "" is kedge itself: its version
        if part in ("", module.part):
            continue
        where = f"{module.name}, line {line}, imports {source}"
        if part not in MAY_IMPORT[module.part]:
            yield f"{where}: {module.part} may import {', '.join(MAY_IMPORT[module.part]) or 'nothing of kedge'}"
        elif source not in ONLY.get((module.part, part), (source,)):
            yield f"{where}: {module.part} may use {', '.join(ONLY[module.part, part])} only"


def test_dependencies_run_one_way():
    assert not (texts := [text for module in MODULES for text in violations(module)]), "\n".join(texts)


@pytest.mark.parametrize(
    ("name", "line", "complaint"),
    [
        (
            "kedge.evaluation.x",
            "from kedge.training.trainer import Trainer",
            "evaluation may import registry, quiet, policies, rewards",
        ),
        ("kedge.rewards.x", "import kedge.policies.base", "rewards may import registry"),
        ("kedge.policies.x", "from kedge import rewards", "policies may import gaussian, ranges, registry"),
        ("kedge.gaussian", "def f():\n    from kedge.cli import app", "gaussian may import nothing of kedge"),
        ("kedge.study.x", "from kedge.algorithms.ppo import PPO", "study may use kedge.algorithms.votes only"),
        ("kedge.cli.x", "from kedge.workflows.train import train", None),
        ("kedge.cli.x", "from kedge.training.run import train", "cli may import registry, lazy_import"),
    ],
)
def test_a_wrong_import_is_noticed(tmp_path, name, line, complaint):
    (tmp_path / "x.py").write_text(line)
    texts = list(violations(Module(name, tmp_path / "x.py")))
    assert texts == [] if complaint is None else len(texts) == 1 and complaint in texts[0]


def test_every_part_has_its_place():
    parts = {module.part for module in MODULES} - {""}
    assert parts <= set(MAY_IMPORT), f"say in MAY_IMPORT what these may import: {sorted(parts - set(MAY_IMPORT))}"


def test_the_order_has_no_circle():
    order: list[str] = []
    while len(order) < len(MAY_IMPORT):
        free = [part for part in MAY_IMPORT if part not in order and set(MAY_IMPORT[part]) <= set(order)]
        assert free, f"a circle among {sorted(set(MAY_IMPORT) - set(order))}"
        order += free
    assert order.index("rewards") < order.index("algorithms") < order.index("training") < order.index("cli")


def test_no_module_imports_itself_through_others():
    """Not for types either: where two files need each other, a third idea is hidden in them."""
    assert circles(source_files(SOURCE.parent)) == []


def test_a_circle_of_modules_is_noticed(tmp_path):
    folder = tmp_path / "src" / "kedge"
    folder.mkdir(parents=True)
    for name, text in {"__init__": "", "a": "from kedge.b import x", "b": "import kedge.c", "c": "", "d": ""}.items():
        (folder / f"{name}.py").write_text(text)
    assert circles(source_files(tmp_path)) == []
    (folder / "c.py").write_text("def later():\n    from kedge.a import y")
    assert circles(source_files(tmp_path)) == [["kedge.a", "kedge.b", "kedge.c"]]


def test_every_module_imports():
    for name in sorted(NAMES - {"kedge.__main__"}):  # that one runs the command
        importlib.import_module(name)


def test_paths_in_strings_lead_somewhere():
    """Registries name their entries as ``kedge.module:Object``, which no type checker follows."""
    texts = {
        (node.value, module.path)
        for module in MODULES
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    matches = [
        (match, path) for text, path in texts if (match := re.fullmatch(r"(kedge(?:_papers)?(?:\.\w+)+):(\w+)", text))
    ]
    assert len(matches) > 20
    for match, path in matches:
        assert hasattr(importlib.import_module(match[1]), match[2]), f"{path}: {match[0]} leads nowhere"


# Where a family of models may be named: its own room; and the emoji world, whose files and stages have such names.
FAMILY_ROOMS = ("kedge.policies.families", "kedge.worlds")


def families_named(module: Module) -> list[str]:
    """Every family's name in its strings, help texts included; a paper's prose may use the words, but not its code."""
    names = "|".join(sorted({name for family in FAMILIES.values() for name in (family.name, *family.aliases)}))
    prose = module.part == "papers"
    pattern = re.compile(f"^({names})$" if prose else rf"(?<![\w./@-])({names})(?![\w/-])")
    unread = set() if module.part in ("cli", "config") else docstrings(module.tree)
    places = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in unread:
            places += [f"{module.name}, line {node.lineno}: {match[1]!r}" for match in pattern.finditer(node.value)]
    return places


def docstrings(tree: ast.Module) -> set[ast.AST]:
    """The nodes that hold documentation."""
    nodes: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            first = node.body[0]
            assert isinstance(first, ast.Expr)
            nodes.add(first.value)
    return nodes


def test_families_are_named_in_their_own_room_only():
    elsewhere = [module for module in MODULES if not module.name.startswith(FAMILY_ROOMS)]
    places = [text for module in elsewhere for text in families_named(module)]
    assert not places, "read the record of kedge.policies.families.catalogue instead:\n" + "\n".join(places)


@pytest.mark.parametrize(
    ("name", "text", "named"),
    [
        ("kedge.planning.x", 'if kind == "lcm": pass', 1),
        ("kedge.cli.x", 'help = "turbo or sana-sprint"', 2),
        ("kedge.cli.x", 'def f():\n    """Draw with a turbo model."""', 1),
        ("kedge.policies.x", 'def f():\n    """Not for diffusion."""', 0),
        ("kedge.policies.x", 'path = "latent-consistency/lcm-sdxl", "emoji-lcm", "lcm_lora"', 0),
        ("kedge_papers.x", 'KINDS = {"lcm": "consistency"}', 1),
        ("kedge_papers.x", 'claim = "faster than diffusion models"', 0),
    ],
)
def test_a_family_that_is_named_elsewhere_is_noticed(tmp_path, name, text, named):
    (tmp_path / "x.py").write_text(text)
    assert len(families_named(Module(name, tmp_path / "x.py"))) == named


def test_light_modules_stay_light():
    inside = [name for name in NAMES if name.startswith(tuple(f"{package}." for package in LIGHT_THROUGHOUT))]
    script = (
        "import importlib, sys\n"
        f"for name in {sorted({*LIGHT, *inside})!r}:\n"
        "    importlib.import_module(name)\n"
        f"    heavy = [found for found in {HEAVY!r} if found in sys.modules]\n"
        "    assert not heavy, f'importing {name} imports {heavy}'\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_files_and_functions_are_short():
    files = [module.name for module in MODULES if module.lines > FILE_LINES]
    assert not files, f"longer than {FILE_LINES} lines, so more than one idea: {files}"
    longest = [
        f"{module.name}:{name}" for module in MODULES for name, lines in module.functions() if lines > FUNCTION_LINES
    ]
    assert not longest, f"longer than {FUNCTION_LINES} lines: {longest}"


def test_everything_public_is_described():
    silent = [module.name for module in MODULES if module.tree.body and not ast.get_docstring(module.tree)]
    assert not silent, f"modules that do not say what they are for: {silent}"
    bare = [f"{module.name}:{name}" for module in MODULES for name in undescribed(module.tree.body, set())]
    assert not bare, f"no docstring: {bare}"


def undescribed(body: list[ast.stmt], described: set[str], path: str = "") -> Iterator[str]:
    """Public names without a docstring.

    A method needs none where an earlier class in the file describes one of the same name (it carries out what is
    described there), nor does torch's ``forward``, which its class describes.
    """
    for node in body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        if ast.get_docstring(node):
            described.add(node.name)
        elif not (path and node.name in {*described, "forward"}):
            yield f"{path}{node.name} (line {node.lineno})"
        if isinstance(node, ast.ClassDef):
            yield from undescribed(node.body, described, f"{path}{node.name}.")


def test_comprehensions_stay_few():
    """Dense expressions buy short functions with slow reading. A ratchet: it is turned down, never up."""
    counts = sorted(((module.comprehensions, module.name) for module in MODULES), reverse=True)
    total, code = sum(count for count, _ in counts), sum(module.code_lines for module in MODULES)
    worst = ", ".join(f"{name} ({count})" for count, name in counts[:10])
    assert total <= COMPREHENSIONS * code / 1000, (
        f"{1000 * total / code:.1f} comprehensions in 1,000 lines, more than {COMPREHENSIONS}: unfold some into loops "
        f"or named functions. Most are in {worst}"
    )


def test_a_comprehension_stands_alone_and_chooses_nothing():
    """Two in one statement, or a choice inside one, have to be read twice: a loop is not."""
    places = [f"{module.name}:{line}" for module in MODULES for line in module.dense]
    assert len(places) <= DENSE, f"{len(places)} statements, more than {DENSE}, are better loops; all: {places}"


@pytest.mark.parametrize(
    ("text", "dense"),
    [
        ("x = [f(a) for a in b]", 0),
        ("x = [a for a in b if a]", 0),
        ("x = [a if a else 0 for a in b]", 1),
        ("x = {a: 1 if a else 0 for a in b}", 1),
        ("x = [[a for a in b] for b in c]", 1),
        ("x = sum(a for a in b), sum(a for a in c)", 1),
        ("def f():\n    x = [a for a in b]\n    return [a for a in x]", 0),
    ],
)
def test_a_dense_statement_is_noticed(tmp_path, text, dense):
    (tmp_path / "x.py").write_text(text)
    assert len(list(Module("kedge.x", tmp_path / "x.py").dense)) == dense


def test_more_than_four_arguments_have_their_names():
    """A ratchet as well: where five stand in a row, two are exchanged sooner or later."""
    places = [f"{module.name}:{line}" for module in MODULES for line in module.long_calls]
    assert len(places) <= POSITIONAL, f"{len(places)} calls, more than {POSITIONAL}, need keywords; all: {places}"


def test_variables_are_nouns():
    """``weights``, ``overrides``, ``path`` say what a thing is; ``found``, ``told``, ``here`` do not."""
    root = SOURCE.parent
    others = [
        path for folder in ("tests", "bench", "docs", "examples") for path in sorted(root.glob(f"{folder}/**/*.py"))
    ]
    places = []
    for module in [*MODULES, *(Module(str(path.relative_to(root)), path) for path in others)]:
        places += [f"{module.name}:{line} {name}" for name, line in module.variables() if name in VAGUE]
    assert not places, f"vague names: {places}"


def test_names_are_the_fields_words():
    places = []
    for module in MODULES:
        names = [module.path.stem, module.path.parent.name, *(name for name, _ in module.functions())]
        names += [node.name for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)]
        for name in names:
            if name.lower() in PRIVATE:
                places.append(f"{module.name}: {name}, better {PRIVATE[name.lower()]}")
    assert not places, "\n".join(places)


def test_tests_share_code_through_their_helpers_only():
    tests = SOURCE.parent / "tests"
    strays = [path.name for path in tests.glob("*.py") if not path.name.startswith(("test_", "conftest"))]
    assert not strays, f"put them into tests/helpers and import them from there: {strays}"
    for path in sorted(tests.rglob("*.py")):
        for name, line in Module(path.stem, path).imports():
            assert not re.match(r"(test_|tests\.|conftest)", name), f"{path}:{line} imports the test file {name}"


def report() -> str:
    """The longest files and functions, and the medians."""
    files = sorted(((module.lines, module.name) for module in MODULES), reverse=True)
    defined = sorted(((lines, f"{m.name}:{name}") for m in MODULES for name, lines in m.functions()), reverse=True)
    lines = []
    for title, sizes in (("files", files), ("functions", defined)):
        lines.append(f"{len(sizes)} {title}, median {sizes[len(sizes) // 2][0]} lines; the longest:")
        lines += [f"  {count:4d}  {name}" for count, name in sizes[:10]]
    return "\n".join(lines)


if __name__ == "__main__":
    print(report())
