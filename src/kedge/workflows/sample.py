"""What ``kedge sample`` does: pictures of a model or a run, from seeds that mean the same in diffusers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from kedge.workflows.targets import Target


@dataclass(frozen=True)
class Samples:
    """Pictures, ``count`` of each prompt one after another.

    Attributes:
        images: ``[prompts × count, 3, H, W]`` in [0, 1], on the CPU.
        prompts: each once.
        seeds: of the pictures of each prompt.
    """

    images: Tensor
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]

    def picture(self) -> Image.Image:
        """The picture; of several, a grid: prompts down, seeds across. Tiny ones are enlarged, pixel by pixel."""
        from kedge.evaluation import image_grid
        from kedge.evaluation.grid import as_image, crisp
        from kedge.evaluation.picture_files import DESCRIPTION

        if len(self.images) == 1:
            picture = crisp(as_image(self.images[0]))
            picture.info[DESCRIPTION] = self.prompts[0]
            return picture
        count = len(self.seeds)
        columns = {f"seed {seed}": self.images[i::count] for i, seed in enumerate(self.seeds)}
        return image_grid(columns, list(self.prompts))

    def save(self, path: str | Path) -> Path:
        """Write :meth:`picture`.

        Raises:
            ValueError: the name does not end like a picture's.
        """
        from kedge.evaluation.picture_files import save_picture

        target = picture_path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        return save_picture(self.picture(), target)


def picture_path(path: str | Path) -> Path:
    """A path whose ending says which kind of picture it is, and that can be written; ask before drawing.

    Raises:
        ValueError: it does not, or cannot.
    """
    from PIL import Image

    from kedge.files import check_writable

    target = Path(path)
    if Image.registered_extensions().get(target.suffix.lower()) not in Image.SAVE:  # some can only be opened
        raise ValueError(f"--out {path}: the name must end like a picture's, as in {target.stem or 'sample'}.png")
    check_writable(target)
    return target


def sample(
    target: Target,
    prompts: str | Sequence[str],
    *,
    seed: int = 0,
    count: int = 1,
    base: bool = False,
    steps: int | None = None,
    guidance: float | None = None,
    kind: str | None = None,
    model: Sequence[str] = (),
    device: str = "auto",
) -> Samples:
    """Draw pictures with a model or a run; the same seed draws the same picture in diffusers.

    Args:
        target: a run folder, a :class:`TrainedRun`, a bundled model, a folder, a hub id, or a policy in memory.
        prompts: what to draw: one, or several.
        seed: of the first picture of each prompt.
        count: pictures for each prompt, with seeds one after another.
        base: draw with the base model of a run or policy, without its adapter.
        steps, guidance: not for policies. None takes the run's, or the usual steps of its kind and the model's own ω.
        kind: of a plain model; None finds out.
        model: other keys of a recipe's model block as ``key=value``, for plain models.

    Raises:
        ValueError: if the model cannot be found, or nothing says what kind it is.
    """
    from contextlib import nullcontext

    from kedge.policies.sampling import draw
    from kedge.prompts.loading import check_texts
    from kedge.workflows.targets import is_policy, load_target

    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    check_texts(texts, "--prompt")
    if is_policy(target):
        policy = target
    else:
        loaded = load_target(target, kind=kind, steps=steps, guidance=guidance, device=device, overrides=model)
        policy = loaded.policy
    if base and not list(policy.trainable()):
        raise ValueError(f"--base: {target} has no adapter that could be left out; leave --base out instead")
    seeds = range(seed, seed + count)
    with policy.reference() if base else nullcontext():
        repeated = [text for text in texts for _ in seeds]
        images = draw(policy, repeated, [*seeds] * len(texts))
    return Samples(images, tuple(texts), tuple(seeds))
