"""``kedge study demo``: from pictures to votes to a reward to a better model, and the oracle as the judge of it all."""

from __future__ import annotations

import time
from pathlib import Path

MODEL, PROMPTS = "emoji-lcm", "emoji-activities"  # what the base model is bad at: there is something to prefer
NEW = 35  # prompts that neither raters nor training see before the end
RATERS, VOTES_PER_PAIR = 12, 2
EPOCHS = 8
JUDGED = 70  # pairs of the second study
RATE = ("optimizer.lr=1e-3", "optimizer.schedule=constant")  # few steps, so faster ones than the preset's


def run_demo(folder: Path, pairs: int, steps: int) -> None:
    """Run the loop; every step is a command that users can run themselves, and is named."""
    from kedge.cli.compare import compare_command
    from kedge.cli.study import fit, new, report
    from kedge.cli.train import run_recipe

    first, reward, run, second = (folder / name for name in ("study", "reward", "run", "study-of-the-result"))
    seen, unseen = _split_prompts(folder)
    _say("1. Pairs of pictures by the base model", f"kedge study new {MODEL} --against reseeded --prompts {seen}")
    new(
        MODEL, against=["reseeded"], prompts=str(seen), pairs=pairs, raters=RATERS,
        per_rater=max(1, pairs * VOTES_PER_PAIR // RATERS), out=first, batch_size=32,
    )  # fmt: skip
    _say("2. Simulated raters open their links and vote", f"kedge study serve {first}")
    _vote(first, seed=1)
    report(first)
    _say("3. A reward from the votes", f"kedge study fit {first} --out {reward}")
    fit([first], out=reward, epochs=EPOCHS)
    recipe = [f'reward=pickscore@"{reward}"', f"prompts={seen}", f"training.steps={steps}", *RATE]
    _say("4. Training on that reward", f"kedge train emoji-rocm {' '.join(recipe)}")
    recipe += [f"watch.held_out.source={unseen}", f"watch.held_out.count={NEW}", "watch.metrics=[oracle]"]
    run_recipe("emoji-rocm", recipe, str(run), resume=False)
    _say("5. New raters, new prompts", f"kedge study new {run} --against base --prompts {unseen}")
    new(str(run), against=["base"], prompts=str(unseen), pairs=JUDGED, raters=4, out=second, batch_size=32, seed=1)
    _vote(second, seed=2)
    report(second)
    _say("6. The truth: the oracle, which nothing was trained on", f"kedge compare {run} --metrics oracle")
    metrics = f'pickscore@"{reward}",oracle'
    compare_command(str(run), metrics=metrics, prompts=str(unseen), samples=4)


def _split_prompts(folder: Path) -> tuple[Path, Path]:
    """Files of prompts to learn from and of prompts to judge by."""
    from kedge.prompts import load_prompts

    texts = load_prompts(PROMPTS)
    folder.mkdir(parents=True, exist_ok=True)
    files = folder / "prompts.txt", folder / "new-prompts.txt"
    for file, part in zip(files, (texts[NEW:], texts[:NEW]), strict=True):
        file.write_text("\n".join(part) + "\n", encoding="utf-8")
    return files


def _say(title: str, command: str) -> None:
    print(f"\n{title}\n  $ {command}", flush=True)


def _vote(folder: Path, seed: int) -> None:
    from kedge.study import open_study
    from kedge.study.serving import serving
    from kedge.study.simulate import Habits, oracle_look, simulate

    store = open_study(folder)
    began = time.monotonic()
    with serving(store) as links:
        votes = simulate(links, oracle_look(), Habits(), seed=seed)
    print(f"{votes} votes over HTTP in {time.monotonic() - began:.0f} s")
