"""The command ``ehr-prompt``: render, run, score and report, and a demonstration on bundled data."""

from pathlib import Path
from typing import Annotated, Any

import typer

from auscult.core import cli
from auscult.core.errors import InputError
from auscult.ehr_prompt._version import __version__

app = cli.command(
    "ehr-prompt", __version__, "Ask language models about patients, and know what was asked and answered."
)

Data = Annotated[str, typer.Option("--data", help="What load_cohort takes: tjh, tjh:FILE, ...")]
Split = Annotated[str, typer.Option("--split", help="'paper', or the file of a saved split.")]
Panel = Annotated[str | None, typer.Option("--panel", help="A bundled panel, or your own YAML file.")]
Task = Annotated[str, typer.Option("--task", help="outcome, los, los_causal, readmission or multitask.")]
Horizon = Annotated[str, typer.Option("--horizon", help="discharge, 1month or 6months.")]
Window = Annotated[str, typer.Option("--window", help="full, first, first24h, first48h, last or last_before.")]
Layout = Annotated[str, typer.Option("--layout", help="string, list, batches or text.")]
Missing = Annotated[str, typer.Option("--missing", help="nan, locf, locf_marked, omit, delta or median_locf.")]
Units = Annotated[bool, typer.Option("--units", help="Name the units.")]
Ranges = Annotated[str, typer.Option("--ranges", help="Reference ranges: paper, corrected or none.")]
Shots = Annotated[int, typer.Option("--shots", help="Training patients shown as examples.")]
Examples = Annotated[str, typer.Option("--examples", help="How they are chosen: random, balanced or nearest.")]
Reasoning = Annotated[bool, typer.Option("--reasoning", help="Ask for the steps before the answer.")]
Reply = Annotated[str, typer.Option("--reply", help="text, or json with a schema.")]
Prices = Annotated[Path | None, typer.Option("--prices", help="A YAML table of prices beside the bundled one.")]
Json = Annotated[bool, typer.Option("--json", help="Print only JSON.")]


@app.command()
def render(
    subject: Annotated[str, typer.Option("--subject", help="The subject to show.")],
    data: Data = "tjh",
    split: Split = "paper",
    panel: Panel = None,
    task: Task = "outcome",
    horizon: Horizon = "discharge",
    window: Window = "full",
    layout: Layout = "string",
    missing: Missing = "median_locf",
    units: Units = False,
    ranges: Ranges = "none",
    shots: Shots = 0,
    examples: Examples = "random",
    reasoning: Reasoning = False,
    reply: Reply = "text",
    as_json: Json = False,
) -> None:
    """Print the exact messages about one subject, and their tokens."""
    from auscult.ehr_prompt import jobs

    config = jobs.make_config(data=data, split=split, panel=panel, prompt=_prompt(locals()))
    shown = jobs.render_subject(config, subject)
    if as_json:
        cli.print_json(shown)
        return
    for one in shown:
        for message in one["messages"]:
            typer.echo(f"--- {message['role']}\n{message['content']}")
        typer.echo(f"--- about {one['tokens']} tokens", err=True)


