"""The command ``m3fair``: weights and audits of files, and a demonstration on bundled data."""

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auscult.core import cli
from auscult.core.errors import InputError
from auscult.m3fair._version import __version__

if TYPE_CHECKING:
    from auscult.m3fair.attributes import Attribute
    from auscult.m3fair.table import CountTable

app = cli.command(
    "m3fair",
    __version__,
    "Reweight training data over several sensitive attributes, and audit decisions by group.",
)

Files = Annotated[list[str], typer.Argument(help="CSV or parquet files, or glob patterns.", metavar="FILE...")]
Label = Annotated[str, typer.Option("--label", help="Column with the label (two values).")]
Sensitive = Annotated[
    list[str],
    typer.Option(
        "--sensitive",
        metavar="NAME[=VALUE[:LEVEL]]",
        help="Sensitive attribute: column, reference value, level. Repeat for several.",
    ),
]
Positive = Annotated[str | None, typer.Option("--positive", help="The label's positive value.")]
Weight = Annotated[str | None, typer.Option("--weight", help="Column with prior weights.")]
Json = Annotated[bool, typer.Option("--json", help="Print only JSON.")]


@app.command()
def weights(
    files: Files,
    label: Label,
    sensitive: Sensitive,
    out: Annotated[Path, typer.Option("--out", help="Where the weights go: .parquet or .csv, column 'weight'.")],
    mode: Annotated[str, typer.Option("--mode", help="level or intersection.")] = "level",
    positive: Positive = None,
    weight: Weight = None,
    table: Annotated[
        Path | None, typer.Option("--table", help="Also write the count table (.json or .parquet).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write one weight a row that makes the label independent of the attributes."""
    from auscult.m3fair import reading
    from auscult.m3fair.outcome import check_label, match_value
    from auscult.m3fair.reweigher import Reweigher
    from auscult.m3fair.table import CountTable

    parsed = [parse_sensitive(text) for text in sensitive]
    names = [attribute.name for attribute in parsed]
    check_roles({"--label": label, "--weight": weight}, names)
    _check_suffix(out, (".parquet", ".csv"), "--out")
    if table is not None:
        _check_suffix(table, (".json", ".parquet"), "--table")
    paths = reading.find_files(files)
    columns = [*names, label, *([weight] if weight else [])]

    def count(block: dict[str, Any]) -> CountTable:
        prior = reading.to_numbers(block[weight], weight) if weight else None
        return CountTable.count_rows(block, [*names, label], weight=prior)

    counted = CountTable.empty([*names, label])
    for block in reading.read_blocks(paths, columns):
        counted += count(block)
    if counted.n == 0:
        raise InputError(f"{files[0]!r} has no rows: give at least one")
    check_label(counted.values[-1], label)
    if positive is not None:
        match_value(positive, counted.values[-1], label, role="positive value")
    attributes = [resolve_reference(attribute, counted) for attribute in parsed]
    reweigher = Reweigher(attributes, mode=mode)  # type: ignore[arg-type]
    notes = _noting_warnings(lambda: reweigher.fit_table(counted))

    def rows() -> Any:
        for block in reading.read_blocks(paths, columns):
            prior = reading.to_numbers(block[weight], weight) if weight else None
            features = {name: block[name] for name in names}
            yield reweigher.compute_weights(features, block[label], sample_weight=prior)

    _write_weights(out, rows())
    if table is not None:
        counted.to_json(table) if table.suffix == ".json" else counted.to_parquet(table)
    summary = {
        "mode": mode,
        "levels": reweigher.levels_,
        **reweigher.diagnostics_.to_dict(),
        "factors": reweigher.factors_.to_dict(orient="records"),
        "warnings": notes,
    }
    if as_json:
        cli.print_json(summary)
        return
    for note in notes:
        typer.echo(f"warning: {note}", err=True)
    found = reweigher.diagnostics_
    typer.echo(
        f"{found.n} rows, weights {found.min_factor:.4g} to {found.max_factor:.4g} times the prior, "
        f"effective sample size {found.effective_sample_size:.6g} of {found.effective_sample_size_before:.6g}: {out}"
    )


@app.command()
def measure(
    files: Files,
    label: Label,
    sensitive: Sensitive,
    pred: Annotated[str, typer.Option("--pred", help="Column with the decision (the label's values).")],
    score: Annotated[
        str | None, typer.Option("--score", help="Column with scores, or with '[p0, p1]': adds the AUROC.")
    ] = None,
    weight: Weight = None,
    positive: Positive = None,
    order: Annotated[int, typer.Option("--order", min=1, help="Groups of up to this many attributes.")] = 2,
    confidence: Annotated[float, typer.Option("--confidence", help="Coverage of the intervals.")] = 0.95,
    min_group: Annotated[int, typer.Option("--min-group", min=0, help="Warn about smaller groups.")] = 10,
    as_json: Json = False,
) -> None:
    """Audit decisions: rates of every group, and each group against the reference."""
    from auscult.m3fair import reading
    from auscult.m3fair.audit import audit_table
    from auscult.m3fair.coding import code_columns
    from auscult.m3fair.outcome import unify_outcomes
    from auscult.m3fair.rows import Rows
    from auscult.m3fair.table import CountTable

    parsed = [parse_sensitive(text) for text in sensitive]
    names = [attribute.name for attribute in parsed]
    check_roles({"--label": label, "--pred": pred, "--weight": weight}, names)
    if score in names:
        raise InputError(f"the column {score!r} is given as --score and as --sensitive: use it once")
    paths = reading.find_files(files)
    keys = [*names, label, pred]
    counted, rows = CountTable.empty(keys), Rows() if score else None
    for block in reading.read_blocks(paths, [*keys, *(name for name in (score, weight) if name)]):
        prior = reading.to_numbers(block[weight], weight) if weight else None
        part = CountTable.count_rows(block, keys, weight=prior)
        counted += part
        if rows is not None and score is not None:
            rows.add(code_columns(block, keys), score=reading.to_scores(block[score], score), weight=prior)
    if counted.n == 0:
        raise InputError(f"{files[0]!r} has no rows: give at least one")
    counted = unify_outcomes(counted, label, pred)
    report = audit_table(
        counted, [resolve_reference(attribute, counted) for attribute in parsed], label=label, decision=pred,
        rows=rows, positive=positive, order=order, confidence=confidence, min_group=min_group,
    )  # fmt: skip
    if as_json:
        cli.print_json(report.to_dict())
        return
    from auscult.m3fair.presentation import print_report

    print_report(report)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for the report and its data.")] = Path("out/m3fair"),
    as_json: Json = False,
) -> None:
    """Audit and reweight mortality in the bundled TJH hospital data, before and after, into report.html."""
    from auscult.m3fair.demo import run_demo

    result = run_demo(out)
    if as_json:
        cli.print_json(result)
    else:
        typer.echo(result["report"])


def parse_sensitive(text: str) -> "Attribute":
    """Return the attribute of ``NAME``, ``NAME=VALUE`` or ``NAME=VALUE:LEVEL``; the value stays text.

    Raises
    ------
    InputError
        For an empty name or value, and a level that is negative or not whole.
    """
    from auscult.m3fair.attributes import Attribute

    name, equals, value = text.partition("=")
    if not name or (equals and not value):
        raise InputError(f"--sensitive {text!r} lacks a name or a value: write NAME, NAME=VALUE or NAME=VALUE:LEVEL")
    rest, colon, level = value.rpartition(":")
    if not colon or not re.fullmatch(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", level):
        return Attribute(name, value or None)
    if not re.fullmatch(r"\+?\d+", level):
        raise InputError(f"the level {level} of {name!r} must be a whole number of at least 0, such as 1, 2, 4")
    return Attribute(name, rest or None, level=int(level))


def resolve_reference(attribute: "Attribute", table: "CountTable") -> "Attribute":
    """Return the attribute with its reference text replaced by the value of the table's column that it names."""
    from dataclasses import replace

    from auscult.m3fair.outcome import match_value

    if attribute.privileged is None:
        return attribute
    values = table.values[table.columns.index(attribute.name)]
    if all(value is None for value in values):
        raise InputError(f"the attribute {attribute.name!r} has no value at all: leave it out or fill it in")
    value = match_value(str(attribute.privileged), values, attribute.name, role="reference value")
    return replace(attribute, privileged=value)


def check_roles(roles: dict[str, str | None], sensitive: list[str]) -> None:
    """Refuse a column that is given for two purposes."""
    given = {f"--sensitive {name}": name for name in sensitive} | {role: name for role, name in roles.items() if name}
    if len(set(sensitive)) < len(sensitive):
        twice = next(name for name in sensitive if sensitive.count(name) > 1)
        raise InputError(f"the attribute {twice!r} is named twice: give each column once")
    seen: dict[str, str] = {}
    for role, name in given.items():
        if name in seen:
            raise InputError(
                f"the column {name!r} is given as {seen[name].split()[0]} and as {role.split()[0]}: use it once"
            )
        seen[name] = role


def main() -> None:
    """Run the command."""
    cli.run(app)


def _check_suffix(path: Path, known: tuple[str, ...], option: str) -> None:
    if path.suffix not in known:
        raise InputError(f"{option} {str(path)!r}: the name must end in {' or '.join(known)}")


def _noting_warnings(job: Callable[[], object]) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        job()
    return [str(item.message) for item in caught]


def _write_weights(path: Path, blocks: Any) -> None:
    """Write blocks of weights as one float64 column, a block at a time, and move the file into place."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    from auscult.core.files import replace_atomically

    schema = pa.schema([pa.field("weight", pa.float64(), nullable=False)])

    def write(partial: Path) -> None:
        make = pq.ParquetWriter if path.suffix == ".parquet" else pyarrow.csv.CSVWriter
        with make(str(partial), schema) as writer:
            for block in blocks:
                writer.write_table(pa.table({"weight": block}, schema=schema))

    replace_atomically(path, write)
