"""The recipe's training: its optimizer, its scenes, and what is left of a training when its state is lost."""

import random

import pytest
import torch
from safetensors import safe_open
from torch import nn

from kedge.worlds.emoji.atlas import ANIMAL_NAMES
from kedge.worlds.emoji.build.loop import Schedule, average_file, state_file, train
from kedge.worlds.emoji.build.optimizer import MuonWithAdamW, matrices, matrix_of
from kedge.worlds.emoji.build.pool import FAINTEST, LOOSE_ACTIVITIES, draw_loose_pool, draw_pool
from kedge.worlds.emoji.build.vae import SPRITES_WEIGH, difference, gallery, weights
from kedge.worlds.emoji.captions import parse
from kedge.worlds.emoji.networks import make_tokenizer
from kedge.worlds.emoji.scenes import MAX_LAYERS, compose, pack, render_packed

CPU = torch.device("cpu")


def network(layout=torch.contiguous_format):
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 16, 3), nn.SiLU(), nn.Conv2d(16, 12, 3), nn.Flatten(), nn.Linear(12 * 4 * 4, 9)
    return nn.Sequential(*layers).to(memory_format=layout)


def walk(model, steps=5):
    optimizer = MuonWithAdamW([model], lr=0.02, adamw_lr=1e-3, weight_decay=0.01)
    generator = torch.Generator().manual_seed(1)
    for step in range(steps):
        optimizer.set_rate(1 - step / steps)
        optimizer.zero_grad()
        model(torch.randn(4, 3, 8, 8, generator=generator)).square().mean().backward()
        optimizer.step()
    return optimizer


def test_muon_takes_matrices_that_are_neither_thin_nor_tables():
    model = nn.ModuleDict({"table": nn.Embedding(50, 32), "body": network(), "thin": nn.Linear(32, 3)})
    shapes = [tuple(weight.shape) for weight in matrices([model])]
    assert shapes == [(16, 3, 3, 3), (12, 16, 3, 3), (9, 192)]


def test_a_weights_matrix_shares_its_memory_in_both_layouts():
    for layout in (torch.contiguous_format, torch.channels_last):
        weight = torch.randn(12, 16, 3, 3).contiguous(memory_format=layout)
        matrix_of(weight).zero_()
        assert float(weight.abs().max()) == 0


def test_the_layout_of_the_weights_does_not_change_what_muon_does():
    plain, last = network(), network(torch.channels_last)
    walk(plain)
    walk(last)
    for one, other in zip(plain.parameters(), last.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0.02, atol=2e-3)  # its iteration runs in bfloat16


def test_linear_layers_move_as_under_torchs_own_muon():
    ours, theirs = nn.Linear(20, 30, bias=False), nn.Linear(20, 30, bias=False)
    theirs.load_state_dict(ours.state_dict())
    walked = MuonWithAdamW([ours, nn.Linear(2, 2)], lr=0.02, adamw_lr=1e-3, weight_decay=0.01)
    reference = torch.optim.Muon([theirs.weight], lr=0.02, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    for step in range(4):
        x = torch.randn(8, 20, generator=torch.Generator().manual_seed(step))
        for layer, optimizer in ((ours, walked), (theirs, reference)):
            optimizer.zero_grad()
            layer(x).square().mean().backward()
            optimizer.step()
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=0, atol=0)


def stage(folder, steps, stop=None):
    """A tiny training by Muon; ``stop`` breaks it off before that step."""
    model = network()

    def loss(generator):
        if stop is not None and loss.calls == stop:
            raise KeyboardInterrupt
        loss.calls += 1
        x = torch.randn(4, 3, 8, 8, generator=generator)
        return model(x).square().mean(), {}

    loss.calls = 0
    schedule = Schedule(steps=steps, batch=4, lr=1e-3, muon=0.02, warmup=2)
    return train("tiny", {"model": model}, loss, schedule, folder, seed=0, device=CPU, say=lambda text: None)["model"]


