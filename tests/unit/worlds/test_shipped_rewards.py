"""The reward models that ship: each as good as documented, on pictures drawn here; none stands in for another."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from kedge.rewards import MissingWeightsError, load_reward, readiness, sources
from kedge.rewards.catalogue import REWARDS
from kedge.rewards.weights import read_state
from kedge.worlds.emoji.atlas import ASSETS
from kedge.worlds.emoji.build.aesthetic import taste
from kedge.worlds.emoji.build.agreement import world_rewards
from kedge.worlds.emoji.build.clip import worn
from kedge.worlds.emoji.build.pictures import altered
from kedge.worlds.emoji.build.preference import agreement
from kedge.worlds.emoji.captioner import Captioner
from kedge.worlds.emoji.captions import CaptionError, activity_prompts, held_out_prompts, parse
from kedge.worlds.emoji.oracle import Oracle
from kedge.worlds.emoji.scenes import compose, render

# The share of pairs below that a reward must order as the oracle does, and of pictures that it must give the higher
# score with their own prompt; each some points under what was measured.
FLOORS = {
    "pickscore": (0.77, 0.92),
    "hpsv2": (0.73, 0.76),
    "clipscore": (0.75, 0.86),
    "blipscore": (0.77, 0.92),
    "blipscore-itm": (0.77, 0.92),
    "imagereward": (0.77, 0.90),
    "alignment": (0.58, 0.70),
    "vqa": (0.76, 0.94),
}


class Drawn:
    """Prompts that no judge ever saw, each with four pictures: true, worn, of something else, and that worn."""

    def __init__(self) -> None:
        rng, generator = random.Random(5), torch.Generator().manual_seed(5)
        self.prompts = [*held_out_prompts(500)[-30:], *activity_prompts(held_out=False)[::7]]
        specs = [parse(prompt) for prompt in self.prompts]
        others = [altered(spec, rng) for spec in specs]
        true, wrong = (render([compose(spec, rng) for spec in group]) for group in (specs, others))
        pictures = (true, worn(worn(true, generator), generator), wrong, worn(wrong, generator))
        self.images = torch.stack(pictures, dim=1)
        self.wrong = [str(other) for other in others]
        self.repeated = [prompt for prompt in self.prompts for _ in pictures]
        self.oracle = Oracle()(self.images.flatten(0, 1), self.repeated).reshape(self.images.shape[:2])
        self.worse = Oracle()(true, self.wrong) < self.oracle[:, 0] - 0.1  # a wrong prompt may happen to be true

    @torch.no_grad()
    def agreement(self, name: str, every: int = 1) -> tuple[float, float]:
        """The share of pairs ordered as the oracle does, and of true pictures that score less with a wrong prompt."""
        reward = load_reward(f"{name}@emoji")
        images, oracle, worse = self.images[::every], self.oracle[::every], self.worse[::every]
        repeated = [prompt for prompt in self.prompts[::every] for _ in range(images.shape[1])]
        scores = reward(images.flatten(0, 1), repeated).reshape(oracle.shape)
        other = reward(images[:, 0], self.wrong[::every])
        return agreement(scores, oracle), float((scores[:, 0] > other)[worse].float().mean())


@pytest.fixture(scope="module")
def drawn():
    return Drawn()


def test_the_floors_are_for_what_ships():
    assert {*FLOORS, "aesthetic"} == set(world_rewards())


@pytest.mark.parametrize("name", FLOORS)
def test_is_as_good_as_its_card_says(name, drawn):
    pairs, prompts = drawn.agreement(name, every=4 if name == "alignment" else 1)  # captions take their time
    assert pairs >= FLOORS[name][0]
    assert prompts >= FLOORS[name][1]


def test_the_aesthetic_head_follows_the_raters_taste(drawn):
    images = drawn.images.flatten(0, 1)
    true = taste(images, Oracle().parts(images, drawn.repeated).clean)
    with torch.no_grad():
        scores = load_reward("aesthetic@emoji")(images, drawn.repeated)
    assert float(torch.stack([scores, true]).corrcoef()[0, 1]) >= 0.4


def test_the_captioner_names_what_it_sees(drawn):
    said = Captioner(ASSETS / "captioner")(drawn.images[:, 0])
    right = 0
    for words, prompt in zip(said, drawn.prompts, strict=True):
        with suppress(CaptionError):
            right += sorted(parse(words).animals) == sorted(parse(prompt).animals)
    assert right / len(said) >= 0.6  # of combinations that it never saw


def test_no_two_judges_share_their_eyes():
    """PickScore, HPSv2, CLIPScore; BLIPScore, ImageReward, the captioner: all fine-tuned apart."""
    clips = [read_state(ASSETS / name / "model.safetensors") for name in ("clip", "pickscore")]
    eyes = [state["vision_model.embeddings.patch_embedding.weight"].float() for state in clips]
    hps = read_state(ASSETS / "hpsv2" / "HPS_v2_compressed.pt", "state_dict")
    eyes.append(hps["visual.conv1.weight"].float())
    blip = read_state(ASSETS / "blip" / "model_large.pth", "model")["visual_encoder.patch_embed.proj.weight"]
    ranks = read_state(ASSETS / "imagereward" / "ImageReward.pt")["blip.visual_encoder.patch_embed.proj.weight"]
    captions = read_state(ASSETS / "captioner" / "model.safetensors")["vision_model.embeddings.patch_embedding.weight"]
    for kin in (eyes, [blip.float(), ranks.float(), captions.float()]):
        for i, one in enumerate(kin):
            assert all(float((one - other).abs().max()) > 1e-3 for other in kin[i + 1 :])


@pytest.mark.parametrize("name", [name for name, spec in REWARDS.items() if spec.in_world])
def test_nothing_stands_in_for_what_is_missing(name, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "world_assets", lambda: tmp_path)
    with pytest.raises(MissingWeightsError, match=rf"'{name}@emoji' needs .*kedge world build"):
        load_reward(f"{name}@emoji")
    assert not next(item for item in readiness() if item.name == f"{name}@emoji").ready


@pytest.mark.parametrize("name", ["hpsv2.1", "clipscore-hessel"])
def test_what_the_world_has_not_is_said(name):
    with pytest.raises(ValueError, match=rf"the emoji world has no '{name}'; it has: pickscore, hpsv2"):
        load_reward(f"{name}@emoji")


def test_all_that_ships_is_ready_has_a_scale_and_is_on_the_card():
    ready = {item.name for item in readiness() if item.ready}
    scales = json.loads((ASSETS / "scales.json").read_text())
    card = (ASSETS / "README.md").read_text()
    for name, spec in REWARDS.items():
        if spec.in_world:
            assert f"{name}@emoji" in ready
            assert scales[name][1] > 0
            assert name not in world_rewards() or f"| {name} |" in card


def test_the_documentation_says_what_the_card_says():
    """Both hold the table of agreement with the oracle and that of correlations."""
    page = (Path(__file__).parents[3] / "docs" / "rewards.md").read_text().splitlines()
    card = (ASSETS / "README.md").read_text().partition("## Rewards")[2].partition("## How")[0].splitlines()
    rows = [line for line in card if line.startswith(tuple(f"| {name} |" for name in (*world_rewards(), "oracle")))]
    assert len(rows) == 2 * len(world_rewards()) + 1
    assert not [row for row in rows if row not in page]
