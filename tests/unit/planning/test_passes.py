"""What a step is planned to take, against its passes counted one by one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from helpers.toys import Cycle
from kedge.algorithms.base import Context
from kedge.config import RunConfig, parse_config
from kedge.config.workload import workload_of
from kedge.planning.meta_run import assemble_meta
from kedge.planning.operations import counted
from kedge.planning.step import count_step
from kedge.rewards import load_reward
from kedge.training.assemble import build_policy


def config_for(folder: Path, **changes) -> RunConfig:
    model = {"name": str(folder), "kind": "lcm", "steps": 3, "lora": {"rank": 2}}
    base = {"model": model, "reward": "compressibility_proxy", "prompts": "animals-45", "algorithm": "rocm"}
    return parse_config(base | {"training": {"batch_size": 2, "device": "cpu"}} | changes)


def test_policy_gradients_take_the_passes_that_they_state(micro_lcm: Path) -> None:
    """Single passes, counted here one by one, as often as the algorithm says; each picture is scored once."""
    config = config_for(micro_lcm, algorithm={"name": "rlcm", "kl_weight": 0.1})
    run, batch = assemble_meta(config, config.model.steps), config.training.batch_size
    cond, x = run.context.encode(["a fox"] * batch), torch.empty(batch, *run.policy.latent_shape, device="meta")
    with torch.no_grad():
        forward = counted(lambda: run.policy.transition(x, 2, cond)).flops / batch
        with run.policy.reference():
            reference = counted(lambda: run.policy.transition(x, 2, cond)).flops / batch
        score = counted(lambda: run.reward(run.policy.decode(x), ["a fox"] * batch)).flops / batch
    back = counted(lambda: run.policy.transition(x, 2, cond).mean.sum().backward()).flops / batch
    work = workload_of(config)
    passes = work.passes
    assert passes is not None
    assert min(passes.reference, passes.backward, score) > 0
    expected = (passes.forward - passes.backward) * forward + passes.backward * back + passes.reference * reference
    expected += work.queries * score
    assert count_step(config).step.flops == pytest.approx(expected / work.updates)


def attended(query, key, value, *args, out_shape=None, **kwargs) -> int:
    return sdpa_flop_count(query, key, value)


def attended_back(gradient, query, key, value, *args, out_shape=None, **kwargs) -> int:
    return sdpa_backward_flop_count(gradient, query, key, value)


# torch's counter knows the fused attention of every device but the CPU: without these, it counts an eighth too little.
ON_CPU = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attended,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: attended_back,
}


@pytest.mark.parametrize(("name", "reward"), [("rocm", "compressibility_proxy"), ("hybrid", "compressibility")])
def test_a_step_takes_the_arithmetic_that_is_planned(micro_lcm: Path, name: str, reward: str) -> None:
    """To the last operation: planned without values, and a real step on real weights as torch counts it."""
    config = config_for(micro_lcm, algorithm={"name": name, "divergence": "kl", "beta": 0.1}, reward=reward)
    policy = build_policy(config.model, torch.device("cpu"))
    context = Context(
        policy, load_reward(reward, device="cpu"), Cycle(["a fox"]), torch.Generator().manual_seed(0), batch_size=2
    )
    context.encode(["a fox"])  # once in a run
    with FlopCounterMode(display=False, custom_mapping=ON_CPU) as counter:
        for loss in next(iter(config.algorithm.instance.updates(context))):
            loss.value.backward()
    assert counter.get_total_flops() == count_step(config).step.flops


@pytest.mark.parametrize("algorithm", [{"name": "rocm"}, {"name": "hybrid", "surrogate": "compressibility_proxy"}])
def test_accumulation_repeats_all_of_a_step(micro_lcm: Path, algorithm: dict) -> None:
    """What scores beside the gradient, too."""
    one, three = (
        count_step(
            config_for(
                micro_lcm,
                algorithm=algorithm,
                reward="clipscore" if "surrogate" in algorithm else "compressibility_proxy",
                training={"batch_size": 2, "accumulation": accumulation, "device": "cpu"},
            )
        ).step
        for accumulation in (1, 3)
    )
    assert three.flops == pytest.approx(3 * one.flops)
    assert three.peak == one.peak


def test_what_waits_in_the_hosts_memory_takes_none_of_the_device(micro_lcm: Path, monkeypatch) -> None:
    """From a certain size on; and nothing waits where the device is the host."""

    def peak(offload: bool, device: str = "cuda") -> float:
        training = {"batch_size": 2, "device": device}
        return count_step(config_for(micro_lcm, memory={"offload_activations": offload}, training=training)).step.peak

    plain = peak(offload=False)
    monkeypatch.setattr("kedge.planning.meta_step.SMALL", 0)
    assert peak(offload=True) < 0.7 * plain
    assert peak(offload=True, device="cpu") == plain
    monkeypatch.setattr("kedge.planning.meta_step.SMALL", 2**40)
    assert peak(offload=True) == plain
