"""The model card of a run: what it is, how it was made, how to use it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import yaml

from kedge import __version__
from kedge.config import RunConfig, dump
from kedge.export.diffusers_snippet import diffusers_code
from kedge.policies.fingerprint import Fingerprint

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")  # the only base_model that the hub understands

VERDICT = "<!-- verdict -->", "<!-- /verdict -->"  # around what `kedge compare` says
TRANSFER = "<!-- transfer -->", "<!-- /transfer -->"  # around what `kedge compare --transfer` says
NOT_TRANSFERRED = (
    "What remains of the gain without noise, in other steps, guidance and sizes, or with another LoRA beside it, was "
    "not measured yet: `kedge compare --transfer auto` does, and writes it here."
)
NOT_COMPARED = "Not compared with its base yet: `kedge compare` does, and writes its verdict here."

Line = dict[str, Any]
DISTANCES = {
    "path_kl": "a path KL of {:.3g} nats",
    "rms_x0": "{:.3g} latent standard deviations of x̂₀ (root mean square)",
}
# The log's prefixes, and what was measured there: training prompts are never called held-out.
EVALUATED = {"held_out/": "held-out prompts", "train_prompts/": "training prompts"}


def model_card(
    config: RunConfig,
    step: int,
    log: Sequence[Line],
    name: str,
    spent: object,
    *,
    base: Fingerprint | None = None,
    history: Sequence[str] = (),
    shown: str | None = None,
) -> str:
    """Markdown with the hub's front matter.

    Args:
        config: of the run.
        step: optimizer steps done to what the card is of: the best that judges found, or the last.
        log: the lines of metrics.jsonl.
        name: of the run.
        spent: prints as what the run took.
        base: the weights that it was trained on.
        history: sentences on where it started and what changed when it was resumed.
        shown: the grid of samples to show, as a path from the run's folder.
    """
    parts = [_front_matter(config), f"# {name}\n", _lead(config, step, shown), f"It took {spent}.\n", _base(base)]
    parts += [_marked(VERDICT, NOT_COMPARED), _results(config, log, step), _use(config)]
    if config.model.family is not None:
        parts.append(_marked(TRANSFER, NOT_TRANSFERRED))
    parts.append(_details(config, history))
    return "\n".join(filter(None, parts))


def with_verdict(card: str, title: str, clauses: Sequence[str], about: str) -> str:
    """A card that tells the verdict where its own marks stand; one whose owner took them away stays as it is.

    Args:
        title: the verdict.
        clauses: what became of reward, judges and diversity.
        about: on what it was measured.
    """
    items = "\n".join(f"- {clause}" for clause in clauses)
    return _with(card, VERDICT, f"**{title}**, on {about}:\n\n{items}")


def with_transfer(card: str, sentences: Sequence[str], table: str) -> str:
    """A card that says where its own marks stand what remains of the gain under other samplers.

    Args:
        sentences: what to read off the table.
        table: in Markdown.
    """
    text = "\n\n".join([*sentences, table.strip()])
    return _with(card, TRANSFER, f"## Under other samplers\n\n{text}")


def _with(card: str, marks: tuple[str, str], text: str) -> str:
    """The card with another text between its marks; one whose owner took them away stays as it is."""
    before, opening, rest = card.partition(marks[0])
    _, closing, after = rest.partition(marks[1])
    return before + _marked(marks, text).rstrip("\n") + after if opening and closing else card


def _marked(marks: tuple[str, str], text: str) -> str:
    return f"{marks[0]}\n{text}\n{marks[1]}\n"


def _front_matter(config: RunConfig) -> str:
    base = {"base_model": config.model.name} if HUB_ID.fullmatch(config.model.name) else {}
    data = base | {
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        "tags": ["lora", "text-to-image", "kedge", config.algorithm.name],
    }
    return f"---\n{yaml.safe_dump(data, sort_keys=False)}---\n"


def _lead(config: RunConfig, step: int, shown: str | None) -> str:
    model, training = config.model, config.training
    text = (
        f"A LoRA for `{model.name}`, trained towards the reward `{config.reward}` with "
        f"`{config.algorithm.name}` by Kedge {__version__}: {step} steps of {training.batch_size} × "
        f"{training.accumulation} samples on each device, {model.steps} sampling steps, guidance ω = "
        f"{model.omega:g}, seed {training.seed}.\n"
    )
    if shown:
        text += f"\n![Base beside tuned]({shown})\n"
    return text


def _base(base: Fingerprint | None) -> str:
    """Which weights the adapter belongs to, part by part: the numbers that the hub shows for its files."""
    if base is None:
        return ""
    parts = ", ".join(f"{part} `{digest[:16]}`" for part, digest in sorted(base.parts.items()))
    return f"It belongs to the weights of {base} and does something else on others. SHA-256 of its parts: {parts}.\n"


def _results(config: RunConfig, log: Sequence[Line], step: int) -> str:
    """Means of the first evaluation and of the last up to ``step``, and on which prompts they were measured."""
    log = [line for line in log if (line["step"] or 0) <= step]
    tables = [_table(log, prefix, prompts) for prefix, prompts in EVALUATED.items()]
    return "\n".join(filter(None, [*tables, _distance(log)]))


def _distance(log: Sequence[Line]) -> str:
    """How far the last evaluation found it from the base."""
    for line in reversed(log):
        facts = []
        for name, text in DISTANCES.items():
            if line.get(name) is not None:
                facts.append(text.format(line[name]))
        if facts:
            return f"At step {line['step']} it had moved from the base by {' and '.join(facts)}.\n"
    return ""


def _table(log: Sequence[Line], prefix: str, prompts: str) -> str:
    evaluated = []
    for line in log:
        if any(key.startswith(prefix) for key in line):
            evaluated.append(line)
    if len(evaluated) < 2:
        return ""
    first, last = evaluated[0], evaluated[-1]
    rows = []
    for key in last:
        if key.startswith(prefix) and first.get(key) is not None and last[key] is not None:
            rows.append(f"| `{key.removeprefix(prefix)}` | {first[key]:.4g} | {last[key]:.4g} |")
    head = f"| mean on {prompts} | step {first['step']} | step {last['step']} |\n|---|---|---|"
    return "## Results\n\n" + "\n".join([head, *rows]) + "\n\n`kedge eval` measures them with intervals.\n"


def _use(config: RunConfig) -> str:
    code = diffusers_code(config.model)
    if not code:
        return ""
    return (
        f"## Use\n\n```python\n{code}```\n\nThe adapter's scale is inside its weights: leave the LoRA weight at 1."
        f"{_comfyui(config)}{_quantized(config)}\n"
    )


def _comfyui(config: RunConfig) -> str:
    """The sampler that it was trained under, where ComfyUI has it by a name."""
    model, family = config.model, config.model.family
    sampler = family.comfyui.get(model.renoise) if family else None
    if family is None or sampler is None:
        return ""
    levels = f", {family.comfyui_levels}" if family.comfyui_levels and not model.timesteps else ""
    return f" In ComfyUI, `lora/comfyui.safetensors` with the sampler `{sampler}`{levels} and {model.steps} steps."


def _quantized(config: RunConfig) -> str:
    """Which base it was trained on, where that is not quite the published one."""
    if config.model.quantize is None:
        return ""
    return f" It was trained on the base in {config.model.quantize}: on the weights as published it differs a little."


def _details(config: RunConfig, history: Sequence[str]) -> str:
    repeats = "The whole configuration; `kedge train config.yaml` repeats the run."
    if history:
        past = "\n".join(f"- {sentence}" for sentence in history)
        repeats = f"{past}\n\nThe configuration of the last steps (`history.json` has those of all):"
    return f"## How it was made\n\n{repeats}\n\n```yaml\n{dump(config)}```\n"
