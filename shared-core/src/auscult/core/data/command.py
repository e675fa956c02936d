"""``python -m auscult.core data``: what can be done with data sets from a terminal."""

from pathlib import Path

import typer

from auscult.core import cli
from auscult.core.errors import InputError

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def main() -> None:
    """Make data sets to try a pipeline on."""


@app.command()
def lookalike(
    name: str = typer.Argument(help="The data set to imitate: cdsl, eicu, mimic3 or mimic4."),
    folder: str = typer.Argument(help="Where to write; new or empty."),
    patients: int = typer.Option(20, help="Plain patients beside those that hold the traps of the data set."),
    seed: int = typer.Option(0, help="Of the plain patients."),
    form: str = typer.Option("", help="Of the tables, as the Python function takes it; its default if left out."),
    as_json: bool = typer.Option(False, "--json", help="Print only JSON."),
) -> None:
    """Write a made-up folder that looks like a data set one must apply for, with every trap of the real one."""
    from auscult.core.data import lookalike as writers

    known = [writer.removeprefix("write_") for writer in writers.__all__ if writer.startswith("write_")]
    if name not in known:
        raise InputError(f"there is no look-alike of {name!r}: known are {', '.join(known)}")
    options = {"form": form} if form else {}
    getattr(writers, f"write_{name}")(folder, n_patients=patients, seed=seed, **options)
    spec = f"{name}:{folder}"
    files = sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())
    if as_json:
        cli.print_json({"spec": spec, "folder": folder, "files": files})
    else:
        typer.echo(f"{len(files)} files in {folder}; truth.json says what a reader must find. Read it with:")
        typer.echo(f"  load_cohort({spec!r})")
