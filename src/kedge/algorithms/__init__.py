"""Algorithms by name. Each is a frozen dataclass of its own hyper-parameters; importing this imports none of them."""

from __future__ import annotations

from kedge.registry import Registry

ALGORITHMS = Registry(
    "algorithm",
    {
        "rocm": "kedge.algorithms.rocm:ROCM",
        "rlcm": "kedge.algorithms.ppo:RLCM",
        "ddpo": "kedge.algorithms.ppo:DDPO",
        "ppo": "kedge.algorithms.ppo:PPO",
        "dpok": "kedge.algorithms.dpok:DPOK",
        "d3po": "kedge.algorithms.d3po:D3PO",
        "hybrid": "kedge.algorithms.hybrid:Hybrid",
        "grpo": "kedge.algorithms.grpo:GRPO",
        "draft": "kedge.algorithms.draft:DRaFT",
        "alignprop": "kedge.algorithms.draft:AlignProp",
        "refl": "kedge.algorithms.soft_q:ReFL",
        "soft_q": "kedge.algorithms.soft_q:SoftQ",
    },
)
"""The algorithms by name."""
