"""Whether a tokenizer belongs to a network: its words are the rows of the network's embedding."""

from __future__ import annotations

from pathlib import Path

SPARE = 512  # rows that some networks have beyond their words, to make a matrix a round number


def check_vocabulary(words: int, rows: int, network: str, folder: str | Path, spare: int = SPARE) -> None:
    """Refuse another network's tokenizer: its ids would be other words, or none at all.

    Args:
        words: of the tokenizer.
        rows: of the network's embedding.
        network: what it is, for messages.
        folder: where the tokenizer lies.
        spare: how many rows may have no word.

    Raises:
        ValueError: naming both numbers and what to do.
    """
    if rows - spare <= words <= rows:
        return
    raise ValueError(
        f"the tokenizer in {folder} has {words} words, but {network} was trained with {rows}: it belongs to another "
        f"network (CLIP's has 49408, BERT's 30522). Put {network}'s own tokenizer there"
    )
