"""Every registered reward, at tiny random weights, and in double precision for finite differences."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from helpers import tiny_rewards
from helpers.live_reward import serving_reward
from kedge.rewards import REWARDS, load_reward
from kedge.rewards.alignment import Alignment
from kedge.rewards.clip import _LOADED
from kedge.rewards.patches import PatchPreprocess
from kedge.rewards.preprocess import CropPreprocess
from kedge.rewards.texts import TextCache
from kedge.worlds.emoji.captioner import CaptionServer

WRITERS = {
    "pickscore": tiny_rewards.write_clip,
    "clipscore": tiny_rewards.write_clip,
    "clipscore-torchmetrics": tiny_rewards.write_clip,
    "clipscore-hessel": tiny_rewards.write_clip,
    "hpsv2": tiny_rewards.write_hps,
    "hpsv2.1": partial(tiny_rewards.write_hps, version="v2.1"),
    "aesthetic": tiny_rewards.write_aesthetic,
    "blipscore": tiny_rewards.write_blip,
    "blipscore-itm": tiny_rewards.write_blip,
    "imagereward": tiny_rewards.write_image_reward,
    "hpsv3": tiny_rewards.write_hpsv3,
    "vqa": tiny_rewards.write_vqa,
}


@contextmanager
def tiny(name: str, folder: Path, device: Any = "cpu") -> Iterator[Any]:
    """The reward ``name``, at tiny random weights; ``NAME@emoji`` is the one that ships."""
    if name.endswith("@emoji"):
        yield load_reward(name, device)
    elif name == "alignment":
        server = CaptionServer(tiny_rewards.write_captioner(folder / "captioner"))
        try:
            yield Alignment(
                tiny_rewards.write_bert(folder / "bert"), f"{server.url}#{server.model_name}", device=device
            )
        finally:
            server.close()
    elif name == "judge":
        server = CaptionServer(tiny_rewards.write_captioner(folder / "captioner"))
        try:
            yield load_reward(f'judge(template=ocr)@"{server.url}#{server.model_name}"', device)
        finally:
            server.close()
    elif name == "remote":
        with serving_reward(load_reward("incompressibility")) as address:
            yield load_reward(address, device)
    elif REWARDS[name].parts:
        yield load_reward(f'{name}@"{WRITERS[name](folder / name)}"', device)
    else:
        yield load_reward(name, device)


class StayDouble(TorchFunctionMode):
    """Norms and rotations of Qwen's networks go through float32 whatever they get; in here double stays double."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        double = args and isinstance(args[0], Tensor) and args[0].dtype == torch.float64
        if double and (function is Tensor.float or (function is Tensor.to and args[1:] == (torch.float32,))):
            return args[0]
        return function(*args, **(kwargs or {}))


def in_double(reward: Any) -> Any:
    """Turn a reward's networks to float64 and its rounding off, in place: smooth enough for finite differences."""
    for holder in (reward, getattr(reward, "clip", None), getattr(reward, "sees", None)):
        for name, value in list(vars(holder).items()) if holder is not None else ():
            if isinstance(value, nn.Module):
                value.double()
            elif isinstance(value, CropPreprocess | PatchPreprocess):
                setattr(holder, name, replace(value, quantize=False))
            elif isinstance(value, TextCache):
                setattr(holder, name, TextCache(value._encode))
    _LOADED.clear()  # who loads the same CLIP next does not get this one
    return reward