@app.command()
def run(
    out: Annotated[Path, typer.Option("--out", help="The run's folder; one that exists is resumed.")],
    data: Data = "tjh",
    split: Split = "paper",
    panel: Panel = None,
    task: Task = "outcome",
    horizon: Horizon = "discharge",
    window: Window = "full",
    layout: Layout = "string",
    missing: Missing = "median_locf",
    units: Units = False,
    ranges: Ranges = "none",
    shots: Shots = 0,
    examples: Examples = "random",
    reasoning: Reasoning = False,
    reply: Reply = "text",
    backend: Annotated[str, typer.Option("--backend", help="openai or reference-range.")] = "reference-range",
    base_url: Annotated[str | None, typer.Option("--base-url", help="Of an OpenAI-compatible server.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="The model's name on the server.")] = None,
    api_key_env: Annotated[str, typer.Option("--api-key-env", help="Variable with the key.")] = "OPENAI_API_KEY",
    concurrency: Annotated[int, typer.Option("--concurrency", help="Requests in flight at most.")] = 16,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds that one attempt may take.")] = 120.0,
    attempts: Annotated[int, typer.Option("--attempts", help="How often a request is sent at most.")] = 6,
    temperature: Annotated[float, typer.Option("--temperature", help="Of the answers.")] = 0.0,
    seed: Annotated[int, typer.Option("--seed", help="Sent with every request.")] = 0,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", help="Of a reply: 64, or 2048 with reasoning.")
    ] = None,
    context: Annotated[int | None, typer.Option("--context", help="Tokens that the model takes.")] = None,
    samples: Annotated[int, typer.Option("--samples", help="Answers to a question; their mean counts.")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count prompts, tokens and price; ask nothing.")] = False,
    max_cost: Annotated[float | None, typer.Option("--max-cost", help="Stop before this many USD are passed.")] = None,
    prices: Prices = None,
    as_json: Json = False,
) -> None:
    """Ask about every test patient; a folder that exists goes on where it was."""
    from auscult.ehr_prompt import jobs

    config = jobs.make_config(
        data=data, split=split, panel=panel, prompt=_prompt(locals()), backend=backend, base_url=base_url,
        model=model, temperature=temperature, seed=seed, max_tokens=max_tokens, context=context, samples=samples,
    )  # fmt: skip
    server = {"api_key_env": api_key_env, "concurrency": concurrency, "timeout": timeout, "attempts": attempts}
    result = jobs.run_folder(config, out, server, dry_run=dry_run, max_cost=max_cost, prices=prices)
    if as_json:
        cli.print_json(result)
    else:
        typer.echo(", ".join(f"{name} {value}" for name, value in result.items() if name != "reasons"))
        for reason, count in result.get("reasons", {}).items():
            typer.echo(f"failed {count} times: {reason}", err=True)
    if result.get("failed") or result.get("stopped"):
        raise typer.Exit(1)


@app.command()
def score(folder: Path, prices: Prices = None, as_json: Json = False) -> None:
    """Measure a run: coverage, metrics by policy, baselines, tokens and cost."""
    from auscult.ehr_prompt import jobs

    result = jobs.score_folder(folder, prices)
    if as_json:
        cli.print_json(result)
    else:
        auroc = result["policies"]["exclude"].get("auroc") or result["policies"]["exclude"].get("mae")
        typer.echo(f"{result['n']} questions, coverage {result['coverage']:.1%}, {result['status']}, {auroc}")
    if not result["coverage"]:
        typer.echo("failed: no question has a usable answer", err=True)
        raise typer.Exit(1)


@app.command()
def report(
    folders: Annotated[list[Path], typer.Argument(help="Folders of runs.", metavar="RUN...")],
    out: Annotated[Path, typer.Option("--out", help="The page to write.")] = Path("report.html"),
    prices: Prices = None,
) -> None:
    """Write one page about one or several runs."""
    from auscult.ehr_prompt.presentation import write_report

    if out.suffix != ".html":
        raise InputError(f"--out {str(out)!r}: the name must end in .html")
    write_report({folder.name: folder for folder in folders}, out, prices=prices)
    typer.echo(str(out))


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for the runs and the report.")] = Path("out/ehr-prompt"),
    as_json: Json = False,
) -> None:
    """Score mortality in the bundled TJH data from the first and the last visit, without a language model."""
    from auscult.ehr_prompt.demo import run_demo

    result = run_demo(out)
    if as_json:
        cli.print_json(result)
    else:
        typer.echo(result["report"])


def main() -> None:
    """Run the command."""
    cli.run(app)


def _prompt(given: dict[str, Any]) -> dict[str, Any]:
    names = (
        "task",
        "horizon",
        "window",
        "layout",
        "missing",
        "units",
        "ranges",
        "shots",
        "examples",
        "reasoning",
        "reply",
    )
    return {name: given[name] for name in names}
