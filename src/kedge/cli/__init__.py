"""The command ``kedge``: one file for each subcommand, whose heavy imports wait until it runs."""

from kedge.cli.run import main

__all__ = ["main"]
