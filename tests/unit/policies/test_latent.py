"""Latent policies on a random-weight Stable Diffusion: adapter, reference, decoding, precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor

from helpers.toys import PROMPTS, Cycle
from kedge.algorithms.base import Context
from kedge.algorithms.rocm import ROCM
from kedge.policies import load_policy
from kedge.policies.base import Backprop, draw_noise, rollout
from kedge.policies.latent import LatentPolicy
from kedge.policies.settings import LoraConfig
from kedge.registry import UnknownNameError


class Brightness:
    """A reward that pushes pixels up."""

    name, differentiable = "brightness", True

    def __call__(self, images: Tensor, prompts: list[str]) -> Tensor:
        return images.flatten(1).mean(1)


def noisy(folder: Path, kind: str = "lcm", steps: int = 3, drift: float = 0.1, dtype: str = "float32") -> LatentPolicy:
    """A policy whose adapter has already moved, unless ``drift`` is 0."""
    torch.manual_seed(0)
    policy = load_policy(kind, folder, steps=steps, guidance=7.5, lora=LoraConfig(rank=4), dtype=dtype)
    assert isinstance(policy, LatentPolicy)
    for name, weight in policy.adapter.weights.items():
        if "lora_B" in name and drift:
            weight.data.normal_(std=drift)
    return policy


def context(policy: LatentPolicy, backprop: Backprop) -> Context:
    generator = torch.Generator().manual_seed(0)
    return Context(policy, Brightness(), Cycle(PROMPTS), generator, backprop, batch_size=2, accumulation=1)


def first_loss(policy: LatentPolicy, backprop: Backprop, **settings: object) -> Tensor:
    algorithm = ROCM(**{"beta": 1e-3, **settings})
    return next(iter(next(iter(algorithm.updates(context(policy, backprop)))))).value


@contextmanager
def counting_saved_bytes() -> Iterator[dict[int, int]]:
    """Bytes of the distinct tensors that autograd keeps for the backward pass."""
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield sizes


def test_a_step_does_not_walk_over_the_whole_network(micro_lcm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As asking diffusers for a network's dtype does: two milliseconds each time even of the emoji world's."""
    policy = noisy(micro_lcm)
    cond, x = policy.encode(PROMPTS[:1]), torch.zeros(1, *policy.latent_shape)
    expected = policy.transition(x, 2, cond).mean

    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("a walk over all modules at every step")

    monkeypatch.setattr(policy.network, "named_modules", refuse)
    assert torch.equal(policy.transition(x, 2, cond).mean, expected)


def test_only_the_adapter_is_trainable(micro_lcm: Path) -> None:
    policy = noisy(micro_lcm)
    trainable = list(policy.trainable())
    assert all(parameter.requires_grad for parameter in trainable)
    attentions = [name for name, _ in policy.network.named_modules() if name.endswith(("attn1", "attn2"))]
    assert len(trainable) == len(attentions) * 4 * 2  # to_q, to_k, to_v, to_out.0; A and B
    everything = [p for part in (policy.network, policy.vae, policy.pipeline.text_encoder) for p in part.parameters()]
    assert sum(p.requires_grad for p in everything) == len(trainable)
    assert policy.latent_shape == (4, 8, 8)


def test_reference_is_the_base_model_and_contexts_nest(micro_lcm: Path) -> None:
    policy, base = noisy(micro_lcm), load_policy("lcm", micro_lcm, steps=3, guidance=7.5)
    x, cond = draw_noise(policy, torch.Generator().manual_seed(0), 2)[0], policy.encode(PROMPTS[:2])
    with torch.no_grad():
        tuned, expected = policy.transition(x, 3, cond).mean, base.transition(x, 3, cond).mean
        with policy.reference():
            assert torch.equal(policy.transition(x, 3, cond).mean, expected)
            with policy.reference():
                assert torch.equal(policy.transition(x, 3, cond).mean, expected)
            assert torch.equal(policy.transition(x, 3, cond).mean, expected)
        assert torch.equal(policy.transition(x, 3, cond).mean, tuned)
        assert not torch.allclose(tuned, expected)
    with pytest.raises(RuntimeError, match="inside"), policy.reference():
        raise RuntimeError("inside")
    with torch.no_grad():
        assert torch.equal(policy.transition(x, 3, cond).mean, tuned)
    assert all(parameter.requires_grad for parameter in policy.trainable())


@pytest.mark.parametrize("divergence", ["kl", "js"])
def test_a_fresh_adapter_changes_nothing_and_has_no_divergence(micro_lcm: Path, divergence: str) -> None:
    policy = noisy(micro_lcm, drift=0.0)
    algorithm = ROCM(divergence=divergence, beta=1.0)
    noise = draw_noise(policy, torch.Generator().manual_seed(0), 2)
    _, total = algorithm.evaluate(context(policy, Backprop()), PROMPTS[:2], noise)
    assert total.tolist() == [0, 0]
    gradients = torch.autograd.grad(total.sum(), list(policy.trainable()))
    assert max(gradient.abs().max().item() for gradient in gradients) == 0


