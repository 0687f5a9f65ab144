"""The emoji experiments' three sets of prompts: to train on, to tune on, to test on. No prompt is in two of them.

Training prompts are activities that the base models rarely saw; of the other activities, and of combinations that they
never saw, some are for tuning and the rest are kept for the test.
"""

from __future__ import annotations

from kedge.prompts import load_prompts

TUNING_ACTIVITIES, TUNING_COMBINATIONS, TEST_COMBINATIONS = 15, 33, 66


def train() -> list[str]:
    """The training activities but for the last five animals'."""
    return load_prompts("emoji-activities-train")[:-TUNING_ACTIVITIES]


def tuning() -> list[str]:
    """The last five animals' training activities, and the first held-out combinations."""
    return tuning_activities() + held_out_combinations()[:TUNING_COMBINATIONS]


def tuning_activities() -> list[str]:
    """The part of the tuning's that is of the kind that is trained on."""
    return load_prompts("emoji-activities-train")[-TUNING_ACTIVITIES:]


def test() -> list[str]:
    """Every held-out activity, and as many other held-out combinations."""
    return test_activities() + unseen()[:TEST_COMBINATIONS]


def test_activities() -> list[str]:
    """The part of the test that is of the kind that is trained on."""
    return load_prompts("emoji-activities-held-out")


def fresh() -> list[str]:
    """The held-out combinations that :func:`test` leaves: the second study's, for the models before training."""
    return unseen()[TEST_COMBINATIONS:]


def unseen() -> list[str]:
    """Held-out combinations, for models that were trained on other prompts than :func:`train`; none of the tuning's."""
    return held_out_combinations()[TUNING_COMBINATIONS:]


def held_out_combinations() -> list[str]:
    """Combinations that no model has seen."""
    return load_prompts("emoji-held-out")
