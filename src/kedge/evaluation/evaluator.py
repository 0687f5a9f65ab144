"""Score a policy, or images made elsewhere, by any number of rewards.

Every sample has its own noise, derived from (seed, prompt index, sample index) alone. Base and tuned model therefore
draw from the same noise whatever the batch size, and their scores can be compared in pairs. Images are rounded to
8 bits first, because that is what people see, save and publish scores of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from kedge.evaluation.diversity import diversities
from kedge.evaluation.encoders import Encoder
from kedge.evaluation.image_statistics import image_statistics
from kedge.evaluation.partial_scores import PartialScores, Row
from kedge.evaluation.result import Evaluation
from kedge.pixels import as_rgb, from_uint8, to_uint8
from kedge.policies.base import NO_GRADIENT, Policy, ReferenceSteps, draw_noise, rollout
from kedge.policies.distance import distances
from kedge.rewards.base import Reward, RewardError, checked_scores

Progress = Callable[[int, int], None]


class ScoringFailed(RewardError):
    """One of the rewards of an evaluation failed.

    Attributes:
        metric: its name among the rewards.
    """

    def __init__(self, metric: str, message: str):
        super().__init__(message)
        self.metric = metric


def sample_seed(seed: int, prompt_index: int, sample: int) -> int:
    """The seed of one sample's noise: well mixed, and the same on every machine."""
    return int(np.random.SeedSequence((seed, prompt_index, sample)).generate_state(1, np.uint64)[0] >> np.uint64(1))


@torch.no_grad()
def evaluate(
    policy: Policy,
    rewards: Mapping[str, Reward],
    prompts: Sequence[str],
    *,
    seed: int,
    batch_size: int,
    samples_per_prompt: int = 1,
    reference: bool = False,
    name: str | None = None,
    encoder: Encoder | None = None,
    keep_images: int = 0,
    partial_scores: Path | None = None,
    identity: str = "",
    progress: Progress | None = None,
) -> Evaluation:
    """Draw ``samples_per_prompt`` images for each prompt and score them by every reward.

    A policy with an adapter is also compared with its base, step by step: see :mod:`kedge.policies.distance`.

    Args:
        reference: evaluate the frozen base model instead (``policy.reference()``), from the same noise.
        name: for tables; "base" or "tuned" by default.
        encoder: by whose features to measure how much the pictures vary; None leaves that out.
        keep_images: for how many of the first prompts to keep the images.
        partial_scores: a file that remembers finished samples; give the same one again to continue a stopped
            evaluation.
        identity: what the policy is, for that file, so that another model's samples are not continued.
        progress: called with (samples done, samples in all) after each batch.

    Raises:
        ValueError: no prompts, pixels or scores that are not numbers, or partial scores of another evaluation.
    """
    if not prompts or samples_per_prompt < 1 or batch_size < 1:
        raise ValueError("an evaluation needs prompts, and samples_per_prompt and batch_size of at least 1")
    name = name or ("base" if reference else "tuned")
    samples: list[str] = []  # the prompt of each
    for prompt in prompts:
        samples += [prompt] * samples_per_prompt
    header = {
        "model": [identity, name, reference, policy.steps],
        "seed": seed,
        "samples": samples_per_prompt,
        "prompts": hashlib.sha256("\0".join(prompts).encode()).hexdigest(),
        "rewards": list(rewards),
        "encoder": encoder.name if encoder else None,
    }
    scored = PartialScores(partial_scores, header)
    images: list[Tensor] = []
    keep = min(keep_images, len(prompts)) * samples_per_prompt
    for start in range(0, len(samples), batch_size):
        batch = range(start, min(start + batch_size, len(samples)))
        done = scored.hold(batch)
        if done and start >= keep:
            continue
        texts = samples[batch.start : batch.stop]
        seeds = [sample_seed(seed, *divmod(i, samples_per_prompt)) for i in batch]
        pixels, apart = _draw(policy, texts, seeds, reference)
        images += pixels[: max(0, keep - start)]
        if not done:
            rows = _score(pixels, texts, index=batch, rewards=rewards, encoder=encoder, device=policy.device)
            for i, row in enumerate(rows):
                row["distances"] = _at(apart, i)
            scored.add(rows)
        if progress is not None:
            progress(batch.stop, len(samples))
    facts: dict[str, Any] = {"samples_per_prompt": samples_per_prompt, "steps": policy.steps}
    facts |= {"batch_size": batch_size, "encoder": header["encoder"]}
    pictures = torch.stack(images).numpy() if images else None
    return _collect(scored, name, prompts=samples, seed=seed, images=pictures, facts=facts)


