"""The command ``o2m-attack``: optimise and ask, replay on other models, judge, report, and a demonstration."""

from pathlib import Path
from typing import Annotated, Any

import typer

from auscult.core import cli
from auscult.core.errors import InputError
from auscult.o2m_attack._version import __version__

app = cli.command(
    "o2m-attack",
    __version__,
    "Test how well a medical multimodal model refuses and notices, before patients meet it. Test systems that you own "
    "or may test.",
)

Model = Annotated[
    str, typer.Option("--model", help="A folder, a hub id, demo, tiny; with --endpoint the name on the server.")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")]
Dtype = Annotated[str, typer.Option("--dtype", help="auto, float32, bfloat16, float16 or float64.")]
Revision = Annotated[str | None, typer.Option("--revision", help="Of a hub id.")]
Chat = Annotated[str | None, typer.Option("--chat", help="The conversation around {turn}, without a chat template.")]
TemplatesFile = Annotated[Path | None, typer.Option("--templates", help="Wordings in a YAML file.")]
Url = Annotated[str | None, typer.Option("--endpoint", help="Base URL of an OpenAI-compatible server.")]
Key = Annotated[str, typer.Option("--api-key-env", help="Variable with the server's key.")]
Json = Annotated[bool, typer.Option("--json", help="Print only JSON.")]
_SCORES = {"text_score": "text", "image_score": "image"}
ShowText = Annotated[bool, typer.Option("--show-text", help="Prompts and replies as they are, not their hashes.")]


@app.command()
def run(
    model: Model,
    out: Annotated[Path, typer.Option("--out", help="The run's folder; one that exists is resumed.")],
    data: Annotated[str, typer.Option("--data", help="A parquet file, a folder, a hub id, or demo.")] = "demo",
    conditions: Annotated[str, typer.Option("--conditions", help="normal,malicious,mismatched,2m or all.")] = "2m",
    optimizer: Annotated[str, typer.Option("--optimizer", help="none,gcg,pgd,mcm or all.")] = "mcm",
    preset: Annotated[str, typer.Option("--preset", help="recommended, paper or reference.")] = "recommended",
    settings: Annotated[Path | None, typer.Option("--settings", help="All settings, in a YAML file.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Iterations at most.")] = None,
    epsilon: Annotated[str | None, typer.Option("--epsilon", help="Radius in pixels of [0, 1]: 8/255.")] = None,
    alpha: Annotated[str | None, typer.Option("--alpha", help="Length of an image step: 1/255.")] = None,
    image_steps: Annotated[int | None, typer.Option("--image-steps", help="Image steps an iteration.")] = None,
    search_width: Annotated[int | None, typer.Option("--search-width", help="Suffix candidates an iteration.")] = None,
    topk: Annotated[int | None, typer.Option("--topk", help="Tokens that a position draws from.")] = None,
    suffix_length: Annotated[int | None, typer.Option("--suffix-length", help="Tokens of the suffix.")] = None,
    accept: Annotated[
        str | None, typer.Option("--accept", help="better, better_or_stay, joint, alternate, ...")
    ] = None,
    sampler: Annotated[str | None, typer.Option("--sampler", help="gradient, uniform or reference.")] = None,
    new_tokens: Annotated[int | None, typer.Option("--new-tokens", help="Length of a reply.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of all random choices.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", help="Take the first records only.")] = None,
    mismatch: Annotated[str, typer.Option("--mismatch", help="stored, uniform, modality_only, ...")] = "stored",
    shard: Annotated[str, typer.Option("--shard", help="i/n: this process does every n-th record.")] = "1/1",
    device: Device = "auto",
    dtype: Dtype = "auto",
    revision: Revision = None,
    chat: Chat = None,
    templates: TemplatesFile = None,
    endpoint: Url = None,
    api_key_env: Key = "OPENAI_API_KEY",
    as_json: Json = False,
) -> None:
    """Optimise records in conditions against a model, and ask it; the folder keeps everything and can go on."""
    from auscult.o2m_attack import campaign, jobs
    from auscult.o2m_attack.targets.loading import load_target

    names = (
        "steps", "epsilon", "alpha", "image_steps", "search_width", "topk", "suffix_length", "accept", "sampler",
        "new_tokens", "seed",
    )  # fmt: skip
    given = locals()
    config = jobs.make_config(preset, settings, {name: given[name] for name in names})
    part = jobs.parse_shard(shard)
    optimizers = jobs.split_list(optimizer, campaign.OPTIMIZERS)
    records = jobs.read_records(data, limit=limit, mismatch=mismatch, seed=config.seed)
    target = load_target(
        model, endpoint=endpoint, api_key_env=api_key_env, device=device, dtype=dtype, revision=revision, chat=chat,
        templates=jobs.make_templates(templates, preset), white_box=set(optimizers) != {"none"},
    )  # fmt: skip
    result = campaign.run(
        target, records, out, conditions=jobs.split_list(conditions), optimizers=optimizers, config=config, shard=part,
        progress=True,
    )  # fmt: skip
    _show(result, as_json)
    if result["failed"]:
        raise typer.Exit(1)


@app.command()
def transfer(
    folder: Annotated[Path, typer.Argument(help="A run's folder.", metavar="RUN")],
    model: Model,
    device: Device = "auto",
    dtype: Dtype = "auto",
    revision: Revision = None,
    chat: Chat = None,
    templates: TemplatesFile = None,
    defence: Annotated[
        str | None, typer.Option("--defence", help="jpeg, bit_depth, resize_pad, smooth_text or asking.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of a defence that draws; 0 if not given.")] = None,
    endpoint: Url = None,
    api_key_env: Key = "OPENAI_API_KEY",
    as_json: Json = False,
) -> None:
    """Replay a run's images and suffixes on another model, which only has to reply."""
    from auscult.o2m_attack import jobs
    from auscult.o2m_attack.targets.loading import load_target
    from auscult.o2m_attack.transfer import transfer_run

    wordings = jobs.make_templates(templates, "recommended")
    before = jobs.make_defence(defence, seed)
    target = load_target(
        model, endpoint=endpoint, api_key_env=api_key_env, device=device, dtype=dtype, revision=revision,
        chat=chat, templates=wordings,
    )  # fmt: skip
    result = transfer_run(folder, target, defence=before, progress=True)
    _show(result, as_json)
    if result["failed"]:
        raise typer.Exit(1)


@app.command()
def judge(
    folder: Annotated[Path, typer.Argument(help="A run's folder.", metavar="RUN")],
    judges: Annotated[str, typer.Option("--judges", help="reference39,prefix: one or both.")] = "reference39,prefix",
    judge_endpoint: Annotated[
        str | None, typer.Option("--judge-endpoint", help="Server of a model as a judge.")
    ] = None,
    judge_model: Annotated[str | None, typer.Option("--judge-model", help="Its name there.")] = None,
    api_key_env: Key = "OPENAI_API_KEY",
    as_json: Json = False,
) -> None:
    """Tell refusals from the rest in a run's replies, and in what was replayed from it."""
    from auscult.core.formatting import format_interval
    from auscult.o2m_attack import jobs

    result = jobs.judge_folder(folder, judges, judge_endpoint, judge_model, api_key_env)
    if as_json:
        cli.print_json(result)
    for name, summary in result.items():
        for row in summary["rates"] if not as_json else ():
            place = " ".join(str(row[part]) for part in ("model", "defence", "condition", "optimizer") if row.get(part))
            typer.echo(f"{name}: {place}: ASR {format_interval(row['asr'])}, n {row['n']}")
    missing = {name: sum(row["no_verdict"] for row in summary["rates"]) for name, summary in result.items()}
    for name, count in missing.items():
        if count:
            typer.echo(f"{name} gave no verdict on {count} replies: the same command asks it again", err=True)
    if any(missing.values()):
        raise typer.Exit(1)


@app.command()
def relevance(
    folder: Annotated[Path, typer.Argument(help="A run's folder.", metavar="RUN")],
    data: Annotated[str, typer.Option("--data", help="What the run was made on.")] = "demo",
    text_encoder: Annotated[
        str | None, typer.Option("--text-encoder", help="A folder or a hub id of a text model.")
    ] = None,
    image_encoder: Annotated[str | None, typer.Option("--image-encoder", help="The same of a CLIP model.")] = None,
    scale: Annotated[str, typer.Option("--scale", help="Of the image score: learned or cos100.")] = "learned",
    as_json: Json = False,
) -> None:
    """Say how much a run's replies are about what was asked and shown, by encoders of your choice."""
    from auscult.core.formatting import format_interval
    from auscult.o2m_attack import jobs

    rows = jobs.relevance_folder(folder, data, text_encoder, image_encoder, scale)
    if as_json:
        cli.print_json(rows)
        return
    for row in rows:
        place = " ".join(row[part] for part in ("model", "defence", "condition", "optimizer") if row[part])
        scores = [f"{word} {format_interval(row[name])}" for name, word in _SCORES.items() if name in row]
        typer.echo(f"{place}: {', '.join(scores)}, n {row['n']}")


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="A run's folder.", metavar="RUN")],
    out: Annotated[Path | None, typer.Option("--out", help="The page; report.html in the run's folder.")] = None,
    judge: Annotated[
        str | None, typer.Option("--judge", help="Whose verdicts make the tables; the first that judged if not given.")
    ] = None,
    show_text: ShowText = False,
) -> None:
    """Write a page about a run, and beside it entries, steps and replies as JSON Lines and parquet."""
    from auscult.o2m_attack.exports import export_run
    from auscult.o2m_attack.presentation import write_report

    if out is not None and out.suffix != ".html":
        raise InputError(f"--out {str(out)!r}: the name must end in .html")
    page = write_report(folder, out, judge=judge, show_text=show_text)
    place, prefix = (out.parent, f"{out.stem}-") if out else (None, "")
    for path in (page, *export_run(folder, place, prefix=prefix, show_text=show_text)):
        typer.echo(str(path))


