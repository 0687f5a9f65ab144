"""Subcommands of other packages, found by their entry points: real metadata in a folder on the path."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

from helpers.processes import environment
from kedge.cli import plugins

ROOT = Path(__file__).parents[2]


def beside(folder: Path, module: str, *entries: str) -> None:
    """A package beside Kedge, as pip would leave it."""
    metadata = folder / "beside-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: beside\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("\n".join([f"[{plugins.GROUP}]", *entries, ""]))
    (folder / "beside.py").write_text(module)


def kedge(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kedge", *arguments]
    return subprocess.run(command, env=environment(folder), capture_output=True, text=True, timeout=120)


MODULE = """
import typer

def greet(name: str = "you") -> None:
    "Say hello."
    print("hello", name)

group = typer.Typer(help="Several.")
group.command("one")(greet)
group.command("two")(greet)
"""


def test_a_function_and_a_group_become_commands(tmp_path):
    beside(tmp_path, MODULE, "greet = beside:greet", "several = beside:group")
    listed = kedge(tmp_path, "--help").stdout
    assert "Say hello." in listed
    assert "Several." in listed
    assert kedge(tmp_path, "greet", "--name", "fox").stdout == "hello fox\n"
    assert kedge(tmp_path, "several", "two").stdout == "hello you\n"


def test_what_is_broken_or_takes_a_name_is_left_out_and_said(tmp_path):
    beside(tmp_path, "raise RuntimeError('half installed')", "broken = beside:x", "train = beside:greet")
    done = kedge(tmp_path, "--help")
    assert done.returncode == 0
    assert "kedge broken cannot be loaded (beside:x): half installed" in done.stderr
    assert "kedge train is Kedge's own" in done.stderr
    assert "Train by a preset" in done.stdout
    assert "broken" not in done.stdout


def test_without_any_there_are_the_commands_of_its_own(monkeypatch):
    monkeypatch.setattr(plugins, "entry_points", lambda group: [])
    assert list(plugins.commands_beside(["train"])) == []


def test_reproduce_is_one():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    value = project["entry-points"][plugins.GROUP]["reproduce"]
    command = EntryPoint("reproduce", value, plugins.GROUP).load()
    assert command.__name__ == "reproduce_command"
    assert [entry.value for entry in plugins.entry_points(group=plugins.GROUP) if entry.name == "reproduce"] == [value]


def test_the_library_does_not_know_the_papers_package():
    knowing = [path for path in (ROOT / "src" / "kedge").rglob("*.py") if "kedge_papers" in path.read_text("utf-8")]
    assert knowing == []