def test_muon_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    whole = stage(tmp_path / "whole", 9)
    monkeypatch.setattr("kedge.worlds.emoji.build.loop.SAVE_SECONDS", -1)
    with pytest.raises(KeyboardInterrupt):
        stage(tmp_path / "parts", 9, stop=5)
    resumed = stage(tmp_path / "parts", 9)
    for name in whole:
        torch.testing.assert_close(resumed[name], whole[name], rtol=0, atol=0)


def test_a_training_whose_state_is_lost_goes_on_from_its_average(tmp_path, monkeypatch):
    monkeypatch.setattr("kedge.worlds.emoji.build.loop.SAVE_SECONDS", -1)
    with pytest.raises(KeyboardInterrupt):
        stage(tmp_path, 9, stop=5)
    state = torch.load(state_file(tmp_path, "tiny"), weights_only=True)
    state_file(tmp_path, "tiny").unlink()
    with safe_open(average_file(tmp_path, "tiny"), "pt") as file:
        assert file.metadata() == {"step": "5"}
        stored = file.get_tensor("model/0.weight")
    torch.testing.assert_close(stored, state["average"]["model"]["0.weight"].half(), rtol=0, atol=0)
    lines = []
    monkeypatch.setattr("builtins.print", lines.append)
    with pytest.raises(KeyboardInterrupt):
        stage(tmp_path, 9, stop=0)  # before its first step: the average is where it stands
    stage(tmp_path, 9)
    log = (tmp_path / "tiny.jsonl").read_text().splitlines()
    assert '"step": 8' in log[-1]


def test_a_third_of_the_autoencoders_scenes_shows_an_activity(tmp_path):
    pool = draw_pool(200, 0, make_tokenizer(tmp_path), CPU)
    scenes = gallery(pool, seed=1)
    assert len(scenes) == 200 + 140 + 100
    assert torch.equal(scenes[:200], pool.scenes)
    assert torch.equal(gallery(pool, seed=1), scenes)


def test_pixels_of_sprites_weigh_more():
    scenes = pack([compose(parse("a cat riding a bike in the snow"), random.Random(0))])
    images = render_packed(scenes) * 2 - 1
    weight = weights(scenes, images)
    assert set(weight.unique().tolist()) == {1.0, SPRITES_WEIGH}
    assert 0.2 < float((weight > 1).float().mean()) < 0.8
    inside, outside = images.clone(), images.clone()
    covered = (weight > 1).expand_as(images)
    inside[covered] += 0.1
    outside[~covered] += 0.1
    # The same error costs more on a sprite than beside it, picture by picture; edges are not weighed.
    per_pixel = [
        float(difference(drawn, images, weight)[0]) / float((drawn != images).float().mean())
        for drawn in (inside, outside)
    ]
    assert per_pixel[0] > 1.5 * per_pixel[1]


def test_activities_that_loose_captions_name_are_drawn_from_faint_to_solid(tmp_path):
    pool = draw_loose_pool(4000, 0, make_tokenizer(tmp_path), CPU)
    named = torch.tensor([spec.activity is not None for spec in pool.specs])
    assert float(named.float().mean()) == pytest.approx(LOOSE_ACTIVITIES, abs=0.03)
    layers = pool.scenes[:, 1:].unflatten(1, (MAX_LAYERS, -1))
    sprites, opacities = layers[..., 0], layers[..., 4]
    props = sprites >= len(ANIMAL_NAMES)
    assert torch.equal(props.any(1), named)
    assert (opacities[(sprites >= 0) & ~props] == 100).all()
    drawn = opacities[props].float()
    for share in (0.1, 0.5, 0.9):  # uniform
        assert float(drawn.quantile(share)) == pytest.approx(FAINTEST + share * (100 - FAINTEST), abs=3)
    assert not any(spec.held_out for spec in pool.specs)
