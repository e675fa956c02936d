"""The command ``sparse-ehr``: train, predict, evaluate, compare, explain, and a demonstration on bundled data."""

import warnings as python_warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from auscult.core import cli
from auscult.sparse_ehr._version import __version__

app = cli.command(
    "sparse-ehr", __version__, "Risk from sparse clinical time series, the confidence of every value, similar patients."
)

Task = Literal["mortality", "readmission"]
Run = Annotated[Path, typer.Argument(help="Folder of a run, from train.", metavar="RUN")]
Data = Annotated[str, typer.Option("--data", help="What load_cohort takes: tjh, challenge2012:FOLDER, table:FILE, ...")]
TaskOption = Annotated[Task, typer.Option("--task", help="The label to predict.")]
Splits = Annotated[list[int] | None, typer.Option("--split", min=0, help="Seed of a split; repeat for several.")]
Json = Annotated[bool, typer.Option("--json", help="Print only JSON.")]


@app.command()
def train(
    data: Data,
    task: TaskOption,
    out: Annotated[Path, typer.Option("--out", help="The run's folder; one that was interrupted goes on.")],
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of everything random.")] = 0,
    config: Annotated[Path | None, typer.Option("--config", help="YAML with parameters of PrismClassifier.")] = None,
    summary_stack: Annotated[
        bool | None,
        typer.Option("--summary-stack/--no-summary-stack", help="With boosted trees beside PRISM, or without."),
    ] = None,
    columns: cli.Columns = None,
    labels: cli.Labels = None,
    data_option: cli.DataOptions = None,
    as_json: Json = False,
) -> None:
    """Fit a model on all stays whose label is known; a part of them decides when to stop and calibrates."""
    from auscult.sparse_ehr import jobs

    options = cli.data_options(columns, labels, data_option)
    result = _noting_warnings(
        lambda: jobs.train_run(
            data, task, out, seed=seed, config=config, summary_stack=summary_stack, data_options=options
        )
    )
    if not jobs.is_first_process():
        return
    if as_json:
        cli.print_json(result)
        return
    held = result["held_out"]
    typer.echo(
        f"{result['n']} stays, {result['events']} with the outcome; on those held out: "
        f"AUROC {_shown(held['auroc'])}, AUPRC {_shown(held['auprc'])}: {out}"
    )


@app.command()
def predict(
    run: Run,
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="Where predictions go: .parquet with subject_id, probability.")],
    columns: cli.Columns = None,
    labels: cli.Labels = None,
    data_option: cli.DataOptions = None,
    as_json: Json = False,
) -> None:
    """Write the risk of every stay; labels are not needed."""
    from auscult.sparse_ehr import jobs

    options = cli.data_options(columns, labels, data_option)
    result = _noting_warnings(lambda: jobs.predict_run(run, data, out, data_options=options))
    if as_json:
        cli.print_json(result)
    else:
        typer.echo(f"{result['n']} stays: {out}")


@app.command()
def evaluate(
    run: Run,
    data: Data,
    n_boot: Annotated[int, typer.Option("--n-boot", min=1, help="Resamples of subjects.")] = 1000,
    columns: cli.Columns = None,
    labels: cli.Labels = None,
    data_option: cli.DataOptions = None,
    as_json: Json = False,
) -> None:
    """Measure a model on data with labels, with intervals of resampled subjects."""
    from auscult.sparse_ehr import jobs

    options = cli.data_options(columns, labels, data_option)
    result = _noting_warnings(lambda: jobs.evaluate_run(run, data, n_boot=n_boot, data_options=options))
    if as_json:
        cli.print_json(result)
        return
    typer.echo(f"{result['n']} stays, {result['events']} with the outcome")
    for name in jobs.MEASURES:
        typer.echo(f"{name:9} {_shown(result[name])}")


