"""Writes the pages that are made from the package: ``make docs``. A test checks that they are up to date."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from docs import floors, guidance_picture
from docs.advice_table import with_advice
from docs.damage_table import with_damage
from docs.demo_table import with_demo
from docs.divergences_table import with_divergences
from docs.judges_table import with_judges
from docs.last_step_table import with_last_step
from docs.papers_cost import with_cost
from docs.random_depth_table import with_random_depth
from docs.reference import reference
from docs.result_pages import write_pages
from docs.seeds_table import TABLES, with_seeds
from docs.world_tables import with_models, with_world

from kedge.config import load_config
from kedge.config.presets import Preset, presets

HERE = Path(__file__).parent

HEAD = """\
<!-- Written by docs/generate.py from src/kedge/presets: change those, then run `make docs`. -->

# Recipes

A recipe is a YAML file. These ship; `kedge train NAME` runs one, `kedge train NAME key=value` runs it changed, and
`kedge init NAME > my.yaml` writes it out with every key explained, to be yours. `--dry-run` shows the whole
configuration and says what is missing, without loading anything.

An optimizer step sees `training.batch_size` × `training.accumulation` samples on each process. Time and memory are
measured where a figure stands, on what it says.
"""

EMOJI = """\
## The emoji world

Nothing to download, no GPU. `@emoji` rewards are tiny, in the published formats; `oracle` is the true preference.
"""

REAL = """\
## Real models

The settings of the papers and of the published code; each page in [algorithms](algorithms/README.md) says which is
which. Weights come from the hub: a model's by `hf download`, a reward's as `kedge doctor REWARD` says. On less memory
than a recipe asks for: [troubleshooting](troubleshooting.md#out-of-memory).
"""

TAIL = """\
## Sweeps

A sweep is a loop; every run has a folder of its own, and `kedge eval` puts them into one table:

```sh
for beta in 0 1e-4 1e-3 1e-2; do kedge train emoji-rocm algorithm.beta=$beta --out runs/beta-$beta; done
kedge eval runs/beta-* --metrics pickscore@emoji,oracle
```

`kedge reproduce` holds the sweeps behind the papers' tables and figures.
"""

COLUMNS = "| recipe | what it does | algorithm | reward | steps × samples | K | ω | time | memory |\n|" + "---|" * 9


def recipes() -> str:
    """The page on recipes."""
    parts = [HEAD]
    for head, emoji in ((EMOJI, True), (REAL, False)):
        rows = [row(preset) for preset in presets() if preset.name.startswith("emoji-") == emoji]
        parts.append("\n".join([head, COLUMNS, *rows, ""]))
    return "\n".join([*parts, TAIL])


def row(preset: Preset) -> str:
    """A preset's line in the table."""
    config = load_config(preset.path)
    training, model = config.training, config.model
    cells = [
        f"`{preset.name}`",
        preset.title.replace("|", "\\|"),
        config.algorithm.name,
        f"`{config.reward}`",
        f"{training.steps} × {training.batch_size * training.accumulation}",
        str(model.steps),
        f"{model.omega:g}",
        preset.time,
        preset.memory,
    ]
    return f"| {' | '.join(cells)} |"


def architecture(text: str) -> str:
    """ARCHITECTURE.md with its table of parts as the law has it today."""
    marks = r"(<!-- floors: .*? -->\n).*(<!-- end of floors -->)"
    return re.sub(marks, lambda mark: f"{mark[1]}{floors.table(floors.house())}\n{mark[2]}", text, flags=re.DOTALL)


# Pages that people write, and what fills the marks on them in; tables over seeds (docs.seeds_table) need no entry.
FILLED: dict[str, tuple[Callable[[str], str], ...]] = {
    "ARCHITECTURE.md": (architecture,),
    "docs/algorithms/rocm.md": (with_divergences,),
    "docs/algorithms/ppo.md": (with_last_step,),
    "docs/evaluation.md": (with_advice,),
    "docs/memory.md": (with_random_depth,),
    "docs/reproduce.md": (with_cost,),
    "docs/results/README.md": (with_demo, with_models),
    "docs/rewards.md": (with_damage, with_world, with_judges),
}


def written() -> dict[Path, str]:
    """Every file that is made from the package and the house's law, with what it should hold."""
    files = {
        HERE / "recipes.md": recipes(),
        HERE / "api" / "README.md": reference(),
        HERE / "images" / "floors.svg": floors.picture(floors.house()),
    }
    for page in dict.fromkeys([*FILLED, *(table.page for table in TABLES)]):
        text = (HERE.parent / page).read_text(encoding="utf-8")
        for fill in FILLED.get(page, ()):
            text = fill(text)
        files[HERE.parent / page] = with_seeds(page, text)
    return files


if __name__ == "__main__":
    for file, text in written().items():
        file.write_text(text, encoding="utf-8")
    guidance_picture.PICTURE.write_bytes(guidance_picture.drawn())
    write_pages()
