"""How the world's reward models are made: what their raters see, what counts as wrong, and the files they leave."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
import torch
from torch import nn
from transformers import BlipForConditionalGeneration

from kedge.rewards.aesthetic import LinearHead
from kedge.rewards.bertscore import BertScore
from kedge.rewards.blip import BlipNetwork, projections
from kedge.rewards.blipscore import BLIPMatch, BLIPScore
from kedge.rewards.image_reward import MEAN, STD, ImageReward
from kedge.worlds.emoji.build import hps
from kedge.worlds.emoji.build.bert import FRAME, make_bert, make_words, read
from kedge.worlds.emoji.build.blip import Lessons, blip_config, contrast, hard_negatives, save_blip
from kedge.worlds.emoji.build.captioning import GOOD, descriptions, good_pictures, make_captioner
from kedge.worlds.emoji.build.clip import normalise
from kedge.worlds.emoji.build.install import FLOW, JUDGES, MODELS, install, same_files, share
from kedge.worlds.emoji.build.pictures import CANDIDATES, Pictures
from kedge.worlds.emoji.build.pool import Pool
from kedge.worlds.emoji.build.preference import agreement
from kedge.worlds.emoji.build.rankings import Rankers, faithfulness, ranking_loss, save_image_reward, standardise
from kedge.worlds.emoji.captions import BACKGROUNDS, parse
from kedge.worlds.emoji.networks import TOKENS
from kedge.worlds.emoji.oracle import Oracle, OracleParts
from kedge.worlds.emoji.scenes import compose, pack, render


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    return make_words(tmp_path_factory.mktemp("words"))


def scenes(captions: list[str]) -> Pool:
    specs, rng = [parse(caption) for caption in captions], random.Random(0)
    packed = pack([compose(spec, rng) for spec in specs])
    return Pool(specs, packed, torch.zeros(len(specs), 1))


def some_pictures(count: int, seed: int = 0) -> Pictures:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, CANDIDATES, 3, 32, 32), dtype=torch.uint8, generator=generator)
    oracle, clean = torch.rand(2, count, CANDIDATES, generator=generator).clamp(min=0.01)
    return Pictures(["a cat in the snow"] * count, images, oracle, clean)


def test_bert_reads_each_word_as_one_token_and_loses_none(words):
    text = FRAME.format("a fox riding a bike in the snow")
    assert words.tokenize(text) == text.split()
    assert "[UNK]" not in words.tokenize("a wombat on ice")
    assert words.convert_tokens_to_ids(["[DEC]", "[ENC]"]) == [len(words) - 2, len(words) - 1]


def test_a_caption_is_true_of_every_picture_that_shows_it(words):
    pool = scenes(["a cat in the snow", "a cat on the left in the snow", "a cat", "a dog and a cat", "a cat and a dog"])
    pool.scenes[2, 0] = BACKGROUNDS.index("at night")
    true = Lessons.of(pool, words).true(torch.arange(5))
    expected = torch.eye(5, dtype=torch.bool)
    expected[:3, 2] = True  # "a cat" asks nothing else
    expected[1, 0] = True  # "a cat in the snow" does not say where it stands
    expected[3:, 3:] = True  # either order
    assert torch.equal(true, expected)


def test_true_captions_are_no_negatives():
    features = nn.functional.normalize(torch.randn(4, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    true = torch.eye(4, dtype=torch.bool)
    true[0, 1] = True
    logits = contrast(features, features, torch.tensor(9.0), true)
    assert logits[0, 1] == -torch.inf
    torch.testing.assert_close(logits.diagonal(), torch.full((4,), 100.0), rtol=1e-4, atol=0)  # e^4.6052 at most
    draws = torch.stack([hard_negatives(logits, torch.Generator().manual_seed(i)) for i in range(50)])
    assert not (draws == torch.arange(4)).any()
    assert not (draws[:, 0] == 1).any()


def test_lessons_hold_more_activities_than_the_pool(words):
    pool = scenes(["a cat riding a bike"] + ["a dog"] * 99)
    index = Lessons.of(pool, words).pick(200, torch.Generator().manual_seed(0))
    assert 30 <= int((index == 0).sum()) <= 40


def test_rankers_put_two_pictures_in_order_as_raters_of_pairs_do():
    marks = torch.tensor([[0.6, 0.5]]).expand(400, 2)
    ranked = Rankers(temperature=0.1, pictures=2, rankings=50).rank(marks, torch.Generator().manual_seed(0))[1]
    assert float((ranked[:, 0] == 0).float().mean()) == pytest.approx(1 / (1 + math.exp(-1)), abs=0.01)


def test_steady_rankers_sort():
    marks = torch.rand(20, CANDIDATES, generator=torch.Generator().manual_seed(0))
    prompt, order = Rankers(temperature=1e-6).rank(marks, torch.Generator().manual_seed(1))
    seen = marks[prompt[:, None], order]
    assert torch.equal(seen, seen.sort(1, descending=True).values)
    assert all(len(set(row)) == Rankers().pictures for row in order.tolist())


def test_faithfulness_is_the_oracle_without_cleanness():
    images = render([compose(parse(prompt), random.Random(0)) for prompt in ("a cat", "a fox riding a bike")])
    grain = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    both = torch.stack([images, (images + 0.05 * grain).clamp(0, 1)], dim=1)
    prompts = ["a cat", "a fox riding a bike"]
    parts = Oracle().parts(both.flatten(0, 1), [prompt for prompt in prompts for _ in range(2)])
    total, clean = parts.total.reshape(2, 2), parts.clean.reshape(2, 2)
    pictures = Pictures(prompts, (both * 255).byte(), total, clean)
    torch.testing.assert_close(faithfulness(pictures), without_clean(parts, prompts), rtol=1e-4, atol=1e-5)


def without_clean(parts: OracleParts, prompts: list[str]) -> torch.Tensor:
    """The weighted geometric mean, written out anew."""
    rows = []
    for i in range(len(parts.total)):
        weights = {"animal": 0.40, "number": 0.12, "place": 0.12, "background": 0.20}
        weights["activity"] = 0.25 if parse(prompts[i // 2]).activity else 0.05
        logs = [w * torch.log(0.02 + 0.98 * getattr(parts, name)[i]) for name, w in weights.items()]
        rows.append((torch.stack(logs).sum() / sum(weights.values())).exp())
    return torch.stack(rows).reshape(-1, 2)


def test_hps_raters_see_fewer_prompts_and_weigh_quality():
    pictures = some_pictures(9)
    seen = hps.seen_by_raters(pictures)
    assert len(seen.prompts) == 6
    clean, oracle = pictures.clean[3:], pictures.oracle[3:]
    torch.testing.assert_close(seen.oracle, 0.4 * clean + 0.6 * oracle)
    assert agreement(seen.oracle, clean) > 0.6 > agreement(oracle, clean)


def test_ranking_loss_in_closed_form():
    scores = torch.tensor([[2.0, 1.0, 0.0]])
    expected = -(2 * torch.tensor(1.0).sigmoid().log() + torch.tensor(2.0).sigmoid().log()) / 3
    torch.testing.assert_close(ranking_loss(scores), expected)
    assert ranking_loss(scores.flip(1)) > ranking_loss(scores)


def test_standardise_gives_the_published_mean_and_deviation():
    torch.manual_seed(0)
    head, features = LinearHead(8).eval(), torch.randn(500, 8)
    before = head(features).detach()
    standardise(head, before)
    after = (head(features).detach() - MEAN) / STD
    assert float(after.mean()) == pytest.approx(0, abs=1e-4)
    assert float(after.std()) == pytest.approx(1, abs=1e-4)
    assert torch.equal(after.argsort(), before.argsort())


def random_blip(words, **heads: nn.Module) -> tuple:
    torch.manual_seed(1)
    config = blip_config(words)
    return config, BlipNetwork(config, {**projections(config), **heads}).eval()


def test_a_trained_blip_scores_the_same_from_its_file(words, tmp_path):
    config, network = random_blip(words, itm_head=nn.Linear(blip_config(words).text_config.hidden_size, 2))
    network.half().float()  # as the file keeps it
    save_blip(network, config, words, tmp_path)
    prompts, images = ["a cat", "two dogs at night"], torch.rand(2, 3, 32, 32)
    ids = read(words, prompts, TOKENS)
    text = {"input_ids": ids, "attention_mask": (ids != words.pad_token_id).long()}
    with torch.no_grad():
        states = network.vision_model(pixel_values=normalise(images)).last_hidden_state
        seen, said = network.head("vision_proj", states[:, 0]), network.head("text_proj", network.read(text))
        matched = network.head("itm_head", network.read(text, states)).softmax(1)[:, 1]
    file = tmp_path / "model_large.pth"
    expected = nn.functional.cosine_similarity(seen, said)
    torch.testing.assert_close(BLIPScore(file, tmp_path)(images, prompts), expected, rtol=0, atol=2e-6)
    torch.testing.assert_close(BLIPMatch(file, tmp_path)(images, prompts), matched, rtol=0, atol=2e-6)


def test_a_trained_image_reward_scores_the_same_from_its_file(words, tmp_path):
    config, network = random_blip(words, mlp=LinearHead(blip_config(words).text_config.hidden_size))
    network.half().float()
    save_image_reward(network, config, words, tmp_path)
    prompts, images = ["a cat", "two dogs at night"], torch.rand(2, 3, 32, 32)
    ids = read(words, prompts, TOKENS)
    text = {"input_ids": ids, "attention_mask": (ids != words.pad_token_id).long()}
    with torch.no_grad():
        states = network.vision_model(pixel_values=normalise(images)).last_hidden_state
        expected = (network.head("mlp", network.read(text, states)) - MEAN) / STD
    actual = ImageReward(tmp_path / "ImageReward.pt", tmp_path)(images, prompts)
    torch.testing.assert_close(actual, expected, rtol=0, atol=2e-6)


def test_the_captioner_starts_as_the_blip(words, tmp_path):
    config, network = random_blip(words)
    make_captioner(network, config).save_pretrained(tmp_path)
    model = BlipForConditionalGeneration.from_pretrained(tmp_path)
    for ours, theirs in ((model.vision_model, network.vision_model), (model.text_decoder.bert, network.text_encoder)):
        for key, value in theirs.state_dict().items():
            assert torch.equal(ours.state_dict()[key], value), key


def test_descriptions_name_the_background_that_was_drawn():
    pool = scenes(["cat", "two foxes at night"])
    pool.scenes[0, 0] = BACKGROUNDS.index("in the desert")
    assert descriptions(pool) == ["a cat in the desert", "two foxes at night"]


def test_only_good_pictures_of_whole_prompts_teach_the_captioner():
    pictures = replace(some_pictures(3), prompts=["a cat in the snow", "a cat", "a dog at night"])
    images, prompts = good_pictures(pictures)
    good = pictures.oracle[[0, 2]] > GOOD
    assert torch.equal(images, pictures.images[[0, 2]][good])
    assert prompts == ["a cat in the snow"] * int(good[0].sum()) + ["a dog at night"] * int(good[1].sum())


def test_bert_score_reads_a_whole_prompt_in_its_frame(words, tmp_path):
    make_bert(words).save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    score = BertScore(tmp_path)
    prompt = "a squirrel washing the dishes on a purple background"
    ids = score._embed(FRAME.format(prompt))[1]
    assert words.decode(ids, skip_special_tokens=True) == FRAME.format(prompt)


def test_install_wants_everything_and_keeps_the_same_once(tmp_path):
    world, assets = tmp_path / "world", tmp_path / "assets"
    world.mkdir()
    with pytest.raises(FileNotFoundError, match="lacks emoji-diffusion, emoji-lcm, clip"):
        install(world, assets)
    for name in (*MODELS, *JUDGES, "tokenizer"):
        parts = ("vae", "text_encoder", "unet") if name in MODELS else (".",)
        for part in parts:
            (world / name / part).mkdir(parents=True, exist_ok=True)
            text = f"{name} {part}" if part in (".", "unet") else part
            (world / name / part / "model.bin").write_text(text)
    assets.mkdir()
    install(world, assets)
    for part in ("vae", "text_encoder"):
        assert (assets / "emoji-lcm" / part).readlink().as_posix() == f"../emoji-diffusion/{part}"
        assert same_files(assets / "emoji-lcm" / part, assets / "emoji-diffusion" / part)
    assert not (assets / "emoji-lcm" / "unet").is_symlink()
    share(assets)  # again, changes nothing
    install(world, assets)  # over what is there
    (world / "emoji-lcm" / "vae" / "model.bin").write_text("another")
    install(world, assets)
    assert not (assets / "emoji-lcm" / "vae").is_symlink()
    assert (assets / "emoji-diffusion" / "vae" / "model.bin").read_text() == "vae"


def test_equal_weights_are_kept_once_under_another_config(tmp_path):
    for name, shift in (("emoji-diffusion", "null"), (FLOW, "0.0")):
        for part in ("vae", "text_encoder"):
            (tmp_path / name / part).mkdir(parents=True)
            (tmp_path / name / part / "config.json").write_text(shift)
            (tmp_path / name / part / "weights.safetensors").write_text(part if part == "vae" else name)
    share(tmp_path)
    share(tmp_path)  # again, changes nothing
    weights = tmp_path / FLOW / "vae" / "weights.safetensors"
    assert weights.readlink().as_posix() == "../../emoji-diffusion/vae/weights.safetensors"
    assert weights.read_text() == "vae"
    assert (tmp_path / FLOW / "vae" / "config.json").read_text() == "0.0"
    assert not (tmp_path / FLOW / "text_encoder" / "weights.safetensors").is_symlink()
