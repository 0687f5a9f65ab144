"""Queues: runs of many targets in one order, shared by several lanes, told by the stages before them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from helpers.processes import environment
from helpers.reproduce_world import MICRO
from kedge.cli.app import app
from kedge.config import ConfigError
from kedge.files import locked
from kedge.workflows.runner.matrix import Matrix
from kedge_papers.claims.claim import AGAIN, Claim, load_claims
from kedge_papers.records.result import Result
from kedge_papers.records.store import RecordStore
from kedge_papers.runner.experiment_set import load_experiment_set
from kedge_papers.runner.frozen import FROZEN
from kedge_papers.runner.lane import Lane
from kedge_papers.runner.options import MatrixOptions
from kedge_papers.runner.publishing import publish
from kedge_papers.runner.queue import SHIPPED, Queue, Stage, load_queue
from kedge_papers.runner.settled import with_settings
from kedge_papers.targets.tuning import tuned_pairs

TARGET = "helpers.reproduce_world:MICRO"
EMOJI = load_experiment_set("emoji")
MARK = {"optimizer.warmup": 7}  # what tuning says, in a test of who has heard it


def queue(tmp_path: Path, text: str = "") -> Path:
    """Two stages of one target: one run of it, then everything."""
    path = tmp_path / "mine.yaml"
    stages = f"[{{target: {TARGET!r}, runs: [first], settles: a little}}, {{target: {TARGET!r}}}]"
    path.write_text(text or f"experiments: emoji\nstages: {stages}\n")
    return path


def reproduce(*arguments: str):
    return CliRunner().invoke(app, ["reproduce", *arguments], catch_exceptions=False)


def test_a_lane_does_everything_in_order_and_records_it(tmp_path):
    out, path = tmp_path / "out", queue(tmp_path)
    listed = reproduce("--queue", str(path), "--out", str(out), "--list").output.splitlines()
    assert listed == [
        f"stage 1 of 2, {TARGET}: 0 of 1 runs · a little",
        f"stage 2 of 2, {TARGET}: 0 of 4 runs",
    ]
    assert not (out / "runs").exists()
    done = reproduce("--queue", str(path), "--out", str(out))
    assert done.exit_code == 0, done.output
    order = [line.split("now ")[1] for line in done.output.splitlines() if " · now " in line]
    assert order == ["first", "base", "poisoned", "second"]
    recorded = RecordStore(out / "records").results()[TARGET]
    assert [(run.name, run.state) for run in recorded.runs] == [
        ("first", "finished"), ("base", "finished"), ("poisoned", "diverged"), ("second", "finished")
    ]  # fmt: skip
    assert recorded.facts["command"] == f"kedge reproduce {TARGET}"
    again = reproduce("--queue", str(path), "--out", str(out))
    assert " · now " not in again.output
    pages = tmp_path / "pages"
    assert reproduce("--queue", str(path), "--out", str(out), "--publish", str(pages)).output.endswith(f"{TARGET}\n")
    assert [run.name for run in RecordStore(pages).results()[TARGET].runs] == [run.name for run in recorded.runs]
    assert reproduce("--queue", str(path), "--out", str(out), "--draw").output.split()


def test_a_base_model_alone_begins_no_target_that_trains(tmp_path):
    """Its run is of many targets: their pages stood there, empty, as soon as the first of them had measured it."""
    text = (
        f"experiments: emoji\nstages: [{{target: {TARGET!r}, runs: [base]}}, {{target: {TARGET!r}, runs: [first]}}]\n"
    )
    path = queue(tmp_path, text)
    lane = Lane(load_queue(str(path)), tmp_path / "out")
    (base,) = (run for run in lane.stage(0)[1].runs if run.name == "base")
    alone = Lane(Queue(lane.queue.experiments, (Stage(TARGET, ("base",)),)), tmp_path / "out")
    alone.go(lambda line: None)
    assert not base.train
    assert lane.result(TARGET) is None
    assert alone.result(TARGET) is not None


def test_two_machines_publish_to_one_place(tmp_path):
    """What one recorded stays when the other publishes runs of its own; of one that both have made, the former's."""
    pages, names = tmp_path / "pages", ([["first", "base"]], [["first"], ["second"]])
    for machine, stages in enumerate(names):
        out = tmp_path / f"machine-{machine}"
        parts = tuple(Stage(TARGET, tuple(runs)) for runs in stages)
        Lane(Queue("emoji", parts), out).go(lambda _: None)
        whole = Lane(Queue("emoji", (Stage(TARGET),)), out)
        assert publish(whole, pages) == [TARGET]
    recorded = RecordStore(pages).results()[TARGET]
    states = {run.name: run.state for run in recorded.runs}
    assert states == {"first": "finished", "base": "finished", "second": "finished"}
    seconds = [
        RecordStore(tmp_path / f"machine-{i}" / "records").results()[TARGET].run("first").seconds for i in (0, 1)
    ]
    assert seconds[0] != seconds[1]
    assert recorded.run("first").seconds == seconds[0]
    other = replace(recorded.run("base"), config={"another": "recipe"})
    RecordStore(pages).put(replace(recorded, runs=(other,)))
    assert publish(whole, pages) == [TARGET]
    assert {run.name for run in RecordStore(pages).results()[TARGET].runs} == {"first", "second"}


