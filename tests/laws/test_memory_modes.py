"""Ways to save memory or time: those that claim to be exact leave the gradient alone, the others err as documented."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from helpers.family_models import Builder
from helpers.gradient_ways import PLAIN, Contrast, Way, gradient, lend, policy_for, relative
from helpers.toys import PROMPTS, ToyPolicy, toy_context
from kedge.algorithms.rocm import ROCM
from kedge.policies import load_policy
from kedge.policies.activation_offload import OffloadedActivations
from kedge.policies.base import Backprop, draw_noise, rollout
from kedge.policies.known_prompts import drop_text_encoders
from kedge.policies.latent import LatentPolicy
from kedge.policies.memory import apply_memory_settings
from kedge.policies.settings import MemorySettings, SpeedSettings

# These run the same kernels on the same numbers. The others add up in another order, and three steps through random
# networks at ω = 7.5 magnify float64's rounding about ten million times.
SAME_KERNELS = ("steps", "blocks", "steps and blocks", "vae blocks", "vae slices", "vae both", "offloaded")
EXACT = {
    "steps": Way(Backprop(checkpoint=True)),
    "blocks": Way(memory=MemorySettings(unet_checkpoint=True)),
    "steps and blocks": Way(Backprop(checkpoint=True), MemorySettings(unet_checkpoint=True)),
    "vae blocks": Way(memory=MemorySettings(vae_checkpoint=True)),
    "vae slices": Way(memory=MemorySettings(vae_slicing=True)),
    "vae both": Way(memory=MemorySettings(vae_checkpoint=True, vae_slicing=True)),
    "offloaded": Way(Backprop(offload=True)),
    "paired": Way(Backprop(paired=True)),
    "paired, steps, blocks": Way(Backprop(paired=True, checkpoint=True), MemorySettings(unet_checkpoint=True)),
    "text encoder on the host": Way(memory=MemorySettings(offload_text_encoders=True)),
    "channels last": Way(speed=SpeedSettings(channels_last=True)),
    "vae slices, plain attention": Way(memory=MemorySettings(vae_slicing=True), speed=SpeedSettings(attention="math")),
    "plain attention": Way(
        memory=MemorySettings(unet_checkpoint=True, vae_checkpoint=True), speed=SpeedSettings(attention="math")
    ),
    "everything": Way(
        Backprop(checkpoint=True, offload=True, paired=True),
        MemorySettings(unet_checkpoint=True, vae_checkpoint=True, vae_slicing=True, offload_text_encoders=True),
        SpeedSettings(channels_last=True, attention="math"),
    ),
}


@pytest.fixture(scope="module")
def plain(micro_lcm: Path, micro_diffusion: Path) -> dict[str, Tensor]:
    folders = {"lcm": micro_lcm, "diffusion": micro_diffusion}
    return {kind: gradient(policy_for(folder, PLAIN, kind), PLAIN) for kind, folder in folders.items()}


@pytest.mark.parametrize("name", EXACT)
def test_exact_modes_leave_the_gradient_alone(micro_lcm: Path, plain: dict[str, Tensor], name: str) -> None:
    actual = gradient(policy_for(micro_lcm, EXACT[name]), EXACT[name])
    assert relative(actual, plain["lcm"]) < (1e-12 if name in SAME_KERNELS else 1e-6)


@pytest.mark.parametrize("name", ["blocks", "paired, steps, blocks", "everything"])
def test_and_with_classifier_free_guidance(micro_diffusion: Path, plain: dict[str, Tensor], name: str) -> None:
    actual = gradient(policy_for(micro_diffusion, EXACT[name], "diffusion"), EXACT[name])
    assert relative(actual, plain["diffusion"]) < (1e-12 if name in SAME_KERNELS else 1e-6)


def test_diffusers_own_block_checkpoints_would_be_wrong(micro_lcm: Path, plain: dict[str, Tensor]) -> None:
    """They recompute the reference with the adapter on: what our own are there for."""
    policy = policy_for(micro_lcm, PLAIN)
    policy.network.enable_gradient_checkpointing()
    try:
        wrong = gradient(policy, PLAIN)
    except torch.utils.checkpoint.CheckpointError:  # noticed, because the adapter saves more tensors
        return
    assert relative(wrong, plain["lcm"]) > 1e-3


@contextmanager
def saved_bytes() -> Iterator[Counter[int]]:
    """Bytes that autograd keeps, by storage."""
    sizes: Counter[int] = Counter()

    def pack(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, Parameter) and not isinstance(tensor._base, Parameter):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield sizes


def stored(policy: LatentPolicy, way: Way, **settings: Any) -> int:
    noise = draw_noise(policy, torch.Generator().manual_seed(0), 2)
    algorithm = ROCM(**{"divergence": "kl", "beta": 0.05, **settings})
    with saved_bytes() as sizes:
        _ = algorithm.evaluate(lend(policy, way.backprop), PROMPTS[:2], noise)
    return sizes.total()


def test_what_recomputes_stores_less(micro_lcm: Path) -> None:
    policy = policy_for(micro_lcm, PLAIN)
    everything = stored(policy, PLAIN)
    assert stored(policy, Way(Backprop(checkpoint=True))) < 0.5 * everything
    assert stored(policy, Way(Backprop(last_steps=1))) < 0.7 * everything
    assert stored(policy, PLAIN, reference_gradient="detached") < 0.9 * everything
    assert stored(policy, PLAIN, reference_steps=1) < 0.9 * everything
    for option in ("unet_checkpoint", "vae_checkpoint", "vae_slicing"):
        memory = MemorySettings(**{option: True})
        assert stored(policy_for(micro_lcm, Way(memory=memory)), PLAIN) < 0.9 * everything


def test_offloading_moves_activations_and_no_weights() -> None:
    layer = torch.nn.Linear(64, 64, bias=False).requires_grad_(False)
    x = torch.randn(4096, 64, requires_grad=True)
    offloaded = OffloadedActivations(smallest=1000)
    with offloaded:
        y = (layer(x).tanh() * x[:1]).sum()
    one = 4096 * 64 * 4
    assert one <= offloaded.moved <= 3 * one  # tanh's output; neither the weight nor the single row
    (actual,) = torch.autograd.grad(y, x)
    (expected,) = torch.autograd.grad((layer(x).tanh() * x[:1]).sum(), x)
    assert torch.equal(actual, expected)


def tiled(folder: Path) -> LatentPolicy:
    policy = policy_for(
        folder, Way(memory=MemorySettings(vae_tile=32))
    )  # 64-pixel pictures: four tiles and their seams
    policy.straight_through = False
    return policy


def test_tiles_have_the_gradient_of_the_blended_picture(micro_lcm: Path) -> None:
    """Central differences of the tiled decode, for latents inside a tile, at its border, and in the overlap."""
    policy = tiled(micro_lcm)
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 4, 8, 8, generator=generator, dtype=torch.float64)
    weight = torch.randn(1, 3, 64, 64, generator=generator, dtype=torch.float64)

    def value(z: Tensor) -> Tensor:
        return (policy.decoder(z) * weight).sum()

    z = latents.clone().requires_grad_()
    (slopes,) = torch.autograd.grad(value(z), z)
    for row, column in [(0, 0), (2, 2), (3, 3), (3, 0), (4, 5), (5, 6), (7, 7)]:
        step = torch.zeros_like(latents)
        step[0, 1, row, column] = 1e-5
        with torch.no_grad():
            expected = (value(latents + step) - value(latents - step)) / 2e-5
        assert slopes[0, 1, row, column].item() == pytest.approx(expected.item(), rel=1e-6), (row, column)


def test_tiles_change_pictures_and_only_where_there_is_more_than_one(micro_lcm: Path) -> None:
    whole, parts = policy_for(micro_lcm, PLAIN), tiled(micro_lcm)
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        difference = (whole.decoder(latents) - parts.decoder(latents)).abs().mean()
    assert difference > 0  # each tile is normalised by itself
    assert torch.equal(whole.decoder(latents[..., :4, :4]), parts.decoder(latents[..., :4, :4]))  # a single tile


@pytest.mark.parametrize("pixels", [20, 8])
def test_tiles_of_another_size_are_refused(micro_lcm: Path, pixels: int) -> None:
    with pytest.raises(ValueError, match=r"memory\.vae_tile must be a multiple of 8, at least 32"):
        policy_for(micro_lcm, Way(memory=MemorySettings(vae_tile=pixels)))


def test_a_policy_of_ones_own_has_no_memory_settings() -> None:
    with pytest.raises(ValueError, match="ToyPolicy is a policy of your own"):
        apply_memory_settings(ToyPolicy(), MemorySettings(unet_checkpoint=True))
    apply_memory_settings(ToyPolicy(), MemorySettings())


def test_text_encoders_wait_on_the_host(micro_lcm: Path) -> None:
    policy = policy_for(micro_lcm, PLAIN)
    expected = policy.encode(["cat"]).tensors["text"]
    apply_memory_settings(policy, MemorySettings(offload_text_encoders=True))
    moves: list[str] = []
    encoder = policy.pipeline.text_encoder
    encoder.register_forward_pre_hook(lambda *_: moves.append("encodes"))
    to = encoder.to
    encoder.to = lambda place: moves.append(str(place)) or to(place)
    policy.device = torch.device("cpu:0")
    assert torch.equal(policy.encode(["cat"]).tensors["text"], expected)
    assert moves == ["cpu:0", "encodes", "cpu"]


def test_text_encoders_are_dropped_and_what_they_said_is_known(micro_lcm: Path, micro_diffusion: Path) -> None:
    for folder, kind in ((micro_lcm, "lcm"), (micro_diffusion, "diffusion")):
        policy, plain = policy_for(folder, PLAIN, kind), policy_for(folder, PLAIN, kind)
        expected = gradient(plain, PLAIN)
        drop_text_encoders(policy, [*PROMPTS, "cat"], 10**6)
        assert policy.pipeline.text_encoder is None
        assert relative(gradient(policy, PLAIN), expected) < 1e-9
        one_by_one = [plain.encode([prompt]) for prompt in ("cat", PROMPTS[0])]
        for name, tensor in policy.encode(["cat", PROMPTS[0]]).tensors.items():
            assert torch.equal(tensor, torch.cat([cond.tensors[name] for cond in one_by_one]))
        with pytest.raises(ValueError, match="'a dog' was not known when the text encoders were dropped"):
            policy.encode(["cat", "a dog"])
    with pytest.raises(ValueError, match=r"2 prompts take 0 MB .* more than memory.prompt_cache_mb=0: raise it"):
        drop_text_encoders(policy_for(micro_lcm, PLAIN), ["a", "b"], 1)


def test_the_vae_of_sana_decodes_in_tiles(models: Builder) -> None:
    """A tile as large as the picture changes nothing; of smaller ones, the gradient is that of the blend."""
    built = models("sana-sprint")
    policy = load_policy("sana-sprint", built.folder, steps=1, size=256, dtype="float64")
    z = torch.randn(1, *policy.latent_shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    whole = policy.decoder(z)
    apply_memory_settings(policy, MemorySettings(vae_tile=256))
    assert torch.equal(policy.decoder(z), whole)
    apply_memory_settings(policy, MemorySettings(vae_tile=128))
    assert (policy.decoder(z) - whole).abs().max() > 1e-6
    x = z.clone().requires_grad_()
    (slope,) = torch.autograd.grad(policy.decoder(x).sum(), x)
    step = torch.zeros_like(z)
    step[0, 0, 3, 4] = h = 1e-2  # its norms compute in float32
    difference = (policy.decoder(z + step) - policy.decoder(z - step)).sum() / (2 * h)
    assert slope[0, 0, 3, 4].item() == pytest.approx(difference.item(), rel=1e-2)
    with pytest.raises(ValueError, match="multiple of 32, at least 128"):
        apply_memory_settings(policy, MemorySettings(vae_tile=100))


def subset_gradients(policy: ToyPolicy, algorithm: ROCM, draws: int) -> tuple[Counter[tuple[int, ...]], Tensor, Tensor]:
    """How often each subset of steps was drawn; the mean over subsets of value and gradient, each subset once."""
    noise, seen, gradients = draw_noise(policy, torch.Generator().manual_seed(0), 3), Counter(), {}
    for seed in range(draws):
        context = toy_context(policy, seed=seed)
        drawn = tuple(algorithm._steps(toy_context(policy, seed=seed)))
        if drawn not in seen:
            reward, divergence = algorithm.evaluate(context, PROMPTS, noise)
            value = (reward - algorithm.weight * divergence).mean()
            grads = torch.autograd.grad(value, list(policy.trainable()))
            gradients[drawn] = value.detach(), torch.cat([g.flatten() for g in grads])
        seen[drawn] += 1
    return seen, *(torch.stack(column).mean(0) for column in zip(*gradients.values(), strict=True))


@pytest.mark.parametrize(("subset", "count"), [(1, 4), (2, 6), (3, 4)])
def test_a_random_subset_of_terms_is_unbiased(subset: int, count: int) -> None:
    """Subsets are drawn alike often, and the mean over all of them is the whole: value and gradient."""
    policy, draws = ToyPolicy("lcm", 5), 600
    seen, value, slope = subset_gradients(policy, ROCM(beta=0.02, reference_steps=subset), draws)
    _, whole, expected = subset_gradients(policy, ROCM(beta=0.02), 1)
    assert len(seen) == count
    chi_squared = sum((n - draws / count) ** 2 / (draws / count) for n in seen.values())
    assert chi_squared < 20.5  # 99.9 % of the distribution with five degrees of freedom
    assert value.item() == pytest.approx(whole.item(), rel=1e-12)
    assert relative(slope, expected) < 1e-12


def test_a_subset_calls_the_reference_that_often_and_all_is_no_draw() -> None:
    policy = ToyPolicy("lcm", 5)
    for subset, calls in ((1, 1), (3, 3), (4, 4), (9, 4)):
        context = toy_context(policy)
        policy.calls.clear()
        next(iter(next(iter(ROCM(reference_steps=subset).updates(context)))))
        assert (policy.calls["policy"], policy.calls["reference"]) == (5, calls)
    with pytest.raises(ValueError, match="reference_steps must be 1 or more"):
        ROCM(reference_steps=0)


def test_pairs_call_the_network_once_for_both(micro_lcm: Path) -> None:
    calls: list[int] = []
    policy = policy_for(micro_lcm, PLAIN)
    policy.network.register_forward_pre_hook(lambda _, inputs: calls.append(len(inputs[0])))
    gradient(policy, Way(Backprop(paired=True)))
    assert calls == [4, 4, 2]  # K = 3 steps of two pictures; the last has no reference
    with torch.no_grad():
        noise = draw_noise(policy, torch.Generator().manual_seed(0), 2)
        cond = policy.encode(PROMPTS[:2])
        x = rollout(policy, cond, noise).x0
        p, q = policy.pair(x, 2, cond)
        assert torch.allclose(p.mean, policy.transition(x, 2, cond).mean, rtol=1e-12, atol=1e-12)
        with policy.reference():
            assert torch.allclose(q.mean, policy.transition(x, 2, cond).mean, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(p.mean, q.mean)


def test_a_decoder_that_diffusers_cannot_recompute_is_recomputed_all_the_same(models: Builder) -> None:
    """SANA's: the same pictures and gradient, and less kept for it."""
    folder = models("sana-sprint").folder

    def pulled(memory: MemorySettings) -> tuple[Tensor, Tensor, int]:
        policy = load_policy("sana-sprint", folder, steps=2, guidance=3.5, dtype="float64")
        apply_memory_settings(policy, memory)
        x = torch.randn(1, *policy.latent_shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        x.requires_grad_()
        with saved_bytes() as sizes:
            images = policy.decode(x)
        (slope,) = torch.autograd.grad(Contrast()(images, [""]).sum(), x)
        return images, slope, sizes.total()

    images, expected, everything = pulled(MemorySettings())
    same, slope, less = pulled(MemorySettings(vae_checkpoint=True))
    assert torch.equal(same, images)
    assert relative(slope, expected) < 1e-12
    assert less < 0.5 * everything
