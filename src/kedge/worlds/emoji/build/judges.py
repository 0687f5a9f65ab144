"""The stages that make the reward models, each in its published format; all but CLIP learn from ``pictures.npz``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import torch
from transformers import BertTokenizer, BlipConfig, CLIPModel

from kedge.rewards.aesthetic import save_head
from kedge.rewards.blip import BlipNetwork, from_published, projections
from kedge.rewards.openclip import save_open_clip
from kedge.rewards.weights import build_frozen, read_state
from kedge.worlds.emoji.build import hps
from kedge.worlds.emoji.build.aesthetic import train_aesthetic
from kedge.worlds.emoji.build.answer_quality import MODEL, SCENES, measure_answerer
from kedge.worlds.emoji.build.answering import ACTIVE, save_answerer, train_answerer
from kedge.worlds.emoji.build.bert import make_words, train_bert
from kedge.worlds.emoji.build.blip import blip_config, save_blip, train_blip
from kedge.worlds.emoji.build.captioning import train_captioner
from kedge.worlds.emoji.build.loop import Schedule
from kedge.worlds.emoji.build.pictures import Pictures
from kedge.worlds.emoji.build.pool import draw_pool, tokenize
from kedge.worlds.emoji.build.preference import Raters, pairwise_accuracy, scorer, train_preference
from kedge.worlds.emoji.build.rankings import Rankers, save_image_reward, train_image_reward
from kedge.worlds.emoji.build.workshop import Workshop
from kedge.worlds.emoji.networks import make_image_processor

VOTES = 40  # cast for each prompt


def build_pickscore(shop: Workshop) -> None:
    """A preference model in PickScore's format."""
    train, _ = _pictures(shop)
    model = _preference(shop, "pickscore", train, Raters(temperature=0.04, slips=0.02), shop.budget.pickscore, salt=6)
    shop.save("pickscore", model)


def build_hpsv2(shop: Workshop) -> None:
    """Another preference model, in HPSv2's format."""
    train, _ = _pictures(shop)
    model = _preference(shop, "hpsv2", hps.seen_by_raters(train), hps.RATERS, shop.budget.hpsv2, salt=11)
    shop.tokenizer.save_pretrained(shop.folder / "hpsv2")
    save_open_clip(model, shop.folder / "hpsv2" / "HPS_v2_compressed.pt")


def build_aesthetic(shop: Workshop) -> None:
    """The aesthetic head in LAION's format."""
    pictures = Pictures.load(shop.folder / "pictures.npz")
    head, correlation = train_aesthetic(shop.load(CLIPModel, "clip").cpu(), pictures, seed=shop.seed + 7)
    shop.note({"reward": "aesthetic", "correlation_with_taste": correlation})
    save_head(head.half(), shop.folder / "aesthetic.pth")


def build_bert(shop: Workshop) -> None:
    """BERT's words, and the network that compares texts for the alignment reward."""
    words = make_words(shop.folder / "bert")
    shop.save("bert", train_bert(words, shop.budget.bert, shop.folder, seed=shop.seed + 12, device=shop.device))
    words.save_pretrained(shop.folder / "bert")


def build_blip(shop: Workshop) -> None:
    """The BLIP behind BLIPScore, from which ImageReward and the captioner start."""
    words = _words(shop)
    network = train_blip(shop.pool, words, shop.budget.blip, shop.folder, seed=shop.seed + 13, device=shop.device)
    save_blip(network, blip_config(words), words, shop.folder / "blip")


def build_imagereward(shop: Workshop) -> None:
    """A preference model in ImageReward's format."""
    words, rankers = _words(shop), Rankers()
    train, _ = _pictures(shop)
    config, blip = _blip(shop)
    network = train_image_reward(
        blip, config, words, train, rankers, shop.budget.imagereward, shop.folder, seed=shop.seed + 14
    )
    shop.note({"reward": "imagereward"} | asdict(rankers))
    save_image_reward(network, config, words, shop.folder / "imagereward")


def build_captioner(shop: Workshop) -> None:
    """A BLIP that describes pictures, for the alignment reward."""
    words = _words(shop)
    train, _ = _pictures(shop)
    config, blip = _blip(shop)
    model = train_captioner(
        blip, config, words, shop.pool, train, shop.budget.captioner, shop.folder, seed=shop.seed + 15
    )
    shop.save("captioner", model)
    words.save_pretrained(shop.folder / "captioner")
    make_image_processor().save_pretrained(shop.folder / "captioner")


def build_answerer(shop: Workshop) -> None:
    """A vision-language model that says Yes or No, for the reward ``vqa``."""
    seed = shop.seed + 16
    pool = draw_pool(shop.budget.pool, seed, shop.tokenizer, shop.device, activities=ACTIVE)
    model, tokenizer = train_answerer(pool, shop.budget.answerer, shop.folder, seed=seed)
    save_answerer(model.to("cpu", torch.float16), tokenizer, shop.folder / "answerer")
    count = min(SCENES, shop.budget.pictures)
    quality = measure_answerer(shop.folder / "answerer", shop.folder / MODEL, seed=shop.seed + 24, count=count)
    shop.note({"reward": "vqa", "questions": quality})


def _preference(
    shop: Workshop, name: str, pictures: Pictures, raters: Raters, schedule: Schedule, *, salt: int
) -> CLIPModel:
    """Fine-tune the CLIP on votes, and note how often it agrees with the oracle on held-out prompts."""
    _, held = _pictures(shop)
    clip = shop.load(CLIPModel, "clip").cpu()
    model = train_preference(
        name, clip, shop.tokenizer, pictures, raters, schedule, shop.folder, seed=shop.seed + salt, votes=VOTES
    )
    accuracy = pairwise_accuracy(scorer(model), tokenize(shop.tokenizer, held.prompts), held)
    shop.note({"reward": name, "pairwise_accuracy": accuracy, "votes": VOTES * len(pictures.prompts)} | asdict(raters))
    return model


def _pictures(shop: Workshop) -> tuple[Pictures, Pictures]:
    return Pictures.load(shop.folder / "pictures.npz").split()


def _words(shop: Workshop) -> BertTokenizer:
    return make_words(shop.folder / "bert_words")


def _blip(shop: Workshop) -> tuple[BlipConfig, BlipNetwork]:
    """The finished BLIP without its matching head.

    Raises:
        FileNotFoundError: naming the stage that makes it.
    """
    file = shop.folder / "blip" / "model_large.pth"
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: run the stage that makes it first (blip)")
    config = BlipConfig.from_pretrained(file.parent, local_files_only=True)
    state = {k: v for k, v in from_published(read_state(file, "model")).items() if not k.startswith("itm_head")}
    network = build_frozen(lambda: BlipNetwork(config, projections(config)), state, file, "cpu")
    return config, network.requires_grad_(True)


STAGES: dict[str, Callable[[Workshop], None]] = {
    "pickscore": build_pickscore,
    "hpsv2": build_hpsv2,
    "aesthetic": build_aesthetic,
    "bert": build_bert,
    "blip": build_blip,
    "imagereward": build_imagereward,
    "captioner": build_captioner,
    "answerer": build_answerer,
}