def _draw(
    policy: Policy, prompts: list[str], seeds: list[int], reference: bool
) -> tuple[Tensor, dict[str, list[float]]]:
    """The pictures, and how far a policy with an adapter is from its base where it drew them."""
    # Generators live on the CPU, so that the noise does not depend on the device.
    noise = draw_noise(policy, [torch.Generator().manual_seed(seed) for seed in seeds], len(prompts))
    if reference or not list(policy.trainable()):
        with policy.reference() if reference else nullcontext():
            trajectory = rollout(policy, policy.encode(prompts), noise)
            return to_uint8(policy.decode(trajectory.x0)), {}
    reference_steps = ReferenceSteps(range(policy.steps, 0, -1), exact=False)
    trajectory = rollout(
        policy, policy.encode(prompts), noise=noise, backprop=NO_GRADIENT, reference_steps=reference_steps
    )
    apart = {name: values.tolist() for name, values in distances(policy, trajectory).items()}
    return to_uint8(policy.decode(trajectory.x0)), apart


def _score(
    pixels: Tensor,
    prompts: Sequence[str],
    index: Sequence[int],
    rewards: Mapping[str, Reward],
    encoder: Encoder | None,
    device: torch.device,
) -> list[Row]:
    images = from_uint8(pixels).to(device)
    scores: dict[str, list[float]] = {}
    for name, reward in rewards.items():
        try:
            scores[name] = checked_scores(name, reward(images, prompts).detach().double(), prompts).tolist()
        except RewardError as error:
            raise ScoringFailed(name, str(error)) from error
        except ValueError as error:  # of one that ships: prompts that it does not understand, say
            raise ScoringFailed(name, f"the metric {name} cannot score this: {error}") from error
    statistics = {name: values.tolist() for name, values in image_statistics(images).items()}
    features = encoder(images).tolist() if encoder else None
    rows = []
    for i in range(len(prompts)):
        row: Row = {"index": index[i], "scores": _at(scores, i), "statistics": _at(statistics, i)}
        if features:
            row["features"] = [round(x, 5) for x in features[i]]
        rows.append(row)
    return rows


def _at(columns: Mapping[str, Sequence[float]], i: int) -> dict[str, float]:
    """One row of a table of columns."""
    return {name: values[i] for name, values in columns.items()}


def _collect(
    scored: PartialScores,
    name: str,
    prompts: Sequence[str],
    seed: int | None,
    images: NDArray[np.uint8] | None,
    facts: dict[str, Any],
) -> Evaluation:
    rows = [scored.rows[i] for i in range(len(prompts))]
    scores, statistics = _columns(rows, "scores"), _columns(rows, "statistics")
    if "features" in rows[0]:
        statistics |= diversities([row["features"] for row in rows], prompts)
    # Samples that an earlier version scored before it was stopped have no distances: then nobody has.
    measured = all(row.get("distances") for row in rows)
    distance = _columns(rows, "distances") if measured else {}
    return Evaluation(
        name,
        tuple(prompts),
        seed=seed,
        scores=scores,
        statistics=statistics,
        images=images,
        facts=facts,
        distances=distance,
    )


def _columns(rows: Sequence[Row], kind: str) -> dict[str, NDArray[np.float64]]:
    """Of each score, or each statistic, all rows."""
    columns = {}
    for key in rows[0][kind]:
        columns[key] = np.array([row[kind][key] for row in rows], dtype=np.float64)
    return columns


@torch.no_grad()
def evaluate_images(
    images: Sequence[Path | Image.Image] | Tensor,
    prompts: Sequence[str],
    rewards: Mapping[str, Reward],
    *,
    name: str = "images",
    batch_size: int = 16,
    device: str | torch.device = "cpu",
    encoder: Encoder | None = None,
    keep_images: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Score images made elsewhere: files, PIL images, or ``[N, 3, H, W]`` in [0, 1]; sizes may differ.

    Raises:
        ValueError: if there are not as many prompts as images, or none.
    """
    if len(images) != len(prompts) or not prompts:
        raise ValueError(f"{len(images)} images but {len(prompts)} prompts: give one prompt for each image")
    scored = PartialScores(None, {})
    pictures: list[Tensor] = []
    done = 0
    for pixels in _batches(images, batch_size):
        batch = range(done, done + len(pixels))
        texts = prompts[batch.start : batch.stop]
        scored.add(_score(pixels, texts, index=batch, rewards=rewards, encoder=encoder, device=torch.device(device)))
        pictures += pixels[: max(0, keep_images - done)]
        done = batch.stop
        if progress is not None:
            progress(done, len(prompts))
    same_size = len({image.shape for image in pictures}) == 1
    return _collect(
        scored, name, prompts=prompts, seed=None, images=torch.stack(pictures).numpy() if same_size else None, facts={}
    )


def _batches(images: Sequence[Path | Image.Image] | Tensor, size: int) -> Iterator[Tensor]:
    """Consecutive images of one size, as uint8 ``[B, H, W, 3]``."""
    pixels: list[Tensor] = []
    for item in images:
        image = to_uint8(item[None])[0] if isinstance(item, Tensor) else torch.from_numpy(np.array(as_rgb(item)))
        if pixels and (len(pixels) == size or image.shape != pixels[0].shape):
            yield torch.stack(pixels)
            pixels = []
        pixels.append(image)
    if pixels:
        yield torch.stack(pixels)
