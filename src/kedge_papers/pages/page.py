"""The page of a target's result, written from its records, so that it cannot say anything else."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from kedge.evaluation.rendering import render
from kedge.policies.fingerprint import Fingerprint
from kedge_papers.pages.exhibit import Exhibit
from kedge_papers.records.result import Result
from kedge_papers.records.run_record import RunRecord, digest
from kedge_papers.records.tables import mean_costs

RUN_HEAD = (
    "| runs | seeds | state | learning rate × samples of a step | steps | network passes | reward queries "
    "| training |\n"
    "|:---|---:|:---|---:|---:|---:|---:|---:|"
)


TUNED = "The shipped experiment set has what was chosen, but for KL and Fisher; what each run had is below."


def page(result: Result, exhibit: Exhibit, figure: str, world: str = "") -> str:
    """The page: tables, figure, then command, budget, world, machine, time and runs.

    Args:
        figure: where the exhibit's figure lies, as a link from the page.
        world: what was measured in, for people: ``World 1``.
    """
    parts = [f"# {result.facts['title']}", f"Mirrors {result.facts['mirrors']}."]
    if caveats := result.facts.get("caveats"):
        parts.append("\n".join(["> **Read with care.**", *(f"> - {caveat}" for caveat in caveats)]))
    for table in exhibit.tables:
        parts.append(render(table, "markdown").strip())
    if exhibit.figure is not None:
        parts.append(f"![{result.facts['title']}]({figure})")
    parts += exhibit.notes
    return "\n\n".join([*parts, _how(result, world), _runs(result)]) + "\n"


def source(result: Result) -> str:
    """A digest of everything that a page of this result is drawn from."""
    facts = [dict(result.facts), dict(result.extra), [run.to_dict() for run in result.runs]]
    return f"{result.target} {digest(json.dumps(facts, sort_keys=True))}"


def _how(result: Result, world: str) -> str:
    facts, trained = result.facts, result.trained
    lines = [
        f"```sh\n{facts['command']}\n```",
        f"Measured on {facts['date']} with Kedge {facts['version']} in {facts['about']}.",
        _bases(result.runs, world),
        f"The world's weights, rewards and all: {facts['models'][:12]}." if facts.get("models") else "",
        _protocol(facts["protocol"].strip()),
    ]
    if trained:
        total, machines = 0.0, dict[str, None]()
        for run in trained:
            total += run.seconds
            if run.machine:
                machines[_machine(run.machine)] = None
        lines.append(f"Training took {_time(total)} in all ({'; '.join(machines)}).")
    elif facts.get("machine"):
        lines.append(f"On {_machine(facts['machine'])}.")
    return "## How\n\n" + "\n\n".join(filter(None, lines))


def _protocol(protocol: str) -> str:
    """How the hyper-parameters were chosen, and where the choice is."""
    return f"Hyper-parameters: {protocol} {TUNED if '`tuned`' in protocol else ''}".rstrip()


def _bases(runs: Iterable[RunRecord], world: str) -> str:
    """The models that the runs started from, by the digests of their weights."""
    bases = dict.fromkeys(base_model(run) for run in runs if run.base)
    return f"Started from {', '.join(bases)}{f', in {world}' if world else ''}." if bases else ""


def base_model(run: RunRecord) -> str:
    """The model that a run started from, with the first digits of its weights' digest: ``emoji-lcm (ba10fbe1)``."""
    return str(Fingerprint(run.base["name"], run.base["digest"])) if "digest" in run.base else run.base["name"]


def _machine(machine: Mapping[str, Any]) -> str:
    accelerators = machine.get("accelerators") or []
    processor = f"{machine.get('device', 'cpu')}, {machine.get('processor', '')}".strip(", ")
    git = machine.get("git") or {}
    commit = f", commit {git['commit'][:10]}" if git.get("commit") else ""
    device = accelerators[0] if accelerators else processor
    return f"{device}, {machine.get('threads')} of {machine.get('cores')} threads{commit}"


def _runs(result: Result) -> str:
    """A row for each run and its repetitions: what they cost, on average where they differ."""
    families: dict[str, list[RunRecord]] = {}
    for run in result.runs:
        families.setdefault(run.family, []).append(run)
    return "\n".join(["## Runs", "", RUN_HEAD, *map(_row, families, families.values())])


def _row(name: str, runs: Sequence[RunRecord]) -> str:
    states = ", ".join(dict.fromkeys(run.state for run in runs))
    trained = []
    for run in runs:
        if run.trained:
            trained.append(run)
    if not trained:
        return f"| `{name}` | – | {states} | – | – | – | – | – |"
    steps, queries, passes = mean_costs(trained)
    seconds = float(np.mean([run.seconds for run in trained]))
    costs = f"{_rate(trained[0])} | {steps:,.0f} | {passes:,.0f} | {queries:,.0f} | {_time(seconds)}"
    return f"| `{name}` | {len(runs)} | {states} | {costs} |"


def _rate(run: RunRecord) -> str:
    """Learning rate, how it falls, and samples of an optimizer step: ``0.0015, cosine × 8``."""
    optimizer, training = run.config.get("optimizer", {}), run.config.get("training", {})
    if "lr" not in optimizer or "batch_size" not in training:
        return "–"
    schedule = optimizer.get("schedule", "constant")
    falling = "" if schedule == "constant" else f", {schedule}"
    return f"{optimizer['lr']:g}{falling} × {training['batch_size'] * training.get('accumulation', 1)}"


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min {rest:02d} s"
