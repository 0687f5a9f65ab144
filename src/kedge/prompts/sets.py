"""Three sets of prompts: to train on, to watch and tune by, and to judge the finished model by.

A model that is judged on what it was trained on always looks better, and one that is judged on what its settings were
chosen by still looks a little better. So training prompts are never called held-out, and prompts of your own are
split by themselves, unless the recipe gives all three sets.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from kedge.config import PromptsConfig, RunConfig
from kedge.evaluation.run_log import HELD_OUT, TRAIN_PROMPTS, Role, words
from kedge.prompts import PromptError, load_prompts
from kedge.prompts.named import NAMED

log = logging.getLogger(__name__)
MOST_TUNING, MOST_TEST = 64, 256  # of your own prompts: as many as an evaluation needs
SHARE = 10  # one in ten for either
FEWEST = 20  # different prompts from which a split is made: two for either set
WATCHED = 64  # training prompts that are watched where nothing is held out


@dataclass(frozen=True)
class PromptSet:
    """Prompts and what they are to the training.

    Attributes:
        role: ``train`` if the model is trained on them, ``tuning`` if it is watched and tuned by them, ``test`` if it
            never saw them, ``given`` if nobody knows.
    """

    prompts: list[str]
    role: Role

    @property
    def name(self) -> str:
        """For the log: ``held_out``, or ``train_prompts``."""
        return TRAIN_PROMPTS if self.role == "train" else HELD_OUT


def prompts_of(config: PromptsConfig, key: str = "prompts") -> list[str]:
    """The prompts of a ``prompts`` block, before anything is kept from them.

    Args:
        key: where in a recipe the block stands, for messages.

    Raises:
        PromptError: naming ``key``, what is missing, and what to give instead.
    """
    try:
        return load_prompts(
            config.source,
            column=config.column,
            split=config.split,
            count=config.count,
            seed=config.seed,
            local=config.local,
        )
    except PromptError as error:
        raise type(error)(f"{key}: {error}") from error


class PromptSets:
    """The three sets of a run, each loaded on first use.

    Args:
        config: of the run.
        new: whether the run starts now. Then it is decided how many of your own prompts are kept from training,
            where the recipe leaves that open; for a run that has started, it was decided then (older ones kept none).

    Attributes:
        config: with those numbers written down, as ``prompts.tuning`` and ``prompts.test``.
    """

    def __init__(self, config: RunConfig, *, new: bool = False):
        self._own = prompts_of(config.prompts)
        self.config = self._settled(config) if new else config

    def _settled(self, config: RunConfig) -> RunConfig:
        block = config.prompts
        different = len(set(map(same, self._own)))
        tenth = different // SHARE
        named = config.watch.held_out is not None or config.watch.test is not None
        own = block.source not in NAMED and not named and different >= FEWEST
        tuning, test = (min(MOST_TUNING, tenth), min(MOST_TEST, tenth)) if own else (0, 0)
        block = replace(
            block,
            tuning=tuning if block.tuning is None else block.tuning,
            test=test if block.test is None else block.test,
        )
        return replace(config, prompts=block)

    @cached_property
    def _parts(self) -> tuple[list[str], list[str], list[str]]:
        block = self.config.prompts
        return split(self._own, block.tuning or 0, block.test or 0, seed=block.seed)

    @property
    def train(self) -> list[str]:
        """To train on."""
        return self._parts[0]

    @cached_property
    def voted(self) -> list[str]:
        """Those of recorded votes (``algorithm.votes``): their pictures are learnt from. None if the file is gone."""
        prompts_of_votes = getattr(self.config.algorithm.instance, "voted_prompts", None)
        if prompts_of_votes is None:
            return []
        try:
            return list(prompts_of_votes())
        except ValueError as error:
            log.warning("which prompts were voted on is not known: %s", error)
            return []

    @property
    def learnt(self) -> list[str]:
        """Every prompt that the model learns from."""
        return [*self.train, *self.voted]

    @cached_property
    def tuning(self) -> PromptSet:
        """To watch the training by: ``watch.held_out``, or those kept from the training prompts, or some of these."""
        if self.config.watch.held_out is not None:
            key = "watch.held_out"
            reserved = self._parts[2] if self.config.watch.test is None else ()
            return self._apart(prompts_of(self.config.watch.held_out, key), "tuning", key, reserved)
        if self._parts[1]:
            return PromptSet(self._parts[1], "tuning")
        return PromptSet(self.train[:WATCHED], "train")

    @cached_property
    def of_training(self) -> list[str]:
        """Every different prompt that a training encodes: those to train on, and those to watch it by."""
        watch = self.config.watch
        watched = self.tuning.prompts if watch.evaluate_every or watch.samples_every else []
        return list(dict.fromkeys([*self.learnt, *watched, *watch.samples]))

    @cached_property
    def test(self) -> PromptSet:
        """To judge the model by: ``watch.test``, or those kept from the training prompts, or those it is watched by."""
        if self.config.watch.test is not None:
            seen = self.tuning.prompts if self.tuning.role == "tuning" else ()
            return self._apart(prompts_of(self.config.watch.test, "watch.test"), "test", "watch.test", seen)
        if self._parts[2]:
            if set(map(same, self.voted)) & set(map(same, self._parts[2])):
                return self._apart(self._parts[2], "test", "prompts.test", self.tuning.prompts)
            watched = set(map(same, self.tuning.prompts)) & set(map(same, self._parts[2]))
            return PromptSet(self._parts[2], "tuning" if watched else "test")
        if self.tuning.role == "train":
            return PromptSet(self._own, "train")
        return self.tuning

    def _apart(self, prompts: list[str], role: Role, key: str, others: Sequence[str]) -> PromptSet:
        """Those of ``prompts`` that are neither trained on nor in ``others``; if none is left, called what they are."""
        trained, elsewhere = set(map(same, self.learnt)), set(map(same, others))
        apart, left = [], []
        for prompt in prompts:
            if same(prompt) not in trained:
                left.append(prompt)
                if same(prompt) not in elsewhere:
                    apart.append(prompt)
        if not left:
            log.warning("all prompts of %s are trained on: they are called training prompts", key)
            return PromptSet(prompts, "train")
        if not apart:
            log.warning("all prompts of %s are in another set as well: they are called %s", key, words("tuning"))
            return PromptSet(left, "tuning")
        if len(apart) < len(prompts):
            log.warning(
                "%d of the %d prompts of %s are in another set as well: left out",
                len(prompts) - len(apart),
                len(prompts),
                key,
            )
        return PromptSet(apart, role)

    def drawn(self, count: int | None) -> PromptSet:
        """``count`` prompts to judge the model by, drawn with the seed of where they come from; None takes all."""
        if count is None:
            return self.test
        watch = self.config.watch
        if watch.test is not None:
            counted = replace(watch, test=replace(watch.test, count=count))
            return PromptSets(replace(self.config, watch=counted)).test
        if watch.held_out is not None:
            counted = replace(watch, held_out=replace(watch.held_out, count=count))
            return PromptSets(replace(self.config, watch=counted)).test
        if count > len(self.test.prompts):
            raise ValueError(f"--count is {count}, but there are only {len(self.test.prompts)} {words(self.test.role)}")
        seed = self.config.prompts.seed
        return replace(self.test, prompts=random.Random(seed).sample(self.test.prompts, count))

    def lines(self) -> list[str]:
        """What is in which set, a line for each."""
        withheld = len(self._parts[1]) + len(self._parts[2])
        prompts = self.config.prompts.source
        source = (prompts if isinstance(prompts, str) else "the recipe") + (
            f", {withheld} kept from training" if withheld else ""
        )
        return [
            f"prompts: {len(self.train)} of {source}, for example {self.train[0]!r}",
            f"watched by: {len(self.tuning.prompts)} {words(self.tuning.role)}",
            f"judged by: {len(self.test.prompts)} {words(self.test.role)}",
        ]

    def warnings(self) -> list[str]:
        """What the user should know about them before it starts."""
        lines = []
        if withheld := len(self._parts[1]) + len(self._parts[2]):
            lines.append(
                f"{withheld} of the {len(self._own)} prompts are kept from training: {len(self._parts[1])} to watch it "
                f"by, {len(self._parts[2])} to judge it by (prompts.tuning, prompts.test; 0 trains on all)"
            )
        if self.tuning.role == "train" and self.config.watch.evaluate_every:
            lines.append(
                "nothing is held out, so evaluations are on training prompts and say nothing of others: set "
                "watch.held_out, or prompts.tuning and prompts.test"
            )
        return lines


def same(prompt: str) -> str:
    """What prompts have in common that draw the same picture: CLIP's tokenizer knows neither capitals nor spaces."""
    return " ".join(prompt.lower().split())


def split(prompts: Sequence[str], tuning: int, test: int, *, seed: int = 0) -> tuple[list[str], list[str], list[str]]:
    """Training, tuning and test prompts, no prompt in two of them; each in the given order.

    Args:
        prompts: repeated ones (:func:`same`) stay together: in training they stay repeated, elsewhere each counts once.
        tuning, test: how many different prompts to keep.
        seed: of the draw.

    Raises:
        ValueError: if nothing would be left to train on.
    """
    first: dict[str, str] = {}
    for prompt in prompts:
        first.setdefault(same(prompt), prompt)
    different = list(first.values())
    if tuning + test >= len(different):
        raise ValueError(
            f"prompts.tuning + prompts.test is {tuning + test}, but there are only {len(different)} different prompts: "
            "keep fewer from training"
        )
    drawn = random.Random(f"sets {seed}").sample(different, tuning + test)
    to_watch, to_judge = set(drawn[:tuning]), set(drawn[tuning:])
    train = []
    for prompt in prompts:
        if first[same(prompt)] not in to_watch | to_judge:
            train.append(prompt)
    return train, list(filter(to_watch.__contains__, different)), list(filter(to_judge.__contains__, different))
