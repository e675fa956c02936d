"""The documentation's pages and its table of contents agree; `nox -s docs` checks the rest."""

import re
import runpy

import numpy as np
import pytest
import yaml

from auscult.core.data import load_cohort


@pytest.fixture(scope="module")
def config(root):
    return yaml.safe_load((root / "docs/mkdocs.yml").read_text("utf-8"))


def pages(nav):
    for item in nav:
        if isinstance(item, str):
            yield item
        else:
            for value in item.values():
                yield from [value] if isinstance(value, str) else pages(value)


def test_the_table_of_contents_is_the_pages(root, config):
    written = sorted(path.relative_to(root / "docs").as_posix() for path in (root / "docs").rglob("*.md"))
    assert sorted(pages(config["nav"])) == written


def test_every_library_has_a_page(root, packages, core):
    assert not [
        package.name for package in packages if package != core and not (root / f"docs/{package.name}.md").is_file()
    ]


def test_every_package_has_a_reference(root, packages):
    text = "".join(path.read_text("utf-8") for path in (root / "docs").glob("*.md"))
    assert not [package.part for package in packages if f"\n::: auscult.{package.part}\n" not in text]


def test_reading_needs_no_network(config):
    assert config["theme"]["font"] is False
    assert not {"extra_css", "extra_javascript"} & set(config)


def test_roles_of_docstrings_are_shown_as_code(root):
    hooks = runpy.run_path(str(root / "docs/hooks.py"))
    html = "<p>see :func:<code>audit</code> and :class:<code>~auscult.core.errors.InputError</code></p>"
    assert hooks["on_page_content"](html) == "<p>see <code>audit</code> and <code>InputError</code></p>"


def test_every_decision_is_in_the_list(root):
    listed = (root / "docs/decisions/README.md").read_text("utf-8")
    assert not [path.name for path in root.glob("docs/decisions/0*.md") if f"({path.name})" not in listed]


def test_the_data_page_counts_what_is_there(root):
    cohort = load_cohort("tjh")
    steps = {row.step: row for row in cohort.attrition}
    read, placed = cohort.attrition[0], steps["drop rows without patient, record time or discharge"]
    died, male = int(cohort.labels["mortality"].sum()), int(cohort.static[:, 0].sum())
    patients, days, variables = len(cohort), int(cohort.length.sum()), len(cohort.features)
    missing = np.isnan(cohort.values).sum() - variables * (cohort.time.size - days)
    expected = {
        "the sheet": f"{read.rows:,} rows of {read.records} patients",
        "rows that can be placed in time": f"{placed.rows:,} rows of {placed.records} patients",
        "negative stays set to 0": f"{steps['set negative remaining stays to 0'].changed} rows",
        "negative values made missing": f"{steps['mark negative values as missing'].changed} cells",
        "the cohort": f"{patients} patients, {days:,} days, {variables} laboratory variables",
        "days with records": f"{cohort.length.min()} to {cohort.length.max()} a patient, mean {days / patients:.2f}",
        "outcome": f"{patients - died} survived, {died} died ({100 * died / patients:.1f} %)",
        "sex": f"{male} male, {patients - male} female",
        "age": f"mean {cohort.static[:, 1].mean():.2f} years",
        "cells without a value": f"{100 * missing / (days * variables):.1f} %",
    }
    text = (root / "docs/data.md").read_text("utf-8")
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", text[text.index("### Counts") :], re.MULTILINE)
    assert dict(rows[1:]) == expected
