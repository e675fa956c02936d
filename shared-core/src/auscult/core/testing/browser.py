"""A page in a real browser: what it logs, what it asks the network for, whether it fits a narrow screen.

Chromium is driven over a pair of pipes (the DevTools protocol), so that neither a driver package nor a socket
is needed. POSIX only; elsewhere :func:`find_chromium` finds none.
"""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic",
    "--disable-extensions", "--disable-background-networking", "--disable-component-update",
    "--disable-default-apps", "--disable-sync", "--no-first-run", "--no-default-browser-check",
    "--mute-audio", "--remote-debugging-pipe",
)  # fmt: skip
# The protocol's commands arrive on the browser's descriptor 3 and its answers leave on 4.
_ON_PIPES = 'exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null'


@dataclass(frozen=True)
class BrowserPage:
    """What a browser made of a page.

    Parameters
    ----------
    title
        The document's title.
    width
        The width of the viewport in CSS pixels.
    scroll_width
        The width of the content; above ``width`` the page scrolls sideways.
    console_errors
        Errors and uncaught exceptions in the console.
    requests
        Addresses that the page asked for, without its own and ``data:`` ones.
    """

    title: str
    width: int
    scroll_width: int
    console_errors: list[str]
    requests: list[str]


def find_chromium() -> str | None:
    """Return the path of a Chromium on the path, or None."""
    return next(filter(None, map(shutil.which, _NAMES)), None) if os.name == "posix" else None


def open_in_chromium(
    path: Path, width: int, *, height: int = 900, screenshot: Path | None = None, timeout: float = 60
) -> BrowserPage:
    """Open a local page in a viewport of a given width and return what the browser saw.

    Parameters
    ----------
    path
        The HTML file.
    width, height
        The viewport in CSS pixels.
    screenshot
        Where to write a PNG of the whole page, if anywhere.
    timeout
        Seconds after which a browser that does not answer is given up.

    Raises
    ------
    FileNotFoundError
        Where there is no Chromium or no such page.
    TimeoutError
        Where the browser did not answer in time; the message holds the end of its log.
    """
    address = path.resolve(strict=True).as_uri()
    with _chromium(timeout) as browser:
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        page = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            browser.call(f"{domain}.enable", page)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        browser.call("Emulation.setDeviceMetricsOverride", page, **size)
        browser.call("Page.navigate", page, url=address)
        browser.wait_for("Page.loadEventFired")
        settled = "new Promise(done => requestAnimationFrame(() => setTimeout(done, 100)))"
        measured = "({title: document.title, scroll_width: document.documentElement.scrollWidth})"
        seen = browser.call(
            "Runtime.evaluate", page, expression=f"{settled}.then(() => {measured})", awaitPromise=True,
            returnByValue=True,
        )["result"]["value"]  # fmt: skip
        if screenshot:
            image = browser.call("Page.captureScreenshot", page, captureBeyondViewport=True)["data"]
            screenshot.write_bytes(base64.b64decode(image))
        return BrowserPage(
            title=seen["title"],
            width=width,
            scroll_width=seen["scroll_width"],
            console_errors=[text for event in browser.events for text in _console_error(event)],
            requests=[url for event in browser.events for url in _request(event) if url != address],
        )


def _console_error(event: dict[str, Any]) -> Iterator[str]:
    method, params = event["method"], event["params"]
    if method == "Runtime.exceptionThrown":
        details = params["exceptionDetails"]
        yield details.get("exception", {}).get("description", details["text"])
    elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
        yield " ".join(str(arg.get("value", arg.get("description"))) for arg in params["args"])
    elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
        yield params["entry"]["text"]


def _request(event: dict[str, Any]) -> Iterator[str]:
    if event["method"] == "Network.requestWillBeSent":
        url = event["params"]["request"]["url"].partition("#")[0]
        if not url.startswith("data:"):
            yield url


class _Browser:
    """The DevTools protocol over a process's stdin and stdout: JSON messages, each ended by a zero byte."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, timeout: float) -> None:
        self.process, self.log, self.deadline = process, log, time.monotonic() + timeout
        self.events: list[dict[str, Any]] = []
        self.buffer, self.last_id = b"", 0

    def call(self, method: str, session: str | None = None, /, **params: Any) -> dict[str, Any]:
        """Send a command and return its result; events that come in between are kept."""
        self.last_id += 1
        message: dict[str, Any] = {"id": self.last_id, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message).encode() + b"\0")
        self.process.stdin.flush()
        while True:
            answer = self._receive()
            if answer.get("id") == self.last_id:
                if "error" in answer:
                    raise RuntimeError(f"{method} failed: {answer['error']['message']}")
                result: dict[str, Any] = answer["result"]
                return result

    def wait_for(self, method: str) -> None:
        """Return once an event of that name has come."""
        while not any(event["method"] == method for event in self.events):
            self._receive()

    def _receive(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        while b"\0" not in self.buffer:
            left = self.deadline - time.monotonic()
            ready = left > 0 and select.select([self.process.stdout], [], [], left)[0]
            chunk = os.read(self.process.stdout.fileno(), 1 << 16) if ready else b""
            if not chunk:
                tail = self.log.read_text(errors="replace")[-2000:]
                raise TimeoutError(f"Chromium {'closed its pipe' if ready else 'did not answer'}: {tail}")
            self.buffer += chunk
        raw, _, self.buffer = self.buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(raw)
        if "method" in message:
            self.events.append(message)
        return message


@contextlib.contextmanager
def _chromium(timeout: float) -> Iterator[_Browser]:
    """Start a Chromium with a profile of its own and end it, its children included, whatever happens."""
    program = find_chromium()
    if program is None:
        raise FileNotFoundError("no Chromium on the path: install chromium or google-chrome")
    # The browser's children may still write to the profile while it is removed.
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as folder:
        log = Path(folder, "stderr.txt")
        command = ["/bin/sh", "-c", _ON_PIPES, program, *_FLAGS, f"--user-data-dir={folder}/profile"]
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, start_new_session=True
            )
        browser = _Browser(process, log, timeout)
        try:
            yield browser
        finally:
            _close(browser)


def _close(browser: _Browser) -> None:
    process = browser.process
    with contextlib.suppress(OSError, RuntimeError):
        browser.deadline = time.monotonic() + 5
        browser.call("Browser.close")
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, 9)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            with contextlib.suppress(OSError):
                pipe.close()
