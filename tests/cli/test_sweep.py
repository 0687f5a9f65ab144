"""``kedge sweep`` and ``eval --group``: runs by value and seed, resumable, one table and figure over the seeds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml
from typer.testing import CliRunner

from helpers.training_world import recipe
from kedge.cli.app import app
from kedge.cli.run import explain
from kedge.config import ConfigError
from kedge.evaluation import Evaluation
from kedge.evaluation.grouped import group_interval, grouped_table
from kedge.evaluation.rendering import render
from kedge.evaluation.statistics import mean_interval
from kedge.runs.checkpoint import CheckpointStore
from kedge.workflows.sweep import read_sweep, slurm_script

AXES = ("algorithm.beta=0.1,5", "training.seed=0..1")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a recipe of two steps."""
    monkeypatch.chdir(tmp_path)
    data = recipe(training__steps=2, watch__samples_every=0)
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(data))
    return tmp_path


def kedge(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("kl,hellinger", ("kl", "hellinger")),
        ("0..2", ("0", "1", "2")),
        ("2..0", ("2", "1", "0")),
        ("0..1,7", ("0", "1", "7")),
        ("[1, 2],[3]", ("[1, 2]", "[3]")),
        ("1e-4,3e-4", ("1e-4", "3e-4")),
        ('vqa(question="a, (b", no="c"),hpsv2', ('vqa(question="a, (b", no="c")', "hpsv2")),
        ("judge(question='a, b')@x,hpsv2", ("judge(question='a, b')@x", "hpsv2")),
        ("{name: grpo, group_size: [4, 8]},rlcm", ("{name: grpo, group_size: [4, 8]}", "rlcm")),
        ("a cat's hat,a dog", ("a cat's hat", "a dog")),
    ],
)
def test_values_of_an_axis(text, values):
    sweep = read_sweep("my.yaml", [f"a.b={text}", "c=1"])
    assert [(axis.key, axis.values) for axis in sweep.axes] == [("a.b", values)]
    assert sweep.fixed == ("c=1",)


def test_what_is_no_sweep_is_refused():
    with pytest.raises(ConfigError, match="nothing varies"):
        read_sweep("my.yaml", ["a.b=1"])
    with pytest.raises(ConfigError, match="'seeds' is not key=value"):
        read_sweep("my.yaml", ["seeds"])
    many = read_sweep("my.yaml", ["training.seed=0..999", "optimizer.lr=1e-4,1e-3"])
    with pytest.raises(ConfigError, match="2000 runs are too many"):
        _ = many.matrix
    with pytest.raises(ConfigError, match=r"0\.\.999999999999: more than 1000 runs"):  # not written out before
        read_sweep("my.yaml", ["training.seed=0..999999999999"])
    with pytest.raises(ConfigError, match=r"training\.seed=1,0\.\.2: 1 stands there twice"):
        read_sweep("my.yaml", ["training.seed=1,0..2"])


