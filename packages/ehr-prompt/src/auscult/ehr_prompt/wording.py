"""The prompts' wording: Jinja2 files of one version, with a hash that changes when any byte of them does."""

import functools
import hashlib
import re
from importlib import resources
from typing import Any

import jinja2

VERSION = "v1"


def render(name: str, **slots: Any) -> str:
    """Return one template with its slots filled; a slot that is missing is an error, as is nothing else."""
    return _template(name).render(**slots).rstrip("\n")


@functools.cache
def patient_form(sex: bool, age: bool, detail: bool) -> str:
    """Return the template of the patient's part as a %-format of its slots, which is filled far faster.

    The arguments say which of the slots will hold text.
    """
    held = {"sex": sex, "age": age, "count": True, "times": True, "detail": detail}
    text = render("patient", **{name: f"\0{name}\0" if filled else "" for name, filled in held.items()})
    return re.sub(r"\0(\w+)\0", r"%(\1)s", text.replace("%", "%%"))


@functools.cache
def template_hash() -> str:
    """Return a digest of the names and contents of all templates."""
    content = hashlib.sha256()
    for name, text in sorted(_sources().items()):
        content.update(f"{name}\0{text}\0".encode())
    return content.hexdigest()[:16]


@functools.cache
def _sources() -> dict[str, str]:
    folder = resources.files("auscult.ehr_prompt").joinpath(f"templates/{VERSION}")
    return {path.name: path.read_text("utf-8") for path in folder.iterdir() if path.name.endswith(".j2")}


@functools.cache
def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.DictLoader(_sources()), undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        autoescape=False,
    )  # fmt: skip
    return environment.get_template(f"{name}.j2")
