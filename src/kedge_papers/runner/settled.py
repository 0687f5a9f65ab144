"""What the first experiments say about how the others are trained: the unit of β, and what tuning chose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from kedge.evaluation.records import evaluation_folder, load_record
from kedge.files import write_text
from kedge.workflows.runner.matrix import Matrix
from kedge_papers.records.collect import collect
from kedge_papers.records.result import Result
from kedge_papers.runner.experiment_set import ExperimentSet
from kedge_papers.targets.rocm_tables import FINAL
from kedge_papers.targets.tuning_grid import as_overrides, tuned

FILE = "settings.yaml"
BASE = "base-consistency"  # of Table 4
Settings = Mapping[str, Any]  # some of an experiment set's own keys


def settled_by(experiments: ExperimentSet, matrix: Matrix) -> Settings:
    """What runs that are over say: Table 4's the standard deviation of every reward, tuning's a configuration for each
    method and reward that they tried."""
    bases = [run for run in matrix.runs if run.name == BASE]
    if bases:
        return spreads_of(experiments, matrix.home(bases[0])) if experiments.spreads else {}
    records = tuple(collect(matrix, run)[0] for run in matrix.runs)
    return {"tuned": as_overrides(tuned(Result("tuning", {}, records)))}


def spreads_of(experiments: ExperimentSet, home: Path) -> Settings:
    """Standard deviations of the consistency model's scores, as it was measured in ``home``.

    Raises:
        ValueError: a reward of the experiment set was not measured.
    """
    evaluation = load_record(evaluation_folder(home), FINAL)
    spreads = {}
    for name, metric in experiments.rewards.items():
        if evaluation is None or metric not in evaluation.scores:
            raise ValueError(f"{home} has no scores of {metric}, in whose standard deviation β counts")
        spreads[name] = float(f"{evaluation.scores[metric].std(ddof=1):.3g}")
    return {"spreads": spreads}


def with_settings(experiments: ExperimentSet, settings: Settings) -> ExperimentSet:
    """The experiment set with what was settled in place of its own."""
    both = _merged([{"tuned": experiments.tuned, "spreads": experiments.spreads}, settings])
    return replace(experiments, tuned=both["tuned"], spreads=both["spreads"])


def write_settings(folder: Path, base: str, settings: Sequence[Settings]) -> Path:
    """Everything that is settled, as an experiment set for ``kedge reproduce --config``."""
    together = {"from": base, **_merged(settings)}
    path = folder / FILE
    write_text(path, "# What Table 4 and tuning settled.\n" + yaml.safe_dump(together, sort_keys=False))
    return path


def _merged(settings: Sequence[Settings]) -> dict[str, dict[str, Any]]:
    """Key → reward → what was settled for it last; of what is settled method by method, each method's last."""
    together: dict[str, dict[str, Any]] = {}
    for each in settings:
        for key, by_reward in each.items():
            entries = together.setdefault(key, {})
            for reward, entry in by_reward.items():
                entries[reward] = {**entries.get(reward, {}), **entry} if isinstance(entry, Mapping) else entry
    return together