def test_a_sweep_trains_measures_and_draws_and_does_nothing_twice(place):
    said = kedge("sweep", "my.yaml", *AXES)
    folder = place / "runs" / "sweep-my"
    names = {"base", "beta-0.1_seed-0", "beta-0.1_seed-1", "beta-5_seed-0", "beta-5_seed-1"}
    assert names == {
        path.name for path in (folder / "runs").iterdir() if path.is_dir() and not path.name.startswith(".")
    }
    for suffix in ("txt", "md", "csv", "json", "tex"):
        assert (folder / f"table.{suffix}").stat().st_size > 50
    assert (folder / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert "0.1 (2 seeds)" in said
    assert r"\toprule" in (folder / "table.tex").read_text()
    logs = {name: (folder / "runs" / name / "metrics.jsonl").read_bytes() for name in names - {"base"}}
    assert len(set(logs.values())) == 4, "each run has its own seed and β"

    rows = {row["name"]: row for row in json.loads((folder / "table.json").read_text())["rows"]}
    (metric,) = set(rows["base"]) - {"name"}
    records = []
    for seed in (0, 1):
        (record,) = (folder / "runs" / f"beta-5_seed-{seed}" / "evaluation").glob("test-*.json")
        records.append(Evaluation.load(record))
    wanted = mean_interval(np.stack([record.values(metric) for record in records]), records[0].prompts)
    assert rows["5 (2 seeds)"][metric] == wanted.to_dict()

    (folder / "table.json").unlink()
    kedge("sweep", "my.yaml", *AXES)
    assert {name: (folder / "runs" / name / "metrics.jsonl").read_bytes() for name in logs} == logs
    assert json.loads((folder / "table.json").read_text())["rows"]


def cells(folder: Path) -> dict[str, dict]:
    return {row.pop("name"): row for row in json.loads((folder / "table.json").read_text())["rows"]}


def test_each_call_shows_what_it_asked_for(place):
    """Other metrics, fewer prompts, another seed: each has its own records of the same runs."""
    folder = place / "runs" / "sweep-my"
    kedge("sweep", "my.yaml", "training.seed=0..1", "training.steps=1")
    first = cells(folder)
    kedge("sweep", "my.yaml", "training.seed=0..1", "training.steps=1", "--metrics", "helpers.training_world:lightness")
    second = cells(folder)
    assert all(len(row) == 1 for row in (*first.values(), *second.values()))
    assert set(first["base"]) != set(second["base"])
    kedge("sweep", "my.yaml", "training.seed=0..2", "training.steps=1", "--count", "2")
    third = cells(folder)
    assert set(third) == {"base", "tuned (3 seeds)"}
    assert set(third["base"]) == set(third["tuned (3 seeds)"]) == set(first["base"])
    kedge("sweep", "my.yaml", "training.seed=0..1", "training.steps=1", "--draw")
    assert cells(folder) == first


def test_each_sampler_has_its_own_base(place):
    runs = read_sweep("my.yaml", ["model.steps=2,4", "training.seed=0..1"]).matrix.runs
    assert [run.name for run in runs[:3]] == ["base_steps-2", "base_steps-4", "steps-2_seed-0"]
    sweep = read_sweep("my.yaml", ["model.steps=2,4", "algorithm.beta=0,1"])
    assert [sweep.label(run) for run in sweep.matrix.runs[:3]] == [
        "base, steps=2",
        "base, steps=4",
        "steps=2, beta=0",
    ]
    assert [run.config().model.steps for run in sweep.matrix.runs[:2]] == [2, 4]


def test_all_are_judged_on_prompts_that_none_trains_on(place):
    words = [f"a cat {i}" for i in range(60)]
    (place / "prompts.txt").write_text("\n".join(words))
    own = ["my.yaml", "prompts.source=prompts.txt", "watch.held_out=null"]
    with pytest.raises(ConfigError, match=r"judged on different prompts .* set watch\.test"):
        _ = read_sweep(own[0], [*own[1:], "prompts.seed=0,1"]).matrix
    (place / "others.txt").write_text("\n".join(["a dog", "a cow", "a cat 1"]))
    sweep = read_sweep(own[0], [*own[1:], "watch.test=others.txt", "prompts.seed=0,1"])
    judged_on = {measure.prompts for run in sweep.matrix.runs for measure in run.measures.values()}
    assert judged_on == {("a dog", "a cow")}


def test_values_that_look_alike_in_a_folders_name_are_two_runs(place):
    reward = "helpers.training_world:redness"
    other = "helpers.training_world:lightness"
    runs = read_sweep("my.yaml", [f"reward={reward} + 2*{other},{reward} - 2*{other}"]).matrix.runs
    assert len({run.name for run in runs}) == 3
    sums = ",".join("+".join([f"{i}*{reward}", *[other] * 9]) for i in (1, 2))
    assert max(len(run.name) for run in read_sweep("my.yaml", [f"reward={sums}"]).matrix.runs) < 120


def test_a_run_that_failed_is_told_to_the_shell(place):
    values = ["memory.vae_slicing=false,true", "training.steps=1"]  # this policy has no VAE to slice
    result = CliRunner().invoke(app, ["sweep", "my.yaml", *values])
    assert result.exit_code == 1
    assert "Left out: vae_slicing-true (failed)" in " ".join(result.output.split())


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_and_ends_runs_at_once_and_none_goes_on_alone(place, number, jobs):
    """Real processes: one of the sweep, which trains one run itself, or one of each of two runs beside it."""
    arguments = ["sweep", "my.yaml", "training.seed=0..1", "training.steps=1000000", "--jobs", str(jobs)]
    tests = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, tests])}
    process = subprocess.Popen([sys.executable, "-m", "kedge", *arguments], env=environment)
    logs = [place / "runs" / "sweep-my" / "runs" / f"seed-{seed}" / "metrics.jsonl" for seed in range(jobs)]
    while not all(log.is_file() and log.read_text().count("\n") > 5 for log in logs):
        assert process.poll() is None
        time.sleep(0.5)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) == (2 if jobs == 2 else 0)
    process.send_signal(number)
    assert process.wait(timeout=120) == 128 + number
    assert not any(child.is_running() for child in children)
    for log in logs:
        saved = CheckpointStore(log.parent / "checkpoints").newest()
        assert saved.step == json.loads(log.read_text().splitlines()[-1])["step"]


