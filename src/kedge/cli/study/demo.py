"""``kedge study simulate`` and ``demo``: raters who see what the oracle sees."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kedge.cli.compare import write_comparison
from kedge.cli.interrupt import interruptible
from kedge.cli.options import seed_option


def simulate(
    links: Annotated[list[str], typer.Argument(metavar="LINK...", help="Raters' links, as kedge study serve prints.")],
    blur: Annotated[float, typer.Option(min=0, help="Noise on the difference of two oracle scores.")] = 0.06,
    slips: Annotated[float, typer.Option(min=0, max=1, help="Share of wrong keys.")] = 0.03,
    seed: Annotated[int, seed_option("Of the noise.")] = 0,
) -> None:
    """Let simulated raters vote in an emoji study through its web server; they see what the oracle sees, blurred."""
    from kedge.workflows.study import simulate_raters

    print(f"{simulate_raters(links, blur, slips, seed)} votes")


def demo(
    out: Annotated[Path | None, typer.Option(help="Where everything goes; runs/study-demo by default.")] = None,
    pairs: Annotated[int, typer.Option(min=20, help="Pairs to judge.")] = 900,
    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps of the training.")] = 40,
) -> None:
    """The whole loop in the emoji world: pictures, simulated raters, report, reward, training, and raters again."""
    from kedge.workflows.demos import study_demo

    with interruptible():
        comparison = study_demo(out, pairs, steps)
    write_comparison(comparison)
