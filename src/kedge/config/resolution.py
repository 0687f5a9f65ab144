"""What a config leaves to its model: which kind it is, and what is usual for that kind.

It is decided here, once: when a config is read, or when a run is started from one made in Python.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kedge.config.schema import ModelConfig, RunConfig
from kedge.config.text import ConfigError
from kedge.policies.families import AUTO, detect_kind
from kedge.policies.families.backbones import ATTENTION


def resolve(config: RunConfig) -> RunConfig:
    """The config with the kind that its model is and the layers of its adapter; what says so already stays as it is.

    Raises:
        ConfigError: for a kind that does not exist, a model that cannot be found, or one that Kedge cannot load.
    """
    return replace(config, model=_with_targets(resolve_kind(config.model)))


def resolve_kind(model: ModelConfig) -> ModelConfig:
    """As :func:`resolve`, for the model alone: ``auto`` and other names of a family become its name."""
    if model.kind == AUTO:
        try:
            return replace(model, kind=detect_kind(model.name, model.parts))
        except ValueError as error:
            raise ConfigError(f"model: {error}") from error
    try:
        family = model.family
    except ValueError as error:
        raise ConfigError(f"model.kind: {error}") from error
    return model if family is None or ":" in model.kind else replace(model, kind=family.name)


def complete(model: ModelConfig, block: Mapping[str, Any]) -> ModelConfig:
    """A resolved model with what is usual for its kind, where the recipe's ``model`` block says nothing."""
    family, model = model.family, _with_targets(model)
    if family is None or "steps" in block:
        return model
    return replace(model, steps=family.steps if model.timesteps is None else len(model.timesteps))


def _with_targets(model: ModelConfig) -> ModelConfig:
    layers = ATTENTION if model.family is None else model.family.backbone.lora_targets
    return replace(model, lora=model.lora.on(layers))
