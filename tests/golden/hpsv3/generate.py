"""Make ``golden.json`` with HPSv3's published inference scorer, in a throw-away environment.

    python -m venv ref
    ref/bin/pip install torch==2.13.0 torchvision==0.28.0 transformers==4.45.2 trl==0.11.4 peft==0.13.2 \
        accelerate==1.0.1 datasets==3.1.0 pandas fire omegaconf tyro requests matplotlib tensorboard
    ref/bin/pip install --no-deps hpsv3==1.0.0
    ref/bin/python tests/golden/hpsv3/generate.py

The scorer itself runs (``HPSv3RewardInferencer.reward``), one picture at a time, on a CPU in float32, with the
package's own network at a tiny size and random weights in its published layout. Only its constructor, which downloads,
is replaced.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent / "rewards")]
_library = torch.library.Library("torchvision", "DEF")  # a CPU build of torch lacks what torchvision looks for
for op in ("nms", "qnms"):
    _library.define(f"{op}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import recipe  # noqa: E402
from hpsv3.inference import HPSv3RewardInferencer  # noqa: E402
from hpsv3.model.qwen2vl_trainer import Qwen2VLRewardModelBT  # noqa: E402
from transformers import AutoProcessor, Qwen2VLConfig  # noqa: E402

from helpers import tiny_qwen  # noqa: E402

SEED = 7


def old_config(ids: dict[str, int], vocabulary: int) -> Qwen2VLConfig:
    """As transformers 4 has it: the text model's settings at the top."""
    new = tiny_qwen.config("qwen2_vl", ids, vocabulary)
    text = new.pop("text_config")
    rope = text.pop("rope_parameters")
    scaling = {"type": "mrope", "mrope_section": rope["mrope_section"]}
    return Qwen2VLConfig(**{**new, **text, "rope_theta": rope["rope_theta"], "rope_scaling": scaling})


def scorer(folder: Path) -> tuple[HPSv3RewardInferencer, dict[str, list[int]]]:
    """The published scorer at random weights, and the layout of its file."""
    ids = tiny_qwen.write_words(folder)
    tiny_qwen.write_processor(folder, smallest=3136, largest=12845056)
    processor_config = {"processor_class": "Qwen2VLProcessor"}
    settings = json.loads((folder / "preprocessor_config.json").read_text()) | processor_config
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    (folder / "config.json").write_text(json.dumps(tiny_qwen.config("qwen2_vl", ids, 420)))
    processor = AutoProcessor.from_pretrained(folder, padding_side="right")
    processor.tokenizer.add_special_tokens({"additional_special_tokens": ["<|Reward|>"]})
    token = processor.tokenizer.convert_tokens_to_ids("<|Reward|>")
    network = Qwen2VLRewardModelBT(
        old_config(ids, len(processor.tokenizer)),
        output_dim=2,
        reward_token="special",
        special_token_ids=[token],
        rm_head_type="ranknet",
    )
    network.config.pad_token_id = processor.tokenizer.pad_token_id
    layout = {key: list(value.shape) for key, value in network.state_dict().items()}
    state = {key: torch.tensor(value) for key, value in recipe.weights(layout, SEED).items()}
    network.load_state_dict(state, strict=True)
    reference = HPSv3RewardInferencer.__new__(HPSv3RewardInferencer)
    reference.device, reference.use_special_tokens = "cpu", True
    reference.model, reference.processor = network.eval(), processor
    return reference, layout


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        reference, layout = scorer(Path(folder))
        images = [Image.fromarray(pixels) for pixels in recipe.pictures()]
        scores = [[reference.reward([image], [prompt])[0].tolist() for prompt in recipe.PROMPTS] for image in images]
        ids = [reference.prepare_batch([images[0]], [prompt])["input_ids"][0].tolist() for prompt in recipe.PROMPTS]
    golden = {"layout": layout, "seed": SEED, "scores": scores, "tokens": [len(row) for row in ids]}
    golden["sums"] = [int(np.dot(row, np.arange(len(row))) % 1_000_003) for row in ids]
    (HERE / "golden.json").write_text(json.dumps(golden) + "\n")
    print(np.array(scores)[..., 0].round(3))
    print(np.array(scores)[..., 1].round(3))


if __name__ == "__main__":
    main()
