import asyncio
import datetime
import doctest
import email.utils
import random
import re
import time

import pytest

from auscult.core import endpoint as endpoint_module
from auscult.core.endpoint import (
    ChatRequest,
    Client,
    Endpoint,
    Reply,
    RequestFailedError,
    complete_all,
    image_part,
    text_part,
)
from auscult.core.errors import InputError
from auscult.core.testing import server as server_module
from auscult.core.testing.server import Completion, Fail, Hang, Reset, ScriptedServer

KEY = "sk-secret-0123456789abcdef"


def ask(text, **options):
    return ChatRequest(messages=[{"role": "user", "content": text}], **options)


def endpoint(server, **options):
    defaults = {"first_wait": 0.001, "timeout": 5.0}
    return Endpoint(base_url=server.base_url, model="m", **{**defaults, **options})


def collect(server, requests, **options):
    answers = {}
    complete_all(endpoint(server, **options), requests, answers.update)
    return answers


def one(server, request=None, **options):
    return collect(server, [("a", request or ask("?"))], **options)["a"]


def echo(body, number):
    return body["messages"][-1]["content"]


def test_a_reply_has_its_text_and_counts():
    with ScriptedServer(lambda body, number: Completion("0.5", "length")) as server:
        assert one(server) == Reply("0.5", "length", None, 1, 1)
    assert server.bodies == [{"model": "m", "messages": [{"role": "user", "content": "?"}]}]


def test_refusals_and_log_probabilities_come_through():
    tokens = [{"yes": -0.1, "no": -2.5}, {".": -0.01}]
    with ScriptedServer(lambda body, number: Completion(None, refusal="I must not", logprobs=tokens)) as server:
        reply = one(server, ask("?", top_logprobs=2))
    assert (reply.text, reply.refusal, reply.logprobs) == ("", "I must not", tuple(tokens))
    assert (server.bodies[0]["logprobs"], server.bodies[0]["top_logprobs"]) == (True, 2)


def test_a_refusal_or_a_reason_that_is_no_text_is_read_as_text():
    with ScriptedServer(lambda body, number: Completion(None, finish_reason=["stop"], refusal={"code": 7})) as server:
        reply = one(server, ask("?"))
    assert (reply.refusal, reply.finish_reason) == ("{'code': 7}", "['stop']")


def test_faults_of_every_kind_change_no_answer():
    """30 % failures, 429 with Retry-After, hangs, resets before and within an answer: same table, bounded requests."""
    n, attempts, cap = 60, 12, 8
    dice = random.Random(7)
    faults = [Fail(500), Fail(503), Fail(429, {"Retry-After": "0.01"}), Hang(0.6, "late"), Reset(), Reset(5), Fail(408)]

    def behave(body, number):
        return dice.choice(faults) if dice.random() < 0.3 else echo(body, number)

    requests = [(str(i), ask(f"question {i}")) for i in range(n)]
    with ScriptedServer(echo) as server:
        clean = collect(server, requests, concurrency=cap)
    with ScriptedServer(behave) as server:
        disturbed = collect(server, requests, concurrency=cap, attempts=attempts, timeout=0.3)
    assert disturbed == clean
    assert len(clean) == n
    assert n < len(server.bodies) <= n * attempts
    assert server.most_in_flight <= cap


def test_concurrency_is_used_and_never_exceeded():
    with ScriptedServer(lambda body, number: Hang(0.02, "x")) as server:
        collect(server, [(str(i), ask("?")) for i in range(40)], concurrency=5)
    assert server.most_in_flight == 5


def test_requests_are_read_only_as_fast_as_they_are_sent():
    read = 0

    def lazily():
        nonlocal read
        for i in range(50):
            read += 1
            yield str(i), ask("?")

    seen = []
    with ScriptedServer(echo) as server:
        complete_all(endpoint(server, concurrency=3), lazily(), lambda answers: seen.append((read, len(answers))))
    done = 0
    for read_then, arrived in seen:
        done += arrived
        assert read_then <= done + 3 + 3  # in flight, and arrived since
    assert done == 50


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
def test_a_passing_failure_is_tried_again(status):
    with ScriptedServer(lambda body, number: "fine" if number else Fail(status)) as server:
        assert one(server).text == "fine"
    assert len(server.bodies) == 2


