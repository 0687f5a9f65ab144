"""Make ``golden.json`` and ``layouts.json.gz`` from the reference implementations, in a throw-away environment.

    python -m venv ref && ref/bin/pip install torch==2.13.0 transformers==5.23.0 ftfy regex Pillow numpy
    ref/bin/pip install --no-deps torchvision==0.28.0 timm==1.0.31 open_clip_torch==3.3.0 hpsv2==1.2.0 \
        image-reward==1.5 fairscale==0.4.13 clip-anytorch==2.6.0 bert-score==0.3.13 pandas
    cp ref/lib/python3.11/site-packages/{open_clip,hpsv2/src/open_clip}/bpe_simple_vocab_16e6.txt.gz  # hpsv2 forgot it
    ref/bin/python tests/golden/rewards/generate.py

The patches below only let old code import and run under today's transformers; no arithmetic is touched.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import sys
import tempfile
import types
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import recipe  # noqa: E402

MERGES = 800


def patch_old_imports() -> torch.library.Library:
    """What torchvision, ImageReward and bert-score expect of older packages."""
    library = torch.library.Library("torchvision", "DEF")
    for op in ("nms", "qnms"):
        library.define(f"{op}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import timm.layers
    import timm.models
    import transformers.modeling_utils as modeling
    import transformers.pytorch_utils as utils

    modeling.apply_chunking_to_forward = utils.apply_chunking_to_forward
    modeling.find_pruneable_heads_and_indices = modeling.prune_linear_layer = None
    file_utils = types.ModuleType("transformers.file_utils")
    file_utils.ModelOutput = __import__("transformers").utils.ModelOutput
    sys.modules["transformers.file_utils"] = file_utils
    for name, source in (("layers", timm.layers), ("registry", timm.models), ("helpers", timm.models)):
        module = types.ModuleType(f"timm.models.{name}")
        module.__getattr__ = lambda attribute, source=source: getattr(source, attribute, None)
        sys.modules[f"timm.models.{name}"] = module
    return library


def bare_package(name: str) -> None:
    """Let submodules of ``name`` be imported without the package's own ``__init__``, which imports its trainers."""
    spec = importlib.util.find_spec(name)
    package = types.ModuleType(name)
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules[name] = package


def layout(module: nn.Module) -> dict[str, list[int]]:
    return {key: list(value.shape) for key, value in module.state_dict().items() if "position_ids" not in key}


def fill(module: nn.Module, seed: int) -> nn.Module:
    state = {key: torch.tensor(value) for key, value in recipe.weights(layout(module), seed).items()}
    missing, extra = module.load_state_dict(state, strict=False)
    assert not extra, extra
    assert all("position_ids" in key for key in missing), missing
    return module.float().eval()


def pil_pictures() -> list[Image.Image]:
    return [Image.fromarray(pixels) for pixels in recipe.pictures()]


@torch.no_grad()
def hpsv2(merges_gz: Path) -> dict:
    from hpsv2.src.open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
    from hpsv2.src.open_clip.tokenizer import SimpleTokenizer
    from hpsv2.src.open_clip.transform import image_transform

    words = SimpleTokenizer(str(merges_gz))
    vision = {"layers": 3, "width": 160, "head_width": 80, "patch_size": 14, "image_size": recipe.SIDE}
    text = {"layers": 2, "width": 128, "heads": 4, "context_length": 77, "vocab_size": words.vocab_size}
    model = CLIP(64, CLIPVisionCfg(**vision), CLIPTextCfg(**text), quick_gelu=False, output_dict=True)
    fill(model, seed=1)
    transform = image_transform(recipe.SIDE, is_train=False, resize_longest_max=True)
    ids = tokenize(words, "<start_of_text>", "<end_of_text>")
    scores, features = [], []
    for picture in pil_pictures():
        pixels = transform(picture)[None]
        row = []
        for i in range(len(recipe.PROMPTS)):
            output = model(pixels, ids[i : i + 1])
            row.append((output["image_features"] @ output["text_features"].T).item())
        scores.append(row)
        features.append(output["image_features"][0, :8].tolist())
    config = {"embed_dim": 64, "vision_cfg": vision, "text_cfg": text}
    return {"config": config, "layout": layout(model), "seed": 1, "scores": scores, "features": features}


def tokenize(words, start: str, end: str, context: int = 77) -> torch.Tensor:
    """OpenAI's ``clip.tokenize(…, truncate=True)`` (open_clip's does the same) with the given tokenizer."""
    rows = torch.zeros(len(recipe.PROMPTS), context, dtype=torch.long)
    for row, prompt in zip(rows, recipe.PROMPTS, strict=True):
        ids = [words.encoder[start], *words.encode(prompt), words.encoder[end]]
        if len(ids) > context:
            ids = [*ids[: context - 1], words.encoder[end]]
        row[: len(ids)] = torch.tensor(ids)
    return rows


