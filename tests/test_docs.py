"""The documentation's pages and its table of contents agree; `nox -s docs` checks the rest."""

import pytest
import yaml


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
        package.name
        for package in packages
        if package != core and not (root / f"docs/{package.name}.md").is_file()
    ]


def test_what_is_built_has_a_reference(root, packages, core):
    text = "".join(path.read_text("utf-8") for path in (root / "docs").glob("*.md"))
    documented = [core, *(package for package in packages if package.built)]
    assert not [package.part for package in documented if f"\n::: auscult.{package.part}\n" not in text]


def test_reading_needs_no_network(config):
    assert config["theme"]["font"] is False
    assert not {"extra_css", "extra_javascript"} & set(config)


def test_every_decision_is_in_the_list(root):
    listed = (root / "docs/decisions/README.md").read_text("utf-8")
    assert not [path.name for path in root.glob("docs/decisions/0*.md") if f"({path.name})" not in listed]
