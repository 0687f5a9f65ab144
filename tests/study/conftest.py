"""Real small studies: true renders of the emoji world against degraded ones, so the right answer is known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.emoji_renders import render
from helpers.live_server import LiveServer
from kedge.evaluation.image_folder import write_image_folder
from kedge.study.create import create_study
from kedge.study.design import Design
from kedge.study.questions import parse_questions
from kedge.study.sources import FolderSource
from kedge.study.store import Store
from kedge.worlds.emoji.captions import held_out_prompts


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of pictures of the same 40 prompts: clean, grainy, ruined."""
    root, prompts = tmp_path_factory.mktemp("renders"), held_out_prompts(40)
    noise = {"clean": 0.0, "grainy": 0.12, "ruined": 0.6}
    return {name: write_image_folder(root / name, render(prompts, level), prompts) for name, level in noise.items()}


@pytest.fixture
def make_study(folders: dict[str, Path], tmp_path: Path):
    """Makes a study of the given folders with some raters."""

    def make(
        *names: str,
        pairs: int = 8,
        raters: int = 2,
        questions: str = "preference",
        prompts: list[str] | None = None,
        name: str = "study",
        secret: str | None = "fixed",  # order and sides are the same in every run of a test
        **design,
    ) -> Store:
        sources = [FolderSource(folders[each]) for each in names or ("clean", "ruined")]
        texts = prompts or list(sources[0].by_prompt)
        store = create_study(
            tmp_path / name, sources, texts, parse_questions(questions), Design(pairs, **design), secret=secret
        )
        for _ in range(raters):
            store.add_rater()
        return store

    return make


@pytest.fixture
def serve() -> Iterator:
    """Starts ``kedge study serve`` as a process of its own; ends those it started."""
    servers: list[LiveServer] = []

    def start(store: Store) -> LiveServer:
        servers.append(LiveServer(store.folder))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