def test_a_run_that_another_target_has_recorded_is_shown_by_both(tmp_path):
    """As the sweep over β has the runs of one reward of the whole matrix; not if it lacks what this one measures."""
    pages = RecordStore(tmp_path / "pages")
    parts = (Stage(TARGET, ("second",)),)
    machine = Lane(Queue("emoji", parts), tmp_path / "one")
    machine.go(lambda _: None)
    second = machine.result(TARGET).run("second")
    Lane(Queue("emoji", (Stage(TARGET, ("first",)),)), tmp_path / "two").go(lambda _: None)
    for shown, expected in ((second, {"first", "second"}), (replace(second, evaluations={}), {"first"})):
        pages.folder.mkdir(exist_ok=True)
        for path in pages.folder.iterdir():
            path.unlink()
        pages.put(Result("elsewhere", {}, (shown,)))
        publish(Lane(Queue("emoji", (Stage(TARGET),)), tmp_path / "two"), pages.folder)
        assert {run.name for run in pages.results()[TARGET].runs} == expected


@pytest.mark.parametrize("queued", [True, False])
def test_a_training_that_is_recorded_is_not_exchanged_for_another(queued, tmp_path, capsys):
    """Whichever target shows it; and it is said. In the folder where it was made again, the new one counts."""
    pages = RecordStore(tmp_path / "pages")
    out = tmp_path / "one"
    first = done(out, "first").result(TARGET).run("first")
    pages.put(Result("elsewhere", {}, (replace(first, seconds=first.seconds + 1, notes={}),)))
    if queued:
        publish(done(out, "first"), pages.folder)
        said = capsys.readouterr().out
    else:
        done(out, "first").record(TARGET)
        said = reproduce(TARGET, "--out", str(out), "--publish", str(pages.folder)).output
    assert f"{TARGET}: first is recorded of another training, which stays" in said
    assert pages.results()["elsewhere"].run("first").seconds == pytest.approx(first.seconds + 1, abs=1e-3)

    shutil.rmtree(out / "runs" / "first")
    again = done(out, "first")
    again.record(TARGET)
    seconds = again.result(TARGET).run("first").seconds
    assert RecordStore(out / "records").results()[TARGET].run("first").seconds == pytest.approx(seconds, abs=1e-3)


def test_a_target_of_which_nothing_was_made_here_is_shown_of_what_others_recorded(tmp_path):
    """And what it shows already stays as it is, with whatever configuration it was made."""
    pages = RecordStore(tmp_path / "pages")
    first = done(tmp_path / "one", "first", "second").result(TARGET).run("first")
    nothing = Lane(Queue("emoji", (Stage(TARGET),)), tmp_path / "two")
    with pytest.raises(ConfigError, match="nothing of this queue has begun"):
        publish(nothing, pages.folder)
    pages.put(Result("elsewhere", {}, (first,)))
    assert publish(nothing, pages.folder) == [TARGET]
    shown = pages.results()[TARGET]
    assert [run.name for run in shown.runs] == ["first"]
    assert shown.facts["seeds"] == 1
    pages.put(replace(shown, runs=(replace(first, name="second", config={"another": "recipe"}),)))
    publish(nothing, pages.folder)
    assert {run.name for run in pages.results()[TARGET].runs} == {"first", "second"}


def done(out: Path, *runs: str) -> Lane:
    """A machine that has made these runs and may publish all of the target's."""
    Lane(Queue("emoji", (Stage(TARGET, runs),)), out).go(lambda _: None)
    return Lane(Queue("emoji", (Stage(TARGET),)), out)


