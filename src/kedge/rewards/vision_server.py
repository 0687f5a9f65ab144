"""A client for vision-language models behind an OpenAI-compatible server: vLLM, llama.cpp, Ollama, Kedge's own."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass
from typing import Any

from PIL import Image

from kedge.rewards.json_server import JsonServer, PassingError, ServerError

JPEG_QUALITY = 80  # as RLCM's client sends pictures
KEY_VARIABLE = "KEDGE_VISION_KEY"


@dataclass(frozen=True)
class VisionServer:
    """A model behind a server.

    Attributes:
        server: where to ask, and how patiently.
        model: its name on the server; None takes the only one that the server offers.
        max_tokens: longest answer.
    """

    server: JsonServer
    model: str | None = None
    max_tokens: int = 64

    @classmethod
    def at(cls, url: str, model: str | None = None) -> VisionServer:
        """At an address up to and with ``/v1``, with the usual patience, and the key that the environment holds."""
        return cls(JsonServer(url, "vision server", KEY_VARIABLE), model)

    @classmethod
    def parse(cls, source: str) -> VisionServer:
        """``http://host:8000/v1`` or ``http://host:8000/v1#model``.

        Raises:
            ValueError: not such an address.
        """
        url, _, model = source.partition("#")
        if not url.startswith(("http://", "https://")):
            raise ValueError(
                f"a vision server is given as http://HOST:PORT/v1 or http://HOST:PORT/v1#MODEL, not {source!r}"
            )
        return cls.at(url.rstrip("/"), model or None)

    def ask(self, picture: Image.Image, question: str) -> str:
        """The server's answer, stripped; empty if it has nothing to say.

        Raises:
            ServerError: it refused, or all tries failed.
        """
        buffer = io.BytesIO()
        picture.save(buffer, format="JPEG", quality=JPEG_QUALITY)
        data = base64.b64encode(buffer.getvalue()).decode()
        content = [
            {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{data}"}},
            {"type": "text", "text": question},
        ]
        request = {
            "model": self.model or self.only_model(),
            "messages": [{"role": "user", "content": content}],
            "temperature": 0,
            "seed": 0,
            "max_tokens": self.max_tokens,
        }
        answer: str = self.server.ask("/chat/completions", request, _answer)
        return answer

    def only_model(self) -> str:
        """The name of the model on the server, if it is the only one.

        Raises:
            ServerError: there are several, or none.
        """
        names: list[str] = self.server.ask("/models", read=_models)
        if len(names) != 1:
            offered = f"offers {', '.join(names)}" if names else "offers no model"
            raise ServerError(f"{self.server.url} {offered}: name one, as in {self.server.url}#MODEL")
        return names[0]


def _models(reply: Any) -> list[str]:
    try:
        return [str(model["id"]) for model in reply["data"]]
    except (KeyError, TypeError) as error:
        raise PassingError(f"its list of models holds none: {_shortly(reply)}") from error


def _answer(reply: Any) -> str:
    try:
        text: str = (reply["choices"][0]["message"]["content"] or "").strip()
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise PassingError(f"its reply holds no answer: {_shortly(reply)}") from error
    return text.encode(errors="replace").decode()  # JSON can hold half of a surrogate pair, which no tokenizer reads


def _shortly(reply: Any) -> str:
    return json.dumps(reply)[:200]
