"""One result of what several machines have made of a target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from kedge.workflows.runner.runs import Run
from kedge_papers.records.collect import identity_of
from kedge_papers.records.result import Result
from kedge_papers.records.run_record import RunRecord

MORE_OF = "more_of"  # fact of a target: the runs that it measured more of


def with_recorded(
    result: Result,
    recorded: Mapping[str, Result],
    runs: Mapping[str, Run],
    say: Callable[[str], object],
    first_stays: bool = False,
) -> Result:
    """A target's result, and what is recorded of the runs that have not begun here.

    A run that is over there and not here is the one there. Runs of other names stay; those that were recorded with
    another configuration than is asked for go. What is recorded keeps its place before what is new, as tables compare
    with the first, and the command of the most seeds.

    Args:
        recorded: target → result, of every target: a run may be another's as well.
        runs: name → what the target asks for, as far as that is known.
        say: told what goes, and what does not come.
        first_stays: of a run that was trained twice, the training that any target has recorded stays. Else what is here
            takes its place, as it should where somebody deleted a run's folder and made it again.
    """
    theirs = recorded.get(result.target, Result(result.target, {}, ()))
    own = _without_repeated(result, recorded, say) if first_stays else result.runs
    records = {record.name: record for record in own}
    for record in theirs.runs:
        ours = records.get(record.name)
        if ours is not None:
            records[record.name] = record.joined(ours) if record.identity == ours.identity else ours
        elif record.name not in runs or record.identity == identity_of(runs[record.name]):
            records[record.name] = record
        else:
            say(f"{result.target}: {record.name} was recorded with another configuration, and goes")
    records |= _elsewhere(recorded, {name: run for name, run in runs.items() if name not in records})
    names = dict.fromkeys([*map(_name, theirs.runs), *runs])
    order = dict(zip(names, range(len(names)), strict=True))
    in_order = sorted(records.values(), key=lambda record: order.get(record.name, len(order)))
    facts = theirs.facts if theirs.facts.get("seeds", 0) > result.facts.get("seeds", 0) else result.facts
    joined = replace(result, facts=facts, runs=tuple(in_order), sheets={**theirs.sheets, **result.sheets})
    if not theirs.extra or (result.extra and _measured_more(result) >= _measured_more(theirs)):
        return joined
    return replace(joined, extra=theirs.extra, facts={**facts, MORE_OF: theirs.facts.get(MORE_OF, [])})


def _without_repeated(result: Result, recorded: Mapping[str, Result], say: Callable[[str], object]) -> list[RunRecord]:
    """Its runs, but for those of which another training is recorded: no published result is drawn again."""
    published = _trained(recorded)
    own = []
    for record in result.runs:
        before = published.get(record.identity)
        if before is not None and before.trained_apart(record):
            say(f"{result.target}: {record.name} is recorded of another training, which stays")
        else:
            own.append(record)
    return own


def _name(record: RunRecord) -> str:
    return record.name


def _elsewhere(recorded: Mapping[str, Result], runs: Mapping[str, Run]) -> dict[str, RunRecord]:
    """Those runs that another target shows, with everything that this one measures."""
    trained, records = _trained(recorded), {}
    for name, run in runs.items():
        record = trained.get(identity_of(run))
        if record and set(run.measures) <= set(record.evaluations):
            records[name] = record
    return records


def _trained(recorded: Mapping[str, Result]) -> dict[str, RunRecord]:
    """Identity → record of every training, whichever target shows it."""
    trained: dict[str, RunRecord] = {}
    for result in recorded.values():
        trained |= {record.identity: record for record in result.runs if record.trained}
    return trained


def _measured_more(result: Result) -> int:
    """Of how many runs its target measured more."""
    return len(result.facts.get(MORE_OF, ()))
