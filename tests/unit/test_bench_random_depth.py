"""The bench of drawn depths, on the chain: the drawn gradient has the full one's length, and the cut one has not."""

from __future__ import annotations

import numpy as np
import pytest
from bench import random_depth
from docs.random_depth_table import table

from kedge.policies.base import Backprop
from kedge_papers.targets.dimension import Chain

WAYS = {"full": Backprop(), "last_steps: 1": Backprop(last_steps=1), "random_depth: 0.5": Backprop(random_depth=0.5)}


def test_the_drawn_gradient_is_whole_and_the_cut_one_is_not(monkeypatch):
    """θ reaches x_0 through step k by Π α: of the full sum, the last step alone has 1."""
    monkeypatch.setattr(random_depth, "WAYS", WAYS)
    monkeypatch.setattr(random_depth, "DIMENSIONS", 4)
    monkeypatch.setattr(random_depth, "CHAIN_STEPS", 4)
    reach = [1.0]
    for k in range(2, 5):
        reach.append(reach[-1] * float(Chain(4, 4).schedule[k].next_alpha))
    ways = random_depth.measured(random_depth.chain, 4, 120)
    cut, drawn = ways["last_steps: 1"], ways["random_depth: 0.5"]
    assert cut["along"][0] == pytest.approx(1 / sum(reach), abs=1e-6)  # the same noise: to rounding
    assert cut["variance"][0] == pytest.approx(1 / sum(reach) ** 2, abs=1e-6)
    assert drawn["along"][1] - 0.05 < 1 < drawn["along"][2] + 0.05
    assert drawn["variance"][0] > 1
    assert (cut["depth"], drawn["depth"]) == (1, 1.875)
    both = {"steps": 4, "batches": 120, "ways": ways}
    page = table({"samples": 8, "dimensions": 4, "reward": "none", "chain": both, "model": {"name": "a model", **both}})
    assert "| `random_depth: 0.5` | 1.9 |" in page


def test_the_length_along_is_unbiased_where_noise_is_shared():
    """Twice the full gradient is 2, whatever the noise; independent noise around it too."""
    rng = np.random.default_rng(0)
    full = rng.standard_normal((200, 5)) + 1
    assert random_depth.along(2 * full, full) == pytest.approx([2, 2, 2])
    _, low, high = random_depth.along(rng.standard_normal((200, 5)) + 0.5, full)
    assert low < 0.5 < high
    assert high - low < 0.4
