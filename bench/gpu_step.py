"""One ROCM step of a case of bench.gpu: measured on the device, and planned."""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.gpu_cases import MODELS, Case
from kedge.algorithms.base import Context
from kedge.config import RunConfig, parse_config
from kedge.config.workload import backprop_of
from kedge.planning.plan import forecast_of
from kedge.planning.timing import wait
from kedge.policies import make_policy
from kedge.policies.families.catalogue import find_layout
from kedge.policies.memory import apply_memory_settings
from kedge.prompts import PromptStream
from kedge.quiet import quiet_loading
from kedge.random_models.scale import Scale
from kedge.rewards import load_reward
from kedge.rewards.clip import FrozenCLIP
from kedge.rewards.openclip import VIT_H_14, to_clip_config
from kedge.rewards.preprocess import PadPreprocess
from kedge.training.meter import forget_peak, peak_memory

PROMPTS = ("a photo of a fox in the snow", "a red apple on a wooden table")
STEPS = 3  # timed, after one that warms up


@dataclass(frozen=True)
class Setting:
    """Where, and how much smaller than the true size; 1 but for trying the program."""

    device: str
    scale: float = 1.0


@dataclass(frozen=True)
class Row:
    """What a step took and what was planned.

    Attributes:
        seconds: of a step, the median.
        peak: bytes on the device at the worst moment, weights included.
        flops: of a step, counted.
        planned_seconds: the plan's, each operation timed on this device; None where it cannot say.
        planned_peak: the plan's bytes.
        gradient_norm: of the last step; finite if all is well.
    """

    model: str
    batch: int
    seconds: float
    peak: float
    flops: float
    planned_seconds: float | None
    planned_peak: float
    gradient_norm: float


def measure(case: Case, setting: Setting) -> Row:
    """Plan the case, then make its steps."""
    device = torch.device(setting.device)
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    with tempfile.TemporaryDirectory() as folder:
        pipeline = built(case, setting)
        write_configs(pipeline, Path(folder))
        config = recipe(case, setting, folder)
        forecast = forecast_of(config)
        assert forecast is not None
        forget_peak(device)
        norm, times = trained(config, case, setting, pipeline)
    return Row(
        model=case.model,
        batch=case.batch,
        seconds=statistics.median(times),
        peak=peak_memory(device),
        flops=forecast.cost.step.flops,
        planned_seconds=forecast.seconds.usual if forecast.seconds else None,
        planned_peak=forecast.peak,
        gradient_norm=norm,
    )


def built(case: Case, setting: Setting) -> Any:
    """The pipeline with random weights in half precision, made where it is used if that is a GPU."""
    model = MODELS[case.model]
    size = None if setting.scale == 1 else pixels(case, setting)
    scale = Scale(setting.scale, min(model.depth, setting.scale) if setting.scale < 1 else model.depth, size)
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(setting.device if setting.device.startswith("cuda") else "cpu"):
            pipeline = find_layout(model.layout).built(scale)
    finally:
        torch.set_default_dtype(before)
    for part in pipeline.components.values():
        if isinstance(part, nn.Module):
            nn.Module.to(part, setting.device, torch.bfloat16)  # diffusers' own warns
            part.eval()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def pixels(case: Case, setting: Setting) -> int:
    """Side of the pictures."""
    return MODELS[case.model].pixels if setting.scale == 1 else 64


def write_configs(pipeline: Any, folder: Path) -> None:
    """The model's folder without its weights: enough for a plan."""
    with quiet_loading():
        for name, part in pipeline.components.items():
            if part is None:
                continue
            if isinstance(part, nn.Module) and hasattr(part, "save_config"):
                part.save_config(folder / name)
            elif isinstance(part, nn.Module):
                part.config.save_pretrained(folder / name)
            else:
                part.save_pretrained(folder / name)
        pipeline.save_config(folder)


def recipe(case: Case, setting: Setting, folder: str) -> RunConfig:
    """The case as a recipe."""
    model, changes = MODELS[case.model], {name: dict(block) for name, block in case.changes.items()}
    block: dict[str, Any] = {"name": folder, "kind": model.kind, "steps": model.steps, "dtype": "bfloat16"}
    block |= {"size": pixels(case, setting), "lora": {"rank": 16, "alpha": 32}}
    if model.guidance is not None:
        block["guidance"] = model.guidance
    algorithm = {"name": "rocm", "beta": 1e-5, **changes.pop("algorithm", {})}
    memory = {"reward_dtype": "bfloat16", **changes.pop("memory", {})}
    return parse_config(
        {
            "model": block,
            "algorithm": algorithm,
            "memory": memory,
            "reward": case.reward if setting.scale == 1 else "compressibility_proxy",
            "prompts": list(PROMPTS),
            "training": {"batch_size": case.batch, "steps": STEPS, "device": "cuda"},  # planned for one, wherever tried
            "watch": {"samples_every": 0},
            **changes,
        }
    )


def trained(config: RunConfig, case: Case, setting: Setting, pipeline: Any) -> tuple[float, list[float]]:
    """The last gradient's norm and the seconds of the timed steps."""
    device, model = torch.device(setting.device), config.model
    policy = make_policy(
        model.kind, pipeline, steps=model.steps, guidance=model.omega, lora=model.lora, size=pixels(case, setting)
    )
    apply_memory_settings(policy, config.memory, config.speed)
    reward = RandomHPS(device) if config.reward == "hpsv2" else load_reward(config.reward, device, torch.bfloat16)
    context = Context(
        policy=policy,
        reward=reward,
        prompts=PromptStream(list(PROMPTS), seed=0, shuffle=False),
        backprop=backprop_of(config),
        batch_size=case.batch,
    )
    weights = list(policy.trainable())
    optimizer, times, norm = torch.optim.AdamW(weights, lr=1e-5), [], 0.0
    for _ in range(STEPS + 1):
        wait(device)
        began = time.perf_counter()
        for losses in config.algorithm.instance.updates(context):
            for loss in losses:
                loss.value.backward()
            norm = float(nn.utils.clip_grad_norm_(weights, 1.0))
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        wait(device)
        times.append(time.perf_counter() - began)
    return norm, times[1:]


class RandomHPS:
    """A network of HPSv2's size and kind with random weights, in half precision."""

    name, differentiable = "hpsv2", True

    def __init__(self, device: torch.device):
        from transformers import CLIPModel

        config = to_clip_config(VIT_H_14)
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.bfloat16)
        try:
            with torch.device(device):
                network = CLIPModel(config)
        finally:
            torch.set_default_dtype(before)
        network.to(device).eval().requires_grad_(False)
        size = config.vision_config.image_size
        self._clip = FrozenCLIP(network, lambda _: torch.zeros(1, 1), PadPreprocess(size))
        self._text = nn.functional.normalize(torch.randn(1, config.projection_dim, device=device), dim=-1)

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """``[B]`` from ``[B, 3, H, W]``."""
        return 100 * (self._clip.image_features(images) * self._text).sum(-1)