@app.command()
def explain(
    run: Run,
    subject: Annotated[str, typer.Option("--subject", help="The subject's id; its last stay is shown.")],
    data: Annotated[
        str | None, typer.Option("--data", help="Where the subject is; by default the run's own data.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The page; by default in the run's folder.")] = None,
    k: Annotated[int, typer.Option("--k", min=1, help="How many similar patients.")] = 10,
    columns: cli.Columns = None,
    labels: cli.Labels = None,
    data_option: cli.DataOptions = None,
    as_json: Json = False,
) -> None:
    """Write a page about one stay: risk, confidence of every value, similar patients."""
    from auscult.sparse_ehr import jobs

    options = cli.data_options(columns, labels, data_option)
    result = _noting_warnings(lambda: jobs.explain_run(run, subject, data=data, out=out, k=k, data_options=options))
    if as_json:
        cli.print_json(result)
    else:
        typer.echo(result["page"])


@app.command()
def compare(
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="Folder of the records, table and page; goes on where it was.")],
    task: TaskOption = "mortality",
    split: Splits = None,
    columns: cli.Columns = None,
    labels: cli.Labels = None,
    data_option: cli.DataOptions = None,
    as_json: Json = False,
) -> None:
    """Fit PRISM, the stack and the baselines on splits by subject, and compare them on the same test stays."""
    from auscult.sparse_ehr.comparison import compare_models
    from auscult.sparse_ehr.jobs import load_labelled
    from auscult.sparse_ehr.trials import SEEDS

    options = cli.data_options(columns, labels, data_option)
    splits = tuple(split) if split else SEEDS
    result = _noting_warnings(
        lambda: compare_models(load_labelled(data, task, options), out, task=task, splits=splits).to_dict()
    )
    if as_json:
        cli.print_json(result)
        return
    for name, found in result["models"].items():
        typer.echo(f"{name:22} AUROC {_shown(found['auroc'])}  AUPRC {_shown(found['auprc'])}")
    typer.echo(str(out / "comparison.html"))


@app.command()
def sweep(
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="Folder of the records, table and page; goes on where it was.")],
    task: TaskOption = "mortality",
    split: Splits = None,
    ablations: Annotated[bool, typer.Option("--ablations", help="Also fit PRISM without one part at a time.")] = False,
    columns: cli.Columns = None,
    labels: cli.Labels = None,
    data_option: cli.DataOptions = None,
    as_json: Json = False,
) -> None:
    """Delete observed values, in training and test and in the test part alone, and see what each model loses."""
    from auscult.sparse_ehr.jobs import load_labelled
    from auscult.sparse_ehr.sweep import ablate, sweep_missingness
    from auscult.sparse_ehr.trials import SEEDS

    options = cli.data_options(columns, labels, data_option)

    def job() -> dict[str, Any]:
        cohort = load_labelled(data, task, options)
        found = sweep_missingness(cohort, out, task=task, splits=tuple(split) if split else SEEDS[:1]).to_dict()
        return found | ({"ablations": ablate(cohort, out, task=task)} if ablations else {})

    result = _noting_warnings(job)
    if as_json:
        cli.print_json(result)
    else:
        typer.echo(str(out / "sweep.html"))


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for the report and the model.")] = Path("out/sparse-ehr"),
    as_json: Json = False,
) -> None:
    """Predict death at Tongji from the first days of a stay, in the bundled data, into report.html."""
    from auscult.sparse_ehr.demo import run_demo

    result = run_demo(out)
    if as_json:
        cli.print_json(result)
    else:
        typer.echo(result["report"])


def main() -> None:
    """Run the command."""
    cli.run(app)


def _shown(measured: dict[str, Any]) -> str:
    from auscult.core.formatting import format_interval

    return format_interval(measured, decimals=3)


def _noting_warnings(job: Callable[[], Any]) -> Any:
    """Run a job; what it warns of goes to stderr, a line each."""
    with python_warnings.catch_warnings(record=True) as caught:
        python_warnings.simplefilter("always", UserWarning)
        result = job()
    for note in dict.fromkeys(str(item.message) for item in caught if issubclass(item.category, UserWarning)):
        typer.echo(f"warning: {note}", err=True)
    return result
