"""A run's alarm, rung again at the looks that it kept: by today's rule, whatever rule it was trained under."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from kedge.config import RunConfig
from kedge.evaluation.repeated_looks import Alarm
from kedge.evaluation.result import Evaluation
from kedge.runs.folder import RunFolder

Line = Mapping[str, float | None]


def with_todays_alarm(log: Iterable[Line], folder: RunFolder, config: RunConfig) -> list[Line]:
    """The log's lines; where the alarm was asked, with what it says today if the folder kept its looks."""
    lines, watch = list(log), config.watch
    looks = dict[int, Path]()
    for path in sorted(folder.watched.glob("step-*.json")):
        looks[int(path.stem.removeprefix("step-"))] = path
    asked = {line["step"] for line in lines if "alarm" in line}
    if not asked or not asked <= looks.keys() or 0 not in looks:
        return lines
    alarm = Alarm(config.training.steps // watch.evaluate_every)
    base, said = _evaluation(looks, 0), dict[float | None, dict[str, float]]()
    for step in sorted(looks):
        if step in asked:
            expected = (config.reward, *watch.metrics)
            _, said[step] = alarm.ring(_evaluation(looks, step), base, config.reward, step=step, expected=expected)
    return [{**line, **said.get(line["step"], {})} for line in lines]


def _evaluation(looks: Mapping[int, Path], step: int) -> Evaluation:
    return Evaluation.from_dict(json.loads(looks[step].read_text(encoding="utf-8")))