@torch.no_grad()
def openai_clip(merges_gz: Path) -> dict:
    """CLIPScore and the aesthetic score as ImageReward's package (and ROCM's tables) compute them."""
    from clip.clip import _transform
    from clip.model import CLIP
    from clip.simple_tokenizer import SimpleTokenizer
    from ImageReward.models.AestheticScore import MLP

    words = SimpleTokenizer(str(merges_gz))
    vocabulary = len(words.encoder)
    model = fill(CLIP(48, recipe.SIDE, 3, 128, 14, 77, vocabulary, 64, 1, 2), seed=2)
    head = fill(MLP(48), seed=3)
    ids = tokenize(words, "<|startoftext|>", "<|endoftext|>")
    transform = _transform(recipe.SIDE)
    texts = nn.functional.normalize(model.encode_text(ids))
    cosines, aesthetics = [], []
    for picture in pil_pictures():
        feature = nn.functional.normalize(model.encode_image(transform(picture)[None]))
        cosines.append((feature * texts).sum(1).tolist())
        aesthetics.append(head(feature).item())
    config = {
        "embed_dim": 48,
        "quick_gelu": True,
        "vision_cfg": {"layers": 3, "width": 128, "head_width": 64, "patch_size": 14, "image_size": recipe.SIDE},
        "text_cfg": {"layers": 2, "width": 64, "heads": 1, "context_length": 77, "vocab_size": vocabulary},
    }
    tokens = [[i for i in row.tolist() if i] for row in ids]
    return {
        "config": config,
        "layout": {
            k: v for k, v in layout(model).items() if k not in ("input_resolution", "context_length", "vocab_size")
        },
        "seed": 2,
        "head_layout": layout(head),
        "head_seed": 3,
        "tokens": tokens,
        "cosines": cosines,
        "aesthetics": aesthetics,
    }


class ReferenceBlip(nn.Module):
    """BLIP_Pretrain of ImageReward's package with sizes to choose, and BLIP's matching head."""

    def __init__(self, vocabulary: int):
        super().__init__()
        from ImageReward.models.BLIP.med import BertModel
        from ImageReward.models.BLIP.vit import VisionTransformer
        from transformers.models.bert.configuration_bert import BertConfig

        BertModel.all_tied_weights_keys = {}
        BertModel.get_head_mask = lambda self, mask, layers: [None] * layers
        BertModel.invert_attention_mask = lambda self, mask: (1.0 - mask[:, None, None, :].float()) * -1e9
        config = BertConfig(vocab_size=vocabulary, hidden_size=48, num_hidden_layers=2, num_attention_heads=3)
        config.intermediate_size, config.max_position_embeddings = 96, 64
        config.hidden_act, config.layer_norm_eps = "gelu", 1e-12
        config.add_cross_attention, config.encoder_width = True, 64
        self.visual_encoder = VisionTransformer(
            img_size=recipe.SIDE, patch_size=14, embed_dim=64, depth=3, num_heads=4, drop_path_rate=0.1
        )
        self.text_encoder = BertModel(config=config, add_pooling_layer=False)
        self.vision_proj, self.text_proj = nn.Linear(64, 32), nn.Linear(48, 32)


@torch.no_grad()
def blip(folder: Path) -> dict:
    from ImageReward.ImageReward import MLP, _transform
    from transformers import BertTokenizer

    vocabulary = recipe.write_bert_tokenizer(folder)
    tokenizer = BertTokenizer.from_pretrained(folder)
    score_model = fill(ReferenceBlip(vocabulary), seed=4)
    score_model.itm_head = fill(nn.Linear(48, 2), seed=5)
    reward = nn.Module()
    reward.blip, reward.mlp = ReferenceBlip(vocabulary), MLP(48)
    fill(reward, seed=6)
    transform = _transform(recipe.SIDE)
    words = tokenizer(list(recipe.PROMPTS), padding="max_length", truncation=True, max_length=35, return_tensors="pt")
    itc, itm, rewards = [], [], []
    normalize = nn.functional.normalize
    for picture in pil_pictures():
        pixels = transform(picture)[None]
        text = score_model.text_encoder(words.input_ids, attention_mask=words.attention_mask, mode="text")
        text = normalize(score_model.text_proj(text.last_hidden_state[:, 0]))
        states = score_model.visual_encoder(pixels)
        itc.append((normalize(score_model.vision_proj(states[:, 0])) * text).sum(1).tolist())
        itm.append(score_model.itm_head(look(score_model, words, states)).softmax(-1)[:, 1].tolist())
        raw = reward.mlp(look(reward.blip, words, reward.blip.visual_encoder(pixels)))
        rewards.append(((raw - 0.16717362830052426) / 1.0333394966054072)[:, 0].tolist())
    layouts = {"score": layout(score_model), "reward": layout(reward)}
    seeds = {key: 5 if key.startswith("itm_head") else 4 for key in layouts["score"]}
    assert set(seeds.values()) == {4, 5}
    return {"layouts": layouts, "tokens": words.input_ids.tolist(), "itc": itc, "itm": itm, "rewards": rewards}


