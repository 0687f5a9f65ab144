"""Kedge: haul a few-step image generator towards a reward, anchored to the model it started from.

Names load on first use, so that ``import kedge`` costs nothing: ``kedge.train("emoji-rocm")``, ``kedge.ROCM(beta=0)``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kedge.algorithms import ALGORITHMS as ALGORITHMS
    from kedge.algorithms.base import Algorithm as Algorithm
    from kedge.algorithms.base import Context as Context
    from kedge.algorithms.base import Loss as Loss
    from kedge.algorithms.base import Needs as Needs
    from kedge.algorithms.d3po import D3PO as D3PO
    from kedge.algorithms.dpok import DPOK as DPOK
    from kedge.algorithms.draft import AlignProp as AlignProp
    from kedge.algorithms.draft import DRaFT as DRaFT
    from kedge.algorithms.grpo import GRPO as GRPO
    from kedge.algorithms.hybrid import Hybrid as Hybrid
    from kedge.algorithms.ppo import DDPO as DDPO
    from kedge.algorithms.ppo import PPO as PPO
    from kedge.algorithms.ppo import RLCM as RLCM
    from kedge.algorithms.rocm import ROCM as ROCM
    from kedge.algorithms.soft_q import ReFL as ReFL
    from kedge.algorithms.soft_q import SoftQ as SoftQ
    from kedge.algorithms.workload import Passes as Passes
    from kedge.algorithms.workload import Workload as Workload
    from kedge.config import ConfigError as ConfigError
    from kedge.config import RunConfig as RunConfig
    from kedge.config import load_config as load_config
    from kedge.config import presets as presets
    from kedge.divergences import DIVERGENCES as DIVERGENCES
    from kedge.divergences import KL as KL
    from kedge.divergences import AlphaDivergence as AlphaDivergence
    from kedge.divergences import ChiSquared as ChiSquared
    from kedge.divergences import Divergence as Divergence
    from kedge.divergences import FDivergence as FDivergence
    from kedge.divergences import Fisher as Fisher
    from kedge.divergences import Hellinger as Hellinger
    from kedge.divergences import JensenShannon as JensenShannon
    from kedge.divergences import NoDivergence as NoDivergence
    from kedge.divergences import SampledJensenShannon as SampledJensenShannon
    from kedge.divergences import TotalVariation as TotalVariation
    from kedge.evaluation import Evaluation as Evaluation
    from kedge.evaluation import image_grid as image_grid
    from kedge.export.lora import load_lora as load_lora
    from kedge.export.lora import save_lora as save_lora
    from kedge.gaussian import Gaussian as Gaussian
    from kedge.policies import load_policy as load_policy
    from kedge.policies.base import Backprop as Backprop
    from kedge.policies.base import Conditioning as Conditioning
    from kedge.policies.base import Policy as Policy
    from kedge.policies.base import Trajectory as Trajectory
    from kedge.policies.base import draw_noise as draw_noise
    from kedge.policies.base import rollout as rollout
    from kedge.policies.lora import LoraConfig as LoraConfig
    from kedge.prompts import PromptError as PromptError
    from kedge.prompts import PromptStream as PromptStream
    from kedge.prompts import load_prompts as load_prompts
    from kedge.registry import UnknownNameError as UnknownNameError
    from kedge.rewards import REWARDS as REWARDS
    from kedge.rewards import MissingWeightsError as MissingWeightsError
    from kedge.rewards import load_reward as load_reward
    from kedge.rewards.base import Reward as Reward
    from kedge.runs.checkpoint import CheckpointError as CheckpointError
    from kedge.runs.ownership import FolderTaken as FolderTaken
    from kedge.training.callbacks import Callback as Callback
    from kedge.training.trainer import TrainingFailed as TrainingFailed
    from kedge.workflows.compare import RunComparison as RunComparison
    from kedge.workflows.compare import compare as compare
    from kedge.workflows.evaluate import Evaluations as Evaluations
    from kedge.workflows.evaluate import evaluate as evaluate
    from kedge.workflows.frontier import RunFrontier as RunFrontier
    from kedge.workflows.frontier import frontier as frontier
    from kedge.workflows.load_run import TrainedRun as TrainedRun
    from kedge.workflows.load_run import load_run as load_run
    from kedge.workflows.plan import plan as plan
    from kedge.workflows.probe import Probe as Probe
    from kedge.workflows.probe import probe as probe
    from kedge.workflows.sample import sample as sample
    from kedge.workflows.train import TrainingInterrupted as TrainingInterrupted
    from kedge.workflows.train import train as train

__version__ = "0.2.0.dev0"

# The same names once more, by the module that they are loaded from.
_NAMES = {
    # What the commands do.
    "kedge.workflows.train": ("TrainingInterrupted", "train"),
    "kedge.workflows.load_run": ("TrainedRun", "load_run"),
    "kedge.workflows.evaluate": ("Evaluations", "evaluate"),
    "kedge.workflows.compare": ("RunComparison", "compare"),
    "kedge.workflows.frontier": ("RunFrontier", "frontier"),
    "kedge.workflows.sample": ("sample",),
    "kedge.workflows.probe": ("Probe", "probe"),
    "kedge.workflows.plan": ("plan",),
    "kedge.config": ("ConfigError", "RunConfig", "load_config", "presets"),
    # The one idea: every sampling step is a Gaussian.
    "kedge.gaussian": ("Gaussian",),
    "kedge.divergences": (
        *("DIVERGENCES", "KL", "AlphaDivergence", "ChiSquared", "Divergence", "FDivergence", "Fisher", "Hellinger"),
        *("JensenShannon", "NoDivergence", "SampledJensenShannon", "TotalVariation"),
    ),
    "kedge.policies": ("load_policy",),
    "kedge.policies.base": ("Backprop", "Conditioning", "Policy", "Trajectory", "draw_noise", "rollout"),
    "kedge.policies.lora": ("LoraConfig",),
    "kedge.rewards": ("REWARDS", "MissingWeightsError", "load_reward"),
    "kedge.rewards.base": ("Reward",),
    "kedge.prompts": ("PromptError", "PromptStream", "load_prompts"),
    # Algorithms; RLCM and DDPO are PPO with their papers' constants.
    "kedge.algorithms": ("ALGORITHMS",),
    "kedge.algorithms.base": ("Algorithm", "Context", "Loss", "Needs"),
    "kedge.algorithms.workload": ("Passes", "Workload"),
    "kedge.algorithms.rocm": ("ROCM",),
    "kedge.algorithms.ppo": ("DDPO", "PPO", "RLCM"),
    "kedge.algorithms.dpok": ("DPOK",),
    "kedge.algorithms.d3po": ("D3PO",),
    "kedge.algorithms.hybrid": ("Hybrid",),
    "kedge.algorithms.grpo": ("GRPO",),
    "kedge.algorithms.draft": ("AlignProp", "DRaFT"),
    "kedge.algorithms.soft_q": ("ReFL", "SoftQ"),
    # Around a training.
    "kedge.training.callbacks": ("Callback",),
    "kedge.runs.checkpoint": ("CheckpointError",),
    "kedge.runs.ownership": ("FolderTaken",),
    "kedge.training.trainer": ("TrainingFailed",),
    "kedge.evaluation": ("Evaluation", "image_grid"),
    "kedge.export.lora": ("load_lora", "save_lora"),
    "kedge.registry": ("UnknownNameError",),
}
_HOME = {name: module for module, names in _NAMES.items() for name in names}
__all__ = sorted([*_HOME, "__version__"])


def __getattr__(name: str) -> Any:
    """A name of the flat namespace, or a package of Kedge, loaded now.

    Raises:
        AttributeError: with the nearest name.
    """
    from importlib import import_module
    from importlib.util import find_spec

    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    if not name.startswith("_") and find_spec(f"{__name__}.{name}") is not None:
        return import_module(f"{__name__}.{name}")
    from kedge.registry import suggest

    raise AttributeError(f"module {__name__!r} has no attribute {name!r}.{suggest(name, _HOME)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
