"""Several sizes in one training: drawn with a seed for each batch, resumable, evaluated at the first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from helpers.family_models import Builder
from helpers.toys import ToyPolicy, toy_context
from helpers.training_world import recipe
from kedge.algorithms.base import Algorithm, Context
from kedge.algorithms.draft import DRaFT
from kedge.algorithms.grpo import GRPO
from kedge.algorithms.ppo import PPO
from kedge.algorithms.prompt_cache import PromptCache
from kedge.algorithms.rocm import ROCM
from kedge.algorithms.soft_q import ReFL, SoftQ
from kedge.config import ConfigError, RunConfig, parse_config, parse_model
from kedge.export.diffusers_snippet import diffusers_code
from kedge.gaussian import Gaussian
from kedge.planning.skeletons import meta_policy
from kedge.policies import load_policy
from kedge.policies.base import Conditioning
from kedge.policies.latent import LatentPolicy
from kedge.policies.lora import LoraConfig
from kedge.prompts import PromptStream
from kedge.training.run import train
from kedge.training.several_sizes import DrawnSizes
from kedge.workflows.load_run import load_run

SIZES = [[64, 64], [32, 96], [96, 64]]
PROMPTS = ["a cat", "a dog", "a fox"]
SHAPES: list[tuple[int, ...]] = []  # of the pictures that were scored


def brightness(images: Tensor, prompts: list[str]) -> Tensor:
    """A reward, which remembers what it saw."""
    SHAPES.append(tuple(images.shape[2:]))
    return images.flatten(1).mean(1)


brightness.differentiable = True  # type: ignore[attr-defined]


def config_for(built: Any, algorithm: Any, **changes: Any) -> RunConfig:
    block = built.block(steps=2, guidance=0.0, size=SIZES, lora={"rank": 4})
    reward = "test_several_sizes:brightness"
    return parse_config(recipe(model=block, algorithm=algorithm, reward=reward, optimizer__lr=0.01, **changes))


ALGORITHMS = {
    "rocm": {"name": "rocm", "divergence": "kl", "beta": 1e-6},
    "rlcm": {"name": "rlcm", "sample_batch_size": 2, "buffer_size": 4, "min_count": 2},
}


@pytest.mark.parametrize("algorithm", ["rocm", pytest.param("rlcm", marks=pytest.mark.slow)])
def test_batches_are_of_several_sizes_and_a_resumed_run_draws_the_same(
    algorithm: str, models: Builder, tmp_path: Path
) -> None:
    built = models("sdxl-turbo")  # its conditioning holds the size
    SHAPES.clear()
    watched = {"watch__samples_every": 2, "checkpoint__every": 1}
    train(config_for(built, ALGORITHMS[algorithm], training__steps=4, **watched), tmp_path / "whole")
    shapes = list(SHAPES)
    assert len(set(shapes)) > 1
    assert set(shapes) <= {tuple(size) for size in SIZES}
    SHAPES.clear()
    train(config_for(built, ALGORITHMS[algorithm], training__steps=2, **watched), tmp_path / "parts")
    train(config_for(built, ALGORITHMS[algorithm], training__steps=4, **watched), tmp_path / "parts", resume=True)
    assert shapes == SHAPES
    one, other = (load_run(tmp_path / name) for name in ("whole", "parts"))
    assert all(torch.equal(a, b) for a, b in zip(one.policy.trainable(), other.policy.trainable(), strict=True))
    assert isinstance(one.policy, LatentPolicy)
    assert one.policy.latent_shape == (4, 8, 8)  # the first size


def test_the_draw_is_the_seeds_alone() -> None:
    def drawn(seed: int, rank: int = 0, skip: int = 0) -> list[int]:
        context = Context(policy=0, reward=None, prompts=None)  # type: ignore[arg-type]
        prompts = PromptStream(PROMPTS, seed=1, rank=rank, world_size=2)
        caches = [PromptCache() for _ in SIZES]
        stream = DrawnSizes(prompts, range(3), caches, context=context, seed=seed)  # type: ignore[arg-type]
        if skip:
            stream.load_state_dict({**prompts.state_dict(), "sizes": skip})
        indices = []
        for _ in range(40 - skip):
            stream.take(1)
            assert context.cache is caches[int(context.policy)]  # type: ignore[call-overload]
            indices.append(int(context.policy))  # type: ignore[call-overload]
        return indices

    assert drawn(3) == drawn(3) == drawn(3, rank=1)
    assert drawn(3) != drawn(4)
    assert drawn(3)[25:] == drawn(3, skip=25)
    assert set(drawn(3)) == {0, 1, 2}


class OfOneSize(ToyPolicy):
    """Refuses steps while another size's turn is."""

    context: Context

    def transition(self, x: Tensor, k: int, cond: Conditioning) -> Gaussian:
        assert self.context.policy is self
        return super().transition(x, k, cond)

    def predicted_x0(self, x: Tensor, k: int, cond: Conditioning) -> Tensor:
        return self.transition(x, k, cond).mean