@pytest.mark.parametrize("reference_gradient", ["exact", "detached"])
def test_checkpointing_saves_memory_and_keeps_gradients(micro_lcm: Path, reference_gradient: str) -> None:
    policy, sizes, gradients = noisy(micro_lcm), {}, {}
    for checkpoint in (False, True):
        with counting_saved_bytes() as saved:
            loss = first_loss(policy, Backprop(checkpoint=checkpoint), reference_gradient=reference_gradient)
        sizes[checkpoint] = sum(saved.values())
        gradients[checkpoint] = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(policy.trainable()))])
    assert gradients[False].norm() > 0
    error = (gradients[True] - gradients[False]).norm() / gradients[False].norm()
    assert error < 1e-6
    assert sizes[True] < sizes[False] / 2


@pytest.mark.parametrize("divergence", ["kl", "js"])
@pytest.mark.parametrize("kind", ["lcm", "diffusion"])
def test_the_gradient_through_real_networks_equals_finite_differences(
    micro_lcm: Path, micro_diffusion: Path, kind: str, divergence: str
) -> None:
    """UNet with adapter, all steps, the reference's path, VAE and reward, in float64, along a random direction."""
    policy = noisy(micro_lcm if kind == "lcm" else micro_diffusion, kind=kind, steps=4, dtype="float64")
    policy.straight_through = False
    algorithm, lent = ROCM(divergence=divergence, beta=0.1), context(policy, Backprop(checkpoint=True))
    noise = draw_noise(policy, torch.Generator().manual_seed(1), 2)

    def objective() -> Tensor:
        reward, total = algorithm.evaluate(lent, PROMPTS[:2], noise)
        return (reward - algorithm.weight * total).sum()

    parameters = list(policy.trainable())
    slopes = torch.autograd.grad(objective(), parameters)
    generator = torch.Generator().manual_seed(2)
    direction = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
    values = []
    with torch.no_grad():
        for h in (1e-7, -2e-7):  # the networks bend strongly: a short step
            for parameter, way in zip(parameters, direction, strict=True):
                parameter += h * way
            values.append(objective())
    expected = ((values[0] - values[1]) / 2e-7).item()
    slope = sum((s * d).sum() for s, d in zip(slopes, direction, strict=True)).item()
    assert slope == pytest.approx(expected, rel=1e-5)


def test_truncation_cuts_the_graph(micro_lcm: Path) -> None:
    policy, sizes = noisy(micro_lcm, steps=4), []
    for last_steps in (1, 2, 4):
        with counting_saved_bytes() as saved:
            first_loss(policy, Backprop(last_steps=last_steps))
        sizes.append(sum(saved.values()))
    assert sizes[0] < sizes[1] < sizes[2]


def test_adapter_state_is_loaded_in_place(micro_lcm: Path) -> None:
    policy, other = noisy(micro_lcm), noisy(micro_lcm, drift=0.3)
    before = [id(parameter) for parameter in policy.trainable()]
    state = other.adapter.state_dict()
    policy.adapter.load_state_dict(state)
    assert [id(parameter) for parameter in policy.trainable()] == before
    for name, weight in policy.adapter.weights.items():
        assert torch.equal(weight, other.adapter.weights[name])
    state[next(iter(state))].zero_()
    assert policy.adapter.weights[next(iter(state))].abs().sum() > 0  # copies, no views


def test_a_state_of_another_adapter_is_refused(micro_lcm: Path) -> None:
    policy = noisy(micro_lcm)
    before = policy.adapter.state_dict()
    wide = load_policy("lcm", micro_lcm, steps=3, guidance=7.5, lora=LoraConfig(rank=8)).adapter.state_dict()
    with pytest.raises(ValueError, match=r"shape \(8, 32\), expected \(4, 32\).*rank 4"):
        policy.adapter.load_state_dict(wide)
    narrow = load_policy("lcm", micro_lcm, steps=3, guidance=7.5, lora=LoraConfig(rank=4, targets=("to_q",)))
    with pytest.raises(ValueError, match="missing, 0 unknown"):
        policy.adapter.load_state_dict(narrow.adapter.state_dict())
    assert all(torch.equal(value, before[name]) for name, value in policy.adapter.state_dict().items())