def look(model: nn.Module, words, states: torch.Tensor) -> torch.Tensor:
    """The text encoder's first token, looking at one picture."""
    count = len(words.input_ids)
    output = model.text_encoder(
        words.input_ids,
        attention_mask=words.attention_mask,
        encoder_hidden_states=states.expand(count, -1, -1),
        encoder_attention_mask=torch.ones(count, states.shape[1], dtype=torch.long),
        return_dict=True,
    )
    return output.last_hidden_state[:, 0]


def bertscore(folder: Path) -> dict:
    from bert_score import BERTScorer
    from transformers import BertConfig, BertModel

    vocabulary = recipe.write_bert_tokenizer(folder)
    config = {
        "vocab_size": vocabulary,
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 4,
        "num_attention_heads": 3,
        "max_position_embeddings": 64,
    }
    model = fill(BertModel(BertConfig(**config)), seed=7)
    model.save_pretrained(folder)
    scorer = BERTScorer(model_type=f"./{folder}", num_layers=3)
    scorer._tokenizer.model_max_length = 64
    said, meant = zip(*recipe.BERT_TEXTS, strict=True)
    recalls = [scorer.score([a], [b])[1].item() for a, b in zip(said, meant, strict=True)]
    return {"config": config, "layout": layout(model), "seed": 7, "num_layers": 3, "recalls": recalls}


def true_layouts() -> dict[str, dict[str, list[int]]]:
    """Keys and shapes of the published checkpoints, from the references at their true sizes, without memory."""
    from hpsv2.src.open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
    from ImageReward.ImageReward import MLP
    from ImageReward.models.BLIP.blip import create_vit
    from ImageReward.models.BLIP.med import BertModel
    from transformers.models.bert.configuration_bert import BertConfig

    vision = CLIPVisionCfg(layers=32, width=1280, head_width=80, patch_size=14, image_size=224)
    text = CLIPTextCfg(width=1024, heads=16, layers=24, context_length=77, vocab_size=49408)
    linspace = torch.linspace
    torch.linspace = lambda *args, **kwargs: linspace(*args, **{**kwargs, "device": "cpu"})  # its .item() is read
    with torch.device("meta"):
        clip = CLIP(1024, vision, text, quick_gelu=False)
        blip = nn.Module()
        blip.visual_encoder, width = create_vit("large", 224)
        config = BertConfig(vocab_size=30524)
        config.add_cross_attention, config.encoder_width = True, width
        blip.text_encoder = BertModel(config=config, add_pooling_layer=False)
        blip.vision_proj, blip.text_proj = nn.Linear(width, 256), nn.Linear(768, 256)
        reward = nn.Module()
        reward.blip, reward.mlp = blip, MLP(768)
    torch.linspace = linspace
    return {"ViT-H-14": layout(clip), "BLIP-L": layout(blip), "ImageReward": layout(reward)}


def cut_merges() -> None:
    import open_clip

    published = Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"
    with gzip.open(published, "rt", encoding="utf-8") as stream:
        lines = stream.read().split("\n")[1 : MERGES + 1]
    (HERE / "clip_merges.txt").write_text("\n".join(lines), encoding="utf-8")


def main() -> None:
    keep = patch_old_imports()
    cut_merges()
    for package in ("ImageReward", "hpsv2"):
        bare_package(package)
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)  # bert-score takes any path that contains "t5" for a T5: keep random names out of it
        folder = Path()
        merges_gz = recipe.write_clip_merges_gz(folder / "merges.txt.gz")
        golden = {
            "pictures": [zlib.crc32(np.ascontiguousarray(pixels).tobytes()) for pixels in recipe.pictures()],
            "hpsv2": hpsv2(merges_gz),
            "clip": openai_clip(merges_gz),
            "blip": blip(folder / "blip"),
            "bertscore": bertscore(folder / "bert"),
        }
    (HERE / "golden.json").write_text(json.dumps(golden))
    (HERE / "layouts.json.gz").write_bytes(gzip.compress(json.dumps(true_layouts()).encode(), mtime=0))
    del keep


if __name__ == "__main__":
    main()
