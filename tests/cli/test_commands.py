"""The command as users meet it: quick help, recipes that round-trip, runs, interruptions, and one clear message."""

from __future__ import annotations

import inspect
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_type_hints

import pytest
import yaml
from typer.main import get_command
from typer.models import OptionInfo
from typer.testing import CliRunner

from helpers.processes import environment
from helpers.training_world import recipe
from kedge import __version__
from kedge.cli.app import COMMANDS, GROUPS, app
from kedge.cli.run import explain, main
from kedge.config import load_config, presets
from kedge.evaluation.run_log import read_log
from kedge.runs.folder import is_run


def kedge(*arguments: str, cwd: Path, **kwargs) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kedge", *arguments]
    options = {"capture_output": True, "text": True, "timeout": 400, **kwargs}
    return subprocess.run(command, cwd=cwd, env=environment(COLUMNS="200"), **options)


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def command(tmp_path, monkeypatch, capsys) -> Callable[..., Done]:
    """The command in this process, in an empty folder: importing torch once is enough for most tests."""

    def call(*arguments: str) -> Done:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["kedge", *arguments])
        monkeypatch.setattr(sys, "path", [*sys.path])
        monkeypatch.delenv("KEDGE_TRACEBACK", raising=False)
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return Done(int(ended.value.code or 0), said.out, said.err)

    return call


def write_recipe(folder: Path, **changes) -> Path:
    path = folder / "my.yaml"
    path.write_text(yaml.safe_dump(recipe(**changes)))
    return path


def test_help_answers_within_half_a_second(tmp_path):
    """Measured as the processor's time, which does not depend on what else the machine does."""
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = kedge("--help", cwd=tmp_path)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert done.returncode == 0
    for name in [*COMMANDS, *GROUPS]:
        assert name in done.stdout
    assert min(spent) < 0.5


@pytest.mark.parametrize("name", [*COMMANDS, "world render", "world score", "world build"])
def test_every_command_has_help(name):
    result = CliRunner().invoke(app, [*name.split(), "--help"])
    assert result.exit_code == 0
    assert len(result.output.splitlines()) > 3


def test_no_option_is_called_as_its_value_is_shown():
    """Typer 0.27 takes a metavar that is the option's name in capitals for the name: `--QUEUE QUEUE`."""
    seen = 0
    for name, command in subcommands(get_command(app)):
        for key, hint in get_type_hints(inspect.unwrap(command.callback), include_extras=True).items():
            for option in getattr(hint, "__metadata__", ()):
                if isinstance(option, OptionInfo) and str(option.metavar).lower() == key:
                    assert str(option.default).startswith("--"), f"kedge {name}: --{key}"
                seen += 1
    assert seen > 100


def subcommands(group, path=()):
    for name in group.commands:
        command = group.commands[name]
        if hasattr(command, "commands"):
            yield from subcommands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


def test_version():
    assert CliRunner().invoke(app, ["--version"]).output.strip() == __version__


