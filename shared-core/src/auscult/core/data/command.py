"""``python -m auscult.core data``: what can be done with data sets from a terminal."""

from pathlib import Path
from typing import Annotated, Any

import typer

from auscult.core import cli
from auscult.core.errors import InputError
from auscult.core.files import replace_atomically

_PICTURES = (".png", ".svg", ".pdf")

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def main() -> None:
    """Look at data sets, and make some to try a pipeline on."""


@app.command()
def describe(
    spec: Annotated[str, typer.Argument(help="What load_cohort takes: tjh, mimic4:FOLDER, table:FILE, ...")],
    columns: cli.Columns = None,
    labels: cli.Labels = None,
    options: cli.DataOptions = None,
    plot: Annotated[str, typer.Option(help="Draw what is missing when: a .png, .svg or .pdf.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print only JSON.")] = False,
) -> None:
    """Count a data set: stays, attrition, time span, labels, and what is missing."""
    from auscult.core.data.open import load_cohort
    from auscult.core.data.summary import describe as count
    from auscult.core.data.summary import plot_missing

    picture = Path(plot)
    if plot and picture.suffix not in _PICTURES:
        raise InputError(f"--plot is {plot!r}: give a file that ends in {', '.join(_PICTURES)}")
    cohort = load_cohort(spec, **cli.data_options(columns, labels, options))
    numbers = count(cohort)
    if plot:
        figure: Any = plot_missing(cohort).get_figure()
        replace_atomically(picture, lambda partial: figure.savefig(partial, dpi=150))
    if as_json:
        cli.print_json(numbers)
    else:
        typer.echo("\n".join(_lines(spec, numbers)))


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


def _lines(spec: str, numbers: dict[str, Any]) -> list[str]:
    """Return a description as text."""
    from auscult.core.formatting import format_interval

    source = numbers["provenance"]
    dates = numbers["dates"]
    lines = [
        f"{spec}: {source.get('data_set', '')}, {source.get('licence', 'licence not known')}",
        f"  {numbers['records']:,} stays of {numbers['subjects']:,} subjects, {numbers['steps']:,} steps, "
        f"{numbers['records_without_a_step']:,} stays without any",
        f"  hours {_range(numbers['hours'])}; steps a stay {_range(numbers['steps_per_record'])}",
        f"  stays began {dates['first']} to {dates['last']}" if dates else "  the stays have no dates",
        "",
        "attrition: rows, stays, changed",
        *(
            f"  {row['rows']:>13,} {row['records']:>9,} {row['changed']:>13,}  {row['step']} ({row['reason']})"
            for row in numbers["attrition"]
        ),
        "",
        "labels" if numbers["labels"] else "no labels",
    ]
    for name, label in numbers["labels"].items():
        rate = f"rate {format_interval(label['rate'])}" if "rate" in label else _range(label)
        unknown = f", {label['unknown']:,} unknown" if label.get("unknown") else ""
        lines.append(f"  {name} per {label['per']}: {rate}{unknown}")
    lines += ["", f"missing: {_percent(numbers['missing_rate'])} of all cells"]
    features = {**numbers["features"], **{f"{name} (static)": told for name, told in numbers["static"].items()}}
    for name, told in sorted(features.items(), key=lambda item: item[1]["missing_rate"] or 0):
        lines.append(f"  {_percent(told['missing_rate']):>6}  {name}" + (f", {told['unit']}" if told["unit"] else ""))
    over_time = numbers["missing_over_time"]
    lines += ["", f"missing by time, in steps of {over_time['width_hours']:g} hours: from hour, stays, cells missing"]
    for start, stays, rate in zip(
        over_time["start_hours"], over_time["records"], over_time["missing_rate"], strict=True
    ):
        lines.append(f"  {start:>8g} {stays:>9,} {_percent(rate):>7}")
    return lines + ([""] if numbers["notes"] else []) + [f"note: {note}" for note in numbers["notes"]]


def _range(summary: dict[str, Any]) -> str:
    if not summary["n"]:
        return "unknown"
    from auscult.core.formatting import format_number

    low, middle, high = (format_number(summary[name]) for name in ("min", "median", "max"))
    return f"{low} to {high}, median {middle}"


def _percent(rate: float | None) -> str:
    return "–" if rate is None else f"{rate:.1%}"
