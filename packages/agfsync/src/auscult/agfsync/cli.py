"""The command ``agfsync``: a run as a whole or stage by stage, a demonstration, and sheets for people."""

from pathlib import Path
from typing import Annotated, Any

import typer

from auscult.agfsync._version import __version__
from auscult.core import cli

app = cli.command(
    "agfsync", __version__,
    "Tune a text-to-image model on its own pictures, ranked by AI feedback (AGFSync, Diffusion-DPO).",
)  # fmt: skip

ConfigFile = Annotated[Path, typer.Argument(help="The run's YAML; see 'agfsync init'.", metavar="CONFIG")]
Out = Annotated[Path, typer.Option("--out", help="The run's folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print only JSON.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count what would be done.")]


@app.command()
def init() -> None:
    """Print a configuration with every key, its default and what it means."""
    from auscult.agfsync.config import commented_example

    typer.echo(commented_example(), nl=False)


@app.command()
def run(config: ConfigFile, out: Out = Path("run"), dry_run: DryRun = False, as_json: Json = False) -> None:
    """Do all stages; what is done already is not done again."""
    from auscult.agfsync.stages import STAGES

    _run(config, out, STAGES, dry_run, as_json)


def _stage_command(name: str, text: str) -> None:
    def command(config: ConfigFile, out: Out = Path("run"), dry_run: DryRun = False, as_json: Json = False) -> None:
        _run(config, out, (name,), dry_run, as_json)

    command.__doc__ = text
    app.command(name=name)(command)


_stage_command("prompts", "Stage 1: write prompts and drop repetitions.")
_stage_command("questions", "Stage 2: write questions about each prompt.")
_stage_command("candidates", "Stage 3: draw several pictures of each prompt.")
_stage_command("score", "Stage 4: score the pictures by VQA, CLIP and aesthetics.")
_stage_command("pairs", "Stage 5: choose preferred and other pictures.")
_stage_command("evaluate", "Stage 7: compare base and tuned on the same captions and seeds.")


@app.command()
def train(
    config: Annotated[Path | None, typer.Argument(help="The run's YAML; may be left out.", metavar="[CONFIG]")] = None,
    out: Out = Path("run"),
    pairs: Annotated[str | None, typer.Option("--pairs", help="Pairs of your own: parquet, or a folder.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="The model to tune: a folder, an ID or 'shapes'.")
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Stage 6: tune a model on pairs, those of the run or your own."""
    _run(config, out, ("train",), dry_run, as_json, {"pairs": pairs, "model": model})


@app.command()
def use(
    stage: Annotated[str, typer.Argument(help="questions, candidates, score or train.", metavar="STAGE")],
    source: Annotated[Path, typer.Argument(help="JSON lines, or the folder of a tuned model.", metavar="FILE")],
    out: Out = Path("run"),
    as_json: Json = False,
) -> None:
    """Take a file of your own in place of what a stage would make."""
    from auscult.agfsync.own import use as take

    summary = take(stage, source, out)
    if as_json:
        cli.print_json({stage: summary})
    else:
        typer.echo(f"{stage}: " + ", ".join(f"{key} {value}" for key, value in summary.items()))


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Where the run and its report go.")] = Path("agfsync-demo"),
    as_json: Json = False,
) -> None:
    """Run the whole method on the shapes world, offline, and write a report."""
    from auscult.agfsync.demo import run_demo

    result = run_demo(out)
    if as_json:
        cli.print_json(result)
    else:
        typer.echo(_demo_text(result))


@app.command()
def sheet(
    out: Out = Path("run"),
    page: Annotated[Path, typer.Option("--page", help="Where the page goes.")] = Path("sheet.html"),
) -> None:
    """Write a page on which people choose between base and tuned."""
    from auscult.agfsync.human import write_sheet
    from auscult.agfsync.jobs import evaluated_rows

    base, tuned, folder = evaluated_rows(out)
    typer.echo(f"{write_sheet(base, tuned, folder, page)} pairs in {page}")


@app.command()
def judge(
    model: Annotated[str, typer.Option("--model", help="The vision model's name on the server.")],
    base_url: Annotated[str, typer.Option("--base-url", help="The server, such as http://127.0.0.1:8000/v1.")],
    out: Out = Path("run"),
    question: Annotated[str, typer.Option("--question", help="prompt_following or aesthetics.")] = "prompt_following",
    as_json: Json = False,
) -> None:
    """Let a vision model on a server choose between base and tuned; it sees both orders."""
    from auscult.agfsync.jobs import judge_evaluated

    found = judge_evaluated(out, base_url, model, question)
    if as_json:
        cli.print_json(found)
    else:
        typer.echo(_win_text(model, found) + f", {found['unanswered']} requests without an answer")


@app.command()
def votes(
    file: Annotated[Path, typer.Argument(help="The votes.csv that the sheet saved.", metavar="FILE")],
    as_json: Json = False,
) -> None:
    """Count what people chose: win rate of tuned with its interval and a sign test."""
    from auscult.agfsync.evaluation import win_rate
    from auscult.agfsync.human import read_votes

    found = win_rate(read_votes(file)).to_dict()
    if as_json:
        cli.print_json(found)
    else:
        typer.echo(_win_text("people", found))


def _run(
    config: Path | None,
    out: Path,
    stages: Any,
    dry_run: bool,
    as_json: bool,
    train: dict[str, str | None] | None = None,
) -> None:
    from auscult.agfsync import jobs

    settings = jobs.read_config(config, **(train or {}))
    if dry_run:
        from auscult.agfsync.pipeline import plan_run

        plan = [row for row in plan_run(settings, out) if row["stage"] in stages]
        if as_json:
            cli.print_json({"plan": plan})
        else:
            for row in plan:
                typer.echo(f"{row['stage']}: {row['does']}; {row['model_calls']} model calls")
        return
    from auscult.agfsync.pipeline import run as run_stages

    if not {"prompts", "questions", "pairs"}.issuperset(stages):
        jobs.quiet()  # loads the libraries that it quiets, which those stages can do without
    result = run_stages(settings, out, stages=stages)
    if as_json:
        cli.print_json(result)
        return
    for name, summary in result.items():
        shown = {key: value for key, value in summary.items() if isinstance(value, (int, float, str))}
        typer.echo(f"{name}: " + ", ".join(f"{key} {_plain(value)}" for key, value in shown.items()))


def _plain(value: Any) -> str:
    from auscult.core.formatting import format_value

    return format_value(value)


def _win_text(name: str, found: dict[str, Any]) -> str:
    from auscult.core.formatting import format_interval

    counts = f"{found['wins']} wins, {found['ties']} ties, {found['losses']} losses"
    return f"win rate by {name}: {format_interval(found['rate'])} ({counts}, p = {_plain(found['p_value'])})"


def _demo_text(result: dict[str, Any]) -> str:
    from auscult.core.formatting import format_interval

    vqa = result["vqa"]
    return "\n".join(
        [
            f"VQA accuracy on {result['captions']} held-out captions: base {format_interval(vqa['base'])}, "
            f"tuned {format_interval(vqa['tuned'])}, difference {format_interval(vqa['difference'])}",
            _win_text("prompt following", result["win_rate"]["prompt_following"]),
            f"report: {result['report']}",
        ]
    )


def main() -> None:
    """Run the command."""
    cli.run(app)
