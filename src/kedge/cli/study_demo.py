"""``kedge study demo``: from pictures to votes to a reward to a better model, and the oracle as the judge of it all."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kedge.study.store import Store

MODEL, PROMPTS = "emoji-lcm", "emoji-activities"  # what the base model is bad at: there is something to prefer
NEW = 35  # prompts that neither raters nor training see before the end
RATERS, VOTES_PER_PAIR = 12, 2
EPOCHS = 8
JUDGED = 70  # pairs of the second study


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
    recipe = [f'reward=pickscore@"{reward}"', f"prompts={seen}", f"training.steps={steps}"]
    recipe += [f"watch.held_out.source={unseen}", f"watch.held_out.count={NEW}", "watch.metrics=[oracle]"]
    _say("4. Training on that reward", f"kedge train emoji-rocm {' '.join(recipe[:2])}")
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
    from kedge.study.simulate import Habits, oracle_look, simulate

    store = open_study(folder)
    began = time.monotonic()
    with serving(store) as links:
        votes = simulate(links, oracle_look(), Habits(), seed=seed)
    print(f"{votes} votes over HTTP in {time.monotonic() - began:.0f} s")


@contextmanager
def serving(store: Store) -> Iterator[Sequence[str]]:
    """The study's server on a free port, in a thread; yields the raters' links."""
    import uvicorn

    from kedge.study import make_app

    config = uvicorn.Config(make_app(store), port=0, log_level="error", access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise OSError("the study's server could not be started")
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield [f"http://127.0.0.1:{port}/r/{token}/" for _, token in store.links()]
    finally:
        server.should_exit = True
        thread.join()
