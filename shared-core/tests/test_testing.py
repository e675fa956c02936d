"""The helpers for tests see what they are there to see."""

import sys

import pytest

from auscult.core.testing import (
    Completed,
    assert_one_sentence,
    assert_self_contained,
    files_below,
    imported_modules,
    run_command,
)
from auscult.core.testing.browser import find_chromium, open_in_chromium

PAGE = '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>t</title>{}</head><body>{}</body></html>'


def test_run_command_returns_what_the_interpreter_answered(tmp_path):
    code = "import os, sys; print(sys.stdin.read(), os.getcwd()); print('é', file=sys.stderr); sys.exit(3)"
    done = run_command("-c", code, cwd=tmp_path, input="text")
    assert done == Completed(3, f"text {tmp_path.resolve()}\n", "é\n")


def test_run_command_runs_a_script_of_this_environment():
    done = run_command("pytest", "--version")
    assert done.returncode == 0
    assert "pytest" in done.stdout + done.stderr


def test_run_command_names_a_script_that_is_not_there():
    with pytest.raises(AssertionError, match="no console script 'no-such-script'"):
        run_command("no-such-script")


def test_one_sentence_on_stderr_with_exit_code_2_passes():
    code = "import sys; print('error: beta is -1, but it must be positive', file=sys.stderr); sys.exit(2)"
    assert_one_sentence(run_command("-c", code), "beta", "-1", "positive")


@pytest.mark.parametrize(
    "completed",
    [
        Completed(1, "", "error: beta is -1\n"),
        Completed(2, "{}", "error: beta is -1\n"),
        Completed(2, "", "error: beta is -1\nand more\n"),
        Completed(2, "", "Traceback (most recent call last):\nInputError: beta is -1\n"),
        Completed(2, "", "beta is -1\n"),
        Completed(2, "", "error: gamma is -1\n"),
        Completed(2, "", ""),
    ],
)
def test_anything_else_is_not_one_sentence(completed):
    with pytest.raises(AssertionError):
        assert_one_sentence(completed, "beta")


def test_imported_modules_are_those_of_a_fresh_interpreter():
    found = imported_modules("import colorsys")
    assert "colorsys" in found
    assert "pytest" in sys.modules
    assert "pytest" not in found
    with pytest.raises(AssertionError, match="no_such_module"):
        imported_modules("import no_such_module")


def test_the_helpers_are_light_to_import():
    found = imported_modules("import auscult.core.testing.browser")
    assert not found & {"pytest", "pandas", "matplotlib", "jinja2", "torch"}


def test_files_below_sees_every_change(tmp_path):
    assert files_below(tmp_path / "absent") == {}
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.txt").write_text("one")
    before = files_below(tmp_path)
    assert list(before) == ["a/b.txt"]
    assert files_below(tmp_path) == before
    (tmp_path / "a" / "b.txt").write_text("two")
    assert files_below(tmp_path) != before
    (tmp_path / "a" / ".b.part").write_text("")
    assert list(files_below(tmp_path)) == ["a/.b.part", "a/b.txt"]


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("", "<p>see https://example.org</p><a href='https://example.org'>there</a>"),
        ("<style>p { background: url(data:image/png;base64,AA) }</style>", "<img src='data:image/png;base64,AA'>"),
        ("", "<svg><path id='p'/><use href='#p'/><g clip-path='url(#p)'></g></svg>"),
        ("<script>let a = '<b>';</script>", "<br><a href='#top'>x</a><p id='top'>url(x)</p>"),
    ],
)
def test_a_page_that_is_whole_passes(head, body):
    assert_self_contained(PAGE.format(head, body))


@pytest.mark.parametrize(
    ("head", "body", "problem"),
    [
        ("<link rel='stylesheet' href='a.css'>", "", "<link>"),
        ("<script src='https://example.org/a.js'></script>", "", "<script src="),
        ("<style>@import 'a.css';</style>", "", "@import"),
        ("<style>p { background: URL( 'a.png' ) }</style>", "", "url(a.png"),
        ("<meta http-equiv='Refresh' content='0; url=b.html'>", "", "sends the reader"),
        ("", "<img src='a.png'>", "<img src="),
        ("", "<img src='data:,' srcset='a.png 2x'>", "srcset"),
        ("", "<p style='background: url(//example.org/a.png)'>x</p>", "url(//example.org"),
        ("", "<svg><image href='a.png'/></svg>", "<image href="),
        ("", "<svg><g fill='url(b.svg#p)'></g></svg>", "url(b.svg#p)"),
        ("", "<svg><use xlink:href='#p'/></svg>", "#p leads nowhere"),
        ("", "<a href='javascript:alert(1)'>x</a>", "<a href="),
        ("", "<iframe></iframe>", "<iframe>"),
        ("", "<p id='a'></p><p id='a'></p>", "'a' is given twice"),
        ("", "<a href='#b'>x</a>", "#b leads nowhere"),
        ("", "<div><p></div></p>", "</div>"),
        ("", "<div>", "never closed"),
    ],
)
def test_a_page_that_is_not_whole_is_told_why(head, body, problem):
    with pytest.raises(AssertionError) as caught:
        assert_self_contained(PAGE.format(head, body))
    assert problem in str(caught.value)


def test_a_page_says_what_it_is():
    with pytest.raises(AssertionError, match=r"character set; .* doctype; .* language; .* title"):
        assert_self_contained("<html><head></head><body><svg><title>x</title></svg></body></html>")


@pytest.mark.browser
@pytest.mark.skipif(find_chromium() is None, reason="no Chromium on the path")
def test_the_browser_reports_errors_requests_and_width(tmp_path):
    path = tmp_path / "page with space.html"
    script = "<script>console.error('wrong', 1); console.log('fine'); throw new Error('thrown')</script>"
    path.write_text(PAGE.format("", f"<div style='width: 700px'>x</div><img src='absent.png'>{script}"))
    seen = open_in_chromium(path, 390, screenshot=tmp_path / "page.png")
    assert (seen.title, seen.width) == ("t", 390)
    assert seen.scroll_width >= 700
    assert seen.requests == [(tmp_path / "absent.png").resolve().as_uri()]
    errors = "\n".join(seen.console_errors)
    assert "wrong 1" in errors
    assert "thrown" in errors
    assert "fine" not in errors
    assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.browser
@pytest.mark.skipif(find_chromium() is None, reason="no Chromium on the path")
def test_the_browser_finds_nothing_wrong_with_a_plain_page(tmp_path):
    path = tmp_path / "page.html"
    path.write_text(PAGE.format("", "<p>x</p>"))
    seen = open_in_chromium(path, 390)
    assert (seen.console_errors, seen.requests, seen.scroll_width) == ([], [], 390)


def test_a_page_that_is_not_there_is_no_matter_of_the_browser(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_in_chromium(tmp_path / "absent.html", 390)
