"""What ``kedge compare`` does: a run against its base or another run, sample by sample, with grid and report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kedge.evaluation.levels import TABLE
from kedge.files import check_writable
from kedge.workflows.measurement import Measurement, Metrics, Prompts
from kedge.workflows.target_evaluator import TargetEvaluator
from kedge.workflows.targets import Stored, run_path

if TYPE_CHECKING:
    from kedge.evaluation.comparison import Comparison
    from kedge.evaluation.guard import Verdict
    from kedge.evaluation.result import Evaluation
    from kedge.evaluation.tables import Table
    from kedge.evaluation.transfer import Transfer

VERDICTS = tuple(level.name for level in TABLE if not level.of_several_looks)  # what a comparison may come to


@dataclass(frozen=True)
class RunComparison:
    """What :func:`compare` found; printed, it is the table and the verdict.

    Attributes:
        comparison: the change of every metric: ``comparison["oracle"].difference``.
        ours, theirs: the two evaluations.
        verdict: on base → tuned; None against another run, or if what was trained on is not among the metrics.
        grid: pictures of both side by side.
        report: the page that shows it all.
        transfer: what remains of the gain under other samplers, where that was asked for.
    """

    comparison: Comparison
    ours: Evaluation
    theirs: Evaluation
    verdict: Verdict | None
    grid: Path
    report: Path
    transfer: Transfer | None = None

    def table(self) -> Table:
        """Metrics down; base, tuned, paired difference and win rate across."""
        from kedge.evaluation.tables import comparison_table

        return comparison_table(self.comparison)

    def lines(self) -> list[str]:
        """The verdict, and where grid and report are."""
        verdict = []
        if self.verdict:
            level = self.verdict.record
            verdict = [
                f"{level.sign} {level.title}",
                *map("  {}".format, self.verdict.clauses),
                level.advice,
                "",
            ]
        transfer = []
        if self.transfer:
            from kedge.evaluation.rendering import render

            transfer = [render(self.transfer.table(), "table").rstrip("\n"), *self.transfer.lines(), ""]
        return [*verdict, *transfer, f"grid     {self.grid}", f"report   {self.report}"]

    def __str__(self) -> str:
        from kedge.evaluation.rendering import render

        return "\n".join([render(self.table(), "table").rstrip("\n"), *self.lines()])


def compare(
    run: Stored,
    against: Stored = "base",
    metrics: Metrics | None = None,
    prompts: Prompts | None = None,
    *,
    count: int | None = None,
    seed: int = 0,
    samples: int = 2,
    batch_size: int = 16,
    device: str = "auto",
    encoder: str = "auto",
    fresh: bool = False,
    transfer: Sequence[str] = (),
) -> RunComparison:
    """Compare a run with its base or with another run, as ``kedge compare`` does; writes grid and report.

    Args:
        run: a run folder or a :class:`TrainedRun`.
        against: ``"base"``, or another run.
        metrics, prompts, count, seed, samples, batch_size, device, encoder, fresh: as for :func:`kedge.evaluate`.
        transfer: other samplers under which to measure what remains of the gain: ``"auto"`` for the usual ones, or
            ``"steps=4,guidance=1"``, ``"size=768"``, ``"beside=LORA=0.8"``. Written into report and model card too.

    Raises:
        ValueError: if one of them is no run folder, or an option is wrong.
    """
    if transfer and against != "base":
        raise ValueError("--transfer measures the gain over the base: leave out --against")
    runs = [run] if against == "base" else [run, against]
    for target in runs:
        if run_path(target) is None:
            raise ValueError(f"{target} is not a run folder: it has no config.yaml (kedge train makes one)")
    check_writable(Path(str(run_path(run))) / "report.html")  # before anything is drawn
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
    evaluator = TargetEvaluator(measurement, runs)
    if not transfer:
        return _conclude(Path(str(run_path(run))), *_both(evaluator, run, against))
    return _with_transfer(evaluator, run, transfer)


def _with_transfer(evaluator: TargetEvaluator, run: Stored, texts: Sequence[str]) -> RunComparison:
    """Compare with the base as trained, and under other samplers; loaded once, refused before anything is drawn."""
    from kedge.evaluation.judges import deciding
    from kedge.workflows.load_run import TrainedRun, load_run
    from kedge.workflows.targets import load_target
    from kedge.workflows.transfer import measure_transfer, other_samplers

    evaluator.prepare()
    trained_run = run if isinstance(run, TrainedRun) else load_run(run, evaluator.device)
    samplers = other_samplers(load_target(trained_run), texts)
    ours, theirs, role = _both(evaluator, trained_run, "base")
    trained = deciding([trained_run.config.reward], list(ours.scores))
    transfer = measure_transfer(
        evaluator, trained_run.path, samplers=samplers, pair=(ours, theirs), trained=trained, step=trained_run.step
    )
    return replace(_conclude(trained_run.path, ours, theirs, role), transfer=transfer)


def _both(evaluator: TargetEvaluator, run: Stored, against: Stored) -> tuple[Evaluation, Evaluation, str]:
    """Ours, theirs, and the role under which theirs is kept in the run folder: BASE for the base alone."""
    from kedge.evaluation.records import BASE, evaluation_folder, rival_role

    if against == BASE:
        pair = evaluator.run(run)
        assert pair.base is not None
        return replace(pair.tuned, name="tuned"), replace(pair.base, name=BASE), BASE
    ours = evaluator.run(run, base=False).tuned
    role = rival_role(Path(str(run_path(against))).resolve().name)
    other = evaluator.run(against, base=False, keep_in=evaluation_folder(Path(str(run_path(run)))), role=role)
    return ours, other.tuned, role


def _conclude(run: Path, ours: Evaluation, theirs: Evaluation, role: str) -> RunComparison:
    """Compare, write grid and report, judge."""
    from kedge.config import load_config
    from kedge.evaluation.guard import judge_comparison
    from kedge.evaluation.judges import deciding
    from kedge.evaluation.measure import conclude
    from kedge.evaluation.records import BASE, evaluation_folder
    from kedge.evaluation.report import write_report
    from kedge.runs.folder import RunFolder

    folder, suffix = evaluation_folder(run), "" if role == BASE else f"-{role}"
    comparison = conclude(folder, ours, theirs, suffix)
    trained = load_config(run / "config.yaml").reward
    judged = role == BASE and deciding([trained], [change.metric for change in comparison.rewards])
    verdict = judge_comparison(comparison, [trained]) if judged else None
    if verdict is not None:
        _tell_card(RunFolder(run).card, verdict, comparison.prompts)
    return RunComparison(
        comparison,
        ours,
        theirs,
        verdict,
        grid=folder / f"grid{suffix}.png",
        report=write_report(run, role, (ours, theirs)),
    )


def _tell_card(card: Path, verdict: Verdict, prompts: str) -> None:
    """Write the verdict into the run's model card, if it still has a place for it."""
    from kedge.export.card import with_verdict
    from kedge.files import write_text

    if card.is_file():
        text = card.read_text(encoding="utf-8")
        write_text(card, with_verdict(text, verdict.record.title, verdict.clauses, prompts))
