"""What ``kedge verify`` does: a model is loaded, drawn and trained a little, and what that took is held to its plan.

The outcome is one file, which whoever has the model and the hardware can send to those who have not.
"""

from __future__ import annotations

import base64
import io
import json
import statistics
import sysconfig
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kedge.config import RunConfig
    from kedge.planning.plan import Forecast

PROMPTS = ("a photo of a fox in the snow", "a red apple on a wooden table")
PLACES = ("name", "unet", "vae", "lcm_lora", "few_step_lora")  # keys that may hold a path
WIDEST = 768  # pixels of the picture in the file
# A reward that needs no weights, so that the model alone decides what this takes.
RECIPE: dict[str, Any] = {
    "algorithm": {"name": "rocm", "divergence": "kl", "beta": 1e-6},
    "reward": "compressibility_proxy",
    "prompts": list(PROMPTS),
}


@dataclass(frozen=True)
class Verification:
    """What was found out.

    Attributes:
        facts: JSON-ready: ``environment``, ``model``, ``plan``, ``measured``, ``picture`` (base beside tuned, as a data
            URI), and ``error`` if it did not come to an end.
    """

    facts: Mapping[str, Any]

    @property
    def whole(self) -> bool:
        """Whether everything ran."""
        return "error" not in self.facts

    def save(self, path: str | Path) -> Path:
        """Write the one file."""
        from kedge.files import write_text

        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_text(target, json.dumps(self.facts, indent=1, ensure_ascii=False) + "\n")
        return target

    def __str__(self) -> str:
        facts, lines = self.facts, [f"model: {self.facts['model']['name']} ({self.facts['model']['kind']})"]
        measured, plan = facts.get("measured", {}), facts.get("plan") or {}
        for key, title, unit in (("peak_memory_mb", "peak memory", "MB"), ("seconds_a_step", "an optimizer step", "s")):
            if key in measured:
                lines.append(f"{title}: {_number(measured[key])} {unit}{_against(plan.get(key), unit)}")
        if "adapter_moved" in measured:
            lines.append(f"training: {measured['steps']} steps, the adapter moved by {measured['adapter_moved']:.2g}")
        lines.append("everything ran" if self.whole else f"it did not come to an end: {facts['error']['message']}")
        return "\n".join(lines)


def verify(
    model: str,
    *,
    kind: str | None = None,
    overrides: Sequence[str] = (),
    steps: int = 5,
    device: str = "auto",
) -> Verification:
    """Load (or download) a model, draw, train a few steps of ROCM, and compare memory and time with the plan.

    Args:
        model: a bundled model, a folder or a hub id.
        kind: of :data:`kedge.policies.FAMILIES`; None finds out.
        overrides: ``key=value`` for other keys of a recipe: ``model.steps=4``, ``memory.unet_checkpoint=true``.
        steps: optimizer steps.

    Raises:
        ConfigError: for a recipe that cannot be; what fails later is told in the outcome.
    """
    config = _config(model, kind, overrides=overrides, steps=steps, device=device)
    facts = _setting(config)
    try:
        facts["plan"] = _planned(config)
        with tempfile.TemporaryDirectory(prefix="kedge-verify-") as folder:
            facts |= _trained(config, Path(folder) / "run")
    except Exception as error:  # whatever it is, it is what the file is to tell
        places = _places(config)
        facts["error"] = {
            "message": _without(f"{type(error).__name__}: {error}", places),
            "traceback": _without("".join(traceback.format_exception(error)), places),
        }
    return Verification(facts)


def _setting(config: RunConfig) -> dict[str, Any]:
    """Of the file that is to be: where it runs, the model, and what bears on memory and time."""
    from kedge.config.loading import plain
    from kedge.devices import find_device
    from kedge.runs.folder import environment

    block = {}
    for key, value in plain(config.model).items():
        if value is not None:
            block[key] = value
    block |= {key: _shown(block[key]) for key in PLACES if key in block}
    training, memory, speed = config.training, plain(config.memory), plain(config.speed)
    return {
        "format": 1,
        "environment": environment(1, str(find_device(training.device))),
        "model": block,
        "recipe": {"batch_size": training.batch_size, "memory": memory, "speed": speed},
    }


