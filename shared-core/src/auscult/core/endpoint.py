"""Chat completions from any OpenAI-compatible server: many at once, patient with the server, careful with the key.

Works with hosted APIs, vLLM, Ollama, llama.cpp and ``transformers serve``; only ``base_url`` differs.

- At most ``concurrency`` requests are in flight; a 429 halves that number and each success raises it a little.
- 408, 409, 429, 5xx, timeouts and broken connections are tried again, after ``Retry-After`` where the server
  gives it; any other status is final. A wrong address or key ends the job; 403 and 404 from a server that has
  answered before are failures of one request, unless they go on.
- A JSON schema is asked for where the server accepts it. A server may ignore it without a word, so whoever asked
  validates the reply in every case.
- The key is read from the environment when a connection is opened. It is part of no configuration, message or error.

Needs the extra ``http``.

Examples
--------
A question with an image, answered by a scripted server (:mod:`auscult.core.testing.server`):

>>> from auscult.core.testing.server import ScriptedServer
>>> content = [text_part("Is the left lung clear?"), image_part(b"...", "image/png")]
>>> request = ChatRequest(messages=[{"role": "user", "content": content}], max_tokens=5, temperature=0)
>>> with ScriptedServer(lambda body, number: "yes") as server:
...     endpoint = Endpoint(base_url=server.base_url, model="m")
...     complete_all(endpoint, [("study-7", request)], lambda pairs: print(pairs[0][0], pairs[0][1].text))
study-7 yes
"""

import asyncio
import base64
import email.utils
import json
import math
import os
import random
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import urlsplit

from auscult.core.errors import AuscultError, InputError, missing_dependency

if TYPE_CHECKING:
    import aiohttp

RETRIED = frozenset({408, 409, 429})
"""Statuses below 500 after which a request is tried again; every status from 500 on is, too."""

WRONG_ADDRESS = frozenset({301, 302, 303, 307, 308, 401, 403, 404, 405})
"""Statuses that no request to this address with this key will escape: the whole job ends."""

OF_ONE_REQUEST = frozenset({403, 404})
"""Those of them that, once the server has answered, may be about one request, such as one that moderation stops."""

_MOST_REFUSED = 20  # one after the other; then it is the key or the address after all

_LONGEST_WAIT = 60.0
_LONGEST_DETAIL = 200


class RequestFailedError(AuscultError):
    """One request got no usable answer; others may."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where to send requests, and how patiently.

    Parameters
    ----------
    base_url
        Up to and including the version: ``"http://127.0.0.1:8000/v1"``.
    model
        The model's name as the server knows it.
    api_key_env
        The environment variable that holds the key. Where it is unset, no key is sent.
    concurrency
        Requests in flight at most.
    timeout
        Seconds that one attempt may take.
    attempts
        How often a request is sent at most.
    first_wait
        Seconds before the second attempt where the server names no time; it doubles with every attempt, up to a
        minute.
    """

    base_url: str
    model: str
    api_key_env: str = "OPENAI_API_KEY"
    concurrency: int = 16
    timeout: float = 120.0
    attempts: int = 6
    first_wait: float = 0.5

    def __post_init__(self) -> None:
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise InputError(
                f"the base URL {self.base_url!r} is no web address: give one like http://127.0.0.1:8000/v1"
            )
        if parts.username or parts.password or parts.query:
            raise InputError(
                "the base URL holds a user, a password or a query: give the key in the environment variable "
                f"{self.api_key_env} instead"
            )
        if not self.model:
            raise InputError("the model has no name: give the one that the server lists")
        for name in ("concurrency", "attempts"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}: use 1 or more")
        if not self.timeout > 0 or not self.first_wait >= 0:
            raise InputError(f"timeout is {self.timeout} and first_wait {self.first_wait}: give seconds above 0")


