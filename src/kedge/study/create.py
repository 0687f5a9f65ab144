"""Making a study: draw both sides of every pair from the same seeds, and write the folder whole or not at all."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from PIL import Image

from kedge.evaluation.evaluator import sample_seed
from kedge.evaluation.grid import fit
from kedge.files import replacing
from kedge.study.design import Design, PlannedPair, plan_pairs
from kedge.study.questions import Question
from kedge.study.sources import FolderSource, ModelSource, Progress, Source
from kedge.study.store import PICTURES, Facts, PairRecord, Store, new_token, write_study

TITLE = "Which picture is better?"
PADDING = "#808080"  # around a picture of other proportions than the one beside it
AT_ONCE = 32  # pairs drawn between two reports of progress


def create_study(
    folder: Path,
    sources: Sequence[Source],
    prompts: Sequence[str],
    questions: Sequence[Question],
    design: Design,
    *,
    title: str = TITLE,
    shared_noise: bool = True,
    secret: str | None = None,
    progress: Progress | None = None,
) -> Store:
    """Draw the pictures and write the study.

    Args:
        folder: must not exist yet.
        sources: two or more to compare; or one model, whose own pictures are compared in pairs.
        title: raters see it; it must not say what is compared.
        secret: decides order and sides with the design's seed; None draws one, so that nobody can foretell them.
        shared_noise: with one model, whether its two pictures start from the same noise, as D3PO needs.

    Raises:
        ValueError: the folder exists, two sources have one name, or a source has no picture for a prompt.
    """
    if folder.exists():
        raise ValueError(f"{folder} exists: give another --out, or remove it first")
    names = [source.name for source in sources]
    if len(set(names)) < len(names):
        raise ValueError(f"two of the models have one name ({', '.join(names)}): a report could not tell them apart")
    planned = plan_pairs(len(sources), len(prompts), design)
    kind = "models" if len(sources) > 1 else "twins" if shared_noise else "siblings"
    facts = Facts(
        title,
        tuple(questions),
        design=design,
        kind=kind,
        owner=new_token(),
        secret=new_token() if secret is None else secret,
    )
    with replacing(folder) as draft:
        (draft / PICTURES).mkdir(parents=True)
        records: list[PairRecord] = []
        for start in range(0, len(planned), AT_ONCE):
            pairs = planned[start : start + AT_ONCE]
            records += _draw(
                draft / PICTURES, sources, prompts=prompts, planned=pairs, seed=design.seed, shared_noise=shared_noise
            )
            if progress is not None:
                progress(len(records), len(planned))
        write_study(draft, facts, [(source.name, source.facts) for source in sources], records).close()
    return Store(folder)


def _draw(
    folder: Path,
    sources: Sequence[Source],
    prompts: Sequence[str],
    planned: Sequence[PlannedPair],
    seed: int,
    shared_noise: bool,
) -> list[PairRecord]:
    """Pictures of some pairs, source by source, so that each draws in batches."""
    texts, seeds = [], []
    for pair in planned:
        texts.append(prompts[pair.prompt])
        seeds.append(sample_seed(seed, pair.prompt, pair.repetition))
    if len(sources) == 1:
        source = sources[0]
        if not isinstance(source, ModelSource):
            raise ValueError(f"{source.name} cannot draw pairs: give a second folder or a model to compare it with")
        first, second = (source.twins if shared_noise else source.siblings)(texts, seeds)
    else:
        first, second = _drawn_apart(sources, planned, texts, seeds)
    records = []
    for i, pair in enumerate(planned):
        files = _save_alike(folder, first[i], second[i])
        seedless = isinstance(sources[pair.first], FolderSource) or isinstance(sources[pair.second], FolderSource)
        records.append(PairRecord(texts[i], None if seedless else seeds[i], pair.first, pair.second, *files))
    return records


def _drawn_apart(
    sources: Sequence[Source], planned: Sequence[PlannedPair], texts: Sequence[str], seeds: Sequence[int]
) -> tuple[list[Image.Image], list[Image.Image]]:
    """The first and the second picture of each pair, each by its own source."""
    pictures: dict[tuple[int, int], Image.Image] = {}  # by source and pair
    for index, source in enumerate(sources):
        rows = []
        for i, pair in enumerate(planned):
            if index in (pair.first, pair.second):
                rows.append(i)
        if rows:
            copies = [planned[i].repetition for i in rows]
            drawn = source.pictures(list(map(texts.__getitem__, rows)), list(map(seeds.__getitem__, rows)), copies)
            pictures.update(zip(product([index], rows), drawn, strict=True))
    first, second = [], []
    for i, pair in enumerate(planned):
        first.append(pictures[pair.first, i])
        second.append(pictures[pair.second, i])
    return first, second


def _save_alike(folder: Path, *pair: Image.Image) -> list[str]:
    """Save two pictures in one size and format, without metadata, under names that say nothing.

    Those of other proportions are padded, never stretched.
    """
    widths, heights = zip(*(image.size for image in pair), strict=True)
    size = max(widths), max(heights)
    names = []
    for image in pair:
        names.append(f"{secrets.token_hex(16)}.png")
        alike = fit(image.convert("RGB"), size, PADDING)
        alike.info.clear()
        alike.save(folder / names[-1], "PNG")
    return names
