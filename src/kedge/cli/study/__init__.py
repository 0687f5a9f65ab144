"""``kedge study``: human raters judge pairs, blind; what they said is reported and learnt from."""

from __future__ import annotations

import typer

from kedge.cli.study import demo, learn, new, serve, votes
from kedge.cli.usage_errors import Command

app = typer.Typer(
    help="Human raters: make a blind study, serve it in a browser, report it, and learn from the votes.",
    no_args_is_help=True,
)
for _command in (
    *(new.new, serve.serve, serve.raters, votes.report, votes.export, learn.fit),
    *(demo.simulate, demo.demo),
):
    app.command(cls=Command)(_command)
app.command("import", cls=Command)(learn.import_ratings)