@dataclass(frozen=True, kw_only=True)
class ChatRequest:
    """One chat completion to ask for.

    Parameters
    ----------
    messages
        ``{"role": ..., "content": ...}``; the content is text or a list of parts (:func:`text_part`,
        :func:`image_part`).
    max_tokens, temperature, seed
        Sent where not None.
    schema
        A JSON schema that the reply should follow.
    top_logprobs
        Alternatives to report for each token; 0 asks for none.
    extra
        Further fields of the request's body, in place of those above where they have the same name; None leaves a
        field out, such as ``{"max_tokens": None, "max_completion_tokens": 500}`` for a server that wants the latter.
    """

    messages: Sequence[Mapping[str, Any]]
    max_tokens: int | None = None
    temperature: float | None = None
    seed: int | None = None
    schema: Mapping[str, Any] | None = None
    top_logprobs: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)

    def body(self, model: str, *, with_schema: bool = True) -> dict[str, Any]:
        """Return the request's JSON body."""
        body: dict[str, Any] = {"model": model, "messages": list(self.messages)}
        for name in ("max_tokens", "temperature", "seed"):
            if getattr(self, name) is not None:
                body[name] = getattr(self, name)
        if self.schema is not None and with_schema:
            described = {"name": "answer", "schema": dict(self.schema), "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": described}
        if self.top_logprobs:
            body |= {"logprobs": True, "top_logprobs": self.top_logprobs}
        return {name: value for name, value in (body | dict(self.extra)).items() if value is not None}


class Reply(NamedTuple):
    """What a server answered.

    ``text`` is empty where there was none; ``refusal`` is the server's own, where it marks one. Token counts
    are None where the server does not count. ``logprobs`` holds, for each token of the reply, its alternatives
    with their log-probabilities.
    """

    text: str
    finish_reason: str | None = None
    refusal: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    logprobs: tuple[dict[str, float], ...] = ()


Answer = Reply | RequestFailedError


def text_part(text: str) -> dict[str, Any]:
    """Return text as a part of a message's content."""
    return {"type": "text", "text": text}


def image_part(image: bytes, media_type: str) -> dict[str, Any]:
    """Return an encoded image (``"image/png"``, ``"image/jpeg"``) as a part of a message's content."""
    if not media_type.startswith("image/"):
        raise InputError(f"{media_type!r} is no type of image: give one like image/png")
    address = f"data:{media_type};base64,{base64.b64encode(image).decode()}"
    return {"type": "image_url", "image_url": {"url": address}}


def complete_all(
    endpoint: Endpoint,
    requests: Iterable[tuple[str, ChatRequest]],
    deliver: Callable[[list[tuple[str, Answer]]], object],
) -> None:
    """Send every request and deliver the answers as they come.

    Parameters
    ----------
    endpoint
        The server.
    requests
        Pairs of key and request, read only as fast as they are sent.
    deliver
        Called with all pairs of key and answer that have arrived since the last call, in the order of arrival;
        a request that failed for good comes as a :class:`RequestFailedError`.

    Raises
    ------
    InputError
        No server answers at the address, or it refuses the address or the key.
    """

    async def job() -> None:
        async with Client(endpoint) as client:
            async for answers in client.complete_many(requests):
                deliver(answers)

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(job())
        return
    with ThreadPoolExecutor(1) as thread:  # a notebook has a loop of its own, which cannot be nested
        thread.submit(asyncio.run, job()).result()


