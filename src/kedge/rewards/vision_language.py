"""A frozen vision-language model of Qwen's kind that looks at a picture and reads a text; the picture gets a gradient.

One class for Qwen2-VL, Qwen2.5-VL and Qwen3-VL: transformers' own networks, tokenizers and chat templates, with
:mod:`kedge.rewards.patches` in place of the processor's pixels. Pictures are read one at a time: at these sizes that
keeps a GPU busy, needs no padding, and a score never depends on what else was in the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForImageTextToText, AutoTokenizer, vision_utils

from kedge.files import read_json
from kedge.rewards.patches import PatchPreprocess, read_patch_preprocess
from kedge.rewards.weights import Device, WrongWeightsError

KINDS = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")


class Reader:
    """A text about a picture, as token ids.

    Args:
        folder: with the tokenizer and its chat template.
        placeholder: the token that stands for a picture.
        extra: special tokens to add to the vocabulary, in order.
    """

    def __init__(self, folder: Path, placeholder: int, extra: Sequence[str] = ()):
        self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        if extra:
            self.tokenizer.add_tokens(list(extra), special_tokens=True)
        self.placeholder = placeholder
        self._extra = set(extra)
        self._template = _chat_template(folder)

    def __call__(self, text: str, tokens: int) -> Tensor:
        """``[1, L]``: one picture of so many tokens, then ``text``, as a user's message to be answered.

        Raises:
            ValueError: the text holds one of the model's special tokens, or the template places no picture.
        """
        self._check(text)
        content = [{"type": "image"}, {"type": "text", "text": text}]
        rendered = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}],
            chat_template=self._template,
            add_generation_prompt=True,
            tokenize=False,
        )
        ids = torch.tensor(self.tokenizer(rendered, add_special_tokens=False)["input_ids"])
        places = (ids == self.placeholder).nonzero()
        if len(places) != 1:
            raise ValueError(f"the model's chat template places {len(places)} pictures instead of one")
        place = int(places[0])
        picture = ids.new_full((tokens,), self.placeholder)
        return torch.cat([ids[:place], picture, ids[place + 1 :]])[None]

    def word(self, text: str) -> int:
        """The id of a word that is one token.

        Raises:
            ValueError: it is none, or several.
        """
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) != 1:
            raise ValueError(f"an answer must be one token of the model: {text!r} is {len(ids)}")
        return ids[0]

    def _check(self, text: str) -> None:
        for token in self.tokenizer.get_added_vocab():
            if token in text and token not in self._extra:
                raise ValueError(f"a text about a picture may not hold the model's own token {token!r}: {text!r}")


class VisionLanguage:
    """The states of the last layer for texts about pictures.

    Args:
        network: transformers' network without the head that predicts words: ``visual`` and ``language_model``.
        placeholder: the token that stands for a piece of a picture.
        reader: of texts; None where there are only token ids to read.
        flat: number the tokens one after the other, those of pictures too, instead of by rows and columns.
    """

    def __init__(
        self,
        network: Any,
        placeholder: int,
        preprocess: PatchPreprocess,
        reader: Reader | None = None,
        flat: bool = False,
    ):
        self.network, self.placeholder, self.preprocess = network, placeholder, preprocess
        self.reader, self.flat = reader, flat

    @property
    def device(self) -> torch.device:
        """Where it computes; images may come from elsewhere."""
        device: torch.device = self.network.language_model.embed_tokens.weight.device
        return device

    def states(self, images: Tensor, texts: Sequence[str], last: int | None = None) -> Tensor:
        """``[B, D]``, the state of one token for each image ``[B, 3, H, W]`` in [0, 1] and its text.

        Args:
            last: read up to the only token of this id, and take its state; None takes the very last one.
        """
        assert self.reader is not None
        grid = self.preprocess.grid(*images.shape[-2:])
        patches = self.preprocess(images.to(self.device))
        rows = []
        for picture, text in zip(patches, texts, strict=True):
            ids = self.reader(text, self.preprocess.tokens(*images.shape[-2:]))
            if last is not None:
                ids = ids[:, : int((ids[0] == last).nonzero()[0]) + 1]
            rows.append(self.read(picture, ids, grid))
        return torch.stack(rows)

    def read(self, patches: Tensor, ids: Tensor, grid: Tensor) -> Tensor:
        """``[D]``, the last token's state.

        Args:
            patches: ``[N, …]`` of one picture.
            ids: ``[1, L]``, on the CPU, where the picture's place is marked.
            grid: ``[1, 3]``, on the CPU, as :meth:`PatchPreprocess.grid`.
        """
        seen, deeper = self._look(patches, grid)
        place = ids[0] == self.placeholder
        first, words = int(place.nonzero()[0]), self.network.language_model.embed_tokens(ids.to(self.device))
        words = torch.cat([words[:, :first], seen.to(words.dtype)[None], words[:, first + len(seen) :]], dim=1)
        more: dict[str, Any] = {}
        if deeper and words.is_meta:
            words = words + 0 * sum(
                layer.sum() for layer in deeper
            )  # a mask has no values there; these adds are little
        elif deeper:
            more = {"visual_pos_masks": place[None].to(self.device), "deepstack_visual_embeds": deeper}
        positions = self._positions(ids, grid).to(self.device)
        output = self.network.language_model(inputs_embeds=words, position_ids=positions, use_cache=False, **more)
        state: Tensor = output.last_hidden_state[0, -1]
        return state

    def _look(self, patches: Tensor, grid: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The picture as tokens ``[n, D]``, and for Qwen3-VL what is added to them in the first layers."""
        visual = self.network.visual
        output = visual(patches.to(visual.dtype), grid_thw=grid, **_lookups(visual, grid, self.device))
        return output.pooler_output, list(getattr(output, "deepstack_features", None) or ())

    def _positions(self, ids: Tensor, grid: Tensor) -> Tensor:
        """``[3, 1, L]``: time, row and column of each token."""
        if self.flat:
            return torch.arange(ids.shape[1]).expand(3, 1, -1)
        kinds = (ids == self.placeholder).int()
        positions: Tensor = self.network.get_rope_index(ids, mm_token_type_ids=kinds, image_grid_thw=grid)[0]
        return positions


