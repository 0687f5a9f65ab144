"""What a recipe may say. The ``Attributes`` sections are the comments that ``kedge init`` writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from kedge.config.fields import More
from kedge.config.sizes import Sizes, heights_and_widths
from kedge.models import ModelParts
from kedge.policies.families import AUTO, Family, default_guidance, find, words
from kedge.policies.settings import (
    BackpropSettings,
    LoraConfig,
    MemorySettings,
    Precision,
    PredictionType,
    Quantization,
    SpeedSettings,
)
from kedge.ranges import Count, Fraction, NotNegative, Positive, Seed, Share, Whole


def _comma_separated(value: Any) -> Any:
    """``a,b`` as ``--metrics`` takes it, as the list that it means."""
    from kedge.rewards.expression import split_rewards

    return split_rewards(value) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_comma_separated)]
Guard = Annotated[  # YAML reads `off` as a boolean
    Literal["warn", "stop", "best", "off"], BeforeValidator(lambda value: "off" if value is False else value)
]


@dataclass(frozen=True)
class ModelConfig:
    """The generator.

    Attributes:
        name: a bundled model (emoji-lcm, emoji-diffusion), a local folder in diffusers' format, or a hub id.
        kind: auto (by the model's files), a family of models, module:function for a policy of your own, or
            module:object for a family of your own. See docs/models.md.
        steps: K, the number of sampling steps; left out, what is usual for the kind.
        guidance: ω of ROCM's Eq. 4; diffusers' guidance_scale is ω + 1. null takes what a bundled model is used at
            (emoji-lcm 2, emoji-diffusion 1), else what is usual for the kind.
        eta: how much noise a step adds (DDIM's η).
        renoise: r, how much of the next step's noise is drawn afresh, from 0 (none: the ODE) to 1 (all of it).
        timesteps: t_K, …, t_1, from the noise to the picture ([999, 749, 499, 249]); null is what is usual for the
            kind.
        prediction_type: epsilon, sample (the picture) or v_prediction, where the scheduler's config says another.
        size: side of the pictures in pixels, or [height, width]; null is the model's own. Several, [[512, 512], [640,
            448]], are drawn from for each batch of training; the first is the one that is watched, evaluated and shown.
        dtype: precision of the networks; the adapter and all arithmetic on steps stay in float32.
        quantize: int8 or nf4 stores the denoising network's frozen linear layers in 8 or 4 bits; null in dtype.
        unet: a UNet in place of the model's own (latent-consistency/lcm-sdxl): a folder, file or hub id, or a file on
            the hub (ByteDance/SDXL-Lightning/sdxl_lightning_4step_unet.safetensors).
        lcm_lora: an LCM-LoRA to make a consistency model of Stable Diffusion or SDXL: a folder, file or hub id.
        few_step_lora: the LoRA of another distillation, likewise, or a file on the hub
            (ByteDance/Hyper-SD/Hyper-SDXL-8steps-lora.safetensors).
        vae: a VAE in place of the model's own (madebyollin/sdxl-vae-fp16-fix): a folder or hub id.
        variant: fp16 takes the weight files that are marked so; null the unmarked ones, or a folder's only ones.
        lora: the adapter.
    """

    name: str = "emoji-lcm"
    kind: Annotated[str, More(words.names)] = AUTO
    steps: Annotated[Count, More(words.usual_steps)] = 8
    guidance: Annotated[float | None, More(words.usual_guidance)] = None
    eta: Annotated[NotNegative, More(words.takers_of_eta)] = 1.0
    renoise: Annotated[Share, More(words.takers_of_renoise)] = 1.0
    timesteps: Annotated[tuple[Whole, ...] | None, More(words.takers_of_timesteps)] = None
    prediction_type: PredictionType | None = None
    size: Sizes = None
    dtype: Precision = "float32"
    quantize: Quantization | None = None
    unet: str | None = None
    lcm_lora: str | None = None
    few_step_lora: str | None = None
    vae: str | None = None
    variant: str | None = None
    lora: LoraConfig = field(default_factory=LoraConfig)

    @property
    def parts(self) -> ModelParts:
        """What it takes from elsewhere."""
        return ModelParts(self.unet, self.vae, self.lcm_lora, self.few_step_lora, self.variant)

    @property
    def sizes(self) -> tuple[tuple[int, int] | None, ...]:
        """Heights and widths that training draws from; None is the model's own. The first is evaluated."""
        return heights_and_widths(self.size)

    @property
    def family(self) -> Family | None:
        """The record behind ``kind``; None for a policy of the user's own.

        Raises:
            ValueError: while the kind is ``auto``: :func:`kedge.config.resolve` finds out what it is.
        """
        return find(self.kind)

    @property
    def omega(self) -> float:
        """``guidance``, or the model's own where it is null."""
        return default_guidance(self.kind, self.name, self.parts) if self.guidance is None else self.guidance


