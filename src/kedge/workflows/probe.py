"""What ``kedge probe`` does: before training, a model drawn with several amounts of noise and numbers of steps.

Policy gradients and divergences need noise between the steps; not every few-step model was distilled to bear it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedge.files import check_writable, typed
from kedge.workflows.measurement import Measurement, Metrics, Prompts
from kedge.workflows.samplers import resampled
from kedge.workflows.target_evaluator import PlainModel, TargetEvaluator
from kedge.workflows.targets import LoadedModel, run_path

if TYPE_CHECKING:
    from kedge.config import ModelConfig
    from kedge.evaluation.bearing import Bearing, Draw
    from kedge.evaluation.tables import Table

NOISE = (0.0, 0.5, 1.0)
GRID_ROWS = 8
GRID, NUMBERS = "grid.png", "probe.json"


@dataclass(frozen=True)
class Probe:
    """What :func:`probe` found; printed, it is the table and the advice.

    Attributes:
        bearing: every draw, and what noise costs.
        grid: their pictures side by side.
        data: the same as JSON.
    """

    bearing: Bearing
    grid: Path
    data: Path

    def table(self) -> Table:
        """Samplers down; rewards and the change beside the least noise across."""
        return self.bearing.table()

    def lines(self) -> list[str]:
        """The advice, and where everything is."""
        return [*self.bearing.advice(), "", f"grid     {self.grid}", f"numbers  {self.data}"]

    def __str__(self) -> str:
        from kedge.evaluation.rendering import render

        return "\n".join([render(self.table(), "table").rstrip("\n"), *self.lines()])


def probe(
    model: str | Path,
    metrics: Metrics | None = None,
    prompts: Prompts | None = None,
    *,
    steps: Sequence[int] = (),
    noise: Sequence[float] = NOISE,
    guidance: float | None = None,
    kind: str | None = None,
    overrides: Sequence[str] = (),
    count: int | None = None,
    seed: int = 0,
    samples: int = 2,
    batch_size: int = 8,
    device: str = "auto",
    encoder: str = "auto",
    fresh: bool = False,
    out: str | Path | None = None,
) -> Probe:
    """Draw a model that is not trained yet with several amounts of noise, score the pictures, and say what it bears.

    Args:
        model: a bundled model, a folder in diffusers' format, or a hub id.
        metrics, prompts, count, seed, samples, batch_size, device, encoder, fresh: as for :func:`kedge.evaluate`.
        steps: numbers of sampling steps; none takes what is usual for the kind.
        noise: values of ``model.renoise``, or of ``model.eta`` where the kind has that: 0 is the ODE.
        guidance, kind: None finds out.
        overrides: other keys of a recipe's model block as ``key=value``.
        out: the folder for pictures and numbers, from which a stopped probe goes on; ``probe-MODEL`` by default.

    Raises:
        ValueError: for a run, a model that cannot be found, or settings that it cannot have.
    """
    if run_path(model) is not None:
        raise ValueError(
            f"{model} is a run: kedge compare {typed(model)} --transfer auto says what remains of its gain"
        )
    _check(steps, noise)
    name = str(model)
    measurement = Measurement(
        metrics=metrics,
        prompts=prompts,
        count=count,
        seed=seed,
        samples=samples,
        batch_size=batch_size,
        device=device,
        encoder=encoder,
        fresh=fresh,
    )
    plain = PlainModel(kind=kind, guidance=guidance, overrides=tuple(overrides))
    evaluator = TargetEvaluator(measurement, [name], plain)
    config = _config(name, plain)
    folder = Path(out) if out else Path(f"probe-{Path(name).name}")
    check_writable(folder / NUMBERS)  # before anything is drawn
    evaluator.prepare()
    bearing = _bearing(evaluator, config, steps=steps or (config.steps,), noise=noise, folder=folder)
    return _written(bearing, config, measurement, folder)


def _check(steps: Sequence[int], noise: Sequence[float]) -> None:
    if any(count < 1 for count in steps):
        raise ValueError(f"steps must be 1 or more, not {min(steps)}")
    if not noise or any(not 0 <= share <= 1 for share in noise):
        raise ValueError(f"noise: give numbers from 0 (the ODE) to 1, not {', '.join(f'{x:g}' for x in noise) or None}")


def _config(name: str, plain: PlainModel) -> ModelConfig:
    from kedge.config import AUTO, parse_model

    block: dict[str, Any] = {"name": name, "kind": plain.kind or AUTO, "guidance": plain.guidance}
    config = parse_model(block, plain.overrides)
    if config.family is None:
        raise ValueError(f"{config.kind} is a policy of your own: how much noise its steps draw, only it knows")
    return config


def _bearing(
    evaluator: TargetEvaluator, config: ModelConfig, steps: Sequence[int], noise: Sequence[float], folder: Path
) -> Bearing:
    from kedge.devices import find_device
    from kedge.evaluation.bearing import Bearing
    from kedge.training.assemble import build_policy

    assert config.family is not None
    key = config.family.noise_key
    shares: Sequence[float | None] = (None,) if key is None else sorted(set(noise))
    samplers = []
    for count in dict.fromkeys(steps):
        times = config.timesteps if count == config.steps else None
        for share in shares:
            changes: dict[str, Any] = {} if key is None else {key: share}
            samplers.append((replace(config, steps=count, timesteps=times, **changes), count, share))
    loaded = LoadedModel(
        Path(config.name).name,
        build_policy(samplers[0][0], find_device(evaluator.measurement.device), lora=False),
        samplers[0][0],
        tuned=False,
    )
    draws = [_draw(evaluator, loaded, *sampler, folder=folder) for sampler in samplers]
    if all(draw.evaluation is None for draw in draws):
        raise ValueError("; ".join(draw.refused for draw in draws))
    return Bearing(key, tuple(draws))


def _draw(
    evaluator: TargetEvaluator,
    loaded: LoadedModel,
    config: ModelConfig,
    steps: int,
    share: float | None,
    *,
    folder: Path,
) -> Draw:
    from kedge.evaluation.bearing import Draw

    assert config.family is not None
    try:
        other = resampled(loaded, config)
    except ValueError as error:  # a step too low, times that nobody knows: another sampler may do
        return Draw(steps, share, refused=str(error))
    label = Draw(steps, share).label(config.family.noise_key)
    return Draw(steps, share, evaluator.measure(other, label, folder, label, reference=False))


def _written(bearing: Bearing, config: ModelConfig, measurement: Measurement, folder: Path) -> Probe:
    from kedge import __version__
    from kedge.config.loading import plain
    from kedge.evaluation import image_grid
    from kedge.evaluation.picture_files import save_picture
    from kedge.files import write_text

    drawn = []
    for draw in bearing:
        if draw.evaluation is not None:
            drawn.append(draw)
    columns, prompts = {}, list[str]()
    for draw in drawn:
        evaluation = draw.evaluation
        assert evaluation is not None
        assert evaluation.images is not None
        rows = range(0, len(evaluation.images), measurement.samples)[:GRID_ROWS]
        columns[draw.label(bearing.key)] = evaluation.images[list(rows)]
        prompts = [evaluation.prompts[row] for row in rows]
    grid = folder / GRID
    picture = image_grid(columns, prompts, note="Same prompt and same first noise along each row.")
    save_picture(picture, grid)
    block = {}
    for key, value in plain(config).items():
        if value is not None and key != "lora":
            block[key] = value
    facts = {"format": 1, "kedge": __version__, "model": block, "seed": measurement.seed}
    first = drawn[0].evaluation
    assert first is not None
    facts |= {"prompts": list(dict.fromkeys(first.prompts)), "samples": measurement.samples} | bearing.to_dict()
    data = write_text(folder / NUMBERS, json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
    return Probe(bearing, grid, data)
