"""``python -m auscult.core``: the doctor, which says what an installation has and what is wrong with it."""

import sys

from auscult.core import __version__, cli
from auscult.core.data import command as data

app = cli.command(
    "auscult-core",
    __version__,
    "What the auscult libraries share. Without a command: the doctor, who says what this installation has, "
    "what is missing and what is known to clash.",
)
app.add_typer(data.app, name="data")


def main() -> None:
    """Run the command; no command means the doctor."""
    arguments = sys.argv[1:]
    cli.run(app, ["doctor", *arguments] if arguments in ([], ["--json"]) else arguments)


if __name__ == "__main__":
    main()
