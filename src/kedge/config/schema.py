"""What a run can be told. The ``Attributes`` sections are the documentation that ``kedge init`` writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from kedge.models import ModelParts, default_guidance
from kedge.policies.families.detect import AUTO, detect_kind

Count = Annotated[int, Field(gt=0)]
Whole = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True)
class LoraBlock:
    """The low-rank adapter: the only weights that training changes.

    Attributes:
        rank: rank of the update; the paper uses 16.
        alpha: the update is scaled by alpha / rank; the paper uses 32.
        targets: the layers that get an adapter.
    """

    rank: Count = 16
    alpha: Positive = 32
    targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")


@dataclass(frozen=True)
class ModelConfig:
    """The generator.

    Attributes:
        name: a bundled model (emoji-lcm, emoji-diffusion), a local folder in diffusers' format, or a hub id.
        kind: auto (by the model's files), lcm, diffusion, turbo, sana-sprint, or module:function for a policy of your
            own. See docs/models.md.
        steps: K, the number of sampling steps; the papers use 8 for lcm and 20 for diffusion. turbo and sana-sprint
            models take 1 to 4.
        guidance: ω of ROCM's Eq. 4; diffusers' guidance_scale is ω + 1. null takes 1 for the bundled emoji models, 0
            for turbo models and LCM-LoRA, 3.5 for sana-sprint, and the papers' 7.5 for every other.
        eta: how much noise a diffusion step adds (DDIM's η); the other kinds ignore it.
        size: side of the pictures in pixels, or [height, width]; null is the model's own.
        dtype: precision of the networks; the adapter and all arithmetic on steps stay in float32.
        unet: a UNet in place of the model's own (latent-consistency/lcm-sdxl): a folder or hub id.
        lcm_lora: an LCM-LoRA to make a consistency model of a diffusion model: a folder, file or hub id.
        vae: a VAE in place of the model's own (madebyollin/sdxl-vae-fp16-fix): a folder or hub id.
        variant: fp16 takes the weight files that are marked so; null the unmarked ones, or a folder's only ones.
        lora: the adapter.
    """

    name: str = "emoji-lcm"
    kind: str = AUTO
    steps: Count = 8
    guidance: float | None = None
    eta: NotNegative = 1.0
    size: Count | tuple[Count, Count] | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    unet: str | None = None
    lcm_lora: str | None = None
    vae: str | None = None
    variant: str | None = None
    lora: LoraBlock = field(default_factory=LoraBlock)

    def __post_init__(self) -> None:
        if self.kind == AUTO:  # settled here, once: everybody else reads what it is
            object.__setattr__(self, "kind", detect_kind(self.name, self.parts))

    @property
    def parts(self) -> ModelParts:
        """What it takes from elsewhere."""
        return ModelParts(self.unet, self.vae, self.lcm_lora, self.variant)

    @property
    def omega(self) -> float:
        """``guidance``, or the model's own where it is null."""
        return default_guidance(self.name, self.kind, self.parts) if self.guidance is None else self.guidance


@dataclass(frozen=True)
class BackpropConfig:
    """How gradients travel back through the sampling steps.

    Attributes:
        last_steps: keep the gradient of the last n steps only; null keeps all.
        checkpoint: recompute each step's network in the backward pass: less memory, about a third more time.
    """

    last_steps: Whole | None = None
    checkpoint: bool = False


@dataclass(frozen=True)
class MemoryConfig:
    """What to hold less of. Measured effects: docs/memory.md. All but vae_tile leave pictures and gradients alone.

    Attributes:
        unet_checkpoint: recompute the denoising network block by block in the backward pass; backprop.checkpoint may
            be on as well.
        vae_checkpoint: recompute the VAE's decoder block by block.
        vae_slicing: decode one picture at a time, and recompute it in the backward pass.
        vae_tile: decode in overlapping tiles of this many pixels, blended; changes pictures a little. null does not.
        offload_text_encoders: text encoders wait in the host's memory while they have nothing to encode.
        offload_activations: what the backward pass needs waits in the host's memory; slow, for GPUs only.
        prompt_cache_mb: host memory for encoded prompts; those used longest ago are encoded again when they come back.
        reward_dtype: precision of the rewards' networks; scores stay in float32.
    """

    unet_checkpoint: bool = False
    vae_checkpoint: bool = False
    vae_slicing: bool = False
    vae_tile: Count | None = None
    offload_text_encoders: bool = False
    offload_activations: bool = False
    prompt_cache_mb: Count = 1024
    reward_dtype: Literal["float32", "bfloat16", "float16"] = "float32"


@dataclass(frozen=True)
class SpeedConfig:
    """How to run the networks. Results stay the same up to rounding.

    Attributes:
        paired_reference: policy and reference in one network call of twice the batch, with the exact reference
            gradient: reads the weights once, which pays where batches are small. Two calls' activations at once.
        compile: compile the denoising network with torch.compile; the first steps take minutes.
        channels_last: channels-last order for convolutions; often faster on GPUs and in bfloat16.
        attention: kernel for attention: auto (torch chooses), flash, efficient, cudnn or math.
        tf32: float32 matrix products by TensorFloat-32 where the GPU has it; about three digits of precision.
    """

    paired_reference: bool = False
    compile: bool = False
    channels_last: bool = False
    attention: Literal["auto", "flash", "efficient", "cudnn", "math"] = "auto"
    tf32: bool = False


@dataclass(frozen=True)
class PromptsConfig:
    """What to draw.

    Attributes:
        source: a named set (see `kedge prompts`), a .txt, .csv, .jsonl or .parquet file, a data set's hub id, or
            module:function that returns them.
        column: the column that holds the prompts, for tables; null picks the only plausible one.
        split: the split of a hub data set.
        count: use this many, drawn at random with the seed; null uses all.
        seed: seed of that draw.
        shuffle: go through the prompts in a new random order each time; false keeps the order.
        local: a local file to read instead, for named sets that live on the hub.
    """

    source: str = "emoji"
    column: str | None = None
    split: str = "train"
    count: Count | None = None
    seed: int = 0
    shuffle: bool = True
    local: str | None = None


@dataclass(frozen=True)
class OptimizerConfig:
    """How the adapter moves.

    Attributes:
        name: adamw, adam, or adamw8bit (moments in 8 bits: needs the package bitsandbytes and a GPU).
        lr: learning rate; the paper uses 6e-5.
        betas: Adam's two decay rates.
        eps: Adam's ε.
        weight_decay: decoupled weight decay (not with adam).
        clip: largest norm of the gradient; 0 does not clip. At the first LCM step ∂x̃0/∂ε is about 15: keep it on.
        schedule: constant, linear (down to 0) or cosine (down to 0).
        warmup: steps over which the learning rate rises from 0.
        ema: decay of an exponential moving average of the adapter, used for samples and export; 0 keeps none.
    """

    name: Literal["adamw", "adam", "adamw8bit"] = "adamw"
    lr: Positive = 6e-5
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    eps: Positive = 1e-8
    weight_decay: NotNegative = 0.0
    clip: NotNegative = 1.0
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup: Whole = 0
    ema: Fraction = 0.0


@dataclass(frozen=True)
class TrainingConfig:
    """How long and how much at once.

    Attributes:
        steps: optimizer steps; the run ends with the first batch of experience that reaches them.
        batch_size: samples at once on each device.
        accumulation: micro-batches that make one optimizer step; memory stays that of one.
        seed: seed of noise, prompt order and adapter initialisation.
        device: auto, cpu, cuda, cuda:1, mps …
        patience: stop after this many steps in a row without a finite gradient; such steps are skipped.
    """

    steps: Count = 1000
    batch_size: Count = 4
    accumulation: Count = 1
    seed: int = 0
    device: str = "auto"
    patience: Count = 5


@dataclass(frozen=True)
class WatchConfig:
    """What to look at while it trains. None of it touches the training's random streams.

    Attributes:
        samples_every: steps between sample grids, from step 0; 0 draws none.
        samples: the prompts to draw, with fixed seeds, base beside tuned; empty takes the first of `held_out`.
        samples_count: how many prompts to draw when `samples` is empty.
        evaluate_every: steps between held-out evaluations, from step 0; 0 does none.
        held_out: prompts to evaluate on, a block like `prompts`; null takes the first 64 training prompts.
        metrics: rewards to evaluate besides the one trained on.
        guard: what to do when held-out evaluations show that the model cheats the reward: warn, stop or off.
        batch_size: pictures at once; they need less memory than training does.
        seed: seed of the samples and evaluations.
        tensorboard: write TensorBoard events too.
    """

    samples_every: Whole = 50
    samples: tuple[str, ...] = ()
    samples_count: Count = 8
    evaluate_every: Whole = 0
    held_out: PromptsConfig | None = None
    metrics: tuple[str, ...] = ()
    guard: Literal["warn", "stop", "off"] = "warn"
    batch_size: Count = 8
    seed: int = 1234
    tensorboard: bool = True


@dataclass(frozen=True)
class CheckpointConfig:
    """What survives an interruption.

    Attributes:
        every: steps between checkpoints (the next end of a batch of experience); 0 saves only at the end.
        keep: how many of the last checkpoints to keep.
    """

    every: Whole = 100
    keep: Count = 2


@dataclass(frozen=True)
class AlgorithmChoice:
    """Which algorithm, and its own hyper-parameters.

    Attributes:
        name: a registered algorithm, or module:Class for one of your own.
        settings: the algorithm itself: a frozen dataclass of its hyper-parameters, which stand beside `name` in YAML.
    """

    name: str
    settings: Any


@dataclass(frozen=True)
class RunConfig:
    """One training run.

    Attributes:
        algorithm: how to rise: a name with that algorithm's own hyper-parameters.
        reward: what to rise towards: NAME[@SOURCE], or a weighted sum like "0.7*hpsv2 + 0.3*pickscore".
        model: the generator.
        backprop: how gradients travel back through the sampling steps.
        memory: what to hold less of.
        speed: how to run the networks.
        prompts: what to draw.
        optimizer: how the adapter moves.
        training: how long and how much at once.
        watch: what to look at while it trains.
        checkpoint: what survives an interruption.
    """

    algorithm: AlgorithmChoice
    reward: str = "pickscore@emoji"
    model: ModelConfig = field(default_factory=ModelConfig)
    backprop: BackpropConfig = field(default_factory=BackpropConfig)
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    speed: SpeedConfig = field(default_factory=SpeedConfig)
    prompts: PromptsConfig = field(default_factory=PromptsConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    watch: WatchConfig = field(default_factory=WatchConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
