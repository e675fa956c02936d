"""What the commands do, as functions."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from auscult.core.config import load_config
from auscult.core.errors import InputError
from auscult.o2m_attack.conditions import CONDITIONS, Templates
from auscult.o2m_attack.config import AttackConfig, parse_fraction
from auscult.o2m_attack.record import Record

if TYPE_CHECKING:
    from auscult.o2m_attack.dataset.mismatch import Stratum


def split_list(text: str, known: Sequence[str] = CONDITIONS) -> list[str]:
    """Return the items of ``a,b,c``; ``all`` stands for all that are known."""
    items = [item.strip() for item in text.split(",") if item.strip()]
    return list(known) if items == ["all"] else items


def parse_shard(text: str) -> tuple[int, int]:
    """Return (i, n) of ``i/n``.

    Raises
    ------
    InputError
        It is not of that form.
    """
    first, slash, last = text.partition("/")
    if not (slash and first.isdecimal() and last.isdecimal()):
        raise InputError(f"--shard {text!r}: write it like 2/4, the second of four")
    return int(first), int(last)


def make_config(preset: str, settings: Path | None, changes: dict[str, Any]) -> AttackConfig:
    """Return a preset, or the settings of a YAML file, with the options that were given."""
    given = {name: value for name, value in changes.items() if value is not None}
    for name in ("epsilon", "alpha"):
        if name in given:
            given[name] = parse_fraction(given[name])
    if settings is not None and preset != "recommended":
        raise InputError(f"--preset {preset!r} has no effect beside --settings, which has all values: leave one out")
    if settings is None:
        config = AttackConfig.preset(preset, **given)
    else:
        config = replace(load_config(AttackConfig, settings), **given)
    if "suffix_length" in given and config.initial_suffix is not None:
        raise InputError(
            f"--suffix-length {config.suffix_length} has no effect beside the initial suffix of "
            f"{settings or 'the preset ' + preset}: leave it out"
        )
    return config


def make_templates(path: Path | None, preset: str) -> Templates | None:
    """Return the wordings of a YAML file; the released code's with its preset; else None for the defaults."""
    if path is not None:
        return load_config(Templates, path)
    return Templates.published() if preset == "reference" else None


def read_records(source: str, *, limit: int | None, mismatch: str, seed: int) -> Sequence[Record]:
    """Return the records of ``demo``, a file, a folder or a hub id."""
    if source == "demo":
        from auscult.o2m_attack.stand_ins import demo_records

        if limit is not None and limit < 1:
            raise InputError(f"limit is {limit}: ask for 1 record or more")
        if mismatch != "stored":
            raise InputError(f"--mismatch {mismatch!r}: the demo's false claims are its own; leave the option out")
        records: Sequence[Record] = demo_records()
        return records[:limit]
    from auscult.o2m_attack.dataset.reading import load_records

    stratum = None if mismatch == "stored" else cast("Stratum", mismatch)
    return load_records(source, limit=limit, mismatch=stratum, seed=seed)


def make_defence(name: str | None, seed: int | None) -> Any:
    """Return a defence that needs no more than its name; None where none is asked for."""
    if seed is not None and name not in ("resize_pad", "smooth_text"):
        raise InputError(f"--seed {seed} has no effect without a defence that draws: resize_pad or smooth_text")
    if name is None:
        return None
    from auscult.o2m_attack.defences.detectors import AskingDetector
    from auscult.o2m_attack.defences.images import BitDepth, Jpeg, ResizePad
    from auscult.o2m_attack.defences.texts import SmoothText

    makers: dict[str, Callable[[], Any]] = {
        "jpeg": Jpeg,
        "bit_depth": BitDepth,
        "resize_pad": lambda: ResizePad(seed=seed or 0),
        "smooth_text": lambda: SmoothText(seed=seed or 0),
        "asking": AskingDetector,
    }
    if name not in makers:
        raise InputError(f"there is no defence {name!r}: use {', '.join(makers)}, or build another one in Python")
    return makers[name]()


def judge_folder(folder: Path, names: str, endpoint: str | None, model: str | None, key: str) -> dict[str, Any]:
    """Judge the replies of a run by rules, and by a model where a server is named."""
    from auscult.o2m_attack.judges.judging import DEFAULT, judge_run, plain

    judges: list[Any] = split_list(names, DEFAULT)
    if endpoint is None and model is not None:
        raise InputError("--judge-model needs the server that it is on: give --judge-endpoint")
    if endpoint is not None:
        from auscult.core.endpoint import Endpoint
        from auscult.o2m_attack.judges.models import LlmJudge

        if model is None:
            raise InputError("--judge-endpoint needs the model's name: give --judge-model")
        judges.append(LlmJudge(Endpoint(base_url=endpoint, model=model, api_key_env=key)))
    summary: dict[str, Any] = plain(judge_run(folder, judges=judges))
    return summary


def relevance_folder(
    folder: Path, source: str, text_encoder: str | None, image_encoder: str | None, scale: str
) -> list[dict[str, Any]]:
    """Return how much a run's replies are about question and image, by encoders from folders or the hub."""
    from auscult.o2m_attack.judges.judging import plain
    from auscult.o2m_attack.judges.relevance import ClipEncoder, SentenceEncoder, relevance_run
    from auscult.o2m_attack.targets.llava import explained
    from auscult.o2m_attack.transfer import read_manifest

    if text_encoder is None and image_encoder is None:
        raise InputError("there is no encoder: give --text-encoder, --image-encoder or both")
    read_manifest(folder)  # says what is wrong before anything large is loaded
    # The run knows which false claims it made; a data set may have none of its own.
    records = read_records(source, limit=None, mismatch="stored" if source == "demo" else "uniform", seed=0)
    encoders: dict[str, Any] = {}
    for name, kind, place in (
        ("text_encoder", SentenceEncoder, text_encoder), ("image_encoder", ClipEncoder, image_encoder)
    ):  # fmt: skip
        if place is not None:
            with explained(place):
                encoders[name] = kind.load(place)
    rows = relevance_run(folder, records, scale=cast("Literal['learned', 'cos100']", scale), **encoders)
    return [plain(row) for row in rows]


def build_folder(
    source: str, prompts: Path | None, out: Path, *, mismatch: str | None, seed: int, per_attribute: int | None
) -> Any:
    """Write the small variant of a data set, or a data set of one's own images and prompts."""
    from auscult.o2m_attack.dataset.building import build_own, build_tiny

    if prompts is None and mismatch is not None:
        raise InputError(f"--mismatch {mismatch!r} has no effect without --prompts: the data set's false claims stay")
    if prompts is None:
        return build_tiny(source, out, seed=seed, per_attribute=60 if per_attribute is None else per_attribute)
    stratum = cast("Stratum", mismatch or "uniform")
    return build_own(source, prompts, out, mismatch=stratum, seed=seed, per_attribute=per_attribute)
