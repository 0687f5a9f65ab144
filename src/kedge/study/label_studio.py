"""Label Studio's JSON: tasks with their annotations, made into plain rows with one judgement each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

PAIR = (("image1", "image2"), ("image_a", "image_b"), ("left", "right"), ("image_0", "image_1"))


def flat_tasks(items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each annotation of each task; rows that are none of Label Studio's stay as they are.

    Its full export has ``data`` and ``annotations``, whose ``result`` is a pairwise choice, a rating or a choice; its
    small one (JSON-MIN) is a list of plain rows already.
    """
    rows: list[dict[str, Any]] = []
    for item in items:
        if isinstance(item.get("data"), Mapping) and "annotations" in item:
            rows += _annotated(item)
        else:
            rows.append(item)
    return rows


def _annotated(task: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    data = dict(task["data"])
    for annotation in task["annotations"]:
        if annotation.get("was_cancelled"):
            continue
        for result in annotation.get("result", ()):
            judgement = _judgement(result.get("value", {}))
            if judgement:
                yield {**_with_pair(data, str(result.get("to_name", ""))), **judgement}


def _judgement(value: Mapping[str, Any]) -> dict[str, Any]:
    if "selected" in value:  # <Pairwise>
        return {"choice": value["selected"]}
    if "rating" in value:  # <Rating>
        return {"rating": value["rating"]}
    if "number" in value:  # <Number>
        return {"rating": value["number"]}
    if value.get("choices"):  # <Choices>
        return {"choice": value["choices"][0]}
    return {}


def _with_pair(data: dict[str, Any], names: str) -> dict[str, Any]:
    """The data with the two pictures under names that are known, if the comparison names two of its own."""
    if any(first in data and second in data for first, second in PAIR):
        return data
    both = []
    for name in names.split(","):
        if name in data:
            both.append(data[name])
    return {**data, "image_a": both[0], "image_b": both[1]} if len(both) == 2 else data
