"""A client for vision-language models behind an OpenAI-compatible server (vLLM, llama.cpp, Ollama, the emoji world's).

Plain HTTP from the standard library: nothing to install, nothing unpickled, every failure told apart.
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PIL import Image

JPEG_QUALITY = 80  # as RLCM's client sends pictures
PASSING = (408, 409, 425, 429)  # worth another try, besides all of 5xx
KEY_VARIABLE = "KEDGE_VISION_KEY"


class ServerError(RuntimeError):
    """The server did not answer, or refused; the message says what it said and what to do."""


class _Passing(Exception):
    """A failure that may pass: tried again."""


@dataclass(frozen=True)
class VisionServer:
    """Where to ask, and how patiently.

    Attributes:
        url: up to and with ``/v1``.
        model: its name on the server; None takes the only one that the server offers.
        timeout: seconds for one answer.
        attempts: tries in all before giving up.
        pause: seconds before the second try; doubled each time, up to ``longest_pause``.
        max_tokens: longest answer.
    """

    url: str
    model: str | None = None
    timeout: float = 120.0
    attempts: int = 8
    pause: float = 1.0
    longest_pause: float = 30.0
    max_tokens: int = 64

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
        return cls(url.rstrip("/"), model or None)

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
        answer: str = self._patiently(lambda: _answer(self._call("/chat/completions", request)))
        return answer

    def only_model(self) -> str:
        """The name of the model on the server, if it is the only one.

        Raises:
            ServerError: there are several, or none.
        """
        names: list[str] = self._patiently(lambda: [str(model["id"]) for model in self._call("/models")["data"]])
        if len(names) != 1:
            offered = f"offers {', '.join(names)}" if names else "offers no model"
            raise ServerError(f"{self.url} {offered}: name one, as in {self.url}#MODEL")
        return names[0]

    def _patiently(self, call: Callable[[], Any]) -> Any:
        begin, pause = time.monotonic(), self.pause
        for attempt in range(1, self.attempts + 1):
            try:
                return call()
            except _Passing as error:
                if attempt == self.attempts:
                    seconds = time.monotonic() - begin
                    raise ServerError(
                        f"the vision server at {self.url} failed {attempt} times in {seconds:.0f} s; at last: {error}. "
                        "Start it again, then resume the run: what was saved is safe"
                    ) from error
            time.sleep(pause)
            pause = min(2 * pause, self.longest_pause)
        raise AssertionError("attempts must be 1 or more")

    def _opener(self) -> urllib.request.OpenerDirector:
        """A server on this machine is asked directly, whatever proxy the machine uses for the world outside."""
        host = urllib.parse.urlsplit(self.url).hostname
        local = host in ("localhost", "127.0.0.1", "::1")
        return urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if local else []))

    def _call(self, path: str, body: dict[str, Any] | None = None) -> Any:
        request = urllib.request.Request(self.url + path, data=None if body is None else json.dumps(body).encode())
        request.add_header("Content-Type", "application/json")
        if key := os.environ.get(KEY_VARIABLE):
            request.add_header("Authorization", f"Bearer {key}")
        try:
            with self._opener().open(request, timeout=self.timeout) as response:
                return json.loads(response.read())
        except urllib.error.HTTPError as error:
            said = f"HTTP {error.code}: {error.read(500).decode(errors='replace').strip()}"
            if error.code in PASSING or error.code >= 500:
                raise _Passing(said) from error
            raise ServerError(f"the vision server at {self.url} refused {path}: {said}") from error
        except (OSError, http.client.HTTPException) as error:
            raise _Passing(f"{getattr(error, 'reason', None) or error or type(error).__name__}") from error
        except ValueError as error:
            raise _Passing(f"its answer is not JSON ({error})") from error


def _answer(reply: Any) -> str:
    try:
        return (reply["choices"][0]["message"]["content"] or "").strip()
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise _Passing(f"its reply holds no answer: {json.dumps(reply)[:200]}") from error
