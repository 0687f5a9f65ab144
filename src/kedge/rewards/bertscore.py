"""BERTScore recall (Zhang et al. 2020): how much of a reference text a candidate text says, by token embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, CLIPTextModel, DebertaConfig, PretrainedConfig

from kedge.rewards.clip import load_clip
from kedge.rewards.skeleton import Paths, Skeleton, on_meta
from kedge.rewards.weights import Device, WrongWeightsError
from kedge.vocabulary import check_vocabulary

# The layer whose embeddings agree best with people, by (model type, number of layers): the bert-score package's table.
BEST_LAYER = {("deberta", 48): 40, ("deberta", 24): 18, ("deberta", 12): 9, ("roberta", 24): 17, ("bert", 12): 9}
LONGEST = 512


class BertScore:
    """Recall: each reference token's best cosine among the candidate's tokens, averaged over the reference.

    Without idf weights and without baseline rescaling: the defaults, and what RLCM used.

    Args:
        folder: a transformers folder; a CLIP lends its text encoder.
        layer: take the embeddings after so many layers; None takes the best one known for this network.
    """

    def __init__(self, folder: Path, device: Device = "cpu", layer: int | None = None):
        self.device = torch.device(device)
        self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        rows = getattr(config, "text_config", config).vocab_size
        check_vocabulary(len(self.tokenizer), rows, "this encoder", folder)
        if config.model_type == "clip":
            self.model = load_clip(folder, device, "openai").model.text_model
            self.longest = config.text_config.max_position_embeddings
        else:
            layer = layer or best_layer(config)
            self.model = _load_encoder(folder, layer).to(self.device)
            # Some tokenizers claim 10³⁰; position tables of RoBERTa's kind have two rows to spare.
            self.longest = min(self.tokenizer.model_max_length, config.max_position_embeddings, LONGEST)
        self.framing = _framing_tokens(self.tokenizer)

    @torch.no_grad()
    def recall(self, candidates: Sequence[str], references: Sequence[str]) -> Tensor:
        """``[B]``, on the CPU; a candidate without a word scores 0."""
        return torch.stack([self._recall(said, meant) for said, meant in zip(candidates, references, strict=True)])

    def _recall(self, candidate: str, reference: str) -> Tensor:
        if not candidate.strip() or not reference.strip():
            return torch.zeros(())
        said, _ = self._embed(candidate)
        meant, ids = self._embed(reference)
        best = (meant @ said.T).max(dim=1).values
        counted = torch.tensor([i not in self.framing for i in ids], device=best.device)
        return best[counted].mean().cpu() if counted.any() else torch.zeros(())

    def _embed(self, text: str) -> tuple[Tensor, list[int]]:
        """Unit-length token embeddings ``[L, D]`` and the token ids."""
        words = self.tokenizer(text.strip(), truncation=True, max_length=self.longest, return_tensors="pt")
        ids = words["input_ids"].to(self.device)
        states = self.model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]
        return F.normalize(states, dim=-1), ids[0].tolist()


def best_layer(config: PretrainedConfig) -> int:
    """How many layers of such a network to use: those known to agree best with people, else all."""
    layers: int = config.num_hidden_layers
    return BEST_LAYER.get((config.model_type, layers), layers)


def _load_encoder(folder: Path, layer: int) -> nn.Module:
    model, report = AutoModel.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    missing = []
    for key in sorted(report["missing_keys"]):
        if "pooler" not in key:
            missing.append(key)
    if missing or report["mismatched_keys"]:
        raise WrongWeightsError(f"{folder} lacks weights of its own config: {', '.join(missing[:5])}")
    layers = model.encoder.layer
    if layer > len(layers):
        raise ValueError(f"{folder} has {len(layers)} layers, so there is no layer {layer}")
    model.encoder.layer = layers[:layer]
    frozen: nn.Module = model.float().eval().requires_grad_(False)
    return frozen


def _framing_tokens(tokenizer: Any) -> set[int]:
    """The tokens that frame every text, whose recall does not count."""
    pairs = ((tokenizer.cls_token_id, tokenizer.sep_token_id), (tokenizer.bos_token_id, tokenizer.eos_token_id))
    return next(({*pair} for pair in pairs if None not in pair), set())


def deberta_xlarge() -> DebertaConfig:
    """The published network, microsoft/deberta-xlarge-mnli."""
    return DebertaConfig(
        vocab_size=50265,
        hidden_size=1024,
        num_hidden_layers=48,
        num_attention_heads=16,
        intermediate_size=4096,
        type_vocab_size=0,
        relative_attention=True,
        position_biased_input=False,
        pos_att_type=["c2p", "p2c"],
    )


def skeleton(paths: Paths, dtype: torch.dtype) -> Skeleton:
    """The encoder, always in float32; it reads some twenty words for a picture, little beside what the server does."""
    config = AutoConfig.from_pretrained(paths["encoder"]) if "encoder" in paths else deberta_xlarge()

    def build() -> nn.Module:
        if config.model_type == "clip":
            text: nn.Module = CLIPTextModel(config.text_config)
            return text
        model: nn.Module = AutoModel.from_config(config)
        layers: Any = model.get_submodule("encoder.layer")
        model.set_submodule("encoder.layer", layers[: best_layer(config)])
        return model

    return Skeleton(on_meta(build, torch.float32))
