"""``report.html``: one file that tells how a run went, to be read, printed or sent. It needs nothing beside it."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import yaml

from kedge.evaluation import report_parts as parts
from kedge.evaluation.best_checkpoint import choice_in_words, chosen_step
from kedge.evaluation.comparison import Comparison, compare
from kedge.evaluation.frontier_report import frontier_section
from kedge.evaluation.guard import judge_comparison
from kedge.evaluation.judges import deciding
from kedge.evaluation.records import BASE, RIVAL, TUNED, evaluation_folder, file_name, load_pair, rival_role
from kedge.evaluation.report_style import CSS
from kedge.evaluation.result import Evaluation
from kedge.evaluation.run_log import read_log
from kedge.evaluation.tables import comparison_table, display
from kedge.evaluation.transfer import transfer_section
from kedge.files import read_json, write_text


@dataclass(frozen=True)
class _Run:
    """What a run folder holds; everything but the config may be missing."""

    folder: Path
    config: dict[str, Any]
    config_text: str
    environment: dict[str, Any]
    log: list[dict[str, float | None]]
    history: list[str]
    ended: dict[str, Any]

    @property
    def reward(self) -> str:
        return str(self.config.get("reward", ""))

    @property
    def judged(self) -> bool:
        """Whether judges chose its result."""
        return _block(self.config, "watch").get("guard") == "best"

    @property
    def steps_done(self) -> int:
        return int(self.most("step"))

    @property
    def result_step(self) -> int | None:
        """Optimizer steps behind its adapter; None while it trains, or where a kill left the log ahead of it."""
        if self.ended.get("step") != self.steps_done:
            return None
        chosen = chosen_step(self.log) if self.judged else None
        return self.steps_done if chosen is None else int(chosen)

    def gone_on(self, measured: Any) -> bool:
        """Whether what was measured at step ``measured`` (None: unknown) is not of its result any more."""
        return None not in (measured, self.result_step) and measured != self.result_step

    def most(self, name: str) -> float:
        """The largest logged value of ``name``; 0 if there is none."""
        return max((line.get(name) or 0 for line in self.log), default=0)


def write_report(
    run_folder: str | os.PathLike[str], against: str = BASE, measured: tuple[Evaluation, Evaluation] | None = None
) -> Path:
    """Write ``report.html`` into a run folder, from what is there: config, log, samples and evaluations.

    Args:
        against: ``base``, or the name of another run that it was compared with; the file is then called
            ``report-against-NAME.html``. Of a run that is itself called ``base`` it is ``against-base``.
        measured: the two evaluations to tell of; by default the largest in the folder.

    Raises:
        ValueError: if it is no run folder.
    """
    run = _read(Path(run_folder))
    folder = evaluation_folder(run.folder)
    role = against if against == BASE or against.startswith(RIVAL) else rival_role(against)
    ours, theirs = measured or load_pair(folder, TUNED, role)
    name = "report.html" if role == BASE else f"report-{file_name(role)}.html"
    return write_text(run.folder / name, _page(run, ours, theirs, role))


def _read(folder: Path) -> _Run:
    path = folder / "config.yaml"
    if not path.is_file():
        raise ValueError(f"{folder} is not a run folder: it has no config.yaml")
    text = path.read_text(encoding="utf-8")
    config = yaml.safe_load(text)
    environment, ended = folder / "env.json", folder / "ended.json"
    return _Run(
        folder,
        config if isinstance(config, dict) else {},
        config_text=text,
        environment=read_json(environment) if environment.is_file() else {},
        log=read_log(folder / "metrics.jsonl"),
        history=_history(folder / "history.json"),
        ended=read_json(ended) if ended.is_file() else {},
    )


def _history(path: Path) -> list[str]:
    """Where the run started, and what changed when it was resumed; nothing for runs of older versions."""
    return list(read_json(path)["in_words"]) if path.is_file() else []


def _page(run: _Run, ours: Evaluation | None, theirs: Evaluation | None, role: str) -> str:
    sections, against = [_header(run)], role.removeprefix(RIVAL)
    command = shlex.join(["kedge", "compare", str(run.folder), *([] if role == BASE else ["--against", against])])
    if ours is not None and run.gone_on(ours.facts.get("step")):
        sections.append(
            f'<p class="note">Evaluated at step {ours.facts["step"]}, and the run has gone on since: '
            f"<code>{escape(command)}</code> evaluates what it is now.</p>"
        )
        sections += _latest_sample(run)
    elif ours is not None and theirs is not None:
        ours, theirs = replace(ours, name="tuned"), replace(theirs, name=against)
        sections += _results(run, compare(ours, theirs), ours, theirs, judged=role == BASE)
    else:
        sections.append(f'<p class="note">Not evaluated yet: <code>{escape(command)}</code> adds results.</p>')
        sections += _latest_sample(run)
    for measured, section in (transfer_section(run.folder), frontier_section(run.folder)):
        sections += section[:1]
        if run.gone_on(measured):
            sections.append(
                f'<p class="note">Of step {measured}: the run has gone on to step {run.steps_done} since.</p>'
            )
        sections += section[1:]
    charts = parts.training_charts(run.log, run.reward)
    choice = choice_in_words(run.log) if run.judged else ""
    sections += ["<h2>Training</h2>", f"<p>{escape(choice)}</p>" if choice else "", charts] if charts else []
    sections.append("<h2>How it was made</h2>")
    if run.history:
        sections.append("<ul>" + "".join(f"<li>{escape(sentence)}</li>" for sentence in run.history) + "</ul>")
    sections.append(parts.folded("Configuration", run.config_text.strip()))
    if run.environment:
        sections.append(parts.folded("Environment", json.dumps(run.environment, indent=2, ensure_ascii=False)))
    sections.append(
        "<footer>Written by Kedge. The numbers are in <code>evaluation/</code> and "
        "<code>metrics.jsonl</code> beside this file.</footer>"
    )
    title = escape(run.folder.resolve().name)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title} · Kedge</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{CSS}</style></head>\n<body><main>\n" + "\n".join(sections) + "\n</main></body></html>\n"
    )


def _header(run: _Run) -> str:
    config, model = run.config, _block(run.config, "model")
    training, algorithm = _block(config, "training"), _block(config, "algorithm")
    seconds = sum(line.get("seconds") or 0 for line in run.log)
    planned = training.get("steps")
    done = f"{run.steps_done} of {planned}" if planned and run.steps_done < planned else run.steps_done or planned
    items = {
        "Model": model.get("name"),
        "Algorithm": " ".join(filter(None, (_text(algorithm, "name"), _text(algorithm, "divergence")))),
        "Reward": run.reward or None,
        "Optimizer steps": done,
        "Batch": _batch(training),
        "Sampling steps": model.get("steps"),
        "Training time": _duration(seconds) if seconds else None,
        "Reward queries": run.most("total_queries") or None,
        "Seed": training.get("seed"),
        "Device": run.environment.get("device"),
        "Kedge": run.environment.get("kedge"),
    }
    name = escape(run.folder.resolve().name)
    return f'<h1>{name}</h1><p class="lead">{escape(_lead(run))}</p>{parts.facts(items)}'


def _lead(run: _Run) -> str:
    model = _block(run.config, "model").get("name", "a model")
    return f"{model}, fine-tuned towards {display(run.reward).title if run.reward else 'a reward'}."


def _results(run: _Run, comparison: Comparison, ours: Evaluation, theirs: Evaluation, *, judged: bool) -> list[str]:
    """What a comparison found; a verdict only of one with the base, as in the terminal."""
    trained = deciding([run.reward], [change.metric for change in comparison.rewards])
    sections = []
    if trained and judged:
        verdict = judge_comparison(comparison, [run.reward])
        sections += [parts.verdict_card(verdict), parts.declines(verdict, theirs, ours)]
    if comparison.rewards:
        badges = [display(metric).header for metric in trained]
        sections += ["<h2>Results</h2>", parts.table_html(comparison_table(comparison), badges)]
    sections.append(parts.effects(comparison, trained))
    if ours.images is not None and theirs.images is not None:
        sections.append("<h2>Pictures</h2>")
        sections.append(
            '<p class="note">The first prompts of the evaluation, not chosen; same noise on both sides.</p>'
        )
        sections.append(parts.pictures(theirs, ours))
    else:
        sections += _latest_sample(run)
    if comparison.statistics:
        sections.append("<h2>What the pictures look like</h2>")
        sections.append(parts.table_html(comparison_table(comparison, statistics=True)))
    return sections


def _latest_sample(run: _Run) -> list[str]:
    """The last grid of what the run resulted in."""
    grid = latest_grid(run.folder, chosen_step(run.log) if run.judged else None)
    return ["<h2>Pictures</h2>", parts.sample_picture(grid)] if grid else []


def latest_grid(run_folder: Path, until: float | None = None) -> Path | None:
    """The last grid of samples in a run folder, of those up to a step; None if there is none."""
    grids: dict[int, Path] = {}
    for path in (run_folder / "samples").glob("step-*.png"):
        number = path.stem.removeprefix("step-")
        if number.isdecimal() and (until is None or int(number) <= until):
            grids[int(number)] = path
    return grids[max(grids)] if grids else None


def _block(config: dict[str, Any], key: str) -> dict[str, Any]:
    value = config.get(key)
    return value if isinstance(value, dict) else {"name": value} if isinstance(value, str) else {}


def _text(block: dict[str, Any], key: str) -> str | None:
    value = block.get(key)
    return value if isinstance(value, str) else None


def _batch(training: dict[str, Any]) -> str | None:
    size, accumulation = training.get("batch_size"), training.get("accumulation", 1)
    return None if size is None else f"{size} × {accumulation}" if accumulation != 1 else str(size)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
