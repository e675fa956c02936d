"""What the root's tests share: the repository, its packages and its files. `nox -s root` runs them."""

import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]


@dataclass(frozen=True)
class Package:
    """One distribution, as the root's list declares it and as its own files describe it."""

    name: str
    folder: Path
    torch: bool

    @property
    def part(self):
        return "core" if self.name == "auscult-core" else self.name.replace("-", "_")

    @property
    def source(self):
        return self.folder / "src/auscult" / self.part

    @cached_property
    def pyproject(self):
        return tomllib.loads((self.folder / "pyproject.toml").read_text("utf-8"))

    @property
    def version(self):
        text = (self.source / "_version.py").read_text("utf-8")
        return re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)[1]

    @property
    def requirements(self):
        project = self.pyproject["project"]
        optional = project.get("optional-dependencies", {}).values()
        return [*project["dependencies"], *(item for group in optional for item in group)]


PACKAGES = [
    Package(name, ROOT / declared["folder"], declared["torch"])
    for name, declared in SETTINGS["auscult"]["packages"].items()
]


def tracked_files():
    """Return what git tracks, or every file outside caches and outputs where there is no git."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode == 0 and listing.stdout:
        return [ROOT / name for name in listing.stdout.split("\0") if (ROOT / name).is_file()]
    ignored = {line.strip("/") for line in (ROOT / ".gitignore").read_text("utf-8").split()} | {".git"}
    return [
        path
        for path in ROOT.rglob("*")
        if path.is_file() and not any(Path(part).match(i) for part in path.relative_to(ROOT).parts for i in ignored)
    ]


FILES = tracked_files()


def pytest_generate_tests(metafunc):
    if "package" in metafunc.fixturenames:
        metafunc.parametrize("package", PACKAGES, ids=[package.name for package in PACKAGES])
    if "page" in metafunc.fixturenames:
        readmes = [ROOT / "README.md", *(package.folder / "README.md" for package in PACKAGES)]
        pages = [*readmes, *sorted((ROOT / "docs").rglob("*.md"))]
        metafunc.parametrize("page", pages, ids=[path.relative_to(ROOT).as_posix() for path in pages])


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def settings():
    """Return the [tool] table of the root's pyproject.toml."""
    return SETTINGS


@pytest.fixture(scope="session")
def packages():
    return PACKAGES


@pytest.fixture(scope="session")
def core():
    return PACKAGES[0]


@pytest.fixture(scope="session")
def files():
    """Return the tracked files."""
    return FILES


@pytest.fixture(scope="session")
def run_script(root):
    """Return a function that runs a Python script of the repository and returns the finished process."""

    def run(script, *arguments):
        command = [sys.executable, root / script, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run
