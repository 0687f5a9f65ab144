"""Two processes that share what an algorithm gathers, without a trainer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.distributed as dist
import torch.multiprocessing as mp

Gather = Callable[[list[Any]], list[Any]]
Work = Callable[[int, Gather], Any]


def in_two_processes(work: Work, folder: Path) -> list[Any]:
    """What ``work(rank, gather)``, a function of a module, returns in each; ``gather`` joins the lists of both."""
    with mp.Manager() as manager:
        results = manager.dict()
        mp.spawn(_process, args=(str(folder / "rendezvous"), work, results), nprocs=2)
        return [results[0], results[1]]


def _process(rank: int, path: str, work: Work, results: Any) -> None:
    dist.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=2)

    def gather(items: list[Any]) -> list[Any]:
        parts: list[Any] = [None, None]
        dist.all_gather_object(parts, items)
        return parts[0] + parts[1]

    results[rank] = work(rank, gather)
    dist.destroy_process_group()