@app.command()
def build(
    source: Annotated[str, typer.Argument(help="A data set in 3MAD's layout; with --prompts a folder of images.")],
    out: Annotated[Path, typer.Option("--out", help="The new data set's folder.")],
    prompts: Annotated[Path | None, typer.Option("--prompts", help="Your own table of prompts.")] = None,
    per_attribute: Annotated[int | None, typer.Option("--per-attribute", help="Rows of each attribute.")] = None,
    mismatch: Annotated[
        str | None, typer.Option("--mismatch", help="With --prompts: uniform (if not given), modality_only, ...")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of all draws.")] = 0,
    as_json: Json = False,
) -> None:
    """Write the small variant of a data set, or a data set of your own images and prompts."""
    from auscult.o2m_attack import jobs

    result = jobs.build_folder(source, prompts, out, mismatch=mismatch, seed=seed, per_attribute=per_attribute)
    _show(result, as_json)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for the run and the report.")] = Path("out/o2m-attack"),
    as_json: Json = False,
) -> None:
    """Train a tiny model that refuses, attack it with equal budgets, put defences before it, and report; offline."""
    from auscult.o2m_attack.demo import run_demo

    result = run_demo(out)
    if as_json:
        cli.print_json(result)
    else:
        typer.echo(result["report"])


def main() -> None:
    """Run the command."""
    cli.run(app)


def _show(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        cli.print_json(result)
        return
    shown = {name: value for name, value in result.items() if not isinstance(value, (dict, list)) and value != ""}
    typer.echo(", ".join(f"{name} {value}" for name, value in shown.items()))
    for reason, count in result.get("reasons", {}).items():
        typer.echo(f"{count} times {reason}", err=True)
