"""What the house is measured by: ``python -m docs.counts [CHECKOUT]`` prints it of this or of another commit.

ARCHITECTURE.md shows the table of two commits. Nothing is imported from the checkout but where its step is traced, in
a process of its own.
"""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
FAMILIES = ("lcm", "diffusion", "turbo", "sana-sprint")  # those of both commits
OWN_FILES = ("lcm", "diffusion", "turbo", "sana_sprint", "unet")

# Counts the files of Kedge that run between a batch of losses and the adapter's new weights, once it is warm.
TRACE = """
import json, sys, tempfile, yaml
from pathlib import Path
import kedge
from kedge.config import parse_config
from kedge.training.run import train
from kedge.training.trainer import Trainer
home = Path(kedge.__file__).parent
recipe = yaml.safe_load((home / "presets" / "emoji-rocm.yaml").read_text())
recipe["training"] = {"steps": 2, "batch_size": 1, "device": "cpu"}
recipe["watch"] = {"samples_every": 0, "evaluate_every": 0, "tensorboard": False}
files, advance, calls = set(), Trainer._advance, []
def traced(self, losses):
    calls.append(1)
    if len(calls) == 2:
        sys.setprofile(lambda frame, event, argument: files.add(frame.f_code.co_filename))
    try:
        advance(self, losses)
    finally:
        sys.setprofile(None)
Trainer._advance = traced
train(parse_config(recipe), Path(tempfile.mkdtemp()) / "run")
own = [Path(file) for file in files if Path(file).is_relative_to(home)]
print(json.dumps([len(own), sum(len(file.read_text().splitlines()) for file in own)]))
"""


def source_files(root: Path) -> dict[str, Path]:
    """Module → file, of everything below ``src``."""
    files = {}
    for path in sorted((root / "src").rglob("*.py")):
        parts = path.relative_to(root / "src").with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return files


def imports(files: Mapping[str, Path], module: str) -> set[str]:
    """The modules of the same checkout that ``module`` imports, anywhere in its file, for types too."""
    names = []
    for node in ast.walk(ast.parse(files[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    owners = set()
    for name in names:
        while name and name not in files:
            name = name.rpartition(".")[0]
        owners.add(name)
    return owners - {"", module}


def circles(files: Mapping[str, Path]) -> list[list[str]]:
    """Modules that import each other, directly or through others; a package's own ``__init__`` is no circle."""
    arrows = {module: {name for name in imports(files, module) if name != "kedge"} for module in files}
    reached: dict[str, set[str]] = {}
    for module in arrows:
        seen, waiting = set(), [module]
        while waiting:
            for name in arrows[waiting.pop()] - seen:
                seen.add(name)
                waiting.append(name)
        reached[module] = seen
    groups = {tuple(sorted(name for name in seen if module in reached[name])) for module, seen in reached.items()}
    return [list(group) for group in sorted(groups) if len(group) > 1]


def who_knows_a_family(files: Mapping[str, Path]) -> list[str]:
    """Modules that name a family in their strings, besides those that are about it, its room, and the worlds."""
    knowing = []
    for module, path in files.items():
        own = module.startswith(("kedge.policies.families", "kedge.worlds")) or module.rpartition(".")[2] in OWN_FILES
        if not own and names_a_family(path):
            knowing.append(module)
    return knowing


def names_a_family(path: Path) -> bool:
    """Whether a family's name stands in a string that is no documentation."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    words = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    documented = set(map(ast.get_docstring, documenting(tree)))
    names = re.compile(rf"(?<![\w./@-])({'|'.join(FAMILIES)})(?![\w/-])")
    return any(names.search(word) for word in words if inspect.cleandoc(word) not in documented)


def documenting(tree: ast.Module) -> list[ast.Module | ast.ClassDef | ast.FunctionDef]:
    """What may have a docstring."""
    return [node for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)]


def tracked(root: Path) -> Iterator[tuple[str, int]]:
    """Path and bytes of each file that the commit holds."""
    listed = subprocess.run(["git", "ls-tree", "-r", "-l", "HEAD"], cwd=root, capture_output=True, check=True)
    for line in listed.stdout.decode().splitlines():
        facts, _, path = line.partition("\t")
        yield path, int(facts.split()[3])


def wheel(root: Path) -> float:
    """Bytes of what users install, built from the commit."""
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", "HEAD"], cwd=root, capture_output=True, check=True)
        (Path(folder) / "tree").mkdir()
        subprocess.run(["tar", "x"], cwd=Path(folder) / "tree", input=archive.stdout, check=True)
        options = ["-q", "--no-deps", "--no-build-isolation", "-w", folder]
        subprocess.run([sys.executable, "-m", "pip", "wheel", *options, "./tree"], cwd=folder, check=True)
        (built,) = Path(folder).glob("*.whl")
        return built.stat().st_size


def step(root: Path) -> tuple[int, int]:
    """Files of Kedge that run in an optimizer step of ROCM, and their lines."""
    paths = os.pathsep.join([str(root / "src")])
    done = subprocess.run(
        [sys.executable, "-c", TRACE], env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    count, lines = json.loads(done.stdout.splitlines()[-1])
    return count, lines


def counts(root: Path) -> Iterator[str]:
    """A line for each."""
    files = source_files(root)
    lines = [len(path.read_text(encoding="utf-8").splitlines()) for path in files.values()]
    yield f"modules: {len(files)}, {sum(lines)} lines, median {sorted(lines)[len(lines) // 2]}, longest {max(lines)}"
    yield f"import circles: {circles(files)}"
    knowing = who_knows_a_family(files)
    yield f"modules that name a family: {len(knowing)}: {' '.join(knowing)}"
    held = list(tracked(root))
    yield f"tracked: {len(held)} files, {sum(size for _, size in held) / 1e6:.1f} MB"
    results = [size for path, size in held if path.startswith("docs/results")]
    yield f"of which docs/results: {len(results)} files, {sum(results) / 1e6:.1f} MB"
    yield f"wheel: {wheel(root) / 1e6:.1f} MB"
    yield "files in a ROCM step: {}, {} lines".format(*step(root))


if __name__ == "__main__":
    for line in counts(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT):
        print(line, flush=True)
