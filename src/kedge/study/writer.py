"""Many raters' answers in one transaction: while one is synced to disk, the next ones gather."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool

from kedge.study.store import Store

Change = Callable[[], None]


class Writer:
    """Makes changes in the order in which they come; each is on disk when its call returns."""

    def __init__(self, store: Store):
        self.store = store
        self._waiting: list[tuple[Change, asyncio.Future[None]]] = []
        self._work: asyncio.Task[None] | None = None

    async def __call__(self, change: Change) -> None:
        """Make one change; raises what it raises, and then nothing of it has happened."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((change, future))
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._write())
        await future

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                errors = await run_in_threadpool(self._commit, [change for change, _ in batch])
            except Exception as error:
                errors = [error] * len(batch)  # the disk is full, or locked: nobody is told that it is written
            for (_, future), failed in zip(batch, errors, strict=True):
                if future.cancelled():
                    continue
                if failed is None:
                    future.set_result(None)
                else:
                    future.set_exception(failed)

    def _commit(self, changes: list[Change]) -> list[Exception | None]:
        errors: list[Exception | None] = []
        with self.store.writing():
            for change in changes:
                try:
                    change()
                    errors.append(None)
                except Exception as error:
                    errors.append(error)
        return errors
