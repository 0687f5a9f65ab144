"""The emoji world's captioner, served as real vision-language models are: OpenAI-compatible HTTP."""

from __future__ import annotations

import base64
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoTokenizer, BlipForConditionalGeneration

from kedge.rewards.preprocess import CropPreprocess, read_preprocess

LONGEST_REQUEST = 32 * 2**20


class Captioner:
    """A transformers BLIP that describes a picture in words.

    Args:
        folder: ``BlipForConditionalGeneration`` with its tokenizer.

    Raises:
        FileNotFoundError: there is no such folder.
    """

    def __init__(self, folder: Path):
        if not (folder / "config.json").is_file():
            raise FileNotFoundError(
                f"the emoji world's captioner is not at {folder}: reinstall kedge, or make it with: kedge world build"
            )
        self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.model = BlipForConditionalGeneration.from_pretrained(folder, local_files_only=True).float().eval()
        self.preprocess: CropPreprocess = read_preprocess(folder, self.model.config.vision_config.image_size)
        self._one_at_a_time = threading.Lock()

    @torch.no_grad()
    def __call__(self, images: Tensor, longest: int = 24) -> list[str]:
        """Captions of images ``[B, 3, H, W]`` in [0, 1], at most ``longest`` tokens."""
        room = self.model.config.text_config.max_position_embeddings - 2  # for the first and the last token
        pixels = self.preprocess(images)
        with self._one_at_a_time:
            ids = self.model.generate(pixel_values=pixels, max_new_tokens=min(longest, room), do_sample=False)
        # The first token only starts the text; it need not be marked as special in the vocabulary.
        return [self.tokenizer.decode(row[1:], skip_special_tokens=True).strip() for row in ids]


class CaptionServer:
    """A captioner on ``http://127.0.0.1:PORT/v1``, answering in threads until closed.

    Args:
        port: 0 takes a free one.
    """

    model_name = "emoji-captioner"

    def __init__(self, folder: Path, port: int = 0, host: str = "127.0.0.1"):
        self._server = ThreadingHTTPServer((host, port), _handler(Captioner(folder), self.model_name))
        self._server.daemon_threads = True
        self.url = f"http://{host}:{self._server.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering and free the port."""
        self._server.shutdown()
        self._server.server_close()


def _handler(captioner: Captioner, name: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path == "/v1/models":
                return self._reply(200, {"object": "list", "data": [{"id": name, "object": "model"}]})
            return self._reply(404, _error(f"no {self.path} here: GET /v1/models or POST /v1/chat/completions"))

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            if self.path != "/v1/chat/completions" or length > LONGEST_REQUEST:
                self.close_connection = True
                return self._reply(404, _error("only POST /v1/chat/completions, up to 32 MiB"))
            try:
                request = json.loads(self.rfile.read(length))
                images = read_picture(request)
            except (ValueError, KeyError, TypeError, OSError) as error:
                return self._reply(400, _error(f"expected one message with one image as a data: URL ({error})"))
            try:
                answer = captioner(images, int(request.get("max_tokens") or 24))[0]
            except (RuntimeError, IndexError, ValueError) as error:
                return self._reply(500, _error(f"the captioner failed: {error}"))
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": answer}}
            return self._reply(200, {"object": "chat.completion", "model": name, "choices": [choice]})

        def _reply(self, status: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet: a training run asks thousands of times."""

    return Handler


def read_picture(request: dict[str, Any]) -> Tensor:
    """The first image of a chat request, ``[1, 3, H, W]`` in [0, 1].

    Raises:
        ValueError: there is none, or it is not a data: URL (the server fetches nothing).
    """
    parts = [part for message in request["messages"] for part in message["content"] if isinstance(part, dict)]
    urls = [part["image_url"]["url"] for part in parts if part.get("type") == "image_url"]
    if not urls or not urls[0].startswith("data:image/"):
        raise ValueError("no image as a data: URL")
    picture = Image.open(io.BytesIO(base64.b64decode(urls[0].partition(",")[2], validate=True))).convert("RGB")
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 255


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error"}}