def _lookups(visual: Any, grid: Tensor, device: torch.device) -> dict[str, Tensor]:
    """The tables that the encoder would make from ``grid``: it then need not ask the device for the grid's values."""
    config, merge = visual.config, visual.spatial_merge_size
    tables = {"position_ids": vision_utils.get_vision_position_ids(grid, merge).to(device)}
    if hasattr(visual, "num_grid_per_side"):
        places, weights = vision_utils.get_vision_interpolation_indices_and_weights(
            grid,
            num_grid_per_side=visual.num_grid_per_side,
            mode=visual.interpolation_mode,
            align_corners=visual.interpolation_align_corners,
            spatial_merge_size=config.spatial_merge_size,
        )
        tables |= {"interp_indices": places.to(device), "interp_weights": weights.to(device)}
    return tables


def load_vision_language(folder: Path, device: Device, dtype: torch.dtype) -> tuple[VisionLanguage, nn.Module, Reader]:
    """A transformers folder, the head that predicts words, and what reads texts.

    Raises:
        ValueError: it is a model of another kind.
        WrongWeightsError: weights of its config are missing.
    """
    check_kind(folder)
    model, report = AutoModelForImageTextToText.from_pretrained(
        folder, dtype=dtype, local_files_only=True, output_loading_info=True
    )
    if report["missing_keys"] or report["mismatched_keys"]:
        missing = sorted([*report["missing_keys"], *map(str, report["mismatched_keys"])])
        raise WrongWeightsError(f"{folder} lacks weights of its own config: {', '.join(missing[:5])}")
    model = model.to(device).eval().requires_grad_(False)
    for weight in model.parameters():
        weight.data = weight.data.clone()  # not mapped from a file that may change, and aligned alike in every run
    reader = Reader(folder, model.config.image_token_id)
    preprocess = read_patch_preprocess(folder)
    return VisionLanguage(model.model, reader.placeholder, preprocess, reader), model.lm_head, reader


def meta_score(sees: VisionLanguage, words: int) -> Callable[[Tensor], Tensor]:
    """Images ``[B, 3, H, W]`` on the meta device to states ``[B, D]``, as if each came with so many words."""

    def states(images: Tensor) -> Tensor:
        size = images.shape[-2:]
        grid, tokens = sees.preprocess.grid(*size), sees.preprocess.tokens(*size)
        ids = torch.tensor([[*[sees.placeholder] * tokens, *[0] * words]])
        return torch.stack([sees.read(patches, ids, grid) for patches in sees.preprocess(images.float())])

    return states


def check_kind(folder: Path) -> Any:
    """The folder's config.

    Raises:
        ValueError: it describes another kind of model.
    """
    kind = read_json(folder / "config.json").get("model_type")
    if kind not in KINDS:
        raise ValueError(f"{folder}/config.json: a model of type {kind!r}; this reward reads {', '.join(KINDS)}")
    return AutoConfig.from_pretrained(folder, local_files_only=True)


def _chat_template(folder: Path) -> str | None:
    """Where the processor keeps it; None leaves it to the tokenizer's own files."""
    plain, wrapped = folder / "chat_template.jinja", folder / "chat_template.json"
    if plain.is_file():
        return plain.read_text(encoding="utf-8")
    if wrapped.is_file():
        return str(read_json(wrapped)["chat_template"])
    return None