def _config(model: str, kind: str | None, overrides: Sequence[str], steps: int, device: str) -> RunConfig:
    from kedge.config import parse_config
    from kedge.config.text import apply_overrides

    block = {"name": model, **({"kind": kind} if kind else {})}
    recipe = {
        **RECIPE,
        "model": block,
        "training": {"steps": steps, "batch_size": 1, "device": device},
        "watch": {"samples_every": steps, "samples": list(PROMPTS), "batch_size": 1, "tensorboard": False},
        "checkpoint": {"every": 0},
    }
    return parse_config(apply_overrides(recipe, overrides))


def _planned(config: RunConfig) -> dict[str, Any] | None:
    from kedge.planning.plan import forecast_of
    from kedge.units import MB

    forecast: Forecast | None = forecast_of(config)
    if forecast is None:
        return None
    networks = {name: count for name, (count, _) in forecast.cost.networks.sizes.items()}
    return {
        "peak_memory_mb": forecast.peak / MB,
        "seconds_a_step": forecast.seconds and forecast.seconds.usual,
        "teraflop_a_step": forecast.cost.step.flops / 1e12,
        "parameters": networks,
        "trained": forecast.cost.networks.trained,
    }


def _trained(config: RunConfig, folder: Path) -> dict[str, Any]:
    """What a short training took and left, with the picture of its last step."""
    import torch
    from safetensors.torch import load_file

    from kedge.evaluation.run_log import read_log
    from kedge.runs.folder import RunFolder
    from kedge.training.run import train

    outcome = train(config, folder)
    files = RunFolder(folder)
    log: list[dict[str, Any]] = []
    for line in read_log(files.metrics):
        if line.get("seconds") is not None:
            log.append(line)
    # The first step also waits for what is set up once: kernels, compilation, encoded prompts.
    later = [line["seconds"] for line in log[1:] or log]
    skipped = [line.get("skipped", 0) for line in log]
    memory = [line["peak_memory_mb"] for line in log]
    weights = load_file(files.lora / "pytorch_lora_weights.safetensors")
    norms = []
    for name, tensor in weights.items():
        if ".lora_B." in name or ".lora.up." in name:
            norms.append(tensor.float().norm())
    measured = {
        "steps": outcome.step,
        "skipped": max(skipped),
        "peak_memory_mb": max(memory),
        "seconds_a_step": statistics.median(later),
        "seconds_of_the_first_step": log[0]["seconds"],
        "rewards": _column(log, "reward"),
        "gradient_norms": _column(log, "gradient_norm"),
        "divergences": _column(log, "divergence"),
        "adapter_moved": float(torch.stack(norms).norm()),
        "adapter_layers": len(norms),
        "exported": sorted(path.name for path in files.lora.iterdir()),
    }
    return {"measured": measured, "picture": _picture(sorted(files.samples.glob("step-*.png"))[-1])}


def _picture(path: Path) -> str:
    """A small JPEG of a picture, as a data URI."""
    from PIL import Image

    with Image.open(path) as image:
        small = image.convert("RGB")
    small.thumbnail((WIDEST, WIDEST * 4))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _shown(model: str) -> str:
    """A hub id, or the name of a folder without where it lies."""
    path = Path(model).expanduser()
    return path.resolve().name if path.exists() else model


def _places(config: RunConfig) -> list[Path]:
    """Folders that are nobody else's business, as messages may write them; those within others first."""
    places = [Path(__file__).parents[2], Path(sysconfig.get_paths()["purelib"]), Path.cwd(), Path.home()]
    for key in PLACES:
        value = getattr(config.model, key, None)
        path = Path(str(value)).expanduser() if value else None
        if path is not None and path.exists():
            places += [path, path.absolute(), path.resolve()]
    several = {place for place in places if len(place.parts) > 1}
    return sorted(several, key=lambda place: len(str(place)), reverse=True)


def _without(text: str, places: Sequence[Path]) -> str:
    """The text with the last part alone of each of these folders."""
    for place in places:
        text = text.replace(str(place), place.name)
    return text


def _against(planned: float | None, unit: str) -> str:
    return "" if planned is None else f" (planned: {_number(planned)} {unit})"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _column(log: Sequence[Mapping[str, Any]], name: str) -> list[float | None]:
    return [line.get(name) for line in log]