@pytest.mark.parametrize("status", [400, 402, 413, 415, 422])
def test_a_final_refusal_is_not_tried_again(status):
    with ScriptedServer(lambda body, number: Fail(status)) as server:
        answer = one(server)
    assert isinstance(answer, RequestFailedError)
    assert f"status {status}: scripted failure" in str(answer)
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    ("status", "word"), [(401, "OPENAI_API_KEY"), (403, "OPENAI_API_KEY"), (404, "base URL"), (308, "base URL")]
)
def test_a_wrong_key_or_address_ends_the_job_with_one_sentence(status, word):
    with ScriptedServer(lambda body, number: Fail(status)) as server, pytest.raises(InputError, match=word):
        collect(server, [(str(i), ask("?")) for i in range(1000)], concurrency=4)
    assert len(server.bodies) <= 8


@pytest.mark.parametrize("status", [403, 404])
def test_a_server_that_answers_may_refuse_one_request(status):
    def behave(body, number):
        return Fail(status, {}, '{"error": {"message": "flagged"}}') if number % 5 == 4 else echo(body, number)

    with ScriptedServer(behave) as server:
        answers = collect(server, [(str(i), ask("?")) for i in range(200)], concurrency=1)
    failed = [answer for answer in answers.values() if isinstance(answer, RequestFailedError)]
    assert len(failed) == 40
    assert "flagged" in str(failed[0])
    assert len(server.bodies) == 200


@pytest.mark.parametrize(("status", "most"), [(401, 4), (403, 30), (404, 30)])
def test_a_server_that_refuses_from_some_moment_on_ends_the_job(status, most):
    with ScriptedServer(lambda body, number: Fail(status) if number > 9 else "fine") as server:
        with pytest.raises(InputError, match=r"OPENAI_API_KEY|base URL"):
            collect(server, [(str(i), ask("?")) for i in range(1000)], concurrency=4)
        assert len(server.bodies) <= 10 + most


def test_a_server_that_is_too_slow_is_not_said_to_be_absent():
    with ScriptedServer(lambda body, number: Hang(5, "late")) as server, pytest.raises(InputError) as caught:
        one(server, timeout=0.1, attempts=2)
    assert "no answer within 0.1 s, 2 times: raise the timeout" in str(caught.value)
    assert "no server answers" not in str(caught.value)


def test_nobody_at_the_address_ends_the_job_with_one_sentence():
    with ScriptedServer(echo) as server:
        address = server.base_url
    gone = Endpoint(base_url=address, model="m", attempts=2, first_wait=0.001)
    with pytest.raises(InputError, match="no server answers at"):
        complete_all(gone, [(str(i), ask("?")) for i in range(100)], lambda answers: None)


def test_a_server_that_always_fails_gives_failures_and_no_crash():
    with ScriptedServer(lambda body, number: Fail(500)) as server:
        answers = collect(server, [(str(i), ask("?")) for i in range(5)], attempts=3)
    assert all(isinstance(answer, RequestFailedError) for answer in answers.values())
    assert len(server.bodies) == 15


@pytest.mark.parametrize("text", ["", "not json", "[]", '{"choices": []}', '{"choices": [{"message": "x"}]}', "{" * 50])
def test_a_malformed_body_is_a_failure_of_this_request(text):
    with ScriptedServer(lambda body, number: Fail(200, {}, text)) as server:
        answer = one(server)
    assert isinstance(answer, RequestFailedError)
    assert "no chat completion" in str(answer)
    assert len(server.bodies) == 1


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_honoured(as_date):
    moments = []

    def behave(body, number):
        moments.append(time.monotonic())
        later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=2)
        wait = email.utils.format_datetime(later, usegmt=True) if as_date else "0.3"
        return "fine" if number else Fail(429, {"Retry-After": wait})

    with ScriptedServer(behave) as server:
        assert one(server).text == "fine"
    assert moments[1] - moments[0] >= 0.29


