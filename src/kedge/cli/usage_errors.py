"""Usage errors that say what to type instead: other programs' words for a command, and keys written as options."""

from __future__ import annotations

import math
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from kedge.registry import suggest

UsageError: type[Exception] = typer.BadParameter.__bases__[0]

# What people type who know other trainers → what does it here.
OTHER_WORDS = {
    "resume": "kedge train RUN --resume",
    "continue": "kedge train RUN --resume",
    "finetune": "kedge train",
    "fit": "kedge train, or kedge study fit for a reward from votes",
    "evaluate": "kedge eval",
    "test": "kedge eval",
    "generate": "kedge sample",
    "infer": "kedge sample",
    "show": "kedge init PRESET",
    "list": "kedge presets",
    "new": "kedge init PRESET > my.yaml, or kedge study new",
    "dashboard": "kedge watch RUN",
    "serve": "kedge study serve STUDY, or kedge watch RUN",
    "upload": "kedge push RUN OWNER/NAME",
    "merge": "kedge export RUN --for merged --out FOLDER",
    "grid": "kedge sweep RECIPE KEY=A,B",
    "version": "kedge --version",
}


class Command(TyperCommand):
    """A command whose usage errors say what to type instead."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As typer does, with a remedy in the message of what it refuses."""
        try:
            rest = super().parse_args(ctx, args)
            _refuse_endless(self, ctx)
            return rest
        except UsageError as error:
            error.message = _remedy(self, error)  # type: ignore[attr-defined]
            error.possibilities = None  # type: ignore[attr-defined]  # the message has named the nearest
            raise


class Group(TyperGroup):
    """A group of commands that knows what other programs call them."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As typer does; for a word that means another command here, the message is that command."""
        word = args[0].lower() if args else ""
        if word in OTHER_WORDS and self.get_command(ctx, args[0]) is None:
            ctx.fail(f"No such command {args[0]!r}. Did you mean: {OTHER_WORDS[word]}?")
        return super().resolve_command(ctx, args)


def _refuse_endless(command: TyperCommand, ctx: Any) -> None:
    """NaN and infinity, which pass the check of a range.

    Raises:
        typer.BadParameter: naming the option.
    """
    for parameter in command.params:
        value = ctx.params.get(parameter.name)
        if isinstance(value, float) and not math.isfinite(value):
            raise typer.BadParameter(f"{value} is no finite number", ctx=ctx, param_hint=parameter.opts[0])


def _remedy(command: TyperCommand, error: Any) -> str:
    """What to add to a usage error, as its message."""
    option = getattr(error, "option_name", None)
    if option is not None and option not in _options(command):  # else its value is missing, as the message says
        return f"No such option: {option}.{_instead_of(command, option)}"
    parameter = getattr(error, "param", None)
    if parameter is not None and not error.message and getattr(parameter, "help", None):
        return str(parameter.help)  # follows "Missing argument 'recipe'."
    return str(error.message).removeprefix("Value error, ").removeprefix("Input ")


def _instead_of(command: TyperCommand, option: str) -> str:
    """``--lr 1e-4`` of a command that takes key=value is optimizer.lr=1e-4; else the nearest option."""
    from kedge.config.keys import nearest_key

    word = option.lstrip("-").replace("-", "_")
    arguments = []
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            arguments.append(parameter)
    takes_keys = any("KEY=VALUE" in str(argument.metavar) for argument in arguments)
    key = nearest_key(word) if takes_keys else None
    if key:
        return f" Keys of a recipe are written without dashes: {key}=VALUE"
    return suggest(option, _options(command)) or f" kedge {command.name} --help lists them"


def _options(command: TyperCommand) -> list[str]:
    names = []
    for parameter in command.params:
        for name in parameter.opts:
            if name.startswith("-"):
                names.append(name)
    return names
