"""Print the test matrix (package x Python) of the root pyproject.toml as JSON, for fromJSON in ci.yml."""

import json
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["auscult"]
    print(json.dumps({"package": list(settings["packages"]), "python": settings["pythons"]}))


if __name__ == "__main__":
    main()
