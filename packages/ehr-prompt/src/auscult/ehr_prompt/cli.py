"""The command ``ehr-prompt``: render, run, score and report, and a demonstration on bundled data."""

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from auscult.core import cli
from auscult.core.canonical import plain
from auscult.core.errors import InputError
from auscult.ehr_prompt._version import __version__

app = cli.command(
    "ehr-prompt", __version__, "Ask language models about patients, and know what was asked and answered."
)

NOTHING_USABLE = "failed: no question has a usable answer"

Data = Annotated[str, typer.Option("--data", help="What load_cohort takes: tjh, mimic4:FOLDER, table:FILE, ...")]
DataOptions = Annotated[
    list[str] | None,
    typer.Option("--data-option", metavar="NAME=VALUE", help="Of its reader, such as labels=FILE; may be repeated."),
]
Request = Annotated[
    list[str] | None,
    typer.Option("--request-field", metavar="NAME=VALUE", help="Of every request to a server; null leaves one out."),
]
Bins = Annotated[str, typer.Option("--bins", help="Coarser steps: none, 12h or days.")]
Split = Annotated[str, typer.Option("--split", help="'paper', or the file of a saved split.")]
Panel = Annotated[str | None, typer.Option("--panel", help="A bundled panel, or your own YAML file.")]
Task = Annotated[str, typer.Option("--task", help="outcome, los, los_causal, readmission or multitask.")]
Horizon = Annotated[str, typer.Option("--horizon", help="discharge, 1month or 6months.")]
Window = Annotated[str, typer.Option("--window", help="full, first, first24h, first48h, last or last_before.")]
LastK = Annotated[int, typer.Option("--last-k", help="Visits that last_before shows.")]
BeforeHours = Annotated[float, typer.Option("--before-hours", help="Hours before the last record where it ends.")]
Layout = Annotated[str, typer.Option("--layout", help="string, list, batches or text.")]
Missing = Annotated[str, typer.Option("--missing", help="nan, locf, locf_marked, omit, delta or median_locf.")]
Units = Annotated[bool, typer.Option("--units", help="Name the units.")]
Ranges = Annotated[str, typer.Option("--ranges", help="Reference ranges: paper, corrected or none.")]
Shots = Annotated[int, typer.Option("--shots", help="Patients shown as examples.")]
Examples = Annotated[str, typer.Option("--examples", help="Which: hand, random, balanced or nearest.")]
ExampleVariables = Annotated[int | None, typer.Option("--example-variables", help="Variables an example shows.")]
Reasoning = Annotated[bool, typer.Option("--reasoning", help="Ask for the steps before the answer.")]
Reply = Annotated[str, typer.Option("--reply", help="text, json, or the log-probabilities of yes_no or digit.")]
Abstain = Annotated[bool, typer.Option("--abstain/--no-abstain", help="Offer 'I do not know'.")]
Times = Annotated[str, typer.Option("--times", help="relative to the start of the stay, or dates.")]
Context = Annotated[int | None, typer.Option("--context", help="Tokens that the model takes, reply included.")]
Tokenizer = Annotated[str | None, typer.Option("--tokenizer", help="Of the model, to count its tokens exactly.")]
MaxTokens = Annotated[int | None, typer.Option("--max-tokens", help="Of a reply: 64, or 2048 with reasoning.")]
ApiKeyEnv = Annotated[str, typer.Option("--api-key-env", help="Variable that holds the server's key.")]
Concurrency = Annotated[int, typer.Option("--concurrency", help="Requests in flight at most.")]
Timeout = Annotated[float, typer.Option("--timeout", help="Seconds that one attempt may take.")]
Attempts = Annotated[int, typer.Option("--attempts", help="How often a request is sent at most.")]
Device = Annotated[str, typer.Option("--device", help="Of a local model: auto, cpu, cuda, ...")]
BatchSize = Annotated[int, typer.Option("--batch-size", help="Questions that a local model answers at a time.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Count what is still to be asked, and its price; ask nothing.")]
MaxCost = Annotated[float | None, typer.Option("--max-cost", help="Stop before this many USD are passed.")]
Prices = Annotated[Path | None, typer.Option("--prices", help="A YAML table of prices beside the bundled one.")]
Json = Annotated[bool, typer.Option("--json", help="Print only JSON.")]


