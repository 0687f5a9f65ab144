"""A run put together on the meta device: the real code on the real architecture, without weights."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from kedge.algorithms.base import Context
from kedge.algorithms.workload import LearnsThrough
from kedge.config import RunConfig
from kedge.config.workload import backprop_of
from kedge.planning.skeletons import MetaReward, OnePrompt, meta_policy
from kedge.planning.watching import PROMPT
from kedge.policies.latent import LatentPolicy
from kedge.policies.memory import apply_memory_settings
from kedge.prompts import PromptStream


@dataclass(frozen=True)
class MetaRun:
    """The pieces of a run on the meta device; ``reward`` is the one that gradients go through."""

    policy: LatentPolicy
    reward: MetaReward
    prompt: OnePrompt
    context: Context


def assemble_meta(config: RunConfig, steps: int, longest: str | None = None) -> MetaRun | None:
    """The pieces at K = ``steps``; None if the model's architecture is not known.

    Args:
        longest: of the prompts; a short one if None.
    """
    policy = meta_policy(config.model, steps)
    if policy is None:
        return None
    # Where text encoders wait is for the list of networks; nothing is there to be moved or compiled.
    memory = replace(config.memory, offload_text_encoders=False, drop_text_encoders=False)
    speed = replace(config.speed, compile=False)
    apply_memory_settings(policy, memory, speed)
    algorithm = config.algorithm.instance
    through = algorithm.learns_through if isinstance(algorithm, LearnsThrough) else config.reward
    reward = MetaReward(through, getattr(torch, config.memory.reward_dtype))
    prompt = OnePrompt(policy.encode([longest or PROMPT]), longest)
    context = Context(
        policy=policy,
        reward=reward,
        prompts=PromptStream([PROMPT], seed=0, shuffle=False),
        generator=torch.Generator(),
        backprop=replace(backprop_of(config), offload=False),
        batch_size=config.training.batch_size,
        accumulation=1,
        cache=prompt,
    )
    return MetaRun(policy, reward, prompt, context)
