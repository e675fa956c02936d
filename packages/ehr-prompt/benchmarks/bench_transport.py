"""Requests per second that are sent, answered, read and stored, against a stub on loopback in a process of its own.

Prompts of 8 kB, 16 in flight. The baseline posts the same bodies with a bare aiohttp session and stores nothing. A
second part asks 100,000 prompts and watches the memory of the process that asks.
"""

import argparse
import asyncio
import json
import multiprocessing
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
from rows import store, to_rows

from auscult.core.endpoint import ChatRequest, Endpoint, Reply, complete_all
from auscult.core.runs import RunStore, record_key
from auscult.core.testing.benchmark import load, resident

BARE = "bare aiohttp, nothing stored"
IN_FLIGHT = 16
SIZE = 8000
_CHOICE = {"index": 0, "message": {"role": "assistant", "content": "0.25"}, "finish_reason": "stop"}
_USAGE = {"prompt_tokens": 3200, "completion_tokens": 3}
_BODY = json.dumps({"object": "chat.completion", "model": "m", "choices": [_CHOICE], "usage": _USAGE}).encode()
REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(_BODY), _BODY)


class _Stub(asyncio.Protocol):
    """Answers every request as soon as its body is there."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._seen, self._wanted = transport, b"", -1

    def data_received(self, data: bytes) -> None:
        self._seen += data
        while True:
            if self._wanted < 0:
                head, found, rest = self._seen.partition(b"\r\n\r\n")
                if not found:
                    return
                lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                self._wanted, self._seen = int(lengths[0].split(b":")[1]), rest
            if len(self._seen) < self._wanted:
                return
            self._seen, self._wanted = self._seen[self._wanted :], -1
            self._transport.write(REPLY)  # type: ignore[attr-defined]


def serve(listener: socket.socket) -> None:
    """Serve for ever."""

    async def job() -> None:
        server = await asyncio.get_running_loop().create_server(_Stub, sock=listener)
        await server.serve_forever()

    asyncio.run(job())


def requests(count: int, offset: int = 0) -> Iterator[tuple[str, ChatRequest]]:
    """Yield distinct requests of 8 kB with the keys of their records."""
    filler = "- Lactate dehydrogenase: 306, 298, 271, 250\n" * 200
    for i in range(offset, offset + count):
        request = ChatRequest(messages=[{"role": "user", "content": f"{i:09d}{filler}"[:SIZE]}], max_tokens=64)
        yield record_key("m", request), request


def ask_and_store(url: str, folder: Path, count: int, watch: list[float] | None = None) -> tuple[float, float]:
    """Return requests per second, and per second of processor time; ``watch`` gets the memory after every tenth."""
    done = 0
    with RunStore.open(folder, config={"n": count}, package="ehr-prompt") as run:

        def deliver(answers: list[tuple[str, object]]) -> None:
            nonlocal done
            with run.batch():
                for key, answer in answers:
                    assert isinstance(answer, Reply)
                    run.put(key, answer._asdict())
            before, done = done, done + len(answers)
            if watch is not None and done * 10 // count > before * 10 // count:
                watch.append(resident())

        start = time.perf_counter(), time.process_time()
        complete_all(Endpoint(base_url=url, model="m", concurrency=IN_FLIGHT), requests(count), deliver)
        end = time.perf_counter(), time.process_time()
        assert len(run) == count
    return count / (end[0] - start[0]), count / (end[1] - start[1])


def bare(url: str, count: int) -> tuple[float, float]:
    """Return the same of a bare client that keeps nothing."""
    waiting = requests(count)

    async def job() -> None:
        async with aiohttp.ClientSession() as session:

            async def work() -> None:
                for _, request in waiting:
                    content = json.dumps(request.body("m")).encode()
                    async with session.post(url + "/chat/completions", data=content) as response:
                        await response.read()

            await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))

    start = time.perf_counter(), time.process_time()
    asyncio.run(job())
    return count / (time.perf_counter() - start[0]), count / (time.process_time() - start[1])


def main() -> None:
    """Measure, print, and store unless --quick."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few requests, nothing stored: does it run?")
    parser.add_argument("--count", type=int, default=4000, help="requests of one repeat")
    parser.add_argument("--many", type=int, default=100_000, help="requests of the long run")
    chosen = parser.parse_args()
    quick = chosen.quick
    count, repeats, many = (500, 3, 2000) if quick else (chosen.count, 5, chosen.many)
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    stub = multiprocessing.get_context("fork").Process(target=serve, args=(listener,), daemon=True)
    stub.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    try:
        rates: dict[str, list[tuple[float, float]]] = {BARE: [], "ehr-prompt, stored": []}
        with tempfile.TemporaryDirectory() as folder:
            ask_and_store(url, Path(folder, "warm"), 200)
            for repeat in range(repeats):
                rates[BARE].append(bare(url, count))
                rates["ehr-prompt, stored"].append(ask_and_store(url, Path(folder, str(repeat)), count))
            watch: list[float] = []
            rate, _ = ask_and_store(url, Path(folder, "many"), many, watch)
    finally:
        stub.terminate()
    note = f"{SIZE} characters a prompt, {IN_FLIGHT} in flight, stub in its own process, {repeats} repeats"
    rows = []
    for place, metric in enumerate(("requests per second", "requests per second of the client's processor time")):
        values = {name: [pair[place] for pair in pairs] for name, pairs in rates.items()}
        rows += to_rows("transport", metric, "1/s", values, n=count, note=f"{note}, {load()}")
    grown = watch[-1] - watch[0]
    note = f"from the first tenth ({watch[0]:.0f} MB) to the end ({watch[-1]:.0f} MB); {rate:.0f} requests per second"
    found = {"ehr-prompt": [grown]}
    rows += to_rows("memory of a long run", "growth of resident memory", "MB", found, n=many, baseline=False, note=note)
    if not quick:
        store(rows)


if __name__ == "__main__":
    main()