@app.command()
def render(
    subject: Annotated[str, typer.Option("--subject", help="The subject to show.")],
    data: Data = "tjh",
    data_options: DataOptions = None,
    bins: Bins = "none",
    split: Split = "paper",
    panel: Panel = None,
    task: Task = "outcome",
    horizon: Horizon = "discharge",
    window: Window = "full",
    last_k: LastK = 3,
    before_hours: BeforeHours = 24.0,
    layout: Layout = "string",
    missing: Missing = "median_locf",
    units: Units = False,
    ranges: Ranges = "none",
    shots: Shots = 0,
    examples: Examples = "random",
    example_variables: ExampleVariables = None,
    reasoning: Reasoning = False,
    reply: Reply = "text",
    abstain: Abstain = True,
    times: Times = "relative",
    context: Context = None,
    tokenizer: Tokenizer = None,
    max_tokens: MaxTokens = None,
    as_json: Json = False,
) -> None:
    """Print the exact messages about one subject, and their tokens."""
    from auscult.ehr_prompt import jobs

    config = jobs.make_config(**_settings(locals()), model="any", backend="openai", base_url="http://127.0.0.1/v1")
    shown = jobs.render_subject(config, subject)
    if as_json:
        cli.print_json(shown)
        return
    for one in shown:
        for message in one["messages"]:
            typer.echo(f"--- {message['role']}\n{message['content']}")
        left_out = f", left out: {'; '.join(one['dropped'])}" if one["dropped"] else ""
        typer.echo(f"--- about {one['tokens']} tokens{left_out}{'' if one['fits'] else ', too long'}", err=True)


@app.command()
def run(
    out: Annotated[Path, typer.Option("--out", help="The run's folder; one that exists is resumed.")],
    data: Data = "tjh",
    data_options: DataOptions = None,
    bins: Bins = "none",
    split: Split = "paper",
    panel: Panel = None,
    task: Task = "outcome",
    horizon: Horizon = "discharge",
    window: Window = "full",
    last_k: LastK = 3,
    before_hours: BeforeHours = 24.0,
    layout: Layout = "string",
    missing: Missing = "median_locf",
    units: Units = False,
    ranges: Ranges = "none",
    shots: Shots = 0,
    examples: Examples = "random",
    example_variables: ExampleVariables = None,
    reasoning: Reasoning = False,
    reply: Reply = "text",
    abstain: Abstain = True,
    times: Times = "relative",
    backend: Annotated[str, typer.Option("--backend", help="openai, local or reference-range.")] = "reference-range",
    base_url: Annotated[str | None, typer.Option("--base-url", help="Of an OpenAI-compatible server.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Its name on the server, or a folder.")] = None,
    temperature: Annotated[float, typer.Option("--temperature", help="Of the answers.")] = 0.0,
    seed: Annotated[int, typer.Option("--seed", help="Sent with every request.")] = 0,
    samples: Annotated[int, typer.Option("--samples", help="Answers to a question; their mean counts.")] = 1,
    request: Request = None,
    context: Context = None,
    tokenizer: Tokenizer = None,
    max_tokens: MaxTokens = None,
    api_key_env: ApiKeyEnv = "OPENAI_API_KEY",
    concurrency: Concurrency = 16,
    timeout: Timeout = 120.0,
    attempts: Attempts = 6,
    device: Device = "auto",
    batch_size: BatchSize = 8,
    dry_run: DryRun = False,
    max_cost: MaxCost = None,
    prices: Prices = None,
    as_json: Json = False,
) -> None:
    """Ask about every test patient; a folder that exists goes on where it was."""
    from auscult.ehr_prompt import jobs

    given = locals()
    settings = {name: given[name] for name in ("backend", "base_url", "model", "temperature", "seed", "samples")}
    config = jobs.make_config(**_settings(given), **settings, request=_pairs("--request-field", request))
    result = jobs.run_folder(config, out, given, dry_run=dry_run, max_cost=max_cost, prices=prices)
    if as_json:
        cli.print_json(result)
    else:
        shown = {name: f"{value:.4f}" if isinstance(value, float) else value for name, value in result.items()}
        typer.echo(", ".join(f"{name} {value}" for name, value in shown.items() if name != "reasons"))
        for reason, count in result.get("reasons", {}).items():
            typer.echo(f"failed {count} times: {reason}", err=True)
    if result.get("coverage") == 0:
        typer.echo(NOTHING_USABLE, err=True)
    if result.get("failed") or result.get("stopped") or result.get("coverage") == 0:
        raise typer.Exit(1)


