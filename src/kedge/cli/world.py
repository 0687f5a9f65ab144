"""``kedge world``: the emoji world's truth, its judge, and how its models are made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kedge.cli.options import seed_option

app = typer.Typer(help="The emoji world: draw scenes, score pictures, build its models.", no_args_is_help=True)


@app.command()
def render(
    prompt: Annotated[str, typer.Argument(help='A caption, such as "two foxes in the snow".')],
    seed: Annotated[int, seed_option("Another seed, another scene of the same caption.")] = 0,
    out: Annotated[Path, typer.Option(help="The picture.")] = Path("scene.png"),
    scale: Annotated[int, typer.Option(min=1, help="Enlarge each pixel so many times.")] = 8,
) -> None:
    """Draw what a caption truly means."""
    from kedge.workflows.world import render_scene

    out.parent.mkdir(parents=True, exist_ok=True)
    render_scene(prompt, seed, scale).save(out)
    print(out)


@app.command()
def score(
    image: Annotated[Path, typer.Argument(help="A picture.")],
    prompt: Annotated[str, typer.Argument(help="What it should show.")],
) -> None:
    """Score a picture by the oracle, with its parts."""
    from kedge.workflows.world import score_picture

    for part, value in score_picture(image, prompt).items():
        print(f"{part:<12} {value:.3f}")


@app.command()
def build(
    stages: Annotated[
        list[str] | None,
        typer.Argument(metavar="[STAGE]...", help="vae, clip, …; all but install by default."),
    ] = None,
    out: Annotated[Path, typer.Option(help="The working folder; a stopped build goes on from it.")] = Path("world"),
    budget: Annotated[str, typer.Option(help="How much of everything: cpu, h100, or smoke for a trial.")] = "cpu",
    device: Annotated[str | None, typer.Option(help="cpu, cuda, …; a GPU by default, if there is one.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Train the stages anew, even where they were done.")] = False,
) -> None:
    """Train the world's models, stage by stage; resumable."""
    from kedge.workflows.world import build_world

    build_world(stages or [], out, budget=budget, device=device, again=again)
