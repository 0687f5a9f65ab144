"""One run, described: frozen dataclasses, read from YAML and ``key=value``, checked before anything loads."""

from kedge.config.document import document
from kedge.config.loading import ConfigError, dump, load_config, parse_config, parse_model
from kedge.config.presets import Preset, preset, presets
from kedge.config.schema import (
    AUTO,
    CheckpointConfig,
    LoraBlock,
    MemoryConfig,
    ModelConfig,
    OptimizerConfig,
    PromptsConfig,
    RunConfig,
    SpeedConfig,
    TrainingConfig,
    WatchConfig,
)

__all__ = [
    "AUTO",
    "CheckpointConfig",
    "ConfigError",
    "LoraBlock",
    "MemoryConfig",
    "ModelConfig",
    "OptimizerConfig",
    "Preset",
    "PromptsConfig",
    "RunConfig",
    "SpeedConfig",
    "TrainingConfig",
    "WatchConfig",
    "document",
    "dump",
    "load_config",
    "parse_config",
    "parse_model",
    "preset",
    "presets",
]
