"""One run, described: frozen dataclasses, read from YAML and ``key=value``, checked before anything loads."""

from kedge.config.document import document
from kedge.config.loading import ConfigError, dump, load_config, parse_config
from kedge.config.presets import Preset, preset, presets
from kedge.config.schema import (
    CheckpointConfig,
    LoraBlock,
    ModelConfig,
    OptimizerConfig,
    PromptsConfig,
    RunConfig,
    TrainingConfig,
    WatchConfig,
)

__all__ = [
    "CheckpointConfig",
    "ConfigError",
    "LoraBlock",
    "ModelConfig",
    "OptimizerConfig",
    "Preset",
    "PromptsConfig",
    "RunConfig",
    "TrainingConfig",
    "WatchConfig",
    "document",
    "dump",
    "load_config",
    "parse_config",
    "preset",
    "presets",
]
