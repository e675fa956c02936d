"""Print the folder of the distribution that a release tag names; refuse a tag that is not its version."""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main(tag: str) -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["auscult"]["packages"]
    distribution, _, tagged = tag.rpartition("-v")
    if distribution not in packages:
        sys.exit(f"{tag!r} names no distribution of this repository: write <distribution>-v<version>")
    folder = ROOT / packages[distribution]["folder"]
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))
    version_file = folder / project["tool"]["hatch"]["version"]["path"]
    version = re.search(r'^__version__ = "(.+)"$', version_file.read_text("utf-8"), re.MULTILINE)[1]
    if tagged != version:
        sys.exit(f"{tag!r} differs from {distribution}'s version file, which says {version!r}: correct one of them")
    print(packages[distribution]["folder"])


if __name__ == "__main__":
    main(sys.argv[1])