class Client:
    """Connections to one endpoint, used as an asynchronous context.

    Examples
    --------
    >>> async def ask(endpoint: Endpoint, question: str) -> str:
    ...     async with Client(endpoint) as client:
    ...         reply = await client.complete(ChatRequest(messages=[{"role": "user", "content": question}]))
    ...     return reply.text
    """

    _session: "aiohttp.ClientSession"

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._address = endpoint.base_url.rstrip("/") + "/chat/completions"
        self._gate = _Gate(endpoint.concurrency)
        self._resume_at = 0.0
        self._heard = False
        self._answered = False
        self._refused = 0
        self._takes_schema = True
        self._key = ""

    async def __aenter__(self) -> Self:
        try:
            import aiohttp
        except ImportError as error:
            raise missing_dependency("aiohttp", purpose="asking a server", install="auscult-core[http]") from error
        self._key = os.environ.get(self.endpoint.api_key_env, "").strip()
        if not self._key.isascii() or not self._key.isprintable():
            raise InputError(
                f"the key in {self.endpoint.api_key_env} holds characters that no header takes: set it anew"
            )
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=self.endpoint.timeout),
            headers=headers,
        )  # fmt: skip
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def complete_many(
        self, requests: Iterable[tuple[str, ChatRequest]]
    ) -> AsyncIterator[list[tuple[str, Answer]]]:
        """Yield the answers in groups, as they arrive; see :func:`complete_all`."""
        waiting = iter(requests)
        arrived: deque[tuple[str, Answer]] = deque()
        news = asyncio.Event()

        async def work() -> None:
            for key, request in waiting:
                try:
                    answer: Answer = await self.complete(request)
                except RequestFailedError as error:
                    answer = error
                arrived.append((key, answer))
                news.set()

        workers = {asyncio.create_task(work()) for _ in range(self.endpoint.concurrency)}
        try:
            while workers or arrived:
                wake = asyncio.create_task(news.wait())
                done, _ = await asyncio.wait({wake, *workers}, return_when=asyncio.FIRST_COMPLETED)
                wake.cancel()
                news.clear()
                if arrived:
                    answers = list(arrived)
                    arrived.clear()
                    yield answers
                for worker in done & workers:
                    workers.discard(worker)
                    worker.result()
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def complete(self, request: ChatRequest) -> Reply:
        """Send one request, again where that may help, and return the reply.

        Raises
        ------
        RequestFailedError
            The server refused the request, or every attempt failed.
        InputError
            The server cannot be reached at all, or refuses the address or the key.
        """
        for attempt in range(1, self.endpoint.attempts + 1):
            with_schema = self._takes_schema
            content = json.dumps(request.body(self.endpoint.model, with_schema=with_schema)).encode()
            outcome = await self._attempt(content)
            if outcome.status == 200:
                return _read_reply(outcome.text)
            if outcome.status in WRONG_ADDRESS:
                self._refused += 1
                of_one = outcome.status in OF_ONE_REQUEST and self._answered and self._refused <= _MOST_REFUSED
                if not of_one:
                    raise InputError(self._explain_refusal(outcome))
            if outcome.status in (400, 422) and request.schema is not None and with_schema:
                # Not counted on for long: the same request without the schema shows whether that was the reason.
                outcome = await self._attempt(json.dumps(request.body(self.endpoint.model, with_schema=False)).encode())
                if outcome.status == 200:
                    self._takes_schema = False
                    return _read_reply(outcome.text)
            if 0 < outcome.status < 500 and outcome.status not in RETRIED:
                raise RequestFailedError(f"the server refused the request ({self._describe(outcome)})")
            if attempt < self.endpoint.attempts:
                await self._wait(attempt, outcome)
        if not self._heard and outcome.timed_out:
            raise InputError(
                f"{self.endpoint.base_url} has given no answer within {self.endpoint.timeout:g} s, "
                f"{self.endpoint.attempts} times: raise the timeout if it is slow, else check that it is running"
            )
        if not self._heard:
            raise InputError(
                f"no server answers at {self.endpoint.base_url} ({self._describe(outcome)}): "
                "start it, or give another base URL"
            )
        raise RequestFailedError(f"{self.endpoint.attempts} attempts failed, the last with {self._describe(outcome)}")

    async def _attempt(self, content: bytes) -> "_Outcome":
        import aiohttp

        while (pause := self._resume_at - time.monotonic()) > 0:
            await asyncio.sleep(pause)
        started = await self._gate.enter()
        try:
            async with self._session.post(
                self._address, data=content, headers={"Content-Type": "application/json"}, allow_redirects=False
            ) as response:
                self._heard = True
                text = (await response.read()).decode("utf-8", "replace")
                outcome = _Outcome(response.status, text, _retry_after(response.headers.get("Retry-After")))
            if outcome.status == 429:
                self._gate.slow_down(started)
            elif outcome.status == 200:
                self._answered, self._refused = True, 0
                self._gate.speed_up()
            return outcome
        except TimeoutError:
            return _Outcome(0, f"no answer within {self.endpoint.timeout:g} s", None, timed_out=True)
        except (aiohttp.ClientError, OSError) as error:
            return _Outcome(0, f"{type(error).__name__}: {error}", None)
        finally:
            self._gate.leave()

    async def _wait(self, attempt: int, outcome: "_Outcome") -> None:
        if outcome.retry_after is not None:
            if outcome.status in (429, 503):
                self._resume_at = max(self._resume_at, time.monotonic() + outcome.retry_after)
            await asyncio.sleep(outcome.retry_after)
            return
        longest = min(_LONGEST_WAIT, self.endpoint.first_wait * 2 ** (attempt - 1))
        await asyncio.sleep(longest * random.uniform(0.5, 1.0))  # spread, so that all do not return at once

    def _describe(self, outcome: "_Outcome") -> str:
        text = outcome.text
        try:
            parsed = json.loads(text)
            detail = parsed.get("error", parsed) if isinstance(parsed, dict) else parsed
            text = str(detail.get("message", detail) if isinstance(detail, dict) else detail)
        except ValueError:
            pass
        text = " ".join(text.split())
        # Some servers repeat the key, whole or with its middle starred out, in their complaint.
        for secret in (self._key, self._key[:8], self._key[-4:] if len(self._key) >= 20 else ""):
            text = text.replace(secret, "***") if secret else text
        text = text[:_LONGEST_DETAIL] + "..." * (len(text) > _LONGEST_DETAIL)
        return f"status {outcome.status}: {text}" if outcome.status else text

    def _explain_refusal(self, outcome: "_Outcome") -> str:
        if outcome.status in (401, 403):
            held = "refuses the key in" if self._key else "wants a key, and none is in"
            held = f"refuses the request, or {held}" if outcome.status == 403 else held
            return (
                f"{self.endpoint.base_url} {held} the environment variable {self.endpoint.api_key_env} "
                f"({self._describe(outcome)}): set it to a key of this server"
            )
        return (
            f"{self._address} is no address of chat completions, or has no model {self.endpoint.model!r} "
            f"({self._describe(outcome)}): check the base URL, which often ends in /v1, and the model's name"
        )


