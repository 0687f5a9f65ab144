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
    """The pieces of a run on the meta device.

    Attributes:
        reward: the one that gradients go through.
        prompt: the one that stands for all, encoded.
        text: its words.
    """

    policy: LatentPolicy
    reward: MetaReward
    prompt: OnePrompt
    text: str
    context: Context


def assemble_meta(config: RunConfig, steps: int, text: str = PROMPT) -> MetaRun | None:
    """The pieces at K = ``steps``; None if the model's architecture is not known.

    Args:
        text: the longest prompt.
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
    prompt = OnePrompt(policy.encode([text]))
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
    return MetaRun(policy, reward, prompt, text=text, context=context)