@pytest.mark.parametrize(
    "algorithm", [ROCM(), DRaFT(), SoftQ(), ReFL(), GRPO(group_size=3), PPO(last_step="pathwise")], ids=repr
)
def test_every_step_of_a_batch_is_taken_at_its_size(algorithm: Algorithm) -> None:
    """The noise schedule of some models depends on the size; a policy that was held before the draw is another's."""
    policies = [OfOneSize(), OfOneSize()]
    context = toy_context(policies[0])
    for policy in policies:
        policy.context = context
    context.prompts = DrawnSizes(context.prompts, policies, [PromptCache(), PromptCache()], context=context, seed=0)
    drawn = set()
    for _ in range(8):
        for losses in algorithm.updates(context):
            for loss in losses:
                loss.value.backward()
                drawn.add(policies.index(context.policy))
    assert drawn == {0, 1}


def test_all_sizes_are_one_network_with_one_adapter(models: Builder) -> None:
    built = models("sdxl-turbo")
    settings = {**built.policy_settings(), "steps": 2, "lora": LoraConfig(rank=4)}
    policy = load_policy(**settings, size=[(64, 64), (32, 96)])
    assert isinstance(policy, LatentPolicy)
    (other,) = policy.other_sizes
    assert (policy.latent_shape, other.latent_shape) == ((4, 8, 8), (4, 4, 12))
    assert policy.network is other.network
    assert policy.adapter is other.adapter
    assert all(parameter.requires_grad for parameter in other.trainable())
    assert other.encode(["a"]).tensors["time_ids"].tolist() == [[32, 96, 0, 0, 32, 96]]
    alone = load_policy(**settings, size=(32, 96))
    x, weights = torch.randn(1, 4, 4, 12), alone.adapter.state_dict()  # type: ignore[union-attr]
    policy.adapter.load_state_dict(weights)
    cond = other.encode(["a"])
    assert torch.equal(other.transition(x, 2, cond).mean, alone.transition(x, 2, cond).mean)


def test_plan_and_card_know_which_size_counts(models: Builder) -> None:
    model = parse_model(models("sdxl-turbo").block(steps=2, size=SIZES))
    assert model.sizes == ((64, 64), (32, 96), (96, 64))
    drawn = meta_policy(model, 2)
    assert drawn is not None
    assert drawn.latent_shape == (4, 12, 8)  # the largest
    assert "height=64, width=64" in diffusers_code(model)
    for wrong, message in (([64, 96, 128], r"\[64, 64\], \[96, 96\]"), ([], "no size"), ([[64, 64], 96], "size")):
        with pytest.raises(ConfigError, match=message):
            parse_model({"name": "emoji-lcm", "size": wrong})
    with pytest.raises(ConfigError, match=r"model\.size: the value network of dpok"):
        parse_config({"model": {"name": "emoji-lcm", "size": SIZES}, "algorithm": "dpok"})
    assert parse_model({"name": "emoji-lcm", "size": [64, 96]}).sizes == ((64, 96),)
    assert parse_model({"name": "emoji-lcm", "size": 64}).sizes == ((64, 64),)