def test_what_is_over_elsewhere_is_not_replaced_by_what_failed_here(tmp_path):
    pages = tmp_path / "pages"
    publish(done(tmp_path / "one", "first"), pages)
    lane = done(tmp_path / "two", "second")
    home = tmp_path / "two" / "runs" / "first"
    home.mkdir()
    (home / "failure.json").write_text('{"message": "disk full"}')
    assert lane.result(TARGET).run("first").state == "failed"
    publish(lane, pages)
    states = {run.name: run.state for run in RecordStore(pages).results()[TARGET].runs}
    assert states == {"first": "finished", "second": "finished"}


def test_publishing_says_what_goes_and_keeps_what_the_queue_does_not_name(tmp_path):
    pages, said = tmp_path / "pages", list[str]()
    publish(done(tmp_path / "one", "first", "second"), pages)
    (tmp_path / "two").mkdir()
    few = Lane(Queue("emoji", (Stage(TARGET, ("base",)),)), tmp_path / "two")
    few.go(lambda _: None)
    recorded = RecordStore(pages).results()[TARGET]
    other = replace(recorded.run("second"), config={"another": "recipe"})
    RecordStore(pages).put(replace(recorded, runs=(recorded.run("first"), other)))
    publish(few, pages, said.append)
    assert {run.name for run in RecordStore(pages).results()[TARGET].runs} >= {"first", "second"}
    assert said == []
    publish(done(tmp_path / "three", "first"), pages, said.append)
    assert "second" not in {run.name for run in RecordStore(pages).results()[TARGET].runs}
    assert said == [
        f"{TARGET}: first is recorded of another training, which stays",
        f"{TARGET}: second was recorded with another configuration, and goes",
    ]


def test_run_folders_may_be_deleted_once_they_are_recorded(tmp_path):
    lane, pages = done(tmp_path / "out", "first", "second"), tmp_path / "pages"
    shutil.rmtree(tmp_path / "out" / "runs" / "first")
    lane.record(TARGET)
    publish(lane, pages)
    assert {run.name for run in RecordStore(pages).results()[TARGET].runs} == {"first", "second"}
    shutil.rmtree(tmp_path / "out" / "runs")
    publish(lane, tmp_path / "again")
    assert {run.name for run in RecordStore(tmp_path / "again").results()[TARGET].runs} == {"first", "second"}


def test_what_is_published_later_takes_neither_the_first_place_nor_the_command(tmp_path):
    """Tables compare every method with the first, which another machine recorded with more seeds."""
    pages = RecordStore(tmp_path / "pages")
    publish(done(tmp_path / "one", "first"), tmp_path / "pages")
    recorded = pages.results()[TARGET]
    pages.put(replace(recorded, facts={**recorded.facts, "seeds": 8, "command": "with 8 seeds"}))
    publish(done(tmp_path / "two", "second"), tmp_path / "pages")
    both = pages.results()[TARGET]
    assert [run.name for run in both.runs] == ["first", "second"]
    assert (both.facts["seeds"], both.facts["command"]) == (8, "with 8 seeds")
    publish(done(tmp_path / "three", "second"), tmp_path / "again")
    publish(done(tmp_path / "four", "first"), tmp_path / "again")
    assert [run.name for run in RecordStore(tmp_path / "again").results()[TARGET].runs] == ["second", "first"]


def test_nothing_of_another_kind_is_published(tmp_path):
    """Runs of another configuration than is asked for, of another world, or none at all."""
    lane, pages = done(tmp_path / "out", "first"), tmp_path / "pages"
    with pytest.raises(ConfigError, match=r"holds a run with optimizer.lr = .*, but now 0.5 is asked for"):
        publish(Lane(lane.queue, lane.out, {"optimizer.lr": 0.5}), pages)
    with pytest.raises(ConfigError, match=r"nothing of this queue has begun in .*empty"):
        publish(Lane(lane.queue, tmp_path / "empty"), pages)
    frozen = json.loads((lane.out / FROZEN).read_text())
    (lane.out / FROZEN).write_text(json.dumps({**frozen, "world": "another"}))
    with pytest.raises(ConfigError, match="were begun in another world"):
        publish(lane, pages)
    assert not pages.exists()
    for arguments in (["--queue", str(queue(tmp_path))], [TARGET]):
        with pytest.raises(ConfigError, match="--publish needs the folder"):
            reproduce(*arguments, "--out", str(lane.out), "--publish", "")
        with pytest.raises(ConfigError, match=r"--publish .*mine.yaml: this is a file"):
            reproduce(*arguments, "--out", str(lane.out), "--publish", str(tmp_path / "mine.yaml"))