@dataclass(frozen=True)
class PromptsConfig:
    """What to draw.

    Attributes:
        source: a named set (see `kedge prompts`), a .txt, .csv, .jsonl or .parquet file, a data set's hub id,
            module:function that returns them, or a list of the prompts themselves.
        column: the column that holds the prompts, for tables; null picks the only plausible one.
        split: the split of a hub data set.
        count: use this many, drawn at random with the seed; null uses all.
        seed: seed of that draw.
        shuffle: go through the prompts in a new random order each time; false keeps the order.
        local: a local file to read instead, for named sets that live on the hub.
    """

    source: str | tuple[str, ...] = "emoji"
    column: str | None = None
    split: str = "train"
    count: Count | None = None
    seed: Seed = 0
    shuffle: bool = True
    local: str | None = None


@dataclass(frozen=True)
class TrainingPrompts(PromptsConfig):
    """What to train on.

    Attributes:
        tuning: how many of them to keep from training and watch it by, where `watch.held_out` is not given. null keeps
            a tenth of prompts of your own, at most 64, where `watch.test` is not given either; see `test`.
        test: how many of them to keep from training and judge the finished model by, where `watch.test` is not given.
            null keeps a tenth of prompts of your own, at most 256, where neither `watch.held_out` nor `watch.test` is
            given; none of a named set, nor of fewer than 20 different prompts.
    """

    tuning: Whole | None = None
    test: Whole | None = None


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
    seed: Seed = 0
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
        held_out: prompts to evaluate on while it trains, a block like `prompts`; null takes those that prompts.tuning
            keeps from training, or else the first 64 training prompts, and calls them so.
        test: prompts to judge the finished model on (kedge compare, kedge eval), a block like `prompts`; null takes
            those that prompts.test keeps from training, or else those that it is watched by.
        pictures: for each prompt, from different noise; two or more show how much they vary within a prompt.
        metrics: rewards to evaluate besides the one trained on: a list, or comma-separated.
        encoder: by whose features to measure how much pictures vary: auto (emoji for the bundled models, else dinov2 or
            clip, whichever is on this machine), emoji, dinov2, clip, NAME@FOLDER, or none.
        guard: what to do when two held-out evaluations in a row say that the model cheats or loses something: warn,
            stop or off. best
            warns, makes the step that judges find best the run's result (metrics that share nothing with the reward
            and see damage; a step whose pictures vary less than 85 % of the base's is passed over), and stops when two
            evaluations in a row lie more than a standard error below it or vary less.
        batch_size: pictures at once; they need less memory than training does.
        seed: seed of the samples and evaluations.
        tensorboard: write TensorBoard events too.
        trackers: what else records it: wandb, trackio (both offline unless told otherwise), or module:Class; a list, or
            comma-separated.
    """

    samples_every: Whole = 50
    samples: tuple[str, ...] = ()
    samples_count: Count = 8
    evaluate_every: Whole = 0
    held_out: PromptsConfig | None = None
    test: PromptsConfig | None = None
    pictures: Count = 2
    metrics: Names = ()
    encoder: str = "auto"
    guard: Guard = "warn"
    batch_size: Count = 8
    seed: Seed = 1234
    tensorboard: bool = True
    trackers: Names = ()


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
        instance: the algorithm itself: a frozen dataclass of its hyper-parameters, which stand beside `name` in YAML.
    """

    name: str
    instance: Any


@dataclass(frozen=True)
class RunConfig:
    """One training run.

    Attributes:
        algorithm: how to rise: a name with that algorithm's own hyper-parameters.
        reward: what to rise towards: NAME[@SOURCE], or a weighted sum like "0.7*hpsv2 + 0.3*pickscore"; with floors,
            {terms: hpsv2, floors: {clipscore: base}}, which are not to fall below the base's level, or a number.
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
    backprop: BackpropSettings = field(default_factory=BackpropSettings)
    memory: MemorySettings = field(default_factory=MemorySettings)
    speed: SpeedSettings = field(default_factory=SpeedSettings)
    prompts: TrainingPrompts = field(default_factory=TrainingPrompts)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    watch: WatchConfig = field(default_factory=WatchConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
