"""A claim, as its file says it: the question, the contrasts that decide it, when one looks, and by which rule."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from kedge.config import ConfigError
from kedge.config.text import read_yaml, validated

FAMILY_ERROR = 0.05  # probability that any of the claims of a study is decided wrongly
FIRST, AGAIN = "", "again"  # studies, by the folders of their files
MOST_DEPEND = 3  # claims that may come out as "depends"
Rule = Literal["all", "no single winner"]


@dataclass(frozen=True)
class Contrast:
    """A number that is above 0 where the claim is true.

    Attributes:
        name: what it is, for people.
        kind: of :data:`kedge_papers.claims.contrasts.KINDS`.
        options: which runs and metrics; each kind has its own.
    """

    name: str
    kind: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes:
        number: on the page.
        claim: in a sentence.
        source: paper and section, or ``ours``.
        question: what is asked here, precisely.
        experiment: the target of ``kedge reproduce`` whose records answer.
        contrasts: what decides. By the rule ``all`` the claim holds if every one is above 0, and does not if any is
            below; by ``no single winner`` see :func:`kedge_papers.claims.verdict.judge`.
        reported: contrasts that are shown beside and decide nothing.
        depends: two of the contrasts: if each is decided, and differently, the answer is that it depends on what tells
            them apart.
        looks: number of training seeds → share of the error probability that is spent when it is looked at with so
            many. Nothing is concluded in between. Empty where no training is involved.
    """

    number: int
    claim: str
    source: str
    question: str
    experiment: str
    contrasts: tuple[Contrast, ...]
    rule: Rule = "all"
    reported: tuple[Contrast, ...] = ()
    depends: tuple[str, ...] = ()
    looks: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [contrast.name for contrast in self.contrasts]
        if self.depends and (len(self.depends) != 2 or not set(self.depends) <= set(names)):
            raise ValueError(f"claim {self.number}: depends must name two of its contrasts, not {self.depends}")
        if self.looks and abs(sum(self.looks.values()) - FAMILY_ERROR) > 1e-9:
            raise ValueError(f"claim {self.number}: its looks must spend {FAMILY_ERROR} in all, not {self.looks}")


def claim_files(study: str = FIRST) -> list[Path]:
    """The files of a study, in order."""
    return sorted((Path(str(resources.files("kedge_papers") / "claims")) / study).glob("*.yaml"))


def load_claims(study: str = FIRST) -> tuple[Claim, ...]:
    """All claims of a study, by their numbers.

    Args:
        study: :data:`FIRST`, or :data:`AGAIN`: what the first left undecided, asked of fresh seeds alone. Each study
            errs with a probability of :data:`FAMILY_ERROR` at most.

    Raises:
        ConfigError: naming the file and the key.
    """
    claims = sorted((load_claim(path) for path in claim_files(study)), key=lambda claim: claim.number)
    if sum(bool(claim.depends) for claim in claims) > MOST_DEPEND:
        raise ConfigError(f"at most {MOST_DEPEND} claims may come out as 'depends': more would be a way not to answer")
    return tuple(claims)


def load_claim(path: Path) -> Claim:
    """One file.

    Raises:
        ConfigError: naming the file and the key.
    """
    data = read_yaml(path.read_text(encoding="utf-8"), str(path))
    return validated(Claim, data, path)