def test_presets_are_listed_with_time_and_memory(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    out = command("presets").stdout
    for preset in presets():
        assert preset.name in out
        assert preset.time[:20] in out


@pytest.mark.parametrize("preset", presets(), ids=lambda preset: preset.name)
def test_init_writes_a_recipe_that_means_the_same(preset, tmp_path):
    result = CliRunner().invoke(app, ["init", preset.name, "training.steps=7"])
    assert result.exit_code == 0, result.output
    path = tmp_path / "my.yaml"
    path.write_text(result.output)
    assert load_config(path) == load_config(preset.path, ["training.steps=7"])


def test_training_from_a_file_with_changes_and_going_on_with_the_run(tmp_path, command):
    write_recipe(tmp_path, watch__samples_every=2)
    done = kedge("train", "my.yaml", "training.steps=2", "training.batch_size=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "my"
    assert is_run(run)
    assert str(Path("runs/my")) in done.stdout
    assert "step 2/2" in done.stderr
    assert load_config(run / "config.yaml").training.batch_size == 1
    for name in ("env.json", "metrics.jsonl", "samples/step-000000.png", "README.md", "report.html"):
        assert (run / name).is_file(), name

    again = command("train", "my.yaml", "--out", "runs/my")
    assert again.returncode == 2
    assert "already holds a run: add --resume" in again.stderr

    longer = command("train", "runs/my", "--resume", "training.steps=5")
    assert longer.returncode == 0, longer.stderr
    assert [line["step"] for line in read_log(run / "metrics.jsonl")] == [1, 2, 3, 4, 5]

    assert command("train", "my.yaml", "training.steps=1").returncode == 0
    assert is_run(tmp_path / "runs" / "my-2")


def test_a_training_says_which_step_its_judges_chose(tmp_path, command):
    judge = {"watch__metrics": ["helpers.training_world:dimness"], "watch__evaluate_every": 2, "watch__guard": "best"}
    write_recipe(tmp_path, reward="helpers.training_world:redness", training__steps=2, **judge)
    done = command("train", "my.yaml")
    assert done.returncode == 0, done.stderr
    assert "The result is step " in done.stdout
    assert "The result is step " not in command("train", "my.yaml", "watch.guard=warn").stdout


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path, command):
    climb = {"name": "helpers.training_world:Climb", "interrupt": 3}
    write_recipe(tmp_path, algorithm=climb, training__steps=1000)
    done = kedge("train", "my.yaml", cwd=tmp_path)
    assert done.returncode == 130
    assert "SIGINT: finishing this batch" in done.stderr
    assert "Stopped at step 4, saved. Go on with: kedge train runs/my --resume" in done.stdout
    assert command("train", "runs/my", "--resume", "training.steps=6").returncode == 0
    assert [line["step"] for line in read_log(tmp_path / "runs/my/metrics.jsonl")] == [1, 2, 3, 4, 5, 6]


def test_a_second_ctrl_c_stops_at_once(tmp_path):
    climb = {"name": "helpers.training_world:Climb", "interrupt": 2, "updates_per_batch": 10**6}
    write_recipe(tmp_path, algorithm=climb, training__steps=10**9)
    command = [sys.executable, "-m", "kedge", "train", "my.yaml"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "finishing this batch" in line:
            process.send_signal(signal.SIGINT)
            break
    process.communicate(timeout=400)
    assert process.returncode not in (0, 2)


def test_a_dry_run_describes_and_writes_nothing(tmp_path, command):
    write_recipe(tmp_path)
    done = command("train", "my.yaml", "--dry-run", "training.accumulation=3")
    assert done.returncode == 0, done.stderr
    assert "prompts: 45 of animals-45" in done.stdout
    assert "6 batches × 6 = 36" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["my.yaml"]


def test_a_dry_run_says_which_files_of_a_reward_are_not_here(tmp_path, command):
    (tmp_path / "weights.pt").touch()
    metrics = "watch.metrics=[hpsv2@./weights.pt, imagereward@some/hub-id]"
    done = command("train", "emoji-rocm", "reward=clipscore@./nofolder", metrics, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "# reward clipscore@./nofolder: not here, there is no such file or folder" in done.stdout
    assert done.stdout.count("no such file") == 1


MISTAKES = [
    (["train", "emoji-rcom"], "no preset and no file called 'emoji-rcom'. Did you mean 'emoji-rocm'?"),
    (["train", "nowhere.yaml"], "no recipe at nowhere.yaml"),
    (["train", "emoji-rocm", "optimizer.lrr=1"], "unknown key 'optimizer.lrr'. Did you mean 'lr'?"),
    (["train", "emoji-rocm", "reward=compressibility"], "train it with rlcm, ddpo"),
    (["train", "emoji-rocm", "--resume"], "--resume needs to know the run"),
    (["train", "emoji-rocm", "prompts=nowhere.txt", "--dry-run"], "no such prompt file: nowhere.txt"),
    (["train", "emoji-rocm", "model=emoji-lmc", "--dry-run"], "no model 'emoji-lmc'. Did you mean 'emoji-lcm'?"),
    (["train", "emoji-rocm", "model=emoji-lmc"], "no model 'emoji-lmc'. Did you mean 'emoji-lcm'?"),
    (["train", "emoji-auto", "training.steps=4", "--dry-run"], "would look at step 0 alone"),
    (["train", "emoji-auto", "watch.guard=warn", "--dry-run"], "set watch.guard=best"),
    (["train", "emoji-rocm", "training.device=gpu", "--dry-run"], "training.device: there is no device 'gpu'"),
    (["plan", "emoji-auto", "watch.guard=warn"], "set watch.guard=best"),
    (["init", "x"], "no preset and no file called 'x'"),
    (["prompts", "animals"], "no prompts called 'animals'"),
    (["export", "nowhere"], "nowhere is not a run folder"),
    (["sample", "emoji-lmc", "--prompt", "a cat"], "emoji-lmc"),
    (["sample", "emoji-lcm", "--prompt", "a cat", "--model", "lcmlora=x"], "unknown key 'model.lcmlora'. Did you mean"),
    (["sample", "emoji-lcm", "--prompt", "a cat", "--model", "lcm_lora"], "is not key=value"),
    (["world", "score", "nowhere.png", "a fox"], "there is no picture nowhere.png"),
    (["world", "score", __file__, "a fox"], "is not a picture that can be read"),
    (["world", "build", "vea"], "no stage 'vea'. Did you mean 'vae'?"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=[" ".join(a) for a, _ in MISTAKES])
def test_mistakes_end_with_one_message_and_code_2(arguments, message, tmp_path, command):
    done = command(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.startswith("kedge: ")
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_plain_model_takes_the_keys_of_a_recipes_model_block(tmp_path):
    from kedge.workflows.targets import load_target

    plain, overridden = (
        load_target("emoji-lcm", overrides=keys, device="cpu") for keys in ((), ("steps=3", "size=16"))
    )
    assert (overridden.model.steps, overridden.model.size) == (3, 16)
    assert overridden.policy.steps == 3
    assert overridden.policy.latent_shape[-1] < plain.policy.latent_shape[-1]
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text("prompts: animals-45\n")
    with pytest.raises(ValueError, match="knows its model"):
        load_target(str(folder), overrides=["size=16"])


def test_a_mistake_shows_no_traceback_unless_asked(tmp_path):
    done = kedge("--traceback", "train", "emoji-rcom", cwd=tmp_path)
    assert "Traceback" in done.stderr
    assert "ConfigError: no preset" in done.stderr


def test_what_is_not_the_users_mistake_is_not_hidden():
    with pytest.raises(KeyError):
        explain(KeyError("bug"))

    class OutOfMemoryError(RuntimeError):
        pass

    code, message = explain(OutOfMemoryError("CUDA out of memory"))
    assert code == 1
    for key in ("training.batch_size", "training.accumulation", "backprop.checkpoint", "backprop.last_steps"):
        assert key in message


def test_a_picture_of_any_size_is_scored_if_it_is_square(tmp_path, command):
    from PIL import Image

    from kedge.workflows.world import render_scene

    scene = render_scene("two foxes in the snow", seed=1)
    for name, picture in (("small", scene), ("large", scene.resize((scene.width * 4, scene.width * 4), 0))):
        picture.save(tmp_path / f"{name}.png")
    small, large = (
        command("world", "score", f"{name}.png", "two foxes in the snow").stdout for name in ("small", "large")
    )
    assert small == large
    assert float(small.splitlines()[0].split()[1]) > 0.8
    Image.new("RGB", (32, 16)).save(tmp_path / "wide.png")
    assert "wide.png is 32 × 16 pixels" in command("world", "score", "wide.png", "a fox").stderr


def test_prompts_are_listed_and_printed():
    listed = CliRunner().invoke(app, ["prompts"]).output
    assert "animals-45" in listed
    assert "prompts.local=FILE" in listed
    printed = CliRunner().invoke(app, ["prompts", "animals-45", "--count", "3"])
    assert len(printed.output.splitlines()) == 3


def test_doctor_tells_what_works(command):
    out = command("doctor").stdout
    for word in ("torch", "threads", "emoji-lcm", "pickscore@emoji", "compressibility"):
        assert word in out
