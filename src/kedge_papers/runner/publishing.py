"""A lane's results among those of another folder: the pages', say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kedge.config import ConfigError
from kedge.workflows.runner.matrix import Say
from kedge_papers.records.joining import with_recorded
from kedge_papers.records.result import Result
from kedge_papers.records.store import RecordStore
from kedge_papers.runner.frozen import check_world
from kedge_papers.runner.lane import Lane


def publish(lane: Lane, folder: Path, say: Say = print) -> list[str]:
    """Put all of a queue's targets, partial as they are, among the records of a folder; returns their names.

    Several machines may publish there, one after the other: :func:`with_recorded` says what stays. A target of which
    nothing has begun here is shown of those runs that other targets have recorded there.

    Raises:
        ConfigError: nothing has begun here, nor is recorded there; the runs here are another world's.
    """
    check_world(lane.out, lane.experiments)
    own, results = RecordStore(lane.out / "records").results(), dict[str, Result]()
    for target in lane.queue.targets:
        result = lane.result(target)
        result = with_recorded(result, own, lane.asked(target), say) if result else own.get(target)
        results[target] = result or Result(target, lane.facts(target), ())

    def joined(recorded: Mapping[str, Result], say: Say = say) -> list[Result]:
        both = []
        for target, result in results.items():
            runs = lane.asked(target)
            if not result.runs:  # nothing of it is known here: what is shown there stays as it is
                for record in recorded[target].runs if target in recorded else ():
                    runs.pop(record.name, None)
            both.append(with_recorded(result, recorded, runs, say, first_stays=True))
        return [each for each in both if each.runs]

    published = joined(RecordStore(folder).results(), lambda _: None)
    if not published:  # before anything is written
        raise ConfigError(f"nothing of this queue has begun in {lane.out}: there is nothing to publish")
    RecordStore(folder).update(joined)
    return [each.target for each in published]
