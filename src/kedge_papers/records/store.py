"""All records of a folder: each run once, named by its content, compressed; who shows which run is plain text.

Five files. ``runs.jsonl.xz``, ``prompts.jsonl.xz``, ``pictures.jsonl.xz`` and ``more.jsonl.xz`` hold an entry a line,
as ``xzcat`` prints them; runs are packed with those that differ from them in the seed or reward alone. A run names the
prompts that it was measured on by their digest; many were measured on the same. ``targets.json`` says, for each target,
its facts and which runs it shows, by name and content; what a target measured beyond its runs (votes, say) is in
``more``.

A kill at any moment leaves a folder that reads: entries come before the index that names them, and go after it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kedge.files import alone
from kedge.models import BUNDLED
from kedge_papers.records.packed import Entry, packed, read_entries, replace_bytes
from kedge_papers.records.result import Result
from kedge_papers.records.run_record import RunRecord, digest, plain_json

FORMAT = "kedge-records-3"
OLDER = ("kedge-records-2", "kedge-records-1")  # in .gz; in the first every run had its prompts within
RUNS, PROMPTS, PICTURES, MORE = "runs.jsonl.xz", "prompts.jsonl.xz", "pictures.jsonl.xz", "more.jsonl.xz"
TARGETS, LOCK = "targets.json", ".lock"


class RecordStore:
    """The records of one world, or of one user's experiments.

    Args:
        folder: where the files are, or will be.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    @property
    def world(self) -> str:
        """What its folder calls the world that was measured: ``world-1`` is World 1."""
        return self.folder.name.replace("-", " ").capitalize()

    def results(self) -> dict[str, Result]:
        """Target → its result.

        Raises:
            ValueError: naming the file, if it is something else or damaged.
        """
        index = self.folder / TARGETS
        if not index.is_file():
            if (self.folder / RUNS).is_file():
                raise ValueError(f"{self.folder} has {RUNS} but no {TARGETS}: restore it, or remove {RUNS}, too")
            return {}
        try:
            data = json.loads(index.read_text(encoding="utf-8"))
            if data["format"] not in (FORMAT, *OLDER):
                raise ValueError(f"its format is {data['format']!r}, not {FORMAT!r}: a newer Kedge wrote it")
            prompts = self._read(PROMPTS)
            sheets = {key: base64.b64decode(entry["webp"]) for key, entry in self._read(PICTURES).items()}
            runs = {}
            for key, entry in self._read(RUNS).items():
                runs[key] = _run(entry, key, prompts).showing(sheets)
            more = self._read(MORE)
            results = {}
            for name, entry in data["targets"].items():
                extra = _extra(name, entry, more)
                results[name] = Result(name, entry["facts"], _members_of(name, entry, runs), extra, sheets)
            return results
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(
                f"{self.folder} does not hold records that kedge reproduce wrote: {error}. Restore it, or remove the "
                "folder: runs that are still there are recorded again"
            ) from error

    def put(self, *new: Result) -> None:
        """Add results, or put them in place of older ones. Records of one run, however old, become one.

        Raises:
            ValueError: they started from other weights of a model than those that are here.
        """
        self.update(lambda _: new)

    def update(self, change: Callable[[Mapping[str, Result]], Sequence[Result]]) -> None:
        """Put what ``change`` makes of what is recorded; no other process writes in between.

        Raises:
            ValueError: as :meth:`put` does.
        """
        with alone(self.folder / LOCK, f"writing {self.folder}"):
            recorded = self.results()
            new = change(recorded)
            if new:
                self._write(recorded, new)

    def _write(self, recorded: Mapping[str, Result], new: Sequence[Result]) -> None:
        replaced = {each.target: each for each in new}
        older = [each for target, each in recorded.items() if target not in replaced]
        runs = _joined([*older, *replaced.values()])
        results = sorted([*older, *replaced.values()], key=lambda each: each.target)
        _check_one_world(self.folder, list(runs.values()))
        sheets = _sheets(results)
        whole = {same: run.showing(sheets).to_dict() for same, run in runs.items()}  # of some none is kept
        keys = {same: _key(entry) for same, entry in whole.items()}

        by_name = sorted(runs, key=lambda same: (runs[same].name, keys[same]))
        prompts: dict[str, dict[str, Any]] = {}
        entries = {keys[same]: _naming_prompts(whole[same], prompts) for same in by_name}
        extras, targets = dict[str, dict[str, Any]](), dict[str, Any]()
        for each in results:
            targets[each.target] = {
                "facts": plain_json(each.facts),
                "runs": {run.name: keys[_same(run)] for run in each.runs},
            }
            if each.extra:
                entry = {"target": each.target, "extra": plain_json(each.extra)}
                extras[_key(entry)] = entry
                targets[each.target]["more"] = _key(entry)
        index = json.dumps({"format": FORMAT, "targets": targets}, indent=1, ensure_ascii=False)

        files: dict[str, tuple[Mapping[str, Entry], Callable[[Entry], str] | None]] = {
            PROMPTS: (prompts, _together),
            RUNS: (entries, _alike),
            PICTURES: (sheets, None),
            MORE: (extras, None),
        }
        contents = {name: packed(self._file(name), *each) for name, each in files.items()}
        for name, (with_before, _) in contents.items():
            replace_bytes(self.folder / name, with_before)
        replace_bytes(self.folder / TARGETS, f"{index}\n".encode())
        for name, (_, alone_now) in contents.items():
            replace_bytes(self.folder / name, alone_now)
            self._older(name).unlink(missing_ok=True)

    def _read(self, name: str) -> dict[str, dict[str, Any]]:
        return read_entries(self._file(name))

    def _file(self, name: str) -> Path:
        """Where a file is, in this format or an older one."""
        path = self.folder / name
        return path if path.is_file() else self._older(name)

    def _older(self, name: str) -> Path:
        """Where older formats have a file."""
        return (self.folder / name).with_suffix(".gz")


