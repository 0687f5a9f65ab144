"""The emoji world's flow transformer: Z-Image's parts, each some thousand times smaller, and its network in batches.

The published network takes a list of pictures and one of texts. Here all pictures are of one size and all captions fit
into the tokens that one text is filled up to, so a batch goes through the same layers as one tensor.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, ZImageTransformer2DModel
from diffusers.models.transformers.transformer_z_image import SEQ_MULTI_OF
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import Qwen2Tokenizer, Qwen3Config, Qwen3Model

from kedge.worlds.emoji.networks import LATENT_CHANNELS, LATENT_SIDE, TOKENS, merged, words

WIDTH, HEADS, LAYERS, AXES = 144, 6, 5, [8, 8, 8]  # the axes of the rotary embedding add up to a head
TEXT_WIDTH, TEXT_LAYERS = 96, 2  # the pipeline reads the last layer but one
PATCH = 2  # side of the square of latents that is a token: the pipeline knows no other
SHIFT = 1.5  # of the noise levels
END, SPACE = "<|im_end|>", "Ġ"
CHAT = "{% for message in messages %}{{ ' ' + message.content }}<|im_end|>{% endfor %}"


def make_flow_tokenizer(folder: Path) -> Qwen2Tokenizer:
    """A Qwen tokenizer whose byte-pair merges make one token of each word with the space before it."""
    merges: dict[tuple[str, str], int] = {}
    vocabulary = {letter: index for index, letter in enumerate(sorted(ByteLevel.alphabet()))}
    for word in words():
        while len(pieces := merged(SPACE + word, merges)) > 1:
            merges[pieces[0], pieces[1]] = len(merges)
            vocabulary.setdefault(pieces[0] + pieces[1], len(vocabulary))
    vocabulary["<|endoftext|>"] = len(vocabulary)
    tokenizer = Qwen2Tokenizer(vocab=vocabulary, merges=list(merges), model_max_length=512, chat_template=CHAT)
    tokenizer.add_tokens([END], special_tokens=True)
    tokenizer.save_pretrained(folder)
    return tokenizer


def make_flow_text_encoder(tokenizer: Qwen2Tokenizer) -> Qwen3Model:
    """A Qwen3; the layer that the pipeline never reads stays as it was drawn."""
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        num_hidden_layers=TEXT_LAYERS,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=TEXT_WIDTH // 4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
    )
    encoder = Qwen3Model(config)
    for unread in (encoder.layers[-1], encoder.norm):
        unread.requires_grad_(False)
    return encoder


def make_transformer() -> ZImageTransformer2DModel:
    """The network of velocities; its layers begin as the identity and its output as zero."""
    network = ZImageTransformer2DModel(
        in_channels=LATENT_CHANNELS,
        dim=WIDTH,
        n_layers=LAYERS,
        n_refiner_layers=1,
        n_heads=HEADS,
        n_kv_heads=HEADS,
        cap_feat_dim=TEXT_WIDTH,
        axes_dims=AXES,
        axes_lens=[1024, 64, 64],
    )
    final = network.all_final_layer[f"{PATCH}-1"]
    for layer in (*network.noise_refiner, *network.layers):
        _zero(layer.adaLN_modulation[0])
    _zero(final.adaLN_modulation[1])
    _zero(final.linear)
    for token in (network.x_pad_token, network.cap_pad_token):
        nn.init.normal_(token, std=0.02)
    return network


def _zero(layer: nn.Linear) -> None:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)


def make_flow_scheduler() -> FlowMatchEulerDiscreteScheduler:
    """Few steps, each of which predicts the picture and noises it again."""
    return FlowMatchEulerDiscreteScheduler(shift=SHIFT, stochastic_sampling=True)


def shifted(t: Tensor, shift: float = SHIFT) -> Tensor:
    """The noise level σ in [0, 1] at the time t in [0, 1], as the scheduler shifts it."""
    return shift * t / (1 + (shift - 1) * t)


def read_captions(tokenizer: Qwen2Tokenizer, captions: list[str]) -> tuple[Tensor, Tensor]:
    """Token ids int64 ``[B, 16]`` as the pipeline makes them, filled up on the right, and their lengths ``[B]``."""
    chats = [[{"role": "user", "content": caption}] for caption in captions]
    texts = tokenizer.apply_chat_template(chats, tokenize=False, add_generation_prompt=True)
    rows = tokenizer(texts, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt")
    return rows["input_ids"], rows["attention_mask"].sum(1)


def encode(encoder: Qwen3Model, ids: Tensor) -> Tensor:
    """What the pipeline reads of the text, ``[B, 16, D]``: no token sees the filling to its right."""
    states: Tensor = encoder(input_ids=ids, output_hidden_states=True, use_cache=False).hidden_states[-2]
    return states


class Velocity:
    """The network's v = ε − x_0 for a batch of pictures of 32 × 32 with captions of at most 32 tokens."""

    def __init__(self, network: ZImageTransformer2DModel):
        self.network = network
        device, side = network.x_pad_token.device, LATENT_SIDE // PATCH
        count = torch.arange(SEQ_MULTI_OF, device=device)
        self._places = torch.arange(SEQ_MULTI_OF, device=device)
        text = torch.stack([count + 1, 0 * count, 0 * count], dim=1)
        picture = torch.stack([0 * count + SEQ_MULTI_OF + 1, count // side, count % side], dim=1)
        picture[side**2 :] = 0
        self._picture_rope = network.rope_embedder(picture)[None]
        self._text_rope = network.rope_embedder(text)[None]

    def __call__(self, x: Tensor, sigma: Tensor, text: Tensor, lengths: Tensor) -> Tensor:
        """At latents ``[B, 16, 8, 8]``, noise levels ``[B]``, texts ``[B, L ≤ 32, D]`` and their lengths ``[B]``."""
        network, time = self.network, self.network.t_embedder((1 - sigma) * self.network.t_scale)
        tokens = network.all_x_embedder[f"{PATCH}-1"](_patches(x))
        filling = network.x_pad_token.expand(len(x), SEQ_MULTI_OF - tokens.shape[1], -1)
        hidden = torch.cat([tokens, filling.to(tokens.dtype)], dim=1)
        for layer in network.noise_refiner:
            hidden = layer(hidden, None, self._picture_rope, time)
        caption = network.cap_embedder(pad(text, (0, 0, 0, SEQ_MULTI_OF - text.shape[1])))
        missing = self._places >= lengths[:, None]
        caption = torch.where(missing[:, :, None], network.cap_pad_token.to(caption.dtype), caption)
        for layer in network.context_refiner:
            caption = layer(caption, None, self._text_rope)
        unified = torch.cat([hidden, caption], dim=1)
        rope = torch.cat([self._picture_rope, self._text_rope], dim=1)
        for layer in network.layers:
            unified = layer(unified, None, rope, time)
        output = network.all_final_layer[f"{PATCH}-1"](unified[:, : tokens.shape[1]], c=time)
        return -_picture(output.float(), x.shape[2] // PATCH)


def _patches(x: Tensor) -> Tensor:
    """``[B, C, H, W]`` → ``[B, H/2 · W/2, 4 C]``, channels last within a patch."""
    squares: Tensor = x.unflatten(3, (-1, PATCH)).unflatten(2, (-1, PATCH))  # [B, C, H/2, 2, W/2, 2]
    return squares.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


def _picture(tokens: Tensor, height: int) -> Tensor:
    """The inverse of :func:`_patches`."""
    squares: Tensor = tokens.unflatten(2, (PATCH, PATCH, -1)).unflatten(1, (height, -1))  # [B, H/2, W/2, 2, 2, C]
    return squares.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)
