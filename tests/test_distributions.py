"""What would be published: metadata, and the built wheels and source archives."""

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def dist(root, tmp_path_factory):
    """Build every distribution with the hatch workspace."""
    folder = tmp_path_factory.mktemp("dist")
    home = tmp_path_factory.mktemp("hatch")
    command = [Path(sys.executable).with_name("hatch"), "build", "--all", folder]
    env = os.environ | {"HATCH_DATA_DIR": str(home / "data"), "HATCH_CACHE_DIR": str(home / "cache")}
    finished = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return folder


def stem(package):
    return f"{package.name.replace('-', '_')}-{package.version}"


def source_files(package):
    return {
        path.relative_to(package.folder / "src").as_posix()
        for path in package.source.rglob("*")
        # A tool's cache that lies in the folder is in no archive.
        if path.is_file() and not any(part == "__pycache__" or part[0] == "." for part in path.parts[1:])
    }


def test_the_workspace_builds_each_distribution_once(dist, packages):
    expected = {stem(package) + end for package in packages for end in (".tar.gz", "-py3-none-any.whl")}
    assert {path.name for path in dist.iterdir()} - {".gitignore"} == expected


def test_a_wheel_holds_its_own_part_and_its_licence(dist, package):
    with zipfile.ZipFile(dist / f"{stem(package)}-py3-none-any.whl") as wheel:
        names = set(wheel.namelist())
    info = f"{stem(package)}.dist-info/"
    assert {name for name in names if not name.startswith(info)} == source_files(package)
    assert info + "licenses/LICENSE" in names


def test_a_source_archive_can_be_built_and_tested_from(dist, package):
    with tarfile.open(dist / f"{stem(package)}.tar.gz") as archive:
        names = {name.removeprefix(stem(package) + "/") for name in archive.getnames()}
    assert {"src/" + name for name in source_files(package)} <= names
    assert {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE"} <= names
    assert any(name.startswith("tests/test_") for name in names)


def test_published_metadata_hold_no_path_and_no_url(dist, package):
    with zipfile.ZipFile(dist / f"{stem(package)}-py3-none-any.whl") as wheel:
        metadata = Parser().parsestr(wheel.read(f"{stem(package)}.dist-info/METADATA").decode("utf-8"))
    assert (metadata["Name"], metadata["Version"]) == (package.name, package.version)
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "MIT"
    assert len(metadata.get_payload()) > 100, "the README is the long description"
    assert metadata.get_all("Requires-Dist")
    assert not [item for item in metadata.get_all("Requires-Dist") if re.search(r"@|file:|://|\.whl", item)]


def test_the_version_stands_in_one_file(package):
    project = package.pyproject["project"]
    version_file = package.pyproject["tool"]["hatch"]["version"]["path"]
    assert (project["name"], project["dynamic"]) == (package.name, ["version"])
    assert package.folder / version_file == package.source / "_version.py"


def test_hatchling_takes_the_namespace_folder(package):
    # The option keeps the last part of the path only: src/auscult/<part> would install outside the namespace.
    wheel = package.pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert package.pyproject["build-system"]["build-backend"] == "hatchling.build"
    assert wheel["packages"] == ["src/auscult"]


def test_libraries_pin_the_core_by_its_minor_range_and_know_no_other_library(package, packages, core):
    major, minor = (int(number) for number in core.version.split(".")[:2])
    pin = f">={major}.{minor},<{major}.{minor + 1}"
    names = {other.name for other in packages}
    ours = [item for item in package.requirements if re.match(r"[\w-]+", item)[0] in names]
    assert all(re.fullmatch(rf"auscult-core(\[[\w,]+\])?{re.escape(pin)}", item) for item in ours)
    assert bool(ours) == (package != core)