class _Outcome(NamedTuple):
    """One attempt: the HTTP status (0 where there was none), the body or the reason, and when to come back."""

    status: int
    text: str
    retry_after: float | None
    timed_out: bool = False


class _Gate:
    """Lets so many in at a time; that number is halved when the server says slow down, and grows back."""

    def __init__(self, cap: int) -> None:
        self.cap = cap
        self.limit = float(cap)
        self._inside = 0
        self._queue: deque[asyncio.Future[None]] = deque()
        self._slowed_at = -math.inf

    async def enter(self) -> float:
        """Wait for a place and return the time of entry."""
        while self._inside >= int(self.limit):
            place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._queue.append(place)
            try:
                await place
            except asyncio.CancelledError:
                self._wake()  # the place that was meant for us goes to the next
                raise
        self._inside += 1
        return time.monotonic()

    def leave(self) -> None:
        self._inside -= 1
        self._wake()

    def slow_down(self, started: float) -> None:
        """Halve the limit, once for all requests that were in flight together."""
        if started > self._slowed_at:
            self._slowed_at = time.monotonic()
            self.limit = max(1.0, self.limit / 2)

    def speed_up(self) -> None:
        self.limit = min(float(self.cap), self.limit + 1 / self.limit)

    def _wake(self) -> None:
        free = int(self.limit) - self._inside
        while free > 0 and self._queue:
            place = self._queue.popleft()
            if not place.done():
                place.set_result(None)
                free -= 1


def _read_reply(text: str) -> Reply:
    try:
        body = json.loads(text)
        choice = body["choices"][0]
        message = choice["message"]
        content, refusal = message.get("content"), message.get("refusal")
        if isinstance(content, list):
            content = "".join(part.get("text", "") for part in content)
        usage = body.get("usage") or {}
        tokens = (choice.get("logprobs") or {}).get("content") or ()
        logprobs = tuple(
            {str(top["token"]): float(top["logprob"]) for top in token.get("top_logprobs") or [token]}
            for token in tokens
        )
        return Reply(
            "" if content is None else str(content), _text(choice.get("finish_reason")), _text(refusal),
            _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")), logprobs,
        )  # fmt: skip
    except (ValueError, LookupError, TypeError, AttributeError):
        shown = " ".join(text[:_LONGEST_DETAIL].split())
        raise RequestFailedError(f"the server's answer is no chat completion: {shown!r}") from None


def _text(value: object) -> str | None:
    return str(value) if value else None


def _count(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _retry_after(header: str | None) -> float | None:
    """Return the seconds that a Retry-After header asks for (it gives seconds or a date), at most a minute."""
    if header is None:
        return None
    if re.fullmatch(r"\d+(\.\d+)?", header.strip()):
        return min(float(header), _LONGEST_WAIT)
    try:
        moment = email.utils.parsedate_to_datetime(header).timestamp()
    except (TypeError, ValueError):
        return None
    return min(max(0.0, moment - time.time()), _LONGEST_WAIT)
