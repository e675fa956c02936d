"""What the commands of all libraries share: ``--version``, ``doctor``, one-sentence errors, clean JSON.

A library builds its command with :func:`command` and starts it with :func:`run`; a wrong input, raised
anywhere as an :class:`~auscult.core.errors.AuscultError`, becomes one sentence on stderr and an exit code.
"""

import json
import math
import os
import sys
from collections.abc import Callable
from typing import Any

import typer

from auscult.core.errors import AuscultError


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


def run(app: Callable[[], Any]) -> None:
    """Run a command; an :class:`AuscultError` is printed as one sentence and sets the exit code."""
    try:
        app()
    except AuscultError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our stdout has gone; a second failure while Python flushes it would print a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        place = f" {str(error.filename)!r}" if error.filename else ""
        print(f"error: the system refused{place}: {error.strerror or error}", file=sys.stderr)
        sys.exit(1)


def print_json(value: object) -> None:
    """Print a value as JSON on stdout; NaN and infinities, which JSON lacks, become null."""
    typer.echo(json.dumps(finite(value), ensure_ascii=False, allow_nan=False))


def finite(value: Any) -> Any:
    """Return a JSON-ready copy: numpy scalars and arrays as plain ones, NaN and infinities as None."""
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if hasattr(value, "tolist"):
        return finite(value.tolist())
    return str(value)
