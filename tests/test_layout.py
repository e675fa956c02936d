"""The tree itself: what may stand where, and that lists of packages agree with it."""

import re

TOP_LEVEL = {
    "README.md",
    "LICENSE",
    "pyproject.toml",
    "noxfile.py",
    "shared-core",
    "packages",
    "docs",
    "tests",
}
# A path that exists on one machine only.
MACHINE_PATH = re.compile(r"(^|[^\w.-])/(root|home|work|opt|Users)/[a-z]", re.MULTILINE)


def test_the_top_level_holds_nothing_new(root, files):
    names = {path.relative_to(root).parts[0] for path in files}
    assert {name for name in names if not name.startswith(".")} == TOP_LEVEL


def test_the_namespace_is_nobody_s(root):
    assert not [str(path) for path in root.glob("*/src/auscult/__init__.py")]
    assert not [str(path) for path in root.glob("packages/*/src/auscult/__init__.py")]


def test_the_list_of_packages_is_the_folders(root, packages):
    on_disk = {
        path.parent for path in [*root.glob("shared-core/pyproject.toml"), *root.glob("packages/*/pyproject.toml")]
    }
    assert {package.folder for package in packages} == on_disk
    assert packages[0].name == "auscult-core"


def test_mypy_knows_every_package(root, packages, settings):
    sources = [f"{package.folder.relative_to(root)}/src" for package in packages]
    assert settings["mypy"]["mypy_path"].split(":") == sources


def test_each_distribution_has_its_one_part_and_its_papers(root, package):
    assert [path.name for path in package.source.parent.iterdir() if path.name != "__pycache__"] == [package.part]
    assert (package.source / "__init__.py").is_file()
    assert (package.source / "py.typed").is_file()
    assert (package.folder / "LICENSE").read_text("utf-8") == (root / "LICENSE").read_text("utf-8")
    assert (package.folder / "README.md").read_text("utf-8").startswith(f"# {package.name}\n")
    changelog = (package.folder / "CHANGELOG.md").read_text("utf-8")
    assert re.search(rf"^## {re.escape(package.version)}\b", changelog, re.MULTILINE)


def test_machine_paths_are_recognised():
    assert MACHINE_PATH.search("see " + "/".join(["", "home", "someone"]))
    assert MACHINE_PATH.search("/".join(["", "opt", "wheels"]))
    assert not MACHINE_PATH.search("docs/work/plan, a/home/b, https://host/opt")


def test_no_file_names_a_path_of_one_machine(root, files):
    found = []
    for path in files:
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(root)}: {match[0]}" for match in MACHINE_PATH.finditer(text)]
    assert not found
