"""How far a model has moved from its base, whatever it was trained by: along its own trajectories, at the same x_k.

* **Path KL**, in nats: Σ_{k=2..K} KL(p_k^θ ‖ p_k^ref), the exact divergence of whole trajectories (their joint density;
  the last step is deterministic and has none). What ROCM's KL and DPOK penalise, and what over-optimisation is plotted
  against (Gao et al. 2022, reward against √KL).
* **RMS change of x̂_0**, in standard deviations of the latent: √(mean over steps K, …, 1 and latent dimensions of
  (x̂_0^θ − x̂_0^ref)²). Scaled latents have unit variance by construction (``vae.config.scaling_factor``). Unlike the KL
  it depends neither on the noise schedule nor on the number of dimensions, so models and sizes can be compared.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kedge.policies.base import Policy, PredictingPolicy, Trajectory

PATH_KL, RMS_X0 = "path_kl", "rms_x0"


def distances(policy: Policy, trajectory: Trajectory) -> dict[str, Tensor]:
    """Each distance that this policy has, ``[B]``.

    Args:
        trajectory: of the policy, with the reference's step beside each of its own.

    Returns:
        ``path_kl`` unless some step before the last is deterministic, ``rms_x0`` if the policy says what its steps make
        of x̂_0.
    """
    distances, squares = dict[str, Tensor](), []
    for k, q in trajectory.references.items():
        p = trajectory.step(k)[2]
        weight = policy.x0_weight(k) if isinstance(policy, PredictingPolicy) else None
        if weight is not None:  # the means differ by this times x̂_0^θ − x̂_0^ref
            squares.append(((p.mean - q.mean) / weight).square().flatten(1).mean(1))
    steps = len(trajectory.transitions)
    divergences = kl_by_step(trajectory)
    if steps > 1 and len(divergences) == steps - 1:
        distances[PATH_KL] = torch.stack(list(divergences.values())).sum(0)
    if len(squares) == steps:
        distances[RMS_X0] = torch.stack(squares).mean(0).sqrt()
    return distances


def kl_by_step(trajectory: Trajectory) -> dict[int, Tensor]:
    """KL(p_k^θ ‖ p_k^ref) in nats, ``[B]``, of every step k that draws noise and has its reference beside it."""
    divergences = {}
    for k, q in trajectory.references.items():
        p = trajectory.step(k)[2]
        if k > 1 and not p.deterministic:
            divergences[k] = p.squared_distance(q, "sum") / 2
    return divergences