def test_a_killed_lane_goes_on_where_it_was(tmp_path):
    """The first run is killed in its sixth step: the records say how far it was, and the same command finishes it."""
    out, path = tmp_path / "out", queue(tmp_path)
    command = [sys.executable, "-m", "kedge", "reproduce", "--queue", str(path), "--out", str(out)]
    killed = subprocess.run(command, env=environment(KEDGE_TEST_DIE="6"), capture_output=True, timeout=120)
    assert killed.returncode == -9
    lane = Lane(load_queue(str(path)), out)
    lane.record(TARGET)
    (partial,) = RecordStore(out / "records").results()[TARGET].runs
    assert (partial.name, partial.state) == ("first", "partial")
    assert 0 < partial.step < 8
    lines: list[str] = []
    assert lane.go(lines.append) == []
    first = RecordStore(out / "records").results()[TARGET].run("first")
    assert (first.state, first.step) == ("finished", 8)


def test_two_lanes_never_do_one_run(tmp_path):
    """What another lane has in hand is left to it, the next run is taken, and the end is waited for."""
    lane, done = Lane(load_queue(str(queue(tmp_path))), tmp_path / "out"), []
    with locked(tmp_path / "out" / "runs" / ".locks" / "first"):
        failed: list[str] = []
        while lane._turn(failed, done.append) == (True, True):
            pass
        assert lane._turn(failed, done.append) == (False, True)  # busy: somebody will finish
    assert [line.split("now ")[1] for line in done if " · now " in line] == ["base", "poisoned", "second"]
    assert lane._turn(failed, done.append) == (True, False)
    assert lane._turn(failed, done.append) == (False, False)


def test_what_fails_is_told_and_stops_nobody(tmp_path):
    out, path = tmp_path / "out", queue(tmp_path)
    done = reproduce("reward=hpsv2", "--queue", str(path), "--out", str(out))  # its weights are not here
    assert done.exit_code == 1
    assert "first: failed. reward 'hpsv2' needs" in done.output
    assert "not done: first, poisoned, second; the same command tries them again" in done.output
    assert RecordStore(out / "records").results()[TARGET].run("base").state == "finished"


def test_runs_of_two_worlds_are_not_mixed(tmp_path, monkeypatch):
    lane = Lane(load_queue(str(queue(tmp_path))), tmp_path / "out")
    first: list[str] = []
    lane.go(first.append)
    assert first[0].startswith(f"{tmp_path / 'out' / FROZEN}: world ")
    assert (
        RecordStore(tmp_path / "out" / "records").results()[TARGET].facts["models"]
        in (tmp_path / "out" / FROZEN).read_text()
    )
    monkeypatch.setattr("kedge_papers.runner.frozen.world_digest", lambda experiments: "0123456789abcdef")
    with pytest.raises(ConfigError, match=r"were begun in another world \(\w{12}, here 0123456789ab\)"):
        lane.go(lambda line: None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("experiments: emoji\nstages: [{target: table4, seed: 3}]", "stages.0.seed"),
        ("experiments: emoji\nstages: [{target: tabel4}]", "Did you mean 'table4'"),
        ("experiments: emoji\nstages: [{target: table4, budget: 9}, {target: table4}]", "different budgets"),
    ],
)
def test_mistakes_in_a_queue_are_told(text, message, tmp_path):
    with pytest.raises((ConfigError, ValueError), match=message):
        load_queue(str(queue(tmp_path, text)))


def test_a_pattern_without_runs_and_a_target_beside_the_queue_are_told(tmp_path):
    with pytest.raises(ConfigError, match=r"queue: no run of .*MICRO with 1 seeds is called 'frist'"):
        Stage(TARGET, ("frist",)).of(Matrix(MICRO.runs(MatrixOptions(EMOJI)), tmp_path))
    refused = CliRunner().invoke(app, ["reproduce", "table4", "--queue", str(queue(tmp_path))])
    assert "--queue takes no target (table4)" in str(refused.exception)
    choices = "evidence, again, again-raters"
    with pytest.raises(ConfigError, match=f"no queue 'evidense': choose {choices}, or give a YAML file"):
        load_queue("evidense")


