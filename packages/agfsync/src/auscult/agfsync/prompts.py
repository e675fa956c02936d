"""Stage 1: prompts, written by a language model, by templates, or by you.

A prompt's id is a digest of its text, so it stays the same whatever happens to its neighbours.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auscult.agfsync.config import PromptsConfig
from auscult.agfsync.repetition import Embed, keep_first, load_encoder
from auscult.agfsync.replies import read_prompts
from auscult.agfsync.stages import id_of, read_lines
from auscult.agfsync.writers import Writer, make_writer
from auscult.core.canonical import digest
from auscult.core.config import load_config
from auscult.core.device import generator
from auscult.core.errors import InputError

if TYPE_CHECKING:
    from auscult.core.runs import RunStore

SYSTEM = (
    "You write descriptions of pictures for a text-to-image model. Describe only what can be seen. Let some be short "
    "and some long, with many objects, attributes, counts and positions. Be varied and inventive, never repeat the "
    "examples or yourself, and stay friendly: nothing frightening or violent. Write no greeting and no comment."
)
USER = (
    "Theme: {theme}\nExamples of the form, not to be copied:\n{examples}\nWrite {count} new descriptions of this theme "
    'as a JSON object {{"descriptions": ["...", "..."]}} and nothing else.'
)


@dataclass(frozen=True)
class Category:
    """A theme with examples; five as a rule."""

    key: str
    theme: str
    examples: list[str]

    def __post_init__(self) -> None:
        if not self.key or "/" in self.key:
            raise InputError(f"the category's key is {self.key!r}: use a word without slashes")
        if len(self.examples) < 2 or not all(example.strip() for example in self.examples):
            raise InputError(
                f"the category {self.key!r} has {len(self.examples)} examples: give two or more, none empty"
            )


@dataclass(frozen=True)
class PromptReport:
    """What became of the requests.

    Attributes
    ----------
    rows
        Per category that has any: prompts parsed, unique prompts, mean words.
    rejected
        Why replies or parts of them were not used, and how often.
    """

    rows: list[dict[str, Any]]
    rejected: dict[str, int]


def load_categories(path: str | None = None) -> list[Category]:
    """Return the categories of a YAML file, or the twelve that come along.

    Raises
    ------
    InputError
        The file has another form, or a key occurs twice.
    """
    import yaml

    if path is None:
        text = resources.files("auscult.agfsync").joinpath("categories.yaml").read_text("utf-8")
    else:
        try:
            text = Path(path).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"the categories {path!r} cannot be read ({error}): give a YAML file in UTF-8") from error
    try:
        items = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(
            f"{path} is no YAML ({' '.join(str(error).split())}): see the categories that come along"
        ) from error
    if not isinstance(items, list) or not items or not all(isinstance(item, Mapping) for item in items):
        raise InputError(f"{path} is no list of categories: give key, theme and examples of each")
    found = [load_config(Category, item) for item in items]
    if repeated := [key for key, n in Counter(item.key for item in found).items() if n > 1]:
        raise InputError(f"the category {repeated[0]!r} is given twice in {path}: keep one")
    return found


def make_prompts(
    config: PromptsConfig, *, seed: int, store: "RunStore", writer: Writer | None = None, embed: Embed | None = None
) -> tuple[list[dict[str, Any]], PromptReport]:
    """Return prompts without repetitions, and what became of the requests.

    Parameters
    ----------
    config
        Of the stage.
    seed
        Of the run.
    store
        Keeps every usable reply under its request (category, number); an answered request is not sent again.
    writer, embed
        In place of those that the configuration names.

    Returns
    -------
    rows
        ``id, prompt, category, source``.
    report
        Counts.

    Raises
    ------
    InputError
        There is no prompt in the end.
    """
    rejected: Counter[str] = Counter()
    if config.backend == "file":
        raw = read_file(Path(str(config.path)))
    elif config.backend in ("template", "shapes"):
        raw = _offline(config, seed)
    else:
        raw = _asked(config, seed, store, writer, rejected)
    if embed is None and config.dedup.method == "embedding":
        embed = load_encoder(config.dedup.model)
    rows, table = [], []
    for category in dict.fromkeys(item["category"] for item in raw):
        own = [item for item in raw if item["category"] == category]
        kept = [own[i] for i in keep_first([item["prompt"] for item in own], config.dedup, embed)]
        rows += [{"id": digest([category, item["prompt"]])[:16], **item} for item in kept]
        words = [len(item["prompt"].split()) for item in kept]
        table.append(
            {"category": category, "parsed": len(own), "unique": len(kept), "mean_words": sum(words) / len(words)}
        )
    if repeated := [id for id, count in Counter(row["id"] for row in rows).items() if count > 1]:
        raise InputError(f"two prompts have the id {repeated[0]!r}: give each its own")
    if not rows:
        raise InputError(f"there is no prompt: {_reasons(rejected) or 'the file is empty'}")
    return rows, PromptReport(table, dict(rejected))


def _reasons(rejected: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} ({count})" for reason, count in rejected.items())


def read_file(path: Path) -> list[dict[str, Any]]:
    """Return the prompts of a file: a text a line, or in a .jsonl objects with ``prompt``, ``id`` and ``category``."""
    try:
        lines = read_lines(path) if path.suffix == ".jsonl" else _text_lines(path)
    except OSError as error:
        raise InputError(
            f"the prompts {str(path)!r} cannot be read ({error.strerror}): give an existing file"
        ) from error
    found = []
    for place, item in lines:
        row = item if isinstance(item, Mapping) else {"prompt": item}
        text = row.get("prompt")
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"{place} has no prompt: write text, or an object with 'prompt'")
        own = {"id": id_of(row["id"], place)} if "id" in row else {}
        category = str(row.get("category", ""))
        found.append({**own, "category": category, "prompt": " ".join(text.split()), "source": {"backend": "file"}})
    return found


def _text_lines(path: Path) -> list[tuple[str, Any]]:
    try:
        lines = path.read_text("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"the prompts {str(path)!r} cannot be read: give a UTF-8 .txt or .jsonl file") from error
    return [(f"line {number} of {path}", line) for number, line in enumerate(lines, 1) if line.strip()]


def _offline(config: PromptsConfig, seed: int) -> list[dict[str, Any]]:
    count = config.per_request * config.requests
    source = {"backend": config.backend, "seed": seed}
    if config.backend == "shapes":
        from auscult.agfsync.shapes.captions import sample_captions

        captions = sample_captions(count, generator(seed, "captions"), split="preference")
        return [{"category": "shapes", "prompt": caption, "source": source} for caption in captions]
    found = []
    for category in load_categories(config.categories):
        random = generator(seed, "template", category.key)
        for _ in range(count):
            found.append({"category": category.key, "prompt": _template(category, random), "source": source})
    return found


def _template(category: Category, random: Any) -> str:
    """Return two examples of a category joined into a new scene."""
    first, second = (category.examples[i] for i in random.choice(len(category.examples), 2, replace=False))
    link = ("beside", "in front of", "behind", "seen together with")[random.integers(4)]
    style = ("", ", a photograph", ", an oil painting", ", a pencil drawing", ", in soft light")[random.integers(5)]
    return f"{first}, {link} {second[0].lower()}{second[1:]}{style}"


def _asked(
    config: PromptsConfig, seed: int, store: "RunStore", writer: Writer | None, rejected: Counter[str]
) -> list[dict[str, Any]]:
    categories = load_categories(config.categories)
    chats = {
        f"{category.key}/{number}": (SYSTEM, _user(category, config.per_request))
        for category in categories
        for number in range(config.requests)
    }
    ask_until_usable(
        chats, store, writer or make_writer(config.backend, config.llm, seed), config.llm.attempts, rejected,
        lambda text, counts: {"prompts": read_prompts(text, counts)}, "prompts",
    )  # fmt: skip
    source = {"backend": config.backend, "model": config.llm.model, "seed": seed}
    found = []
    for key in chats:
        if key in store:
            category, number = key.split("/")
            found += [
                {"category": category, "prompt": text, "source": {**source, "round": int(number)}}
                for text in store[key]["prompts"]
            ]
    return found


def _user(category: Category, count: int) -> str:
    examples = "\n".join(f"{i}. {text}" for i, text in enumerate(category.examples, 1))
    return USER.format(theme=category.theme, examples=examples, count=count)


def ask_until_usable(
    chats: Mapping[str, tuple[str, str]],
    store: "RunStore",
    writer: Writer,
    attempts: int,
    rejected: Counter[str],
    read: Any,
    what: str,
) -> None:
    """Ask what the store does not hold, again where a reply holds nothing usable, at most ``attempts`` times.

    A request that is refused to the end is counted and left out; nothing is stored for it, so that a later run
    may try again.
    """
    todo = store.missing(chats)
    for _ in range(attempts):
        if not todo:
            return
        usable: set[str] = set()

        def deliver(key: str, text: str | None, usable: set[str] = usable) -> None:
            if text is None:
                rejected["no reply"] += 1
                return
            record = read(text, rejected)
            if record[what]:
                store.put(key, record)
                usable.add(key)

        writer.write([(key, *chats[key]) for key in todo], deliver)
        todo = [key for key in todo if key not in usable]
    if todo:
        rejected["given up"] += len(todo)


def write_rows(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write rows as JSON lines, all or nothing."""
    import json

    from auscult.core.canonical import finite
    from auscult.core.files import replace_atomically

    text = "".join(json.dumps(finite(dict(row)), ensure_ascii=False) + "\n" for row in rows)
    replace_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))
