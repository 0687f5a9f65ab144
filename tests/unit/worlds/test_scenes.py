"""Scenes: the same for the same seed, inside the picture, and drawn as they say."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from kedge.worlds.emoji.atlas import ANIMAL_NAMES, PROPS, SIZES, SPRITES, sprite_bank
from kedge.worlds.emoji.captions import (
    ACTIVITIES,
    BACKGROUNDS,
    activity_prompts,
    held_out_prompts,
    parse,
    sample_training_spec,
)
from kedge.worlds.emoji.scenes import (
    MAX_LAYERS,
    SIDE,
    STAGING,
    VARIANTS,
    Layer,
    Scene,
    backgrounds,
    compose,
    faded,
    pack,
    render,
    render_packed,
    render_prompt,
)

PROMPTS = [*held_out_prompts(60), *activity_prompts()[:30], "cat", "a cat", "two geese"]


def scenes(count: int = 3) -> Iterator[tuple[str, Scene]]:
    for prompt in PROMPTS:
        for seed in range(count):
            yield prompt, compose(parse(prompt), random.Random(seed))


def test_a_seed_gives_one_scene_and_another_seed_another() -> None:
    for prompt in PROMPTS[:20]:
        assert torch.equal(render_prompt(prompt, 3), render_prompt(prompt, 3))
    assert len({render_prompt("a cat", seed).numpy().tobytes() for seed in range(20)}) > 5
    assert len({compose(parse("cat"), random.Random(seed)).background for seed in range(60)}) == len(BACKGROUNDS)


def test_sprites_stay_in_the_picture_but_for_a_pixel() -> None:
    specs = [sample_training_spec(random.Random(seed)) for seed in range(3000)]
    drawn = [compose(spec, random.Random(i)) for i, spec in enumerate(specs)] + [scene for _, scene in scenes()]
    for scene in drawn:
        assert len(scene.layers) <= MAX_LAYERS
        for layer in scene.layers:
            assert layer.size in SIZES
            for first in (layer.x - layer.size // 2, layer.y - layer.size // 2):
                assert first >= -1
                assert first + layer.size <= SIDE + 1


def test_scenes_hold_what_the_prompt_says() -> None:
    for prompt, scene in scenes():
        spec = parse(prompt)
        animals = [layer for layer in scene.layers if layer.sprite not in PROPS]
        assert tuple(layer.sprite for layer in sorted(animals, key=lambda layer: layer.x)) == spec.animals
        assert spec.background in (None, scene.background)
        props = sorted(layer.sprite for layer in scene.layers if layer.sprite in PROPS)
        staging = STAGING[spec.activity] if spec.activity else ()
        assert props == sorted(sprite for sprite, *_ in staging if sprite)
        if spec.position:
            assert (animals[0].x < SIDE / 2) == (spec.position == "on the left")
    assert set(STAGING) == set(ACTIVITIES)


def test_pictures_are_in_range_and_packing_loses_nothing() -> None:
    drawn = [scene for _, scene in scenes(1)]
    pictures = render(drawn)
    assert pictures.shape == (len(drawn), 3, SIDE, SIDE)
    assert pictures.dtype == torch.float32
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    assert torch.equal(render_packed(pack(drawn)), pictures)
    assert torch.equal(torch.cat([render([scene]) for scene in drawn[:8]]), pictures[:8])


def test_a_layer_covers_what_is_behind_it_and_leaves_the_rest() -> None:
    ground = backgrounds()[BACKGROUNDS.index("on a blue background") * VARIANTS]
    size, x, y = SIZES[-1], SIDE // 2, SIDE // 2
    picture = render([Scene("on a blue background", 0, (Layer("fox", size, x, y),))])[0]
    tile = sprite_bank()[SPRITES.index("fox"), -1]
    region = slice(x - size // 2, x - size // 2 + size)
    expected = ground.clone()
    expected[:, region, region] = tile[:3, :size, :size] + ground[:, region, region] * (1 - tile[3:, :size, :size])
    assert (picture - expected).abs().max() < 1e-6


def test_every_animal_and_every_background_looks_different() -> None:
    alone = render([Scene("in a meadow", 0, (Layer(name, SIZES[-1], 16, 18),)) for name in ANIMAL_NAMES]).flatten(1)
    apart = torch.cdist(alone, alone).fill_diagonal_(torch.inf)
    assert apart.min() > 2
    grounds = backgrounds()[::VARIANTS].flatten(1)
    assert torch.cdist(grounds, grounds).fill_diagonal_(torch.inf).min() > 5


@pytest.mark.parametrize("name", SPRITES)
def test_sprites_are_premultiplied_and_fill_their_size(name: str) -> None:
    tiles = sprite_bank()[SPRITES.index(name)]
    assert (tiles[:, :3] <= tiles[:, 3:] + 1e-6).all()
    for tile, size in zip(tiles, SIZES, strict=True):
        assert tile[:, size:].abs().max() == 0 if size < SIZES[-1] else True
        assert tile[3].sum() > 0.15 * size**2


def test_props_fade_and_nothing_else_does() -> None:
    scene = compose(parse("a cat riding a bike on a blue background"), random.Random(0))
    bare = replace(scene, layers=tuple(layer for layer in scene.layers if layer.sprite not in PROPS))
    solid, half, gone = render([faded(scene, opacity) for opacity in (100, 50, 0)])
    assert torch.equal(solid, render([scene])[0])
    assert torch.equal(gone, render([bare])[0])
    # Where the animal covers its bike, the mean of both is not what is seen; elsewhere it is.
    seen = (half - (solid + gone) / 2).abs().amax(0) < 1e-6
    assert seen.float().mean() > 0.95
    assert not torch.equal(solid, gone)
