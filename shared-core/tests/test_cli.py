import json
import os
import subprocess
import sys
from enum import StrEnum

import pytest
import typer

from auscult.core import cli
from auscult.core.errors import AuscultError, InputError


class Level(StrEnum):
    low = "low"
    high = "high"


@pytest.fixture
def app():
    app = cli.command("auscult-core", "1.2.3", "A library for tests.")

    @app.command()
    def work(
        count: int = typer.Option(1, help="How many."),
        level: Level = Level.low,
        fail: str = "",
    ) -> None:
        """Do some work."""
        if fail == "input":
            raise InputError("count is 7:\nuse 3")
        if fail == "job":
            raise AuscultError("the disk is full: free some")
        if fail == "os":
            open("/nowhere/at/all").close()
        if fail == "interrupt":
            raise KeyboardInterrupt
        if fail == "bug":
            raise RuntimeError("a bug keeps its traceback")
        if fail == "exit":
            raise typer.Exit(1)
        cli.print_json({"count": count, "level": level.value, "undefined": float("nan")})

    @app.command()
    def read(file: str) -> None:
        """Read a file."""

    return app


def run(app, capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        cli.run(app, list(arguments))
    out, err = capsys.readouterr()
    return end.value.code, out, err


def test_a_command_that_ends_well(app, capsys):
    assert run(app, capsys, "work", "--count", "3") == (0, '{"count": 3, "level": "low", "undefined": null}\n', "")
    assert run(app, capsys, "--version") == (0, "auscult-core 1.2.3\n", "")
    code, out, err = run(app, capsys, "work", "-h")
    assert (code, err) == (0, "")
    assert "Do some work." in out
    assert "How many." in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["work", "--fail", "input"], 2, "error: count is 7: use 3\n"),
        (["work", "--fail", "job"], 1, "error: the disk is full: free some\n"),
        (["work", "--fail", "os"], 1, "error: the system refused '/nowhere/at/all': No such file or directory\n"),
        (["work", "--fail", "interrupt"], 130, "error: interrupted\n"),
        (["work", "--fail", "exit"], 1, ""),
    ],
)
def test_a_failure_is_one_sentence_and_an_exit_code(app, capsys, arguments, code, message):
    assert run(app, capsys, *arguments) == (code, "", message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["work", "--cuont", "3"], "No such option"),
        (["wrok"], "No such command 'wrok'"),
        (["work", "--count", "many"], "Invalid value for '--count'"),
        (["work", "--level", "middle"], "Invalid value for '--level'"),
        (["work", "--count"], "requires an argument"),
        (["work", "more"], "Got unexpected extra argument"),
        (["read"], "Missing argument"),
        (["--nothing"], "No such option"),
    ],
)
def test_wrong_usage_is_one_sentence_on_stderr_with_exit_code_2(app, capsys, arguments, message):
    code, out, err = run(app, capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert "--help" in err


def test_no_command_shows_the_help(app, capsys):
    code, out, err = run(app, capsys)
    assert code in (0, 2)  # Click before 8.2 does not call it wrong usage
    assert "Do some work." in out + err
    assert "error" not in out + err


def test_a_bug_keeps_its_traceback(app):
    with pytest.raises(RuntimeError, match="a bug"):
        cli.run(app, ["work", "--fail", "bug"])


def test_the_doctor_s_json_is_all_of_stdout(app, capsys):
    code, out, err = run(app, capsys, "doctor", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["versions"]["auscult-core"]
    code, out, err = run(app, capsys, "doctor")
    assert (code, err) == (0, "")
    assert "no problem found" in out


def core(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "auscult.core", *arguments], capture_output=True, text=True, check=False,
        env={**os.environ, "COLUMNS": "100"},
    )  # fmt: skip


def test_the_core_s_own_command_is_the_doctor():
    plain, asked = core(), core("doctor")
    assert plain.returncode == asked.returncode == 0
    assert plain.stdout == asked.stdout
    assert "no problem found" in plain.stdout
    assert json.loads(core("--json").stdout)["healthy"] is True
    assert core("--version").stdout.startswith("auscult-core ")
    assert "Usage: python -m auscult.core" in core("--help").stdout
    wrong = core("docter")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.count("\n") == 1


def test_an_unhealthy_installation_is_exit_code_1(capsys):
    sick = cli.command("never-installed", "0", "A library that is not there.")
    code, out, _ = run(sick, capsys, "doctor")
    assert code == 1
    assert "PROBLEM: the distribution never-installed is not installed" in out


def test_a_reader_that_goes_away_leaves_no_traceback():
    program = (
        "import typer; from auscult.core import cli\n"
        "app = cli.command('x', '0', 's')\n"
        "@app.command()\n"
        "def talk():\n"
        "    for _ in range(100_000): typer.echo('x' * 100)\n"
        "cli.run(app, ['talk'])\n"
    )
    talker = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert talker.stdout is not None
    talker.stdout.read(10)
    talker.stdout.close()
    assert talker.stderr is not None
    assert talker.stderr.read() == b""
    talker.stderr.close()
    assert talker.wait() == 1


def test_help_loads_nothing_heavy():
    program = (
        "import sys; sys.argv = ['auscult-core', '--help']\n"
        "from auscult.core import __main__ as command\n"
        "try:\n    command.main()\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'pandas', 'pyarrow', 'matplotlib', 'torch', 'yaml', 'sklearn'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
