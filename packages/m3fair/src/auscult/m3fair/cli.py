"""The command ``m3fair``: weights and audits of files, and a demonstration on bundled data."""

import sys
import warnings as python_warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auscult.core import cli
from auscult.core.errors import InputError
from auscult.core.files import replace_atomically
from auscult.m3fair._version import __version__
from auscult.m3fair.options import (
    Bins,
    Card,
    Ci,
    Cluster,
    Confidence,
    FailOn,
    Files,
    Importance,
    Json,
    Label,
    LatticeOrder,
    Metrics,
    MinGroup,
    Mode,
    NBoot,
    Order,
    Positive,
    Pred,
    Score,
    Seed,
    Sensitive,
    Smoothing,
    Threshold,
    Weight,
)

if TYPE_CHECKING:
    from auscult.m3fair.results import DisparityReport
    from auscult.m3fair.reweigher import Reweigher

app = cli.command(
    "m3fair",
    __version__,
    "Reweight training data over several sensitive attributes, and audit decisions by group.",
)


@app.command()
def weights(
    files: Files,
    label: Label,
    sensitive: Sensitive,
    out: Annotated[Path, typer.Option("--out", help="Where the weights go: .parquet or .csv, column 'weight'.")],
    mode: Mode = "level",
    lattice_order: LatticeOrder = 1,
    importance: Importance = None,
    smoothing: Smoothing = 0.0,
    bins: Bins = None,
    positive: Positive = None,
    weight: Weight = None,
    table: Annotated[Path | None, typer.Option("--table", help="Also write the counts (.json or .parquet).")] = None,
    fit_on: Annotated[
        Path | None, typer.Option("--fit-on", help="Fit on these counts (of all parts, merged) instead of these files.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write one weight a row that makes the label independent of the attributes."""
    from auscult.m3fair import jobs, reading
    from auscult.m3fair.results import SCHEMA

    parsed, powers = jobs.parse_attributes(sensitive, bins), jobs.parse_importance(importance)
    _check_suffix(out, (".parquet", ".csv"), "--out")
    if table is not None:
        _check_suffix(table, (".json", ".parquet"), "--table")
    paths = reading.find_files(files)
    counts = None if fit_on is None else reading.find_files([str(fit_on)])[0]
    _check_places({"--out": out, "--table": table}, [*paths, *([counts] if counts else [])])
    (reweigher, counted), notes = _noting_warnings(
        lambda: jobs.fit_files(
            paths,
            label,
            parsed,
            positive=positive,
            weight=weight,
            fit_on=counts,
            mode=mode,
            order=lattice_order,
            importance=powers,
            smoothing=smoothing,
        )
    )
    jobs.write_weights(out, paths, label, parsed, weight, reweigher)
    if table is not None:
        jobs.write_table(counted, table)
    found = reweigher.diagnostics_
    if as_json:
        factors = reweigher.factors_.to_dict(orient="records")
        cli.print_json(
            {
                "schema": SCHEMA, "mode": mode, "levels": reweigher.levels_, **found.to_dict(), "factors": factors,
                "warnings": notes,
            }
        )  # fmt: skip
        return
    for note in notes:
        typer.echo(f"warning: {note}", err=True)
    typer.echo(
        f"{found.n} rows, weights {found.min_factor:.4g} to {found.max_factor:.4g} times the prior, "
        f"effective sample size {found.effective_sample_size:.6g} of {found.effective_sample_size_before:.6g}: {out}"
    )


@app.command()
def measure(
    files: Files,
    label: Label,
    sensitive: Sensitive,
    pred: Pred = None,
    score: Score = None,
    threshold: Threshold = None,
    bins: Bins = None,
    weight: Weight = None,
    positive: Positive = None,
    order: Order = 2,
    metrics: Metrics = None,
    confidence: Confidence = 0.95,
    min_group: MinGroup = 10,
    ci: Ci = "closed",
    n_boot: NBoot = 1000,
    seed: Seed = 0,
    cluster: Cluster = None,
    fail_on: FailOn = None,
    as_json: Json = False,
) -> None:
    """Audit decisions: rates of every group, and each group against the reference."""
    from auscult.m3fair import jobs, reading

    limits = [jobs.Limit.parse(text) for text in fail_on or ()]
    report = jobs.audit_files(
        reading.find_files(files), label, pred, jobs.parse_attributes(sensitive, bins), score=score,
        threshold=threshold, weight=weight, positive=positive, order=order, confidence=confidence,
        min_group=min_group, ci=ci, n_boot=n_boot, seed=seed, cluster=cluster, **jobs.parse_metrics(metrics, limits),
    )  # fmt: skip
    if as_json:
        cli.print_json(report.to_dict())
    else:
        from auscult.m3fair.presentation import print_report

        print_report(report)
    exceeded = [sentence for limit in limits for sentence in limit.exceeded_by(report)]
    for sentence in exceeded:
        typer.echo(f"failed: {sentence}", err=True)
    if exceeded:
        raise typer.Exit(1)


@app.command()
def report(
    files: Files,
    label: Label,
    sensitive: Sensitive,
    out: Annotated[Path, typer.Option("--out", help="Where the report goes: .html, .md, .json or .csv (disparities).")],
    pred: Pred = None,
    score: Score = None,
    threshold: Threshold = None,
    bins: Bins = None,
    weight: Weight = None,
    positive: Positive = None,
    order: Order = 2,
    metrics: Metrics = None,
    confidence: Confidence = 0.95,
    min_group: MinGroup = 10,
    ci: Ci = "closed",
    n_boot: NBoot = 1000,
    seed: Seed = 0,
    cluster: Cluster = None,
    card: Card = None,
) -> None:
    """Write the audit of decisions as a page, as Markdown, JSON or CSV, and for a model card."""
    from auscult.m3fair import jobs, reading

    paths = reading.find_files(files)
    _check_suffix(out, (".html", ".md", ".json", ".csv"), "--out")
    _check_card(card)
    _check_places({"--out": out, "--card": card}, paths)
    found = jobs.audit_files(
        paths, label, pred, jobs.parse_attributes(sensitive, bins), score=score, threshold=threshold, weight=weight,
        positive=positive, order=order, confidence=confidence, min_group=min_group,
        ci=ci, n_boot=n_boot, seed=seed, cluster=cluster, **jobs.parse_metrics(metrics),
    )  # fmt: skip
    names = ", ".join(path.name for path in paths)
    if out.suffix == ".html":
        found.to_html(out, subtitle=names)
    elif out.suffix == ".md":
        found.to_markdown(out)
    elif out.suffix == ".csv":
        replace_atomically(out, lambda partial: found.disparities.to_csv(partial, index=False))
    else:
        found.to_json(out)
    _write_card(card, found, names)
    typer.echo(str(out))


@app.command()
def merge(
    tables: Annotated[list[str], typer.Argument(help="Count tables (.json, .parquet).", metavar="TABLE...")],
    out: Annotated[Path, typer.Option("--out", help="Where the sum goes: .json or .parquet.")],
) -> None:
    """Add the count tables of several runs: the sum is the table of one run over all files."""
    from auscult.m3fair import jobs, reading

    _check_suffix(out, (".json", ".parquet"), "--out")
    paths = reading.find_files(tables)
    _check_places({"--out": out}, paths)
    total = jobs.read_tables(paths)
    jobs.write_table(total, out)
    typer.echo(f"{total.n} rows in {len(total)} cells: {out}")


@app.command()
def mitigate(
    train: Annotated[list[str], typer.Argument(help="Training rows: files or patterns.", metavar="TRAIN...")],
    test: Annotated[list[str], typer.Option("--test", help="Test rows: files or patterns.")],
    label: Label,
    sensitive: Sensitive,
    out: Annotated[Path, typer.Option("--out", help="Where the fitted model goes (.joblib).")],
    positive: Positive = None,
    weight: Weight = None,
    mode: Mode = "level",
    lattice_order: LatticeOrder = 1,
    importance: Importance = None,
    smoothing: Smoothing = 0.0,
    bins: Bins = None,
    estimator: Annotated[str, typer.Option("--estimator", help="logistic, hgb or module:Class.")] = "logistic",
    report: Annotated[Path | None, typer.Option("--report", help="Also write a page, before and after.")] = None,
    card: Card = None,
    order: Order = 2,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the estimator.")] = 0,
    as_json: Json = False,
) -> None:
    """Train a classifier on reweighted rows, and audit it beside the unweighted one on test rows."""
    from auscult.m3fair import jobs, mitigation, reading
    from auscult.m3fair.results import SCHEMA

    _check_suffix(out, (".joblib",), "--out")
    if report is not None:
        _check_suffix(report, (".html",), "--report")
    _check_card(card)
    parsed, powers = jobs.parse_attributes(sensitive, bins), jobs.parse_importance(importance)
    train_files, test_files = reading.find_files(train), reading.find_files(test)
    _check_places({"--out": out, "--report": report, "--card": card}, [*train_files, *test_files])

    def job() -> mitigation.Mitigation:
        return mitigation.mitigate_files(
            train_files, test_files, label=label, sensitive=parsed, positive=positive, weight=weight,
            estimator=estimator, audit_order=order, seed=seed, mode=mode, order=lattice_order, importance=powers,
            smoothing=smoothing,
        )  # fmt: skip

    result, notes = _noting_warnings(job)
    mitigation.write_model(result.model, out)
    both = {"before": result.before, "after": result.after}
    if report is not None:
        from auscult.m3fair.presentation import to_page

        to_page(both, title="Before and after reweighting", subtitle=f"{estimator}, mode {mode}").write(report)
    _write_card(card, result.after, ", ".join(path.name for path in test_files), result.model.reweigher_)
    if as_json:
        reports = {name: one.to_dict() for name, one in both.items()}
        cli.print_json({"schema": SCHEMA, "model": str(out), **reports, "warnings": notes})
        return
    for note in notes:
        typer.echo(f"warning: {note}", err=True)
    for name, one in both.items():
        typer.echo(f"{name}: {_headline(one)}")
    typer.echo(str(out if report is None else report))


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for the report and its data.")] = Path("out/m3fair"),
    as_json: Json = False,
) -> None:
    """Audit and reweight mortality in the bundled TJH hospital data, before and after, into report.html."""
    from auscult.core.progress import progress
    from auscult.m3fair.demo import run_demo

    with progress("Auditing 361 patients"):
        result = run_demo(out)
    if as_json:
        cli.print_json(result)
    else:
        typer.echo(result["report"])


def main() -> None:
    """Run the command."""
    try:
        cli.run(app)
    except SystemExit as ending:
        code = ending.code
    # Not from within: an exception keeps the files open that were being read, and their threads.
    sys.exit(code)


def _headline(report: "DisparityReport") -> str:
    metrics = report.overall.metrics
    worst = report.worst(1)
    gap = f", worst statistical parity difference {worst[0].value:.3f} ({worst[0].comparison.names()['group']})"
    return f"accuracy {metrics['accuracy']:.3f}, AUROC {metrics.get('auroc', float('nan')):.3f}{gap if worst else ''}"


def _check_card(card: Path | None) -> None:
    if card is not None:
        _check_suffix(card, (".md",), "--card")


def _write_card(card: Path | None, report: "DisparityReport", data: str, reweigher: "Reweigher | None" = None) -> None:
    if card is not None:
        from auscult.m3fair.presentation import model_card

        text = model_card(report, reweigher, data=data)
        replace_atomically(card, lambda partial: partial.write_text(text, encoding="utf-8"))


def _check_suffix(path: Path, known: tuple[str, ...], option: str) -> None:
    if path.suffix not in known:
        raise InputError(f"{option} {str(path)!r}: the name must end in {' or '.join(known)}")


def _check_places(places: dict[str, Path | None], read: list[Path]) -> None:
    """Refuse to write over a file that is read, or two things to one file."""
    seen = {path.resolve(): "read" for path in read}
    for option, path in places.items():
        if path is not None:
            if path.resolve() in seen:
                raise InputError(f"{option} {str(path)!r} is also {seen[path.resolve()]}: give another name")
            seen[path.resolve()] = option


def _noting_warnings(job: Callable[[], Any]) -> tuple[Any, list[str]]:
    with python_warnings.catch_warnings(record=True) as caught:
        python_warnings.simplefilter("always")
        result = job()
    return result, [str(item.message) for item in caught if issubclass(item.category, UserWarning)]
