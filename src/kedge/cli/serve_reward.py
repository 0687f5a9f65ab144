"""``kedge serve-reward``: a reward for trainings on other machines or cards."""

from __future__ import annotations

from typing import Annotated

import typer

PORT = 8770


def serve_reward_command(
    reward: Annotated[str, typer.Argument(metavar="REWARD", help="As in a recipe: NAME[@SOURCE] or a weighted sum.")],
    host: Annotated[str, typer.Option(help="Whom to listen to: 0.0.0.0 for other machines.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = PORT,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps …")] = "auto",
    dtype: Annotated[str, typer.Option(help="Precision of its networks: float32, bfloat16 or float16.")] = "float32",
) -> None:
    """Serve a reward over HTTP until Ctrl-C; train on it with reward=http://HOST:PORT/score."""
    from kedge.workflows.serve_reward import serve_reward

    serve_reward(reward, host=host, port=port, device=device, dtype=dtype)
