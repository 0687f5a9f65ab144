"""What to draw: prompts from files, the hub, or named sets; in sets to train on and to judge by, in a seeded order."""

from kedge.prompts.hub import UnreachableError
from kedge.prompts.loading import load_prompts
from kedge.prompts.named import NAMED, NamedSet
from kedge.prompts.report import PromptReport, inspect_prompts
from kedge.prompts.sources import PromptError
from kedge.prompts.stream import PromptStream

__all__ = [
    "NAMED",
    "NamedSet",
    "PromptError",
    "PromptReport",
    "PromptStream",
    "UnreachableError",
    "inspect_prompts",
    "load_prompts",
]
