"""``--world papers`` against both papers: each number that they state, where they state it, and what a run is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from kedge.config.workload import workload_of
from kedge.workflows.runner.runs import Run
from kedge_papers import TARGETS
from kedge_papers.runner.experiment_set import load_experiment_set
from kedge_papers.runner.options import MatrixOptions

PAPERS = load_experiment_set("papers")
OPTIONS = MatrixOptions(PAPERS, "papers", least_steps=1)
ROCM_ROWS, PPO_ROWS, DIFFUSION_ROWS = (
    ("none", "js", "kl", "hellinger", "fisher"),
    ("rlcm", "ddpo"),
    ("ddpo", "d3po", "dpok"),
)


@dataclass(frozen=True)
class Line:
    """One statement of a paper.

    Attributes:
        where: paper and place.
        rows: methods of Table 1, or tasks of RLCM's.
        key: of the configuration, dotted.
        value: what the paper says.
    """

    where: str
    rows: tuple[str, ...]
    key: str
    value: Any


ROCM = (
    Line("4, implementation: 8-step consistency model", (*ROCM_ROWS, "rlcm"), "model.steps", 8),
    Line("4, implementation: 20-step diffusion model", DIFFUSION_ROWS, "model.steps", 20),
    Line("4, implementation: guidance scale ω = 7.5", tuple(PAPERS.methods), "model.omega", 7.5),
    Line("4, implementation: LoRA rank 16 for consistency models", (*ROCM_ROWS, "rlcm"), "model.lora.rank", 16),
    Line("4, implementation: LoRA α 32", (*ROCM_ROWS, "rlcm"), "model.lora.alpha", 32),
    Line("6: consistency base", (*ROCM_ROWS, "rlcm"), "model.name", "SimianLuo/LCM_Dreamshaper_v7"),
    Line("6: diffusion base", DIFFUSION_ROWS, "model.name", "Lykon/dreamshaper-7"),
    Line("6: learning rate 6e-5 for every method", tuple(PAPERS.methods), "optimizer.lr", 6e-5),
    Line("6: batch size 1", ROCM_ROWS, "training.batch_size", 1),
    Line("6: gradient accumulation 1", ROCM_ROWS, "training.accumulation", 1),
    Line("Table 2: β of JS", ("js",), "algorithm.instance.weight", 2000),
    Line("Table 2: β of KL", ("kl",), "algorithm.instance.weight", 1e-4),
    Line("Table 2: β of Hellinger", ("hellinger",), "algorithm.instance.weight", 0.5),
    Line("Table 2: β of Fisher", ("fisher",), "algorithm.instance.weight", 5e-5),
    Line("Table 1: no regularisation", ("none",), "algorithm.instance.weight", 0),
    Line("4: Pick-a-Pic prompts", tuple(PAPERS.methods), "prompts.source", "pickapic-train-4k"),
)

RLCM_TABLE_1 = {
    "algorithm.instance.advantage_clip": (10, 10, 10, 10),
    "algorithm.instance.ratio_clip": (1e-4, 1e-4, 1e-4, 1e-4),
    "optimizer.lr": (1e-4, 1e-4, 1e-4, 1e-4),
    "optimizer.clip": (5, 5, 5, 5),
    "model.steps": (8, 8, 8, 16),
    "algorithm.instance.sample_batch_size": (4, 4, 8, 8),
    "algorithm.instance.buffer_size": (16, 16, 32, 32),
    "algorithm.instance.min_count": (16, 16, 16, 16),
    "training.batch_size": (2, 2, 2, 2),
    "model.lora.rank": (16, 16, 8, 16),
    "model.lora.alpha": (32, 32, 8, 32),
}
# Gradient accumulation × train batch × GPUs: one process here does what theirs did together.
SAMPLES_OF_A_STEP = {
    "compression": 2 * 2 * 4,
    "incompression": 2 * 2 * 4,
    "aesthetic": 4 * 2 * 4,
    "alignment": 20 * 2 * 3,
}
EPOCHS_BY_BATCHES = {"compression": 100 * 10, "incompression": 100 * 10, "aesthetic": 100 * 10, "alignment": 118 * 6}


def value(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = getattr(config, part)
    return config


@pytest.mark.parametrize("line", ROCM, ids=lambda line: line.where)
def test_rows_of_rocms_table_are_told_what_the_paper_says(line):
    for row in line.rows:
        actual = value(OPTIONS.row(row, "pickscore", 0, {}).config(), line.key)
        assert actual == (line.value if isinstance(line.value, str) else pytest.approx(line.value)), row


@pytest.mark.parametrize("key", list(RLCM_TABLE_1))
def test_rlcms_tasks_are_told_what_its_table_1_says(key):
    for task, expected in zip(PAPERS.tasks, RLCM_TABLE_1[key], strict=True):
        assert value(Run("x", PAPERS.tasks[task].recipe).config(), key) == expected, f"{task}: {key}"


def test_rlcms_tasks_take_as_many_samples_and_steps_as_its_table_1_says():
    for task, samples in SAMPLES_OF_A_STEP.items():
        config = Run("x", PAPERS.tasks[task].recipe).config()
        assert config.training.batch_size * config.training.accumulation == samples
        assert config.training.steps == EPOCHS_BY_BATCHES[task]
    assert PAPERS.queries == 100 * 10 * 8 * 4  # aesthetic: epochs × batches × sample batch × GPUs


def test_what_is_measured_is_what_the_papers_measure():
    measure = OPTIONS.measure()
    assert measure.prompts == "pickapic-validation-unique-500"
    assert PAPERS.train == "pickapic-train-4k"  # 4,000 prompts of Pick-a-Pic's training set
    assert measure.metrics == ("pickscore", "aesthetic", "hpsv2", "clipscore", "blipscore", "imagereward")
    assert PAPERS.study == "partiprompts-hps-1-2"
    assert PAPERS.tasks["compression"].prompts == PAPERS.tasks["incompression"].prompts == "imagenet-animals-398"
    assert PAPERS.tasks["aesthetic"].prompts == "animals-45"
    assert list(PAPERS.unseen) == ["bike", "fridge", "waterfall", "tractor"]
    assert set(PAPERS.sweep.betas) >= {1e-3, 1e-4, 1e-5}


def test_the_one_thing_that_cannot_be_as_stated_is_told():
    """A batch of one for RLCM and DDPO, as supplement 6 reads, has no advantage: their authors' samples are kept."""
    assert {row: samples_of(row) for row in PPO_ROWS} == {"rlcm": 32, "ddpo": 256}
    assert "a policy gradient learns nothing from a single sample" in " ".join(PAPERS.protocol.split()).replace(
        "\n", " "
    )


def samples_of(row: str) -> int:
    return workload_of(OPTIONS.row(row, "pickscore", 0, {}).config()).samples


def test_every_row_has_the_budget_of_10_000_steps_of_rocm():
    """4.2: models after 10,000 iterations, with KL; the others get as many network passes."""
    runs = {run.name: run for run in TARGETS.get("table1b").runs(OPTIONS) if run.train}
    assert runs["kl--pickscore--0"].config().training.steps == pytest.approx(10_000, rel=0.01)
