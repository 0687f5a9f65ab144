"""From votes to rewards: simulated raters over HTTP, a fitted reward, and D3PO on recorded pairs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from helpers import tiny_rewards
from helpers.emoji_renders import render
from helpers.study_votes import fill
from kedge.evaluation.image_folder import read_image_folder
from kedge.pixels import from_uint8
from kedge.rewards import describe, load_reward
from kedge.study.comparisons import Comparison, Split, rater_agreement, read_comparisons, split
from kedge.study.fit import FitSettings, fit_preference
from kedge.study.fit_rating import fit_ratings
from kedge.study.records import read_records
from kedge.study.report import write_study_report
from kedge.study.simulate import Habits, oracle_look, simulate
from kedge.workflows.study_fit import fit_votes
from kedge.worlds.emoji.captions import train_prompts

QUICK = FitSettings(epochs=6, batch_size=16, lr=3e-4)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    return tiny_rewards.write_clip(tmp_path / "clip")


def test_simulated_raters_vote_over_http_and_prefer_what_the_oracle_prefers(make_study, serve) -> None:
    store = make_study("clean", "ruined", pairs=10, raters=2, questions="preference,appeal", checks=0.2, secret="ours")
    server = serve(store)
    assert simulate(server.raters, oracle_look(), Habits(), seed=3) == 2 * 12 * 2
    analysis = write_study_report(store)
    assert all(contest.rate.low > 0.5 for contest in analysis.contests)
    assert sum(rater.flipped for rater in analysis.raters) <= 2  # of eight
    assert all(r.seconds and 0.3 < r.seconds < 60 for r in read_records(store))
    assert simulate(server.raters, oracle_look(), Habits()) == 0  # all is done


def test_a_rater_who_leans_left_shows_as_position_bias(make_study, serve) -> None:
    store = make_study("clean", "grainy", pairs=12, raters=2)
    simulate(serve(store).raters, oracle_look(), Habits(leaning=2.0))
    analysis = write_study_report(store)
    assert analysis.left is not None
    assert analysis.left.low > 0.6


def test_a_fitted_reward_predicts_votes_on_new_prompts_and_loads_by_its_path(make_study, clip, tmp_path, capfd) -> None:
    store = make_study("clean", "ruined", pairs=40, raters=3)
    fill(store, lambda rng: 0.97)
    votes = split(read_comparisons([store]), held_out=0.25, seed=0)
    capfd.readouterr()
    fit = fit_preference(clip, votes, tmp_path / "reward", QUICK)
    assert capfd.readouterr().err == ""  # no progress bars of transformers
    assert fit.after is not None
    assert fit.after.value > 0.9
    assert fit.after.low > 0.5
    assert fit.epoch > 0

    text = f'pickscore@"{tmp_path / "reward"}"'
    assert describe(text).differentiable
    reward, prompts = load_reward(text), train_prompts()[:20]
    clean, ruined = (from_uint8(render(prompts, noise, seed=9)) for noise in (0.0, 0.6))
    assert (reward(clean, prompts) > reward(ruined, prompts)).float().mean() > 0.9
    facts = json.loads((tmp_path / "reward" / "fit.json").read_text())
    assert facts["held_out_accuracy"]["after"]["value"] == fit.after.value
    with pytest.raises(ValueError, match="exists"):
        fit_preference(clip, votes, tmp_path / "reward", QUICK)


def test_votes_that_mean_nothing_teach_nothing(make_study, clip, tmp_path) -> None:
    store = make_study("clean", "grainy", pairs=40, raters=2)
    fill(store, lambda rng: 0.5)
    fit = fit_preference(clip, split(read_comparisons([store]), 0.3, 0), tmp_path / "reward", QUICK)
    assert fit.after is not None
    assert not fit.after.excludes(0.5)
    assert fit.raters == pytest.approx(0.5, abs=0.2)


def test_the_scorer_is_pickscore(make_study, clip, tmp_path) -> None:
    """Zero epochs: only the scale was calibrated, and cosines are those of the reward, padding or not."""
    store = make_study("clean", "ruined", pairs=12, raters=1)
    fill(store, lambda rng: 0.9)
    comparisons = read_comparisons([store])
    from kedge.study.fit import Scorer

    margins = Scorer(clip, comparisons, "cpu").all_margins(comparisons, 5)
    reward = load_reward(f'pickscore@"{clip}"')
    scale = reward.clip.model.logit_scale.exp()

    def score(path: Path, prompt: str) -> torch.Tensor:
        import numpy as np
        from PIL import Image

        return reward(from_uint8(np.array(Image.open(path))[None]), [prompt])[0] / scale

    expected = torch.stack([score(c.first, c.prompt) - score(c.second, c.prompt) for c in comparisons])
    torch.testing.assert_close(margins, expected, atol=2e-6, rtol=1e-5)


def test_only_the_last_layers_change_if_asked(make_study, clip, tmp_path) -> None:
    from kedge.rewards.weights import read_folder

    store = make_study("clean", "ruined", pairs=30, raters=2)
    fill(store, lambda rng: 0.95)
    settings = FitSettings(epochs=2, batch_size=16, lr=3e-4, layers=1)
    fit = fit_preference(clip, split(read_comparisons([store]), 0.2, 0), tmp_path / "reward", settings)
    assert fit.epoch > 0
    before, after = read_folder(clip)[0], read_folder(tmp_path / "reward")[0]
    changed = {key for key in before if key in after and not torch.equal(before[key], after[key])}
    assert changed
    assert all(".layers.1." in key or "projection" in key or key == "logit_scale" for key in changed), changed


def test_a_reward_that_cannot_be_written_is_refused_before_anything_is_read_or_learnt(tmp_path) -> None:
    (tmp_path / "notes").write_text("mine")
    nothing, out = tmp_path / "nothing", tmp_path / "notes" / "reward"
    for fit in (
        lambda: fit_votes([nothing], out),
        lambda: fit_preference(nothing, Split([], [], []), out),
        lambda: fit_ratings(nothing, [], out, keep_backbone=True),
    ):
        with pytest.raises(ValueError, match=r"reward cannot be written: .*notes is a file"):
            fit()


def test_more_last_layers_than_there_are_are_all_layers(clip) -> None:
    from kedge.study.fit import Scorer

    def opened(layers: int) -> int:
        return len(Scorer(clip, [], "cpu").trainable(layers))

    assert opened(1) < opened(2) == opened(3) == opened(100)  # it has two


def test_prompts_never_stand_on_both_sides_of_the_split() -> None:
    votes = [Comparison(f"p{i % 23}", Path("a"), Path(f"b{i}"), 1.0) for i in range(200)]
    parts = split(votes, 0.2, seed=4)
    sides = [{c.prompt for c in side} for side in (parts.train, parts.validation, parts.held_out)]
    assert sum(map(len, sides)) == 23 == len(set.union(*sides))
    assert [len(side) for side in sides] == [16, 2, 5]
    with pytest.raises(ValueError, match="too few"):
        split(votes[:3], 0.2, 0)


def test_agreement_of_raters_counts_pairs_of_raters() -> None:
    a, b = Path("a"), Path("b")
    votes = [Comparison("p", a, b, label) for label in (1.0, 1.0, 0.0, 0.5)]
    assert rater_agreement(votes) == pytest.approx(1 / 3)
    assert rater_agreement(votes[:1]) is None


def test_votes_on_twins_are_what_d3po_draws_again(micro_lcm, tmp_path) -> None:
    """The pictures that raters saw are those that D3PO draws from the exported seeds, first for first."""
    import numpy as np
    from PIL import Image

    from kedge.algorithms.votes import read_votes, seeded_pairs
    from kedge.pixels import to_uint8
    from kedge.policies import load_policy
    from kedge.policies.base import rollout
    from kedge.study.create import create_study
    from kedge.study.design import Design
    from kedge.study.export import d3po_jsonl
    from kedge.study.questions import parse_questions
    from kedge.study.sources import ModelSource

    policy = load_policy(
        "lcm", micro_lcm, steps=2, guidance=1.0, lora=None, device=torch.device("cpu"), dtype=torch.float32
    )
    source = ModelSource("micro", policy, batch_size=3, facts={"tuned": False})
    store = create_study(tmp_path / "s", [source], ["a cat", "the fox"], parse_questions("preference"), Design(5))
    store.add_rater()
    fill(store, lambda rng: 0.5)
    (tmp_path / "votes.jsonl").write_text(d3po_jsonl(store))
    votes = read_votes(tmp_path / "votes.jsonl")
    for vote, record in zip(votes, read_records(store), strict=True):
        assert vote.label == 2 * record.outcome - 1
        with torch.no_grad():
            x0 = rollout(policy, policy.encode([vote.prompt] * 2), seeded_pairs(policy, [vote.seed])).x0
            drawn = to_uint8(policy.decode(x0)).numpy().astype(int)
        for picture, file in zip(drawn, record.files, strict=True):
            assert np.abs(picture - np.array(Image.open(store.pictures / file)).astype(int)).max() <= 1
        assert np.abs(drawn[0] - drawn[1]).max() > 1

    questions = parse_questions("preference")
    siblings = create_study(tmp_path / "t", [source], ["a cat"], questions, Design(3), shared_noise=False)
    with pytest.raises(ValueError, match="itself"):
        d3po_jsonl(siblings)


def test_images_of_a_folder_have_no_seed_and_a_missing_prompt_is_named(folders, make_study) -> None:
    assert make_study().db.execute("SELECT count(*) FROM pair WHERE seed IS NULL").fetchone()[0] == 8
    _, prompts = read_image_folder(folders["clean"])
    with pytest.raises(ValueError, match="no picture for 'a unicorn'"):
        make_study(prompts=[*prompts[:7], "a unicorn"], name="other")
