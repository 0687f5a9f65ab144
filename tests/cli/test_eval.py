"""``kedge eval`` and ``kedge compare`` on a run that was really trained, on models and on folders of images."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from helpers.training_world import recipe
from kedge.cli.compare import compare_command
from kedge.cli.eval import eval_command
from kedge.cli.run import explain
from kedge.cli.sample import sample_command
from kedge.config import parse_config
from kedge.evaluation.diversity import WITHIN
from kedge.evaluation.levels import LEVELS
from kedge.evaluation.report import write_report
from kedge.export.card import VERDICT
from kedge.training.run import train
from kedge.workflows import compare

REWARD, OTHER = "helpers.training_world:redness", "helpers.training_world:darkness"

app = typer.Typer()
app.command("eval")(eval_command)
app.command("compare")(compare_command)
app.command("sample")(sample_command)


def kedge(*arguments: object) -> str:
    """The output of a command that must succeed."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception:
        raise result.exception
    return result.stdout


def refused(*arguments: object) -> str:
    """The message of a command that must be refused."""
    with pytest.raises(Exception) as caught:  # noqa: PT011
        kedge(*arguments)
    code, message = explain(caught.value)
    assert code == 2
    return message


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two short runs, the second shorter."""
    root = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kedge.training.run.finish", lambda *_: None)  # no adapter file: the world is no diffusers model
        for name, steps in (("first", 40), ("second", 10)):
            options = {"training__batch_size": 8, "optimizer__lr": 1e-2, "algorithm__beta": 0.0}
            train(parse_config(recipe(training__steps=steps, watch__metrics=[OTHER], **options)), root / name)
    return root / "first", root / "second"


@pytest.fixture
def run(runs, tmp_path) -> Path:
    """A copy of the first run."""
    return Path(shutil.copytree(runs[0], tmp_path / "first"))


def rows(text: str) -> dict[tuple[str, str], dict[str, str]]:
    return {(row["model"], row["column"]): row for row in csv.DictReader(io.StringIO(text))}


def test_a_run_is_measured_beside_its_base(run: Path) -> None:
    table = rows(kedge("eval", run, "--format", "csv", "--count", 12))
    assert {model for model, _ in table} == {"paint", "first"}
    assert {metric for _, metric in table} == {REWARD, OTHER, "path_kl"}  # how far it went, beside how well it does
    assert float(table["first", REWARD]["value"]) > float(table["paint", REWARD]["high"])
    assert table["first", REWARD]["units"] == "12"
    names = {path.name for path in (run / "evaluation").iterdir()}
    assert names - {".lock"} == {"base", "base.json", "tuned", "tuned.json"}


def test_several_targets_share_a_base(runs) -> None:
    text = kedge("eval", *runs, "--format", "markdown", "--count", 6, "--no-base")
    assert "| first |" in text
    assert "| paint |" not in text
    text = kedge("eval", *runs, "--format", "markdown", "--count", 6)
    assert text.count("| paint |") == 1


def test_every_run_has_its_row_however_alike(run: Path, tmp_path: Path) -> None:
    """A copy measures what the original does, to the last bit; it was left out, and --group failed."""
    copy = shutil.copytree(run, tmp_path / "copy")
    text = kedge("eval", run, copy, "--metrics", REWARD, "--count", 3, "--format", "csv")
    assert {run.name, "copy"} <= {name for name, _ in rows(text)}
    assert kedge("eval", run, copy, "--metrics", REWARD, "--count", 3, "--group", "training.seed")


def test_what_does_not_apply_is_refused(run: Path, images: Path, tmp_path: Path) -> None:
    for target, options in ((run, ("--steps", 8)), (run, ("--kind", "diffusion")), (images, ("--guidance", 2))):
        assert "leave it out" in refused("eval", target, "--metrics", REWARD, *options)
    assert "Did you mean" in refused("eval", images, "--metrics", "compressibility", "--scale", "compresibility=100")
    assert "leave --base out" in refused(
        "sample", "emoji-lcm", "--prompt", "a fox", "--base", "--out", tmp_path / "fox.png"
    )
    assert "end like a picture's" in refused("sample", run, "--prompt", "a fox", "--out", tmp_path / "fox.psd")
    assert "leave out 'kind=lcm'" in refused("sample", run, "--prompt", "a fox", "--kind", "lcm")


def test_what_was_measured_is_found_again(run: Path, monkeypatch) -> None:
    first = kedge("eval", run, "--format", "csv", "--count", 5)

    def never(*_, **__):
        raise AssertionError("measured twice")

    with monkeypatch.context() as patch:
        patch.setattr("kedge.evaluation.measure.evaluate", never)
        assert kedge("eval", run, "--format", "csv", "--count", 5) == first
        for other in (("--seed", 1), ("--count", 7), ("--samples", 2), ("--fresh",)):
            with pytest.raises(AssertionError, match="measured twice"):
                kedge("eval", run, "--format", "csv", "--count", 5, *other)


def test_other_weights_are_measured_again(run: Path, runs) -> None:
    before = rows(kedge("eval", run, "--format", "csv", "--count", 5))
    shutil.rmtree(run / "checkpoints")
    shutil.copytree(runs[1] / "checkpoints", run / "checkpoints")
    after = rows(kedge("eval", run, "--format", "csv", "--count", 5))
    assert after["first", REWARD]["value"] != before["first", REWARD]["value"]
    assert after["paint", REWARD]["value"] == before["paint", REWARD]["value"]


def test_a_killed_evaluation_goes_on(run: Path, monkeypatch) -> None:
    import kedge.evaluation.evaluator as evaluator

    score, calls = evaluator._score, []

    def dying(*arguments, **named):
        calls.append(1)
        if len(calls) == 4:
            raise ConnectionError("the server is gone")
        return score(*arguments, **named)

    monkeypatch.setattr(evaluator, "_score", dying)
    options = ("eval", run, "--format", "csv", "--count", 10, "--batch-size", 2)
    with pytest.raises(ConnectionError):
        kedge(*options)
    text = kedge(*options)
    assert len(calls) == 4 + 7  # 3 of the base's 5 batches were kept
    monkeypatch.undo()
    assert kedge(*options, "--fresh") == text


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "made-elsewhere"
    folder.mkdir()
    for i, colour in enumerate([(255, 0, 0), (0, 255, 0), (255, 255, 255)]):
        Image.fromarray(np.full((8, 8, 3), colour, dtype=np.uint8)).save(folder / f"{i}.png")
    (folder / "prompts.txt").write_text("red\ngreen\nwhite\n")
    return folder


def test_a_folder_of_images(images: Path, tmp_path: Path) -> None:
    table = rows(kedge("eval", images, "--metrics", f"{REWARD}, {OTHER}", "--format", "csv"))
    assert float(table["made-elsewhere", REWARD]["value"]) == pytest.approx(0)
    assert float(table["made-elsewhere", OTHER]["value"]) == pytest.approx(1 - (1 + 1 + 3) / 9)
    (images / "prompts.txt").unlink()
    assert "add prompts.txt" in refused("eval", images, "--metrics", REWARD)
    listed = tmp_path / "list.txt"
    listed.write_text("a\nb\nc\n")
    assert "made-elsewhere" in kedge("eval", images, "--metrics", REWARD, "--prompts", listed)


def test_formats_files_scales_and_statistics(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "table.md"
    options = ("eval", images, "--metrics", OTHER, "--scale", f"{OTHER}=100", "--statistics", "--out", out)
    assert kedge(*options).strip() == str(out)
    text = out.read_text()
    assert "darkness ×100" in text
    assert "edge density" in text
    data = json.loads(kedge("eval", images, "--metrics", OTHER, "--format", "json"))
    assert 0 < data["rows"][0][OTHER]["value"] < 1


def test_what_is_missing_or_wrong_is_named(images: Path, run: Path, tmp_path: Path) -> None:
    assert "Give --metrics" in refused("eval", images)
    assert "Give --prompts" in refused("eval", "owner/model", "--metrics", REWARD, "--kind", "lcm")
    assert "no model 'nothing'" in refused("eval", "nothing", "--metrics", REWARD, "--prompts", "animals-45")
    assert "--format must be one of" in refused("eval", images, "--metrics", REWARD, "--format", "html")
    assert "NAME=FACTOR" in refused("eval", images, "--metrics", REWARD, "--scale", "hpsv2")
    assert "pickscore" in refused("eval", images, "--metrics", "pikscore")
    assert f"Runs in {tmp_path}: {run.name}" in refused("compare", tmp_path / "none")
    assert "is not a run folder" in refused("compare", images)
    assert "is not a run folder" in refused("compare", run, "--against", images)


def test_compare_with_the_base(run: Path) -> None:
    (run / "README.md").write_text(f"# Card\n{VERDICT[0]}\n{VERDICT[1]}\nThe rest.\n")
    text = kedge("compare", run, "--count", 30)
    assert "Difference" in text
    assert any(f"{level.sign} {level.title}\n" in text for level in LEVELS.values())
    assert (run / "report.html").stat().st_size > 10_000
    assert Image.open(run / "evaluation" / "grid.png").width > 300
    data = json.loads((run / "evaluation" / "comparison.json").read_text())
    change = next(c for c in data["rewards"] if c["metric"] == REWARD)
    assert change["difference"]["low"] > 0
    assert change["wins"]["value"] > 0.55
    assert "trained on" in (run / "report.html").read_text()
    card = (run / "README.md").read_text()
    assert any(f"**{level.title}**, on 30 " in card for level in LEVELS.values())
    assert card.endswith("The rest.\n")


def test_compare_with_another_run(run: Path, runs) -> None:
    text = kedge("compare", run, "--against", runs[1], "--count", 10, "--format", "markdown")
    assert text.startswith("| Reward | second | first | Difference | Higher than second |")
    assert (run / "report-against-second.html").exists()
    assert (run / "evaluation" / "grid-against-second.png").exists()
    assert "report" not in text  # a table for a file is nothing but the table


@pytest.mark.parametrize("name", ["base", "tuned", "comparison"])
def test_another_run_of_any_name_is_not_taken_for_the_base(name: str, run: Path, runs, tmp_path: Path) -> None:
    (run / "README.md").write_text(f"# Card\n{VERDICT[0]}\n{VERDICT[1]}\n")
    kedge("compare", run, "--count", 6)
    ours = ("evaluation/base.json", "evaluation/tuned.json", "evaluation/comparison.json", "evaluation/grid.png")
    before = {file: (run / file).read_bytes() for file in (*ours, "report.html", "README.md")}
    other = shutil.copytree(runs[1], tmp_path / "others" / name)
    text = kedge("compare", run, "--against", other, "--count", 6)
    assert not any(level.title in text for level in LEVELS.values())
    assert {file: (run / file).read_bytes() for file in before} == before
    assert (run / "evaluation" / f"against-{name}.json").exists()
    assert (run / f"report-against-{name}.html").exists()
    report = write_report(run, against=f"against-{name}")  # found again by its name
    assert report == run / f"report-against-{name}.html"
    assert "Not evaluated yet" not in report.read_text()


JUDGE = "helpers.training_world:dimness"
# What makes each verdict: the trained reward and the judge move by that many σ, and that share of a diversity is kept.
VERDICTS: dict[str, tuple[float, float | None, float]] = {
    "better": (1, 0.5, 1.0),
    "alike": (1, 0.5, 0.6),
    "unclear": (1, math.nan, 1.0),
    "unjudged": (1, None, 1.0),
    "unchanged": (0, 0.0, 1.0),
    "narrowed": (1, None, 0.6),
    "collapsed": (1, 0.5, 0.3),
    "worse": (-1, 0.0, 1.0),
    "damaged": (-1, -0.5, 1.0),
    "hacking": (1, -0.5, 1.0),
}


@pytest.fixture(scope="module")
def measured(runs, tmp_path_factory) -> Path:
    """A run with its evaluations, those of the judge too."""
    run = Path(shutil.copytree(runs[0], tmp_path_factory.mktemp("measured") / "first"))
    for metrics in (f"{REWARD},{JUDGE}", REWARD, JUDGE):
        kedge("compare", run, "--count", 30, "--metrics", metrics)
    return run


def with_verdict(run: Path, level: str) -> list[object]:
    """Put numbers into the run's evaluations that have this verdict; the options that read them."""
    trained, judge, share = VERDICTS[level]
    metrics = REWARD if judge is None else f"{REWARD},{JUDGE}"
    rng, moved = np.random.default_rng(0), {REWARD: trained, JUDGE: judge or 0.0}
    base_values = {name: rng.normal(size=60) for name in (*moved, WITHIN)}
    for path in (run / "evaluation").glob("*.json"):
        data = json.loads(path.read_text())
        if path.name == "comparison.json" or tuple(data["scores"]) != tuple(metrics.split(",")):
            continue
        tuned = path.name.startswith("tuned")
        for name in data["scores"]:
            noise = 3.0 if math.isnan(moved[name]) else 0.2  # nobody can tell
            change = np.nan_to_num(moved[name]) + noise * rng.normal(size=60)
            data["scores"][name] = (base_values[name] + tuned * change).tolist()
        remains = share * rng.normal(1, 0.05, size=60) if tuned else 1.0
        data["statistics"][WITHIN] = ((0.5 + 0.05 * base_values[WITHIN]) * remains).tolist()
        path.write_text(json.dumps(data))
    return ["compare", run, "--count", 30, "--metrics", metrics]


