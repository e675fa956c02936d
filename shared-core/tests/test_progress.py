import io
import sys
import time

import pytest

from auscult.core import progress as module
from auscult.core.progress import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_nothing_is_shown_where_stderr_is_no_terminal(capsys, monkeypatch):
    monkeypatch.setattr(module, "_DELAY_SECONDS", 0.0)
    with progress("Scoring", total=2) as advance:
        advance(2)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("delay", "shown"), [(0.0, True), (60.0, False)])
def test_a_terminal_shows_a_bar_only_after_the_delay(capsys, monkeypatch, delay, shown):
    monkeypatch.setattr(module, "_DELAY_SECONDS", delay)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress("Scoring", total=7) as advance:
        advance(3)
        for _ in range(600 if shown else 0):
            if "3/7" in sys.stderr.getvalue():
                break
            time.sleep(0.05)
    assert ("3/7" in sys.stderr.getvalue()) is shown
    assert ("Scoring" in sys.stderr.getvalue()) is shown
    assert capsys.readouterr().out == ""


def test_an_exception_passes_and_stops_the_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())

    def fail():
        with progress("Scoring"):
            raise KeyError("cause")

    with pytest.raises(KeyError, match="cause"):
        fail()