def test_a_listed_run_is_one_run_and_what_is_missing_is_named(place):
    lines = kedge("sweep", "my.yaml", *AXES, "training.steps=1", "--list").splitlines()
    assert len(lines) == 5
    import shlex

    kedge(*shlex.split(lines[1])[1:])
    assert [path.name for path in (place / "runs" / "sweep-my" / "runs").glob("beta*")] == ["beta-0.1_seed-0"]
    said = kedge("sweep", "my.yaml", *AXES, "training.steps=1", "--draw")
    assert "Left out: base (waiting)" in " ".join(said.split())
    with pytest.raises(ConfigError, match=r"training\.steps"):  # other runs of these names are not overwritten
        kedge("sweep", "my.yaml", *AXES, "training.steps=2")


def test_the_job_array_is_a_shell_script_that_names_each_run(place):
    sweep = read_sweep("my.yaml", AXES, count=3)
    script = slurm_script(sweep)
    assert "--array=0-4" in script
    assert "SLURM_ARRAY_TASK_ID" in script
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    probe = script.replace("exec kedge", "printf '%s\\n'").replace("set -euo pipefail", "SLURM_ARRAY_TASK_ID=3")
    words = subprocess.run(["bash"], input=probe, text=True, capture_output=True, check=True).stdout.split("\n")
    assert words[:2] == ["sweep", "my.yaml"]
    assert words[-2] == "beta-5_seed-0"


def test_a_wrong_value_is_named_before_anything_runs(place):
    with pytest.raises(ConfigError) as caught:
        kedge("sweep", "my.yaml", "training.stepz=1,2")
    code, text = explain(caught.value)
    assert code == 2
    assert text.startswith("on the command line, training.stepz=1: unknown key")
    assert not (place / "runs").exists()


def test_a_value_that_train_refuses_is_refused_before_anything_runs(place):
    with pytest.raises(ConfigError, match=r"set watch\.evaluate_every"):
        kedge("sweep", "my.yaml", "watch.guard=best", "watch.evaluate_every=0", "training.seed=0,1")
    assert not (place / "runs").exists()


def evaluation(name: str, shift: float, prompts: int = 6) -> Evaluation:
    values = np.random.default_rng(len(name)).normal(shift, 1.0, prompts)
    return Evaluation(name, tuple(map(str, range(prompts))), 0, {"oracle": values})


def test_seeds_widen_the_interval_where_they_differ():
    alike = [evaluation("a", 0.0), evaluation("b", 0.0)]
    apart = [evaluation("a", 0.0), evaluation("b", 9.0)]
    near, far = group_interval(alike, "oracle"), group_interval(apart, "oracle")
    assert near is not None
    assert far is not None
    assert far.half_width > 3 * near.half_width
    text = render(grouped_table({"kl": apart, "base": [evaluation("c", 1.0)]}, "divergence"), "markdown")
    assert "kl (2 seeds)" in text
    assert "| base |" in text
    with pytest.raises(ValueError, match="different prompts"):
        group_interval([evaluation("a", 0.0), evaluation("b", 0.0, prompts=5)], "oracle")


def test_eval_groups_runs_by_a_key_of_their_recipes(place):
    kedge("sweep", "my.yaml", *AXES)
    runs = sorted(map(str, (place / "runs" / "sweep-my" / "runs").glob("beta*")))
    table = kedge("eval", *runs, "--group", "algorithm.beta", "--encoder", "none", "--format", "csv")
    assert "0.1 (2 seeds)" in table
    assert "5.0 (2 seeds)" in table or "5 (2 seeds)" in table
    with pytest.raises(ValueError, match="--group betta: there is no such key"):
        kedge("eval", *runs, "--group", "betta", "--encoder", "none")
