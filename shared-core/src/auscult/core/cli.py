"""What the commands of all libraries share: ``--version``, ``doctor``, one-sentence errors, clean JSON.

A library builds its command with :func:`command` and starts it with :func:`run`; a wrong input, raised
anywhere as an :class:`~auscult.core.errors.AuscultError`, becomes one sentence on stderr and an exit code.
"""

import json
import os
import sys
from typing import Annotated, Any, NoReturn

import typer

from auscult.core.canonical import finite
from auscult.core.errors import AuscultError, InputError

__all__ = ["Columns", "DataOptions", "Labels", "command", "data_options", "finite", "print_json", "run"]

# Beside every option that takes what load_cohort takes; data_options makes its keyword arguments of them.
Columns = Annotated[
    str | None,
    typer.Option("--columns", help="Of table:FILE, which column is what: subject=..,time=..,code=..,value=.."),
]
Labels = Annotated[str | None, typer.Option("--labels", help="Of table:FILE and meds:FOLDER: a file of labels.")]
DataOptions = Annotated[
    list[str] | None,
    typer.Option("--data-option", help="Another option of the data set's reader, NAME=VALUE; once for each."),
]


def command(name: str, version: str, summary: str) -> typer.Typer:
    """Return a Typer application with ``--version`` and ``doctor``.

    Parameters
    ----------
    name
        The console script's name, which is also the distribution's.
    version
        Printed by ``--version``.
    summary
        The first lines of ``--help``.
    """
    app = typer.Typer(
        name=name, help=summary, no_args_is_help=True, add_completion=False, rich_markup_mode=None,
        pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]},
    )  # fmt: skip

    def show_version(wanted: bool) -> None:
        if wanted:
            typer.echo(f"{name} {version}")
            raise typer.Exit()

    @app.callback()
    def main(
        version: bool = typer.Option(
            False, "--version", callback=show_version, is_eager=True, help="Print the version and exit."
        ),
    ) -> None:
        pass

    main.__doc__ = summary

    @app.command()
    def doctor(as_json: bool = typer.Option(False, "--json", help="Print only JSON.")) -> None:
        """Say what this installation has: versions, device, what is missing or known to clash."""
        from auscult.core.device import diagnose

        findings = diagnose(name)
        if as_json:
            print_json(findings.to_dict())
        else:
            typer.echo(findings.to_text())
        raise typer.Exit(0 if findings.healthy else 1)

    return app


def run(app: typer.Typer, arguments: list[str] | None = None) -> NoReturn:
    """Run a command and end the process; whatever was wrong is one sentence on stderr.

    Exit codes: 0 done, 1 failed, 2 wrong usage or input, 130 interrupted.

    Parameters
    ----------
    app
        From :func:`command`.
    arguments
        In place of the process's own.
    """
    try:
        code = app(arguments, standalone_mode=False)
        sys.stdout.flush()
    except AuscultError as error:
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        # The reader of our stdout has gone; a second failure while Python flushes it would print a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        place = f" {str(error.filename)!r}" if error.filename else ""
        _fail(f"the system refused{place}: {error.strerror or error}", 1)
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        # A usage error of Click, which Typer brings along in some versions and depends on in others.
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error.format_message(), file=sys.stderr)
            sys.exit(2)
        context = getattr(error, "ctx", None)
        hint = f"'{context.command_path} --help'" if context else "--help"
        _fail(f"{error.format_message().rstrip('.')} (see {hint})", getattr(error, "exit_code", 2))
    if code == 130:  # what Typer makes of a KeyboardInterrupt
        _fail("interrupted", 130)
    sys.exit(code if type(code) is int else 0)


def data_options(
    columns: str | None = None, labels: str | None = None, others: list[str] | None = None
) -> dict[str, Any]:
    """Return what a command line says about data as keyword arguments of ``load_cohort``, fit for a stored config.

    Parameters
    ----------
    columns, labels
        Of the options :data:`Columns` and :data:`Labels`.
    others
        Of :data:`DataOptions`: ``NAME=VALUE`` each, the value as in YAML: ``48``, ``null``, ``[sex, age]``.

    Raises
    ------
    InputError
        Where an entry is no pair, comes twice, or its value cannot be read.

    Examples
    --------
    >>> data_options(None, "deaths.csv", ["hours=24", "static=[sex, age]"])
    {'labels': 'deaths.csv', 'hours': 24, 'static': ['sex', 'age']}
    """
    import yaml

    options: dict[str, Any] = {name: value for name, value in (("columns", columns), ("labels", labels)) if value}
    for pair in others or []:
        name, equals, text = pair.partition("=")
        if not (name.strip() and equals):
            raise InputError(f"--data-option is {pair!r}: write NAME=VALUE, as in hours=24")
        if name.strip() in options:
            raise InputError(f"the data option {name.strip()!r} is given twice: give it once")
        try:
            options[name.strip()] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise InputError(
                f"the data option {pair!r} has a value that YAML does not know: write a number, a text in quotes or "
                "[a, list]"
            ) from None
    return options


def print_json(value: object) -> None:
    """Print a value as JSON on stdout; NaN and infinities, which JSON lacks, become null."""
    typer.echo(json.dumps(finite(value), ensure_ascii=False, allow_nan=False))


def _fail(message: str, code: int) -> NoReturn:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