@app.command()
def ablate(
    grid: Annotated[Path, typer.Argument(help="A YAML file with 'base' and 'grid'.", metavar="GRID.yaml")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the runs, the table and the page; by default GRID.")
    ] = None,
    api_key_env: ApiKeyEnv = "OPENAI_API_KEY",
    concurrency: Concurrency = 16,
    timeout: Timeout = 120.0,
    attempts: Attempts = 6,
    device: Device = "auto",
    batch_size: BatchSize = 8,
    dry_run: DryRun = False,
    max_cost: MaxCost = None,
    prices: Prices = None,
    as_json: Json = False,
) -> None:
    """Run every combination of a grid of conditions, and compare them in one table and one plot."""
    from auscult.ehr_prompt import jobs

    given = locals()
    result = jobs.ablate(grid, out or grid.with_suffix(""), given, dry_run=dry_run, max_cost=max_cost, prices=prices)
    if as_json:
        cli.print_json(result)
    else:
        for name, row in result["conditions"].items():
            shown = (f"{key} {_short(value)}" for key, value in row.items() if key != "unpaired" or value)
            typer.echo(f"{name}: {', '.join(shown)}")
        typer.echo(result.get("report", f"{result.get('prompts')} prompts"))
    empty = [name for name, row in result["conditions"].items() if row.get("coverage") == 0]
    for name in empty:
        typer.echo(f"{name}: {NOTHING_USABLE}", err=True)
    if result.get("failed") or result.get("stopped") or empty:
        raise typer.Exit(1)


@app.command()
def score(
    folder: Path,
    clamp: Annotated[bool, typer.Option("--clamp", help="Move numbers outside their range to its bound.")] = False,
    decimal_comma: Annotated[bool, typer.Option("--decimal-comma", help="Read 0,85 as 0.85.")] = False,
    prices: Prices = None,
    as_json: Json = False,
) -> None:
    """Measure a run: coverage, metrics by policy, baselines, tokens and cost."""
    from auscult.ehr_prompt import jobs

    result = jobs.score_folder(folder, prices, clamp=clamp, decimal_comma=decimal_comma)
    if as_json:
        cli.print_json(result)
    else:
        statuses = ", ".join(f"{status} {count}" for status, count in result["status"].items())
        counts = f"{result['n']} questions, {result['labelled']} with a label"
        typer.echo(f"{counts}, coverage {result['coverage']:.1%}: {statuses}")
        for part in [result, result["second"]] if "second" in result else [result]:
            for name, metrics in ({"answers": part["policies"]["exclude"]} | part["baselines"]).items():
                typer.echo(f"{name}: {', '.join(f'{metric} {_short(value)}' for metric, value in metrics.items())}")
        tokens, cost = result["tokens"], result["cost"]
        estimated = f" ({tokens['estimated']} answers estimated)" if tokens["estimated"] else ""
        price = "" if cost is None else f", {cost:.4f} USD"
        typer.echo(f"tokens: {tokens['prompt']} of prompts, {tokens['completion']} of replies{estimated}{price}")
    if not result["coverage"]:
        typer.echo(NOTHING_USABLE, err=True)
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
    names = [folder.resolve().name for folder in folders]
    shown = [str(folder) if names.count(name) > 1 else name for folder, name in zip(folders, names, strict=True)]
    write_report(dict(zip(shown, folders, strict=True)), out, prices=prices)
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


def _settings(given: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a run that the commands share, from their options."""
    run = ("data", "bins", "split", "panel", "context", "tokenizer", "max_tokens")
    prompt = (
        "task", "horizon", "window", "last_k", "before_hours", "layout", "missing", "units", "ranges", "shots",
        "examples", "example_variables", "reasoning", "reply", "abstain", "times",
    )  # fmt: skip
    return {
        **{name: given[name] for name in run},
        "data_options": _pairs("--data-option", given["data_options"]),
        "prompt": {name: given[name] for name in prompt},
    }


def _pairs(option: str, texts: list[str] | None) -> dict[str, Any]:
    """Return what 'NAME=VALUE' texts say, their values read as YAML."""
    pairs = [text.partition("=") for text in texts or ()]
    wrong = [name + value for name, sign, value in pairs if not (name and sign)]
    if wrong:
        raise InputError(f"{option} is {wrong[0]!r}: write NAME=VALUE")
    found: dict[str, Any] = {}
    for name, _, value in pairs:
        try:
            found[name] = plain(yaml.safe_load(value))
        except (yaml.YAMLError, ValueError):
            raise InputError(f"{option} {name}={value} is no YAML: put its value in quotes") from None
    return found


def _short(value: Any) -> str:
    if isinstance(value, dict) and "ci" in value:
        return f"{value['value']:.3f} [{value['ci'][0]:.3f}, {value['ci'][1]:.3f}]"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
