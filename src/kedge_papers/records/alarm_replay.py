"""A run's alarm, rung again at the looks that it kept: by today's rule, whatever rule it was trained under."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from kedge.config import RunConfig
from kedge.evaluation.repeated_looks import Alarm
from kedge.evaluation.result import Evaluation
from kedge.runs.folder import RunFolder

Line = Mapping[str, float | None]


def with_todays_alarm(log: Iterable[Line], folder: RunFolder, config: RunConfig) -> list[Line]:
    """The log's lines; where the alarm was asked, with what it says today if the folder kept its looks."""
    lines = list(log)
    looks = dict[int, Path]()
    for path in sorted(folder.watched.glob("step-*.json")):
        looks[int(path.stem.removeprefix("step-"))] = path
    questions = {line["step"] for line in lines if "alarm" in line}
    if not questions or not questions <= looks.keys() or 0 not in looks:
        return lines
    alarm = Alarm(config.training.steps // config.watch.evaluate_every)
    base, said, seen = Evaluation.load(looks[0]), dict[float | None, dict[str, float]](), set[str]()
    for step in sorted(looks):
        if step in questions:
            now = Evaluation.load(looks[step])
            seen |= now.scores.keys()  # a metric that was added at a resume was not missing before
            _, said[step] = alarm.ring(now, base, config.reward, step=step, expected=seen)
    return [{**line, **said.get(line["step"], {})} for line in lines]
