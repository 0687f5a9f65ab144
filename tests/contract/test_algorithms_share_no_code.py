"""An algorithm file holds only what is its own: what two of them need lives in one place beside them."""

from __future__ import annotations

import inspect
import itertools
from pathlib import Path

import pytest

from kedge.algorithms import ALGORITHMS

FILES = sorted({Path(inspect.getfile(ALGORITHMS.get(name))) for name in ALGORITHMS})
BLOCK = 4  # lines of code in a row


def blocks(path: Path) -> set[tuple[str, ...]]:
    """Every run of ``BLOCK`` lines of code, without imports, blank lines and indentation."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    code = [line for line in lines if line and not line.startswith(("import ", "from ", "#", '"""'))]
    return {tuple(code[i : i + BLOCK]) for i in range(len(code) - BLOCK + 1)}


@pytest.mark.parametrize(("one", "other"), itertools.combinations(FILES, 2), ids=lambda path: path.stem)
def test_no_two_algorithm_files_share_a_block(one, other):
    assert not blocks(one) & blocks(other)


def test_there_is_something_to_compare():
    assert {path.stem for path in FILES} >= {"rocm", "ppo", "dpok", "d3po"}
