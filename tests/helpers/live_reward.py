"""A reward behind a server, in this process or in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from kedge.rewards.base import Reward
from kedge.rewards.reward_server import PATH, make_app


@contextmanager
def serving_reward(reward: Reward) -> Iterator[str]:
    """Its address, on a free port, answered from a thread."""
    server = uvicorn.Server(uvicorn.Config(make_app(reward), port=0, log_level="error", access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}{PATH}"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def reward_process(reward: str, **environment: str) -> Iterator[str]:
    """``kedge serve-reward REWARD`` in a process of its own; yields the address that it printed."""
    command = [sys.executable, "-m", "kedge", "serve-reward", reward, "--port", "0", "--device", "cpu"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert " at http://" in line, line
        yield line.split(" at ")[1].split(". ")[0]
    finally:
        process.terminate()
        process.wait(30)
