"""Every command of every README and of the documentation is run.

A page writes commands in fenced ``bash`` blocks and Python in fenced ``python`` blocks. The blocks run from
top to bottom in one empty folder, each in a process of its own, so a block may use the files of an earlier
one but not its variables. Lines of a ``bash`` block that make an environment, install something or start nox
are left out: whoever runs this test has done that. Other fences (``text``, ``csv``, ``json``, ``toml``,
``yaml``) are not run; indented code blocks and fences without a language are not allowed.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FENCE = re.compile(r"^```(.*)\n((?:(?!```).*\n)*)```$", re.MULTILINE)
LEFT_OUT = re.compile(r"(python3 -m venv|(\.venv/bin/)?(python -m )?(pip install|nox)|git clone|cd)\b")
SHOWN_ONLY = {"text", "csv", "json", "toml", "yaml"}


def commands(script):
    """Return a bash block without the lines that are left out."""
    return "".join(line for line in script.splitlines(keepends=True) if not LEFT_OUT.match(line))


def test_page_runs(page, tmp_path):
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for language, block in FENCE.findall(page.read_text("utf-8")):
        if language == "bash":
            command = ["bash", "-euo", "pipefail", "-c", commands(block)]
        elif language == "python":
            command = [sys.executable, "-W", "error", "-c", block]
        else:
            continue
        finished = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert finished.returncode == 0, f"{block}\n{finished.stdout}\n{finished.stderr}"


def test_page_has_no_code_that_escapes(page):
    text = page.read_text("utf-8")
    blocks = FENCE.findall(text)
    assert {language for language, _ in blocks} <= {"bash", "python", *SHOWN_ONLY}
    rest = FENCE.sub("", text)
    assert "```" not in rest
    # A directive of mkdocs is indented too, but follows its first line without a blank one.
    assert not re.findall(r"(?<=\n\n) {4}.+", rest)
    for language, block in blocks:
        continued = [line for line in block.splitlines() if LEFT_OUT.match(line) and line.endswith("\\")]
        assert language != "bash" or not continued


def test_links_of_a_page_lead_somewhere(page):
    targets = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text("utf-8"))
    assert not [target for target in targets if not (page.parent / target).exists()]


@pytest.mark.parametrize(
    ("line", "run"),
    [
        ("pip install m3fair", False),
        (".venv/bin/pip install nox && .venv/bin/nox", False),
        ("nox -s lint", False),
        ("nox", False),
        ("python3 -m venv .venv", False),
        ("m3fair measure rows.csv", True),
        ("cat > rows.csv <<'END'", True),
        ("noxious", True),
    ],
)
def test_only_installing_and_nox_are_left_out(line, run):
    assert bool(commands(line)) is run


def test_a_newcomer_gets_two_lines_and_ci_runs_the_second(root):
    start = "python3 -m venv .venv && .venv/bin/pip install nox && .venv/bin/nox"
    lines = (root / "README.md").read_text("utf-8").splitlines()
    assert [line for line in lines if line.startswith("python3 -m venv")] == [start + " -s demo", start]
    pattern = re.search(r"grep -m1 -E '(.+)' README\.md", (root / ".ci/run").read_text("utf-8"))[1]
    assert [line for line in lines if re.search(pattern, line)] == [start]
