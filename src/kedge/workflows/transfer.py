"""What remains of a run's gain where it is sampled otherwise: ``kedge compare RUN --transfer``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from kedge.workflows.samplers import changed, resampled, separated, usual_changes
from kedge.workflows.targets import LoadedModel
from kedge.workflows.weighted import place_and_weight

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from kedge.evaluation.result import Evaluation
    from kedge.evaluation.transfer import Sampled, Transfer
    from kedge.policies.latent import LatentPolicy
    from kedge.workflows.target_evaluator import TargetEvaluator

OPTION = "--transfer"
AUTO, BESIDE = "auto", "beside"
GRID_ROWS = 6
WIDEST = 256  # pixels of a picture in the grid


@dataclass(frozen=True)
class Beside:
    """A second LoRA.

    Attributes:
        source: a file, a folder, or something on the hub.
        name: of a run or of the file, without where it lies: tables and cards are shown to others.
    """

    source: str
    name: str
    weight: float

    def contents(self) -> str:
        """What the pictures depend on."""
        from kedge.hashing import place_hash
        from kedge.policies.part_files import lora_file

        return f" beside {place_hash(lora_file(self.source, OPTION))} {self.weight:g}"


@dataclass(frozen=True)
class OtherSampler:
    """One row of the table to be.

    Attributes:
        label: as it was asked for.
        loaded: base and tuned model, sampled so.
        beside: a second LoRA.
    """

    label: str
    loaded: LoadedModel
    beside: Beside | None = None

    def inside(self) -> AbstractContextManager[None]:
        """Where it is drawn."""
        from kedge.policies.lora_beside import lora_beside

        if self.beside is None:
            return nullcontext()
        policy: LatentPolicy = self.loaded.policy  # type: ignore[assignment]
        return lora_beside(policy, self.beside.source, self.beside.weight, f"{OPTION} {BESIDE}")


@dataclass
class OtherSamplers:
    """All of them, and those that the model cannot have, with the reason."""

    rows: list[OtherSampler] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


def other_samplers(loaded: LoadedModel, texts: Sequence[str]) -> OtherSamplers:
    """What ``--transfer`` asks for, before anything is drawn.

    Args:
        texts: ``auto`` for the usual ones, of which those are left out that the model cannot have; or
            ``KEY=VALUE,…``, also ``beside=RUN|LORA[=WEIGHT]``.

    Raises:
        ValueError: for a sampler that was asked for and cannot be, or a policy of the user's own.
    """
    samplers = OtherSamplers()
    resampled(loaded, loaded.model)  # refuses what cannot be sampled otherwise at all
    for text in texts:
        if text == AUTO:
            _add_usual(samplers, loaded)
        else:
            samplers.rows.append(_sampler(loaded, text))
    return samplers


def _add_usual(samplers: OtherSamplers, loaded: LoadedModel) -> None:
    policy: LatentPolicy = loaded.policy  # type: ignore[assignment]
    height, width = (policy.space.factor * side for side in policy.latent_shape[1:])
    for text in usual_changes(loaded.model, (height, width)):
        try:
            samplers.rows.append(_sampler(loaded, text))
        except ValueError as error:
            samplers.skipped[text] = str(error)


def _sampler(loaded: LoadedModel, text: str) -> OtherSampler:
    beside, texts, labels = None, list[str](), list[str]()
    for part in separated(text):
        key, _, value = part.partition("=")
        if key.strip() == BESIDE:
            beside = _beside(value.strip())
            labels.append(f"{BESIDE}={beside.name}={beside.weight:g}")
        else:
            texts.append(part)
            labels.append(part)
    other = resampled(loaded, changed(loaded.model, texts, OPTION)) if texts else loaded
    sampler = OtherSampler(" ".join(labels), other, beside)
    with sampler.inside():  # a LoRA that does not fit is refused now
        return sampler


def _beside(text: str) -> Beside:
    """``LORA=0.8``; a run's is its exported adapter."""
    from kedge.runs.folder import RunFolder, is_run

    place, weight = place_and_weight(text, f"{OPTION} takes {BESIDE}=LORA or {BESIDE}=LORA=WEIGHT, with a number")
    path = Path(place)
    return Beside(str(RunFolder(path).lora if is_run(path) else path), path.resolve().name, weight)


def measure_transfer(
    evaluator: TargetEvaluator,
    run: Path,
    samplers: OtherSamplers,
    pair: tuple[Evaluation, Evaluation],
    trained: Sequence[str],
    step: int,
) -> Transfer:
    """Draw base and tuned model under each; write table and pictures into the run folder, and the table into its card.

    Args:
        pair: tuned and base as they were trained.
        trained: the rewards that were trained on.
    """
    from kedge.evaluation.transfer import AS_TRAINED, FOLDER, GRID, NUMBERS, Sampled, transfer_of
    from kedge.files import write_text

    folder = run / FOLDER
    sampled = [Sampled(AS_TRAINED, *pair), *_drawn(evaluator, samplers, folder)]
    transfer = transfer_of(sampled, trained, samplers.skipped, step)
    folder.mkdir(parents=True, exist_ok=True)
    _draw_grid(sampled, folder / GRID, evaluator.measurement.samples)
    write_text(folder / NUMBERS, json.dumps(transfer.to_dict(), indent=1, ensure_ascii=False) + "\n")
    _tell_card(run, transfer)
    return transfer


def _drawn(evaluator: TargetEvaluator, samplers: OtherSamplers, folder: Path) -> Iterator[Sampled]:
    from kedge.evaluation.transfer import Sampled

    for sampler in samplers.rows:
        pair = []
        further = sampler.beside.contents() if sampler.beside else ""
        with sampler.inside():
            for role, reference in (("tuned", False), ("base", True)):
                name = f"{sampler.label} {role}"
                pair.append(evaluator.measure(sampler.loaded, name, folder, name, reference=reference, further=further))
        yield Sampled(sampler.label, *pair)


def _draw_grid(sampled: Sequence[Sampled], path: Path, samples: int) -> None:
    from kedge.evaluation import image_grid

    first = sampled[0]
    if first.theirs.images is None:
        return
    rows = list(range(0, len(first.theirs.images), samples))[:GRID_ROWS]
    columns = {"base": list(map(_small, first.theirs.images[rows]))}
    for each in sampled:
        assert each.ours.images is not None
        columns[f"tuned, {each.label}"] = list(map(_small, each.ours.images[rows]))
    note = "The base is drawn as the model was trained. Same prompt and same first noise along each row."
    image_grid(columns, [first.ours.prompts[row] for row in rows], note=note).save(path)


def _small(pixels: NDArray[np.uint8]) -> Image.Image:
    """A picture for a grid of many columns, which the report holds whole."""
    from PIL import Image

    picture = Image.fromarray(pixels)
    picture.thumbnail((WIDEST, WIDEST))
    return picture


def _tell_card(run: Path, transfer: Transfer) -> None:
    from kedge.evaluation.rendering import render
    from kedge.export.card import with_transfer
    from kedge.files import write_text
    from kedge.runs.folder import RunFolder

    card = RunFolder(run).card
    if card.is_file():
        table = render(transfer.table(), "markdown")
        write_text(card, with_transfer(card.read_text(encoding="utf-8"), transfer.lines(), table))
