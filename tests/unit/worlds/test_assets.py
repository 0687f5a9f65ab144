"""What ships: small, opened by plain diffusers, drawn alike by Kedge, and good enough to learn something with."""

import pytest
import torch
from diffusers import LatentConsistencyModelPipeline, StableDiffusionPipeline, ZImagePipeline

from helpers.family_models import pictures
from kedge.models import BUNDLED, resolve_model
from kedge.policies import load_policy
from kedge.policies.base import draw_noise, rollout
from kedge.worlds.emoji.atlas import ASSETS
from kedge.worlds.emoji.build.install import same_files
from kedge.worlds.emoji.captions import activity_prompts, held_out_prompts
from kedge.worlds.emoji.oracle import Oracle

KINDS = {"emoji-lcm": LatentConsistencyModelPipeline, "emoji-diffusion": StableDiffusionPipeline}
PROMPTS = ["two foxes in the snow", "a whale under water"]


def test_everything_together_is_small():
    files = {file.resolve() for file in ASSETS.rglob("*") if file.is_file()}  # links count once
    assert sum(file.stat().st_size for file in files) <= 48 * 2**20


def test_what_both_models_have_is_kept_once():
    for part in ("vae", "text_encoder"):
        link = ASSETS / "emoji-lcm" / part
        assert same_files(link, ASSETS / "emoji-diffusion" / part) == link.is_symlink()
        if link.is_symlink():
            assert not link.readlink().is_absolute()


def test_the_licence_and_the_card_are_there():
    assert "SIL OPEN FONT LICENSE" in (ASSETS / "LICENSE-OFL.txt").read_text()
    assert "right animals" in (ASSETS / "README.md").read_text()


@pytest.mark.parametrize(("name", "steps"), [("emoji-lcm", 8), ("emoji-diffusion", 20)])
def test_kedge_draws_what_plain_diffusers_draws(name, steps):
    pipeline = KINDS[name].from_pretrained(resolve_model(name), torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        PROMPTS,
        num_inference_steps=steps,
        guidance_scale=BUNDLED[name] + 1,
        generator=torch.Generator().manual_seed(3),
        output_type="pt",
    ).images
    # η = 0: the pipeline draws no noise between steps
    policy = load_policy(name.removeprefix("emoji-"), name, steps=steps, guidance=BUNDLED[name], eta=0.0)
    noise = draw_noise(policy, torch.Generator().manual_seed(3), len(PROMPTS))
    with torch.no_grad():
        ours = policy.decode(rollout(policy, policy.encode(PROMPTS), noise).x0)
    assert float((ours - theirs).abs().max()) <= 1e-5


@pytest.mark.skipif(not (ASSETS / "emoji-flow").is_dir(), reason="emoji-flow is not built")
def test_kedge_draws_the_flow_model_as_plain_diffusers_does():
    pipeline = ZImagePipeline.from_pretrained(resolve_model("emoji-flow"), torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    settings = {"num_inference_steps": 4, "guidance_scale": 0.0, "height": 32, "width": 32, "output_type": "pt"}
    torch.manual_seed(3)
    theirs = pipeline(list(PROMPTS), **settings).images
    ours = pictures(load_policy("auto", "emoji-flow", steps=4, guidance=0.0), seed=3, prompts=PROMPTS)
    assert float((ours - theirs).abs().max()) <= 1e-5


def draw(name: str, steps: int, prompts: list[str]) -> torch.Tensor:
    policy = load_policy(name.removeprefix("emoji-"), name, steps=steps, guidance=BUNDLED[name], eta=0.0)
    noise = draw_noise(policy, torch.Generator().manual_seed(0), len(prompts))
    with torch.no_grad():
        return policy.decode(rollout(policy, policy.encode(prompts), noise).x0)


def test_the_consistency_model_is_right_on_captions_it_never_saw_and_poor_at_activities():
    ordinary, activities = held_out_prompts(500)[:64], activity_prompts()[::4]
    oracle = Oracle()
    plain = oracle.parts(draw("emoji-lcm", 8, ordinary), ordinary)
    acting = oracle.parts(draw("emoji-lcm", 8, activities), activities)
    assert float(plain.right.float().mean()) >= 0.75
    assert float(acting.total.mean()) <= float(plain.total.mean()) - 0.15
