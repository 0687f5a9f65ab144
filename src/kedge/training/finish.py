"""What a finished run leaves behind: the adapter for other programs, a model card and a report."""

from __future__ import annotations

from typing import Any

from kedge import __version__
from kedge.config import RunConfig
from kedge.config.loading import plain
from kedge.export.card import model_card
from kedge.training.loggers import read_log
from kedge.training.meter import spent
from kedge.training.run_folder import RunFolder, write_text
from kedge.training.trainer import Outcome, Trainer


def finish(trainer: Trainer, config: RunConfig, folder: RunFolder, outcome: Outcome) -> None:
    """Export the adapter (its EMA, if there is one), write the card and the report.

    A policy of the user's own (``model.kind=module:function``) has no adapter that other programs know.
    """
    from kedge.evaluation import write_report

    if ":" not in config.model.kind:
        from kedge.export.lora import save_lora

        with trainer.optimizer.averaged():
            save_lora(trainer.context.policy, folder.lora, metadata(config, outcome.step))
    write_report(folder.path)
    log = read_log(folder.metrics)
    write_text(folder.card, model_card(config, outcome.step, log, folder.path.name, spent(log)))


def metadata(config: RunConfig, step: int) -> dict[str, Any]:
    """What the adapter's file says about itself."""
    return {
        "kedge_version": __version__,
        "base_model": config.model.name,
        "kind": config.model.kind,
        "algorithm": plain(config.algorithm),
        "reward": config.reward,
        "steps_trained": step,
        "sampling_steps": config.model.steps,
        "guidance": config.model.omega,
        "seed": config.training.seed,
    }
