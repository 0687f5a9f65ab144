"""A latent generator, put together from its pieces: text, denoiser, steps, the adapter, and decoding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn

from kedge.gaussian import Gaussian
from kedge.policies.base import Conditioning
from kedge.policies.denoiser import Denoiser
from kedge.policies.families.backbones import Backbone
from kedge.policies.latent_space import LatentSpace, unet_space
from kedge.policies.lora import Adapter
from kedge.policies.settings import LoraConfig
from kedge.policies.small_maps import multiply_small_maps
from kedge.policies.steps import PredictingStep, Step
from kedge.policies.text import Encode


class LatentPolicy:
    """A diffusers pipeline as a :class:`kedge.policies.base.Policy`.

    Args:
        backbone: which of the pipeline's networks is which; the one that denoises gets the adapter.
        text: prompts to conditioning.
        denoiser: one call of that network.
        schedule: steps K to 1.
        size: of the pictures in pixels; None is the model's own.
        space: where its latents live; None is as for a UNet.

    Attributes:
        pipeline: the real diffusers pipeline, with every network frozen.
        network: the one that denoises.
        guidance: ω of ROCM's Eq. 4.
        adapter: the LoRA on the network, or None.
        space: where its latents live.
        other_sizes: the same networks and adapter for pictures of further sizes; see :meth:`share`.
        decoder: the VAE's, from its own latents to images in [−1, 1]; memory settings may wrap it.
        text: prompts to conditioning; :func:`kedge.policies.known_prompts.drop_text_encoders` replaces it.
        texts_on_host: whether text encoders wait in the host's memory, and are fetched for their work.
        straight_through: let gradients pass through the clamp of :meth:`decode` where pixels are saturated.
    """

    def __init__(
        self,
        pipeline: DiffusionPipeline,
        backbone: Backbone,
        *,
        text: Encode,
        denoiser: Denoiser,
        schedule: Mapping[int, Step],
        guidance: float,
        lora: LoraConfig | None = None,
        size: int | tuple[int, int] | None = None,
        space: LatentSpace | None = None,
    ):
        for network in pipeline.components.values():
            if isinstance(network, nn.Module):
                network.requires_grad_(False).eval()
        self.pipeline, self.backbone, self.vae = pipeline, backbone, pipeline.vae
        self.network: Any = getattr(pipeline, backbone.network)
        self.steps, self.guidance = len(schedule), guidance
        self.device, self.network_dtype = self.network.device, self.network.dtype
        if self.device.type == "cpu":
            multiply_small_maps(self.network)
        self.schedule = {k: step.on(self.device) for k, step in schedule.items()}
        self.dtype = torch.promote_types(self.network_dtype, torch.float32)
        self.space = space or unet_space(pipeline, self.network)
        self.latent_shape: tuple[int, ...] = self.space.shape(size)
        self.adapter = Adapter(self.network, lora.on(backbone.lora_targets)) if lora else None
        self.decoder: Callable[[Tensor], Tensor] = self._decode
        self.straight_through = True
        self.other_sizes: tuple[LatentPolicy, ...] = ()
        self.text, self._denoiser = text, denoiser
        self.texts_on_host = False

    def share(self, others: Sequence[LatentPolicy]) -> None:
        """Have ``others``, on the same pipeline for pictures of other sizes, use this adapter and this decoder."""
        self.other_sizes = tuple(others)
        for other in self.other_sizes:
            self.share_with(other)

    def share_with(self, other: LatentPolicy) -> None:
        """Have ``other``, made later on the same pipeline, use this adapter and this decoder."""
        other.adapter, other.decoder = self.adapter, self.decoder
        for weight in self.trainable():  # whoever makes a policy freezes its networks
            weight.requires_grad_(True)

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """What the network reads of the prompts, without gradient."""
        return self.text(prompts)

    def transition(self, x: Tensor, k: int, cond: Conditioning) -> Gaussian:
        """``p(x_{k-1} | x_k, c)`` at ``x = x_k`` ``[B, *latent_shape]``; std = 0 at k = 1."""
        step = self.schedule[k]
        return step.gaussian(x, self._denoiser(step.network_input(x), step.timestep, cond))

    def reference(self) -> AbstractContextManager[None]:
        """Inside, the network runs without the adapter. Contexts may be nested."""
        return self.adapter.disabled() if self.adapter else nullcontext()

    def pair(self, x: Tensor, k: int, cond: Conditioning) -> tuple[Gaussian, Gaussian]:
        """``transition`` and the reference's, by one network call of twice the batch: the weights are read once.

        The numbers are those of two calls up to rounding.
        """
        if self.adapter is None:
            p = self.transition(x, k, cond)
            return p, p
        twice = Conditioning({name: torch.cat([tensor, tensor]) for name, tensor in cond.tensors.items()})
        with self.adapter.halved(len(x)):
            both = self.transition(torch.cat([x, x]), k, twice)
        mean, reference_mean = both.mean.chunk(2)
        return Gaussian(mean, both.std), Gaussian(reference_mean, both.std)

    def predicted_x0(self, x: Tensor, k: int, cond: Conditioning) -> Tensor:
        """x̂_0 at ``x = x_k``, differentiable: ``[B, *latent_shape]``.

        Raises:
            ValueError: for steps of a family that do not say.
        """
        step = self.schedule[k]
        if not isinstance(step, PredictingStep):
            raise ValueError("this family's steps do not say which picture they predict")
        return step.predicted_x0(x, self._denoiser(step.network_input(x), step.timestep, cond))

    def x0_weight(self, k: int) -> float | None:
        """∂mean / ∂x̂_0 of step k at a fixed x_k; None if the family's steps do not say."""
        weight = getattr(self.schedule[k], "x0_weight", None)
        return None if weight is None else float(weight)

    @property
    def noise_stds(self) -> list[float]:
        """The standard deviations of the steps that draw noise, from the first one on."""
        x, stds = torch.zeros(1, *self.latent_shape, device=self.device), []
        for step in self.schedule.values():
            if std := float(step.gaussian(x, x).std):
                stds.append(std)
        return stds

    def arranged(self, noise: Tensor) -> Tensor:
        """A step's noise ``[B, *latent_shape]``, filled in the order in which diffusers draws it, as latents."""
        return self.space.arranged(noise)

    def trainable(self) -> Iterable[torch.nn.Parameter]:
        """The adapter's weights."""
        return list(self.adapter.weights.values()) if self.adapter else []

    def decode(self, x0: Tensor) -> Tensor:
        """Images ``[B, 3, H, W]`` in [0, 1] from ``[B, *latent_shape]``, in ``x0``'s dtype, differentiable.

        A clamp has no gradient where a pixel is saturated, as flat backgrounds are: nothing could bring it back. With
        ``straight_through`` the gradient passes as if the pixel had not been clamped.
        """
        images = self.decoder(self.space.decodable(x0).to(self.vae.dtype)).to(x0.dtype) / 2 + 0.5
        clamped = images.clamp(0, 1)
        return clamped.detach() + (images - images.detach()) if self.straight_through else clamped

    def _decode(self, latents: Tensor) -> Tensor:
        decoded: Tensor = self.vae.decode(latents, return_dict=False)[0]
        return decoded