def test_after_429_fewer_requests_are_in_flight():
    def behave(body, number):
        return Fail(429) if number < 8 else Hang(0.02, "fine")

    with ScriptedServer(behave) as server:

        async def job():
            async with Client(endpoint(server, concurrency=8)) as client:
                requests = ((str(i), ask("?")) for i in range(12))
                limits = [client._gate.limit]
                async for _ in client.complete_many(requests):
                    limits.append(client._gate.limit)
                return limits

        limits = asyncio.run(job())
    assert limits[0] == 8
    assert min(limits) <= 5
    assert limits[-1] > min(limits)


def test_a_schema_is_sent_and_dropped_where_the_server_refuses_it():
    schema = {"type": "object", "properties": {"answer": {"type": "number"}}}

    def behave(body, number):
        return Fail(400, {}, '{"error": "response_format is not supported"}') if "response_format" in body else "0.5"

    with ScriptedServer(behave) as server:
        answers = collect(server, [(str(i), ask("?", schema=schema)) for i in range(5)], concurrency=1)
    assert {answer.text for answer in answers.values()} == {"0.5"}
    assert ["response_format" in body for body in server.bodies] == [True] + [False] * 5
    assert server.bodies[0]["response_format"]["json_schema"]["schema"] == schema


def test_the_key_is_sent_and_shown_nowhere(monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)
    echoing = Fail(401, {}, f'{{"error": {{"message": "Incorrect API key provided: {KEY}, or sk-secre******cdef"}}}}')
    with ScriptedServer(lambda body, number: echoing) as server:
        where = endpoint(server, api_key_env="MY_KEY")
        with pytest.raises(InputError) as caught:
            complete_all(where, [("a", ask("?"))], lambda answers: None)
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    for text in (str(caught.value), repr(where), str(server.bodies)):
        assert not re.search("sk-secret|sk-secre|cdef|0123", text)


def test_without_a_key_no_header_is_sent(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with ScriptedServer(echo) as server:
        one(server)
    assert "Authorization" not in server.headers[0]


def test_images_travel_as_data():
    content = [text_part("What is this?"), image_part(b"\x89PNG", "image/png")]
    with ScriptedServer(lambda body, number: "an image") as server:
        one(server, ChatRequest(messages=[{"role": "user", "content": content}], extra={"top_p": 1}))
    assert server.bodies[0]["messages"][0]["content"] == content
    assert content[1]["image_url"]["url"] == "data:image/png;base64,iVBORw=="
    assert server.bodies[0]["top_p"] == 1


def test_extra_fields_replace_and_remove_others():
    request = ask("?", max_tokens=5, temperature=0.0, extra={"max_tokens": None, "max_completion_tokens": 9})
    assert request.body("m") == {
        "model": "m", "messages": request.messages, "temperature": 0.0, "max_completion_tokens": 9,
    }  # fmt: skip


def test_it_works_where_a_loop_is_running():
    async def in_a_notebook():
        return one(server)

    with ScriptedServer(echo) as server:
        assert asyncio.run(in_a_notebook()).text == "?"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"base_url": "localhost:8000"}, "web address"),
        ({"base_url": "http://user:word@localhost/v1"}, "OPENAI_API_KEY"),
        ({"model": ""}, "name"),
        ({"concurrency": 0}, "concurrency"),
        ({"attempts": 0}, "attempts"),
        ({"timeout": 0}, "timeout"),
    ],
)
def test_wrong_settings_are_refused(change, word):
    with pytest.raises(InputError, match=word) as caught:
        Endpoint(**{"base_url": "http://127.0.0.1:1/v1", "model": "m", **change})
    assert "word" not in str(caught.value).replace("password", "")


@pytest.mark.parametrize("module", [endpoint_module, server_module])
def test_the_examples_in_the_text_are_right(module):
    assert doctest.testmod(module).failed == 0
