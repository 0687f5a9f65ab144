"""What is planned for watching a run is what its evaluations and grids really do."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kedge.config import parse_config
from kedge.config.workload import workload_of
from kedge.planning.looks import Looks, looks_of
from kedge.planning.operations import OperationCost, counted
from kedge.planning.plan import plan
from kedge.planning.skeletons import meta_policy
from kedge.planning.step import count_step
from kedge.planning.timing import Elapsed
from kedge.planning.watching import LookCost
from kedge.prompts.sets import PromptSets
from kedge.runs.folder import RunFolder
from kedge.training.assemble import assemble
from kedge.training.processes import Processes

ROCM = {"name": "rocm", "divergence": "none", "beta": 0}
TWICE = {"name": "rlcm", "minibatches": 2, "normalise": "batch"}


def config_for(folder, algorithm, steps: int, **watch):
    return parse_config(
        {
            "model": {"name": str(folder), "kind": "lcm", "steps": 3, "lora": {"rank": 2}},
            "reward": "helpers.training_world:lightness",
            "algorithm": algorithm,
            "prompts": "animals-45",
            "training": {"steps": steps, "batch_size": 2, "device": "cpu"},
            "watch": {"held_out": {"source": "animals-45", "count": 5}, "encoder": "none", "batch_size": 4, **watch},
        }
    )


@pytest.mark.parametrize(
    ("algorithm", "steps", "watch"),
    [
        (ROCM, 3, {"evaluate_every": 2, "samples_every": 0, "pictures": 2}),
        (ROCM, 2, {"evaluate_every": 0, "samples_every": 1, "samples_count": 3}),
        (TWICE, 3, {"evaluate_every": 4, "samples_every": 2, "pictures": 3}),  # two steps of a batch: four are made
        (ROCM, 1, {"evaluate_every": 0, "samples_every": 0}),
    ],
    ids=["evaluations", "grids", "both, whole batches", "nothing"],
)
def test_the_network_is_called_as_often_as_planned(micro_lcm, tmp_path, algorithm, steps, watch):
    """The second noise of each prompt and the base's step beside each of its own are counted."""
    config = config_for(micro_lcm, algorithm, steps, **watch)
    folder = RunFolder(tmp_path / "run")
    folder.open(config, 1, "cpu")
    trainer = assemble(config, folder, Processes("cpu"))
    seen = 0

    def count(network, args, kwargs, output) -> None:
        nonlocal seen
        seen += len(output[0])

    trainer.context.policy.pipeline.unet.register_forward_hook(count, with_kwargs=True)
    trainer.fit()

    work, looks = workload_of(config), looks_of(config, PromptSets(config, new=True))
    training = work.batches(steps) * (work.passes.forward + work.passes.reference)
    assert seen - training == looks.passes(config)


def test_looks_are_told():
    both = Looks(evaluations=5, prompts=24, pictures=2, grids=3, shown=8)
    assert str(both) == "5 evaluations of 24 prompts × 2 pictures and 3 grids of 8 pictures"
    assert (both.evaluated, both.drawn, both.of_base) == (240, 264, 8)
    assert str(Looks(0, 24, 2, 0, 8)) == "nothing"


def test_costs_add_up_by_the_pictures():
    draw, base, score = (OperationCost(flops=flops, peak=peak) for flops, peak in ((100, 7), (60, 5), (10, 9)))
    cost = Looks(evaluations=2, prompts=3, pictures=2, grids=1, shown=4).cost(LookCost(draw, base, score), 4)
    assert cost.flops == 100 * 16 / 4 + 60 * 4 / 4 + 10 * 12 / 4
    assert cost.peak == LookCost(draw, base, score).peak == 9


def test_a_look_draws_each_step_twice_and_decodes_once(micro_lcm):
    """The tuned model's step with the base's beside it, which has no adapter to go through; of the base alone, one."""
    config = config_for(micro_lcm, ROCM, 1, evaluate_every=1, samples_every=0)
    two, four = (count_step(replace(config, model=replace(config.model, steps=k))).look for k in (2, 4))
    step, pair = ((getattr(four, part).flops - getattr(two, part).flops) / 2 for part in ("base", "draw"))
    policy = meta_policy(config.model, 2)
    x0 = torch.empty(config.watch.batch_size, *policy.latent_shape, device="meta")
    decoding = counted(lambda: policy.decode(x0)).flops
    assert min(step, decoding) > 0
    assert two.base.flops == pytest.approx(2 * step + decoding)
    assert two.draw.flops == pytest.approx(2 * pair + decoding)
    assert 1.9 * step < pair < 2 * step


def test_a_plan_says_what_watching_takes(micro_lcm, monkeypatch):
    monkeypatch.setattr("kedge.planning.plan.seconds", lambda *_: Elapsed(3600.0, 3600.0))
    config = config_for(micro_lcm, ROCM, 3, evaluate_every=2, samples_every=0)
    lines = "\n".join(plan(config))
    assert (
        "to watch it: 2 evaluations of 5 prompts × 2 pictures, 60 sampling steps, each beside the base's: 120" in lines
    )
    assert "3 h for 3 steps, and 60 min to watch it" in lines
    unwatched = "\n".join(plan(config_for(micro_lcm, ROCM, 3, samples_every=0)))
    assert "to watch it: nothing" in unwatched
    assert "3 h for 3 steps\n" in unwatched
