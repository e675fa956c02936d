"""A scripted OpenAI-compatible server on loopback, for tests: it answers, delays, fails, hangs up.

>>> from auscult.core.testing.server import ScriptedServer
>>> with ScriptedServer(lambda body, number: "0.25") as server:
...     server.base_url.startswith("http://127.0.0.1:")
True
"""

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True)
class Fail:
    """Answer with a status and, by default, an error as such servers word it."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str = '{"error": {"message": "scripted failure"}}'


@dataclass(frozen=True)
class Hang:
    """Say nothing for some seconds, or until the server is closed, then answer with the text."""

    seconds: float
    text: str = ""


@dataclass(frozen=True)
class Reset:
    """Close the connection with a reset, after ``sent`` bytes of a correct answer."""

    sent: int = 0


@dataclass(frozen=True)
class Completion:
    """A chat completion with its details; a plain text stands for ``Completion(text)``."""

    text: str | None
    finish_reason: str = "stop"
    refusal: str | None = None
    logprobs: list[dict[str, float]] | None = None


Behaviour = str | Completion | Fail | Hang | Reset


class ScriptedServer:
    """Serves ``POST /v1/chat/completions`` from a function, in threads of this process.

    Parameters
    ----------
    behave
        From the request's body and its number (0, 1, ... in the order of arrival) to what to do.

    Attributes
    ----------
    bodies, headers
        Of every request, in the order of arrival.
    most_in_flight
        How many requests were being answered at once, at most.
    """

    def __init__(self, behave: Callable[[dict[str, Any], int], Behaviour]) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.most_in_flight = 0
        self._behave = behave
        self._in_flight = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()

    @property
    def base_url(self) -> str:
        """The address up to ``/v1``."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        script = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                with contextlib.suppress(ConnectionError):
                    script._serve(self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a client that hangs up is part of the script

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self._lock:
            number = len(self.bodies)
            self.bodies.append(body)
            self.headers.append(dict(handler.headers))
            self._in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self._in_flight)
        try:
            known = handler.path == "/v1/chat/completions"
            behaviour = self._behave(body, number) if known else Fail(404)
            if isinstance(behaviour, Hang):
                self._closing.wait(behaviour.seconds)
                behaviour = behaviour.text
        finally:
            with self._lock:
                self._in_flight -= 1
        if isinstance(behaviour, Fail):
            _send(handler, behaviour.status, behaviour.text, behaviour.headers)
        elif isinstance(behaviour, Reset):
            _reset(handler, behaviour.sent)
        else:
            completion = Completion(behaviour) if isinstance(behaviour, str) else behaviour
            _send(handler, 200, _completion_text(completion, body), {})


def _completion_text(completion: Completion, request: Mapping[str, Any]) -> str:
    message = {"role": "assistant", "content": completion.text, "refusal": completion.refusal}
    choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": completion.finish_reason}
    if completion.logprobs is not None:
        choice["logprobs"] = {
            "content": [
                {"token": max(tops, key=tops.__getitem__), "logprob": max(tops.values()),
                 "top_logprobs": [{"token": token, "logprob": value} for token, value in tops.items()]}
                for tops in completion.logprobs
            ]
        }  # fmt: skip
    words = sum(len(str(message["content"]).split()) for message in request["messages"])
    usage = {"prompt_tokens": words, "completion_tokens": len((completion.text or "").split())}
    return json.dumps({"object": "chat.completion", "model": request["model"], "choices": [choice], "usage": usage})


def _send(handler: BaseHTTPRequestHandler, status: int, text: str, headers: Mapping[str, str]) -> None:
    content = text.encode()
    head = [f"HTTP/1.1 {status} Scripted", "Content-Type: application/json", f"Content-Length: {len(content)}"]
    head += [f"{name}: {value}" for name, value in headers.items()]
    handler.wfile.write("\r\n".join([*head, "", ""]).encode() + content)


def _reset(handler: BaseHTTPRequestHandler, sent: int) -> None:
    if sent:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n")
        handler.wfile.write(b"{" * sent)
        handler.wfile.flush()
    handler.close_connection = True
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
