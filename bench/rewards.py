"""What a score costs: seconds per image forward and backward, memory, and what caching text features saves.

    python -m bench.rewards pickscore imagereward --size 512 --device cuda
    python -m bench.rewards --emoji --size 64 --batch 16

Networks have the published sizes at random weights, written to a temporary folder in the published layouts (half
precision) and loaded by Kedge's own loaders: speed does not depend on the values, and loading is timed too.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import BlipConfig, CLIPConfig, CLIPModel

from kedge.planning.timing import wait
from kedge.random_models.text_encoders import CLIP_VOCABULARY
from kedge.random_models.tokenizers import clip_tokenizer
from kedge.rewards import load_reward
from kedge.rewards.aesthetic import LinearHead
from kedge.rewards.blip import BlipNetwork, blip_large, projections, to_published
from kedge.rewards.image_reward import to_published as image_reward_to_published
from kedge.rewards.openclip import VIT_H_14, VIT_L_14, to_clip_config, to_open_clip
from kedge.training.meter import peak_memory

BERT_VOCABULARY = 30522
PROMPTS = ["a photo of a fox riding a bike through the snow, highly detailed, golden hour"]


def random_state(module: nn.Module) -> dict[str, Tensor]:
    """Half-precision weights of a module on the meta device: cheap to make, of a sane size."""
    block = 0.02 * torch.randn(2**20, generator=torch.Generator().manual_seed(0)).half()

    def one(shape: torch.Size) -> Tensor:
        count = shape.numel()
        return block.repeat(count // len(block) + 1)[:count].reshape(shape).clone()

    return {key: one(value.shape) for key, value in module.state_dict().items()}


def write_clip_words(folder: Path) -> None:
    """CLIP's own ids for the end of a text, and as many tokens as letters, so texts are long."""
    clip_tokenizer(CLIP_VOCABULARY).save_pretrained(folder)


def write_bert_words(folder: Path) -> None:
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ",", *letters, *("##" + x for x in letters)]
    words += [f"[unused{i}]" for i in range(BERT_VOCABULARY - len(words))]
    (folder / "vocab.txt").write_text("\n".join(words))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))


def clip_folder(config: CLIPConfig, folder: Path) -> None:
    with torch.device("meta"):
        model = CLIPModel(config)
    save_file(random_state(model), folder / "model.safetensors")
    config.save_pretrained(folder)
    write_clip_words(folder)


def write_pickscore(folder: Path) -> str:
    clip_folder(to_clip_config(VIT_H_14), folder)
    return f"pickscore@{folder}"


def write_clipscore(folder: Path) -> str:
    clip_folder(to_clip_config(VIT_L_14), folder)
    return f"clipscore@{folder}"


def write_aesthetic(folder: Path) -> str:
    clip_folder(to_clip_config(VIT_L_14), folder)
    torch.save(random_state(LinearHead(768)), folder / "head.pth")
    return f"aesthetic@{folder}/head.pth"


def write_hpsv2(folder: Path) -> str:
    with torch.device("meta"):
        model = CLIPModel(to_clip_config(VIT_H_14))
    torch.save({"state_dict": to_open_clip(random_state(model))}, folder / "HPS_v2_compressed.pt")
    write_clip_words(folder)
    return f"hpsv2@{folder}"


def blip_network(config: BlipConfig, **heads: nn.Module) -> BlipNetwork:
    return BlipNetwork(config, {**projections(config), **heads})


def write_blipscore(folder: Path) -> str:
    with torch.device("meta"):
        network = blip_network(blip_large(), itm_head=nn.Linear(768, 2))
    torch.save({"model": to_published(random_state(network))}, folder / "model_large.pth")
    write_bert_words(folder)
    return f"blipscore@{folder}"


def write_imagereward(folder: Path) -> str:
    with torch.device("meta"):
        network = blip_network(blip_large(), mlp=LinearHead(768))
    network.load_state_dict(random_state(network), assign=True)
    torch.save(image_reward_to_published(network), folder / "ImageReward.pt")
    write_bert_words(folder)
    return f"imagereward@{folder}"


WRITERS: dict[str, Callable[[Path], str]] = {
    "pickscore": write_pickscore,
    "hpsv2": write_hpsv2,
    "clipscore": write_clipscore,
    "aesthetic": write_aesthetic,
    "blipscore": write_blipscore,
    "imagereward": write_imagereward,
}
LONG = 4.0  # seconds
WEIGHT_FREE = ("compressibility", "compressibility_proxy")


def seconds(call: Callable[[], object], arguments: argparse.Namespace) -> float:
    """The fastest of some runs, after one to warm up; a run of many seconds needs neither."""
    clock = time.process_time if arguments.cpu_time else time.perf_counter

    def once() -> float:
        begin = clock()
        call()
        wait(torch.device(arguments.device))
        return clock() - begin

    first = once()
    return first if first > LONG else min(once() for _ in range(arguments.repeats))


def measure(text: str, arguments: argparse.Namespace) -> dict[str, float | None]:
    device = torch.device(arguments.device)
    begin = time.perf_counter()
    reward = load_reward(text, device)
    loading = time.perf_counter() - begin
    images = torch.rand(arguments.batch, 3, arguments.size, arguments.size, device=device)
    prompts = PROMPTS * arguments.batch

    def forward() -> Tensor:
        with torch.no_grad():
            return reward(images, prompts)

    def both() -> Tensor:
        x = images.clone().requires_grad_()
        return torch.autograd.grad(reward(x, prompts).sum(), x)[0]

    ahead = seconds(forward, arguments)
    there_and_back = seconds(both, arguments) if reward.differentiable else None
    text_features = getattr(getattr(reward, "clip", reward), "text_features", None)
    reads = text_features is not None and not text.startswith("aesthetic")
    saved = seconds(lambda: text_features._encode(PROMPTS[0]), arguments) if reads else None
    return {
        "load_s": loading,
        "forward_s_per_image": ahead / arguments.batch,
        "forward_backward_s_per_image": there_and_back and there_and_back / arguments.batch,
        "cached_text_saves_s_per_prompt": saved,
        "peak_GB": peak_memory(device) / 1e9,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rewards", nargs="*", default=[], help=f"of {', '.join((*WRITERS, *WEIGHT_FREE))}")
    parser.add_argument("--emoji", action="store_true", help="the emoji world's own networks instead")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cpu-time", action="store_true", help="of all threads, where others use the machine too")
    arguments = parser.parse_args()
    for name in arguments.rewards or (*WRITERS, *WEIGHT_FREE):
        with tempfile.TemporaryDirectory() as folder:
            text = f"{name}@emoji" if arguments.emoji else name
            if name in WEIGHT_FREE:
                text = name
            elif not arguments.emoji:
                text = WRITERS[name](Path(folder))
            print(json.dumps({"reward": name, "size": arguments.size, **measure(text, arguments)}), flush=True)


if __name__ == "__main__":
    main()
