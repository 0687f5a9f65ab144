"""Memory and speed of a loaded generator: what its networks recompute, where its text encoders wait, how they run.

Everything here but tiles leaves the mathematics alone: the same pictures and gradients, up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from kedge.policies.base import Policy
from kedge.policies.latent import LatentPolicy
from kedge.policies.lora import Adapter
from kedge.policies.settings import MemorySettings, SpeedSettings

AS_IT_IS = SpeedSettings()
BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}


def apply_memory_settings(policy: Policy, memory: MemorySettings, speed: SpeedSettings = AS_IT_IS) -> None:
    """Set ``policy`` up once, after it was loaded. What is not the generator's own is left to others.

    Raises:
        ValueError: for a policy of the user's own, or a network that cannot do what is asked for.
    """
    if not (memory.changes_networks or speed.changes_networks):
        return
    if not isinstance(policy, LatentPolicy):
        raise ValueError(
            f"memory and speed settings are for models in diffusers' format, and {type(policy).__name__} is a policy "
            "of your own: leave out the blocks memory and speed, except memory.prompt_cache_mb"
        )
    backend = nullcontext if speed.attention == "auto" else _attention(speed.attention)
    if speed.attention != "auto":  # before what recomputes them, so that it does so with the same kernels
        policy.network.forward = _inside(backend, policy.network.forward)
        policy.decoder = _inside(backend, policy.decoder)
    _set_up_decoder(policy, memory, backend)
    if memory.unet_checkpoint:
        policy.network.enable_gradient_checkpointing(_block_checkpoint(policy.adapter, backend))
    if memory.offload_text_encoders and not policy.texts_on_host:
        fetch_texts(policy)
    if speed.channels_last:
        for network in (policy.network, policy.vae):
            network.to(memory_format=torch.channels_last)
    if speed.compile:
        _compile(policy.network, memory.unet_checkpoint)
    policy.share(policy.other_sizes)


def _set_up_decoder(
    policy: LatentPolicy, memory: MemorySettings, backend: Callable[[], AbstractContextManager[Any]]
) -> None:
    if memory.vae_checkpoint:
        _recompute_blocks(policy.vae, _block_checkpoint(None, backend))
    if memory.vae_tile is not None:
        _tile(policy.vae, memory.vae_tile)
    if memory.vae_slicing:
        policy.decoder = _Sliced(policy.decoder)


def _block_checkpoint(
    adapter: Adapter | None, backend: Callable[[], AbstractContextManager[Any]]
) -> Callable[..., Any]:
    """What diffusers calls for each block: recomputed with the adapter as it was, on or off, and the same kernels.

    diffusers' own would recompute the reference's blocks with the adapter on, because the backward pass runs outside
    of ``policy.reference()``: a wrong gradient, without any warning.
    """

    def call(module: Callable[..., Any], *args: Any) -> Any:
        mode = adapter.mode if adapter else None

        def block(*args: Any) -> Any:
            with adapter.switched(mode) if adapter and mode else nullcontext(), backend():
                return module(*args)

        return checkpoint(block, *args, use_reentrant=False, preserve_rng_state=False)

    return call


def _recompute_blocks(vae: Any, call: Callable[..., Any]) -> None:
    """Each block of the decoder by itself: diffusers' way, or for a VAE that has none (SANA's), the same done here."""
    if vae._supports_gradient_checkpointing:
        vae.enable_gradient_checkpointing(call)
        return
    for block in vae.decoder.up_blocks:
        block.forward = partial(_call_with_gradient, call, block.forward)


def _call_with_gradient(call: Callable[..., Any], forward: Callable[..., Any], *args: Any) -> Any:
    return call(forward, *args) if torch.is_grad_enabled() else forward(*args)


class _Sliced:
    """Decode one picture at a time; each is recomputed in the backward pass, so that one at a time is in memory."""

    def __init__(self, decoder: Callable[[Tensor], Tensor]):
        self._decoder = decoder

    def __call__(self, latents: Tensor) -> Tensor:
        return torch.cat([self._one(row) for row in latents.split(1)])

    def _one(self, latents: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return self._decoder(latents)
        image: Tensor = checkpoint(self._decoder, latents, use_reentrant=False, preserve_rng_state=False)
        return image


def _tile(vae: Any, pixels: int) -> None:
    """Tiles of ``pixels``, overlapping as the VAE has it; its own choice would be whole pictures of its native size."""
    if not hasattr(vae, "enable_tiling"):
        raise ValueError(f"memory.vae_tile: {type(vae).__name__} cannot decode in tiles; leave it null")
    by_stride = hasattr(vae, "tile_sample_stride_height")  # SANA's; the others say how much tiles overlap
    factor = vae.spatial_compression_ratio if by_stride else 2 ** (len(vae.config.block_out_channels) - 1)
    if pixels % factor or pixels < 4 * factor:
        raise ValueError(f"memory.vae_tile must be a multiple of {factor}, at least {4 * factor}, not {pixels}")
    if by_stride:
        vae.enable_tiling(pixels, pixels, *[_stride(pixels, factor)] * 2)
    else:
        vae.enable_tiling()
        vae.tile_sample_min_size, vae.tile_latent_min_size = pixels, pixels // factor


def _stride(pixels: int, factor: int) -> int:
    """Tiles overlap by a quarter, in whole latents."""
    return pixels - max(1, pixels // (4 * factor)) * factor


def _compile(network: Any, blocks: bool) -> None:
    """The whole network; if its blocks are recomputed, what repeats inside them, since nothing is compiled across."""
    # With it, torch 2.13 gives an upsampling block the gradient zero on a CPU, without any warning.
    options = {"layout_optimization": False}
    if blocks and getattr(network, "_repeated_blocks", None):
        network.compile_repeated_blocks(options=options)
    else:
        network.compile(options=options)


def fetch_texts(policy: LatentPolicy) -> None:
    """Text encoders wait on the host, go to the device when they are called, and back when they are done."""
    policy.texts_on_host = True
    for name in policy.backbone.text_encoders:
        encoder = getattr(policy.pipeline, name, None)
        if isinstance(encoder, nn.Module):
            encoder.to("cpu")
            encoder.register_forward_pre_hook(lambda module, _: module.to(policy.device) and None)
            encoder.register_forward_hook(lambda module, *_: module.to("cpu") and None)


def _attention(name: str) -> Callable[[], AbstractContextManager[Any]]:
    # Where the chosen kernel cannot run (float32 in flash attention, say), the plain one has to.
    return lambda: sdpa_kernel([BACKENDS[name], SDPBackend.MATH], set_priority=True)


def _inside(context: Callable[[], AbstractContextManager[Any]], function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        with context():
            return function(*args, **kwargs)

    return call