@pytest.mark.parametrize(
    "options",
    [("--seeds", "3"), ("--budget", "9"), ("--world", "papers"), ("--config", "x.yaml"), ("--count", "3")],
)
def test_what_a_queue_says_itself_is_not_asked_of_the_command(options, tmp_path):
    with pytest.raises(ConfigError, match=f"--queue takes no {options[0]}: its stages say that"):
        reproduce("--queue", str(queue(tmp_path)), "--out", str(tmp_path / "out"), *options)
    with pytest.raises(ConfigError, match="--queue takes no --jobs: start the same command once more"):
        reproduce("--queue", str(queue(tmp_path)), "--out", str(tmp_path / "out"), "--jobs", "2")
    assert not (tmp_path / "out").exists()


def most_seeds(queue: Queue, claim: Claim) -> int:
    """Of the stages that answer a claim."""
    own = [stage for stage in queue.stages if claim.experiment in (stage.target, stage.target.rstrip("abcd"))]
    assert own, claim.claim
    return max(stage.seeds for stage in own)


def test_every_claim_is_settled_by_the_queue_that_ships():
    """Each claim's experiment is in it, with as many seeds as its last look asks for; and claims are named in order."""
    queue = load_queue("evidence")
    for claim in load_claims():
        seeds = most_seeds(queue, claim)
        times = 2 if claim.experiment in ("hacking", "fig4") else 0.5 if claim.number in (8, 9) else 1
        assert times * seeds >= max(claim.looks, default=1), claim.claim


def test_every_claim_that_is_asked_again_is_settled_by_its_queue():
    """With as many seeds as its look asks for. Raters have a queue of their own; Table 4 trains nothing."""
    for claim in load_claims(AGAIN):
        if claim.experiment != "table4":
            queue = load_queue("again-raters" if claim.experiment == "fig3" else "again")
            assert load_experiment_set(queue.experiments).claims == AGAIN
            assert most_seeds(queue, claim) >= max(claim.looks, default=1), claim.claim


def tunes(stage: Stage) -> set[tuple[str, str]]:
    """Methods and rewards whose grids a stage is of."""
    pairs = set()
    for pattern in stage.runs if stage.target == "tuning" else ():
        for method, reward in tuned_pairs(EMOJI):
            if Stage("tuning", (pattern,)).takes(f"tuning-{method}--{reward}--0.001-8--1000"):
                pairs.add((method, reward))
    return pairs


@pytest.mark.parametrize("name", SHIPPED)
def test_a_stage_of_tuning_has_the_models_that_rises_are_measured_from(name, tmp_path):
    """Its own choice is read from its own runs: without them it would choose nothing, and nobody would be told."""
    from kedge_papers import TARGETS

    runs = TARGETS.get("tuning").runs(MatrixOptions(EMOJI))
    bases = {run.name for run in runs if not run.train}
    assert len(bases) == 2
    for stage in load_queue(name).stages:
        if stage.target == "tuning":
            assert bases <= {run.name for run in stage.of(Matrix(runs, tmp_path)).runs}


def test_what_kept_its_preset_is_never_told_otherwise():
    """Runs of one study are not trained in two ways: where a grid does not choose, no later stage does."""
    presets, chosen = set[tuple[str, str]](), set[tuple[str, str]]()
    for stage in load_queue("evidence").stages:
        (chosen if stage.chooses else presets).update(tunes(stage))
    assert {method for method, _ in presets} == {"kl", "fisher"}
    assert not presets & chosen


def settled_before(position: int, ships: Queue):
    """The experiment set with a mark on every method and reward that stages before have tuned."""
    marks: dict[str, dict[str, dict]] = {}
    for i in ships.waits_for(position):
        for method, reward in tunes(ships.stages[i]):
            marks.setdefault(reward, {})[method] = MARK
    return with_settings(EMOJI, {"tuned": marks})


def test_nothing_is_trained_before_tuning_chose_for_it(tmp_path):
    """And a run that two stages share is told the same by both."""
    ships, overrides = load_queue("evidence"), dict[str, dict]()
    from kedge_papers import TARGETS

    for position, stage in enumerate(ships.stages):
        if stage.target == "tuning":
            continue
        options = MatrixOptions(settled_before(position, ships), seeds=min(stage.seeds, 1), budget=stage.budget)
        runs = TARGETS.get(stage.target).runs(options)
        chosen = [run for run in runs if stage.takes(run.name)]
        for run in chosen:
            if run.train and run.overrides.get("prompts") == EMOJI.train:
                assert run.overrides.get("optimizer.warmup") == 7, f"stage {position + 1}: {run.name} is not tuned"
            assert overrides.setdefault(run.name, dict(run.overrides)) == dict(run.overrides), run.name
