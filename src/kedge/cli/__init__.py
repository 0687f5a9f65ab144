"""The command ``kedge``: one file for each subcommand, whose heavy imports wait until it runs."""

from kedge.cli.app import main

__all__ = ["main"]