def test_decode_stays_in_range_and_lets_gradients_through_saturated_pixels(micro_lcm: Path) -> None:
    policy = noisy(micro_lcm)
    x0 = (5 * torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))).requires_grad_()
    images, gradients = {}, {}
    for policy.straight_through in (True, False):
        images[policy.straight_through] = policy.decode(x0)
        total = images[policy.straight_through].sum()
        (gradients[policy.straight_through],) = torch.autograd.grad(total, x0)
    assert torch.equal(images[True], images[False])
    assert images[True].min() == 0
    assert images[True].max() == 1
    assert not torch.allclose(gradients[True], gradients[False])


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_step_arithmetic_keeps_its_precision_whatever_the_networks_use(micro_lcm: Path, dtype: str) -> None:
    policy = noisy(micro_lcm, dtype=dtype)
    expected = torch.float64 if dtype == "float64" else torch.float32
    assert policy.network.conv_in.weight.dtype == getattr(torch, dtype)
    assert {weight.dtype for weight in policy.trainable()} == {expected}
    noise = draw_noise(policy, torch.Generator().manual_seed(0), 2)
    p = policy.transition(noise[0], 3, policy.encode(PROMPTS[:2]))
    assert p.mean.dtype == p.std.dtype == noise.dtype == expected
    loss = first_loss(policy, Backprop(checkpoint=True))
    loss.backward()
    assert all(torch.isfinite(weight.grad).all() for weight in policy.trainable())


def test_bfloat16_pictures_are_close_to_float32_ones(micro_lcm: Path) -> None:
    images = {}
    for dtype in ("float32", "bfloat16"):
        policy = load_policy("lcm", micro_lcm, steps=4, guidance=7.5, dtype=dtype)
        with torch.no_grad():
            noise = draw_noise(policy, torch.Generator().manual_seed(0), 2)
            images[dtype] = policy.decode(rollout(policy, policy.encode(PROMPTS[:2]), noise).x0)
    assert (images["float32"] - images["bfloat16"]).abs().mean() < 0.02


def test_empty_and_over_long_prompts_are_encoded(micro_lcm: Path, micro_diffusion: Path) -> None:
    prompts = ["", "cat " * 300]
    for kind, folder in (("lcm", micro_lcm), ("diffusion", micro_diffusion)):
        cond = load_policy(kind, folder, steps=2, guidance=7.5).encode(prompts)
        assert cond.tensors["text"].shape == (2, 77, 32)
    assert torch.equal(cond.tensors["empty_text"][0], cond.tensors["empty_text"][1])
    assert torch.allclose(cond.tensors["empty_text"][0], cond.tensors["text"][0], atol=1e-6)


def test_the_wrong_kind_is_explained(micro_lcm: Path, micro_diffusion: Path) -> None:
    with pytest.raises(ValueError, match=r"use model\.kind=lcm"):
        load_policy("diffusion", micro_lcm, steps=2, guidance=7.5)
    with pytest.raises(ValueError, match=r"no guidance embedding.*model\.guidance=0"):
        load_policy("lcm", micro_diffusion, steps=2, guidance=7.5)
    with pytest.raises(UnknownNameError, match="Did you mean 'lcm'"):
        load_policy("lmc", micro_lcm, steps=2, guidance=7.5)


def test_a_consistency_model_without_guidance_embedding_works_unguided(micro_diffusion: Path) -> None:
    policy = load_policy("lcm", micro_diffusion, steps=2, guidance=0)
    with torch.no_grad():
        noise = draw_noise(policy, torch.Generator().manual_seed(0), 1)
        assert policy.decode(rollout(policy, policy.encode(["cat"]), noise).x0).shape == (1, 3, 64, 64)


def test_lora_settings_are_checked() -> None:
    for settings, message in (({"rank": 0}, "rank"), ({"alpha": 0}, "alpha"), ({"targets": ()}, "targets")):
        with pytest.raises(ValueError, match=f"lora.{message}"):
            LoraConfig(**settings)
    assert LoraConfig().scale == 2


def test_strength_turns_the_adapter_between_the_base_and_beyond(micro_lcm: Path) -> None:
    policy = noisy(micro_lcm)
    assert policy.adapter is not None
    cond, x = policy.encode(["a cat"]), draw_noise(policy, torch.Generator().manual_seed(0), 1)[0]
    with torch.no_grad():
        tuned = policy.transition(x, 3, cond).mean
        with policy.reference():
            base = policy.transition(x, 3, cond).mean
        means = {}
        for strength in (0.0, 0.5, 1.0):
            with policy.adapter.scaled(strength):
                means[strength] = policy.transition(x, 3, cond).mean
        after = policy.transition(x, 3, cond).mean
    torch.testing.assert_close(means[0.0], base)
    assert torch.equal(means[1.0], tuned)
    assert torch.equal(after, tuned)
    assert 0 < (means[0.5] - base).norm() < (tuned - base).norm()