def test_every_verdict_that_a_comparison_gives_is_tried_here() -> None:
    assert set(VERDICTS) == set(compare.VERDICTS)


@pytest.mark.parametrize("level", VERDICTS)
def test_a_pipeline_fails_at_the_verdicts_that_it_names(level: str, measured: Path) -> None:
    others = []
    for other in VERDICTS:
        if other != level:
            others += ["--fail-if", other]
    options = [str(option) for option in with_verdict(measured, level)]
    passed = CliRunner().invoke(app, [*options, *others])
    assert (passed.exit_code, passed.stderr) == (0, "")
    assert f"{LEVELS[level].sign} {LEVELS[level].title}\n" in passed.stdout
    failed = CliRunner().invoke(app, [*options, "--fail-if", "hacking", "--fail-if", level])
    assert (failed.exit_code, failed.stdout) == (1, passed.stdout)  # all is shown, and written, first
    assert failed.stderr.startswith(f"kedge: --fail-if {level}: {LEVELS[level].title}: ")


def test_a_verdict_that_will_not_be_given_is_refused(measured: Path, runs) -> None:
    unknown = usage_error("compare", "nothing-is-loaded", "--fail-if", "hacked")
    assert "no comparison gives 'hacked': choose from better, alike, unclear" in unknown
    assert "Did you mean 'hacking'?" in unknown
    assert "no comparison gives 'past'" in usage_error("compare", "nothing-is-loaded", "--fail-if", "past")
    other = usage_error("compare", measured, "--against", runs[1], "--fail-if", "hacking")
    assert "leave out --against" in other
    assert "no verdict without the reward that was trained on" in refused(
        "compare", measured, "--count", 30, "--metrics", JUDGE, "--fail-if", "hacking"
    )


def usage_error(*arguments: object) -> str:
    """The message of a command whose options are wrong, without its frame."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 2
    return " ".join(result.stderr.replace("│", " ").split())