def _alike(run: Entry) -> str:
    """Runs that are packed together: ``kl--hpsv2--0`` with every ``kl``, whose settings are nearly its own."""
    return str(run["name"]).partition("--")[0]


def _together(_: Entry) -> str:
    return ""


def _check_one_world(folder: Path, runs: Sequence[RunRecord]) -> None:
    """A folder is one world: a bundled model's name means the same weights in all of its records."""
    known: dict[str, tuple[str, str]] = {}
    for run in runs:
        model, weights = run.base.get("name", ""), run.base.get("digest")
        if model not in BUNDLED or weights is None:
            continue
        before, other = known.setdefault(model, (weights, run.name))
        if before != weights:
            raise ValueError(
                f"{folder}: {other} started from {model} {before[:8]}, {run.name} from {weights[:8]}. Records of two "
                "worlds are not mixed: give another folder"
            )


def _joined(results: Sequence[Result]) -> dict[str, RunRecord]:
    """:func:`_same` → the one record of a run, of all that are shown; the newest results last."""
    runs: dict[str, RunRecord] = {}
    for each in results:
        for run in each.runs:
            same = _same(run)
            runs[same] = runs[same].joined(run) if same in runs else run
    return runs


def _same(run: RunRecord) -> str:
    """Equal for records that become one: of one training, or of a base model that was measured on the same prompts and
    noise (one set of experiments may have two tests)."""
    if run.trained:
        return run.identity
    measured = {role: [each.prompts, each.seed] for role, each in run.evaluations.items()}
    return f"{run.identity}-{_key(measured)}"


def _sheets(results: Sequence[Result]) -> dict[str, dict[str, str]]:
    """Digest → entry of every sheet that a run shows, in order."""
    sheets: dict[str, bytes] = {}
    for each in results:
        for run in each.runs:
            for key in run.pictures.values():
                if key in each.sheets:
                    sheets[key] = each.sheets[key]
    return {key: {"webp": base64.b64encode(sheets[key]).decode()} for key in sorted(sheets)}


def _extra(target: str, entry: Mapping[str, Any], more: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What a target measured beyond its runs; older indexes do not name it."""
    if "more" in entry:
        if entry["more"] not in more:
            raise ValueError(f"{MORE} lacks what {target} measured beyond its runs")
        return dict(more[entry["more"]]["extra"])
    for each in more.values():
        if each["target"] == target:
            return dict(each["extra"])
    return {}


def _members_of(target: str, entry: Mapping[str, Any], runs: Mapping[str, RunRecord]) -> tuple[RunRecord, ...]:
    """The runs that an entry names."""
    members = []
    for name, key in entry["runs"].items():
        if key not in runs:
            raise ValueError(f"the record of {name} that {target} shows is not there")
        members.append(runs[key])
    return tuple(members)


def _key(data: Mapping[str, Any]) -> str:
    """An entry's digest."""
    return digest(json.dumps(data, ensure_ascii=False))


def _naming_prompts(run: dict[str, Any], known: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A run's entry, with the digest of each evaluation's prompts in their place; adds them to ``known``."""
    evaluations = {}
    for role, evaluation in run["evaluations"].items():
        prompts = {"prompts": evaluation["prompts"]}
        known[_key(prompts)] = prompts
        evaluations[role] = {**evaluation, "prompts": _key(prompts)}
    return {**run, "evaluations": evaluations}


def _run(entry: dict[str, Any], key: str, prompts: Mapping[str, Mapping[str, Any]]) -> RunRecord:
    for evaluation in entry["evaluations"].values():
        if isinstance(evaluation["prompts"], list):
            continue
        if evaluation["prompts"] not in prompts:
            raise ValueError(f"the prompts that {entry['name']} was measured on are not there")
        evaluation["prompts"] = prompts[evaluation["prompts"]]["prompts"]
    if _key(entry) != key:
        raise ValueError(f"the record of {entry['name']} is not what its digest {key} says")
    return RunRecord.from_dict(entry)
