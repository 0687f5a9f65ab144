"""One run, described: frozen dataclasses, read from YAML and ``key=value``, checked before anything loads."""

from kedge.config.document import document
from kedge.config.loading import ConfigError, dump, load_config, parse_config, parse_model
from kedge.config.presets import Preset, preset, presets
from kedge.config.resolution import resolve, resolve_kind
from kedge.config.schema import (
    CheckpointConfig,
    ModelConfig,
    OptimizerConfig,
    PromptsConfig,
    RunConfig,
    TrainingConfig,
    TrainingPrompts,
    WatchConfig,
)
from kedge.policies.families.catalogue import AUTO

__all__ = [
    "AUTO",
    "CheckpointConfig",
    "ConfigError",
    "ModelConfig",
    "OptimizerConfig",
    "Preset",
    "PromptsConfig",
    "RunConfig",
    "TrainingConfig",
    "TrainingPrompts",
    "WatchConfig",
    "document",
    "dump",
    "load_config",
    "parse_config",
    "parse_model",
    "preset",
    "presets",
    "resolve",
    "resolve_kind",
]
