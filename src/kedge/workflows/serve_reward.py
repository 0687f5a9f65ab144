"""A reward loaded once and served over HTTP, to trainings elsewhere."""

from __future__ import annotations

import os

import torch

from kedge.devices import find_device
from kedge.registry import suggest
from kedge.rewards import load_reward
from kedge.rewards.remote import KEY_VARIABLE
from kedge.rewards.reward_server import PATH, make_app

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def serve_reward(reward: str, *, host: str, port: int, device: str = "auto", dtype: str = "float32") -> None:
    """Serve ``reward`` until it is interrupted; its address is printed once it can be asked.

    Raises:
        ModuleNotFoundError: the extra ``study`` is not installed.
        ValueError: an unknown reward or precision; the port is taken, or the machine has no such address.
        ServerError: the reward asks another server, which does not answer.
    """
    import uvicorn

    from kedge.study.server import listen

    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}.{suggest(dtype, DTYPES)}")
    listen(host, port).close()  # before anything loads; nobody is to wait in line meanwhile
    loaded = load_reward(reward, find_device(device), DTYPES[dtype])
    with torch.no_grad():
        loaded(torch.full((1, 3, 64, 64), 0.5), ["a grey picture"])  # it may ask a server itself, which may be down
    config = uvicorn.Config(make_app(loaded), log_level="warning", access_log=False)
    with listen(host, port) as listener:
        if host not in ("127.0.0.1", "localhost", "::1") and not os.environ.get(KEY_VARIABLE):
            print(f"note: anybody who reaches {host} may ask; set {KEY_VARIABLE} on both sides to allow some")
        print(f"{reward} at http://{host}:{listener.getsockname()[1]}{PATH}. Ctrl-C stops it.", flush=True)
        uvicorn.Server(config).run(sockets=[listener])
