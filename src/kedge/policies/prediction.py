"""What a network's output says about x_0 and about the noise: three conventions, one meaning."""

from __future__ import annotations

from torch import Tensor

PREDICTION_TYPES = ("epsilon", "sample", "v_prediction")


def check_prediction_type(name: str) -> None:
    """Raises ValueError for a convention that is not one of :data:`PREDICTION_TYPES`."""
    if name not in PREDICTION_TYPES:
        raise ValueError(f"prediction_type {name!r} in scheduler_config.json: expected {', '.join(PREDICTION_TYPES)}")


def predicted_x0(output: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor, prediction_type: str) -> Tensor:
    """x_0 from the output at ``x = α x_0 + σ ε``."""
    if prediction_type == "epsilon":
        return (x - sigma * output) / alpha
    if prediction_type == "v_prediction":  # v = α ε − σ x_0
        return alpha * x - sigma * output
    return output


def predicted_noise(output: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor, prediction_type: str) -> Tensor:
    """ε from the output at ``x = α x_0 + σ ε``."""
    if prediction_type == "epsilon":
        return output
    if prediction_type == "v_prediction":
        return alpha * output + sigma * x
    return (x - alpha * output) / sigma
