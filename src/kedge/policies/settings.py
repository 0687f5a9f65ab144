"""Settings of a generator: its adapter, its gradients, its memory and its speed. Importable without torch.

These are the blocks ``model.lora``, ``backprop``, ``memory`` and ``speed`` of a recipe, and what the policies take.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from kedge.ranges import Count, Positive, Share, Whole

Precision = Literal["float32", "bfloat16", "float16"]
Size = int | tuple[int, int]  # of a picture in pixels: its side, or height and width
PredictionType = Literal["epsilon", "sample", "v_prediction"]
Quantization = Literal["int8", "nf4"]
Attention = Literal["auto", "flash", "efficient", "cudnn", "math"]


@dataclass(frozen=True)
class LoraConfig:
    """The low-rank adapter, the only weights that training changes: W + (alpha / rank) B A; ROCM's setting (page 5).

    Attributes:
        rank: r, the inner dimension of B A; the paper uses 16.
        alpha: α; the update is scaled by α / r. The paper uses 32.
        targets: the layers that get an adapter, by the endings of their names; null takes those of the
            model's family, for most of them the attention layers.
    """

    rank: Count = 16
    alpha: Positive = 32
    targets: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"lora.rank must be 1 or more, not {self.rank}")
        if self.alpha <= 0:
            raise ValueError(f"lora.alpha must be positive, not {self.alpha}")
        if self.targets is not None and not self.targets:
            raise ValueError("lora.targets is empty: name at least one kind of layer, such as to_q")

    @property
    def scale(self) -> float:
        """α / r."""
        return self.alpha / self.rank

    def on(self, layers: Sequence[str]) -> LoraConfig:
        """The same adapter, on the layers with these endings if it names none itself."""
        return self if self.targets else replace(self, targets=tuple(layers))


@dataclass(frozen=True)
class BackpropSettings:
    """How gradients travel back through the sampling steps.

    Attributes:
        last_steps: keep the gradient of the last n steps only (truncated backpropagation); null keeps all, 0 none.
        random_depth: p; the gradient goes on from a step to the one before it with this probability, drawn for each
            micro-batch, and is then divided by it: less time, the same expected gradient, more variance. null always
            goes on.
        checkpoint: recompute each step's network in the backward pass: less memory, about a third more time.
    """

    last_steps: Whole | None = None
    random_depth: Share | None = None
    checkpoint: bool = False

    def __post_init__(self) -> None:
        if self.last_steps is not None and self.last_steps < 0:
            raise ValueError(f"backprop.last_steps must be 0 or more, not {self.last_steps}")
        if self.random_depth is not None and not 0 < self.random_depth <= 1:
            raise ValueError(
                f"backprop.random_depth must be above 0 and at most 1, not {self.random_depth}: the probability that "
                "the gradient goes on to the step before. backprop.last_steps=1 keeps the last step's alone"
            )


@dataclass(frozen=True)
class MemorySettings:
    """What to hold less of. Measured effects: docs/memory.md. All but vae_tile leave pictures and gradients alone.

    Attributes:
        unet_checkpoint: recompute the denoising network block by block in the backward pass; backprop.checkpoint may
            be on as well.
        vae_checkpoint: recompute the VAE's decoder block by block.
        vae_slicing: decode one picture at a time, and recompute it in the backward pass.
        vae_tile: decode in overlapping tiles of this many pixels, blended; changes pictures a little. null does not.
        offload_text_encoders: text encoders wait in the host's memory while they have nothing to encode.
        drop_text_encoders: encode all prompts before training, while the other networks wait in the host's memory, and
            give the text encoders up. All prompts have to fit into prompt_cache_mb.
        offload_activations: what the backward pass needs waits in the host's memory; slow, for GPUs only.
        prompt_cache_mb: host memory for encoded prompts; those used longest ago are encoded again when they come back.
        reward_dtype: precision of the rewards' networks, but for hybrid's surrogate; scores stay in float32.
    """

    unet_checkpoint: bool = False
    vae_checkpoint: bool = False
    vae_slicing: bool = False
    vae_tile: Count | None = None
    offload_text_encoders: bool = False
    drop_text_encoders: bool = False
    offload_activations: bool = False
    prompt_cache_mb: Count = 1024
    reward_dtype: Precision = "float32"

    @property
    def texts_wait(self) -> bool:
        """Whether text encoders are off the device during training."""
        return self.offload_text_encoders or self.drop_text_encoders

    @property
    def changes_networks(self) -> bool:
        """Whether a setting concerns the generator's own networks."""
        decoding = self.vae_checkpoint or self.vae_slicing or self.vae_tile is not None
        return decoding or self.unet_checkpoint or self.texts_wait


@dataclass(frozen=True)
class SpeedSettings:
    """How to run the networks. Results stay the same up to rounding.

    Attributes:
        paired_reference: policy and reference in one network call of twice the batch, with the exact reference
            gradient: reads the weights once, which pays where batches are small. Two calls' activations at once.
        compile: compile the denoising network with torch.compile; the first steps take minutes. With
            memory.unet_checkpoint its attention blocks.
        channels_last: channels-last order for convolutions; often faster on GPUs and in bfloat16.
        attention: kernel for attention: auto (torch chooses), flash, efficient, cudnn or math.
        tf32: float32 matrix products by TensorFloat-32 where the GPU has it; about three digits of precision.
    """

    paired_reference: bool = False
    compile: bool = False
    channels_last: bool = False
    attention: Attention = "auto"
    tf32: bool = False

    @property
    def changes_networks(self) -> bool:
        """Whether a setting concerns the generator's own networks."""
        return self.compile or self.channels_last or self.attention != "auto"
