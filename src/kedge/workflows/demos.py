"""What ``kedge demo`` and ``kedge study demo`` do: whole runs in the emoji world, reported step by step."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedge.workflows.train import train

if TYPE_CHECKING:
    from kedge.workflows.compare import RunComparison
    from kedge.workflows.load_run import TrainedRun

Say = Callable[[str], None]

MODEL, PROMPTS = "emoji-lcm", "emoji-activities"  # what the base model is bad at: there is something to prefer
NEW = 35  # prompts that neither raters nor training see before the end
RATERS, VOTES_PER_PAIR = 12, 2
EPOCHS = 8
JUDGED = 70  # pairs of the second study
RATE = ("optimizer.lr=1e-3", "optimizer.schedule=constant")  # few steps, so faster ones than the preset's


def demo(
    overrides: Sequence[str] = (), out: str | Path | None = None, count: int = 66, say: Say = print
) -> tuple[TrainedRun, RunComparison]:
    """Train the bundled model by ROCM, then compare base and tuned on prompts that neither has seen.

    Args:
        overrides: changes to the recipe, ``key=value``.
        out: the run folder; ``runs/demo`` by default.
        count: how many prompts to compare on.
        say: is called with each line that tells what happens.
    """
    from kedge.runs.folder import fresh_folder
    from kedge.workflows.compare import compare

    run = train("emoji-rocm", *overrides, out=out or fresh_folder("demo"))
    if run.stopped:
        say(run.stopped)
    say(f"\nBase and tuned model on {count} prompts that neither has seen, twice each, from the same noise:\n")
    return run, compare(run.path, prompts="emoji-activities-held-out", count=count, samples=2)


def study_demo(out: Path | None = None, pairs: int = 900, steps: int = 40, say: Say = print) -> RunComparison:
    """From pictures to votes to a reward to a better model, and the oracle as the judge of it all.

    Every step is a command that users can run themselves, and is named.

    Args:
        out: where everything goes; ``runs/study-demo`` by default.
        pairs: to judge in the first study.
        steps: of the training.
    """
    from kedge.runs.folder import fresh_folder
    from kedge.workflows.compare import compare
    from kedge.workflows.study_fit import fit_summary, fit_votes

    def step(title: str, command: str) -> None:
        say(f"\n{title}\n  $ {command}")

    folder = out or fresh_folder("study-demo")
    first, reward, run, second = (folder / name for name in ("study", "reward", "run", "study-of-the-result"))
    seen, unseen = _split_prompts(folder)
    step("1. Pairs of pictures by the base model", f"kedge study new {MODEL} --against reseeded --prompts {seen}")
    per_rater = max(1, pairs * VOTES_PER_PAIR // RATERS)
    _draw(MODEL, "reseeded", seen, out=first, say=say, pairs=pairs, raters=RATERS, per_rater=per_rater)
    step("2. Simulated raters open their links and vote", f"kedge study serve {first}")
    _vote(first, 1, say)
    step("3. A reward from the votes", f"kedge study fit {first} --out {reward}")
    say("\n".join(fit_summary(fit_votes([first], reward, epochs=EPOCHS, progress=say), EPOCHS)))
    recipe = [f'reward=pickscore@"{reward}"', f"prompts={seen}", f"training.steps={steps}", *RATE]
    step("4. Training on that reward", f"kedge train emoji-rocm {' '.join(recipe)}")
    recipe += [f"watch.held_out.source={unseen}", f"watch.held_out.count={NEW}", "watch.metrics=[oracle]"]
    train("emoji-rocm", *recipe, out=run)
    step("5. New raters, new prompts", f"kedge study new {run} --against base --prompts {unseen}")
    _draw(str(run), "base", unseen, out=second, say=say, pairs=JUDGED, raters=4, seed=1)
    _vote(second, 2, say)
    step("6. The truth: the oracle, which nothing was trained on", f"kedge compare {run} --metrics oracle")
    return compare(run, metrics=f'pickscore@"{reward}",oracle', prompts=str(unseen), samples=4)


def _split_prompts(folder: Path) -> tuple[Path, Path]:
    """Files of prompts to learn from and of prompts to judge by."""
    from kedge.prompts import load_prompts

    texts = load_prompts(PROMPTS)
    folder.mkdir(parents=True, exist_ok=True)
    files = folder / "prompts.txt", folder / "new-prompts.txt"
    for file, part in zip(files, (texts[NEW:], texts[:NEW]), strict=True):
        file.write_text("\n".join(part) + "\n", encoding="utf-8")
    return files


def _draw(target: str, against: str, prompts: Path, *, out: Path, say: Say, **design: Any) -> None:
    """A study that programs rate: without a secret the same seed gives the same one."""
    from kedge.workflows.study import new_study, study_summary
    from kedge.workflows.study_sources import Drawing

    drawing = Drawing(batch_size=32)
    store = new_study(target, [against], prompts=str(prompts), out=out, secret="", drawing=drawing, **design)
    say(study_summary(store))


def _vote(folder: Path, seed: int, say: Say) -> None:
    """Simulated raters vote over HTTP, as people do; then the report."""
    from kedge.study import open_study
    from kedge.study.serving import serving
    from kedge.workflows.study import report_study, simulate_raters

    began, store = time.monotonic(), open_study(folder)
    with serving(store) as links:
        votes = simulate_raters(links, seed=seed)
    say(f"{votes} votes over HTTP in {time.monotonic() - began:.0f} s")
    say("\n".join(report_study(store)))
