"""The subcommands by name: Kedge's own, and those of packages beside it."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Annotated, Any

import typer

from kedge import __version__
from kedge.cli.plugins import commands_beside
from kedge.cli.usage_errors import Command, Group

# name → module:function, in the order of --help. The modules import nothing heavy.
COMMANDS = {
    "presets": "kedge.cli.presets:presets_command",
    "init": "kedge.cli.init:init_command",
    "train": "kedge.cli.train:train_command",
    "sweep": "kedge.cli.sweep:sweep_command",
    "plan": "kedge.cli.plan:plan_command",
    "verify": "kedge.cli.verify:verify_command",
    "probe": "kedge.cli.probe:probe_command",
    "watch": "kedge.cli.watch:watch_command",
    "sample": "kedge.cli.sample:sample_command",
    "eval": "kedge.cli.eval:eval_command",
    "compare": "kedge.cli.compare:compare_command",
    "frontier": "kedge.cli.frontier:frontier_command",
    "export": "kedge.cli.export:export_command",
    "push": "kedge.cli.push:push_command",
    "schema": "kedge.cli.schema:schema_command",
    "prompts": "kedge.cli.prompts:prompts_command",
    "random-model": "kedge.cli.random_model:random_model_command",
    "serve-reward": "kedge.cli.serve_reward:serve_reward_command",
    "doctor": "kedge.cli.doctor:doctor_command",
    "demo": "kedge.cli.demo:demo_command",
}
GROUPS = {"study": "kedge.cli.study:app", "world": "kedge.cli.world:app"}

app = typer.Typer(
    name="kedge",
    cls=Group,
    help="Fine-tune few-step text-to-image generators towards a reward, anchored to the model they started from.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _load(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


for _name, _path in COMMANDS.items():
    app.command(_name, cls=Command)(_load(_path))
for _name, _path in GROUPS.items():
    app.add_typer(_load(_path), name=_name)
for _name, _command in commands_beside([*COMMANDS, *GROUPS]):
    if isinstance(_command, typer.Typer):
        app.add_typer(_command, name=_name)
    else:
        app.command(_name, cls=Command)(_command)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
    traceback: Annotated[bool, typer.Option("--traceback", help="Show where an error came from.")] = False,
) -> None:
    if traceback:
        os.environ["KEDGE_TRACEBACK"] = "1"
