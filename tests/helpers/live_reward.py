"""A reward behind a server, in this process or in one of its own; and servers that answer by a script."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

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


@contextmanager
def server(*replies):
    """Answers ``(status, body)`` in turn, the last one for ever; yields its address and the requests."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            status, body = replies[min(len(requests), len(replies)) - 1]
            data = json.dumps(body(requests[-1]) if callable(body) else body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{httpd.server_address[1]}/score", requests
    finally:
        httpd.shutdown()
        httpd.server_close()
