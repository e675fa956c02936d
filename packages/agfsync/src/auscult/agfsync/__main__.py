"""``python -m auscult.agfsync`` is the command ``agfsync``."""

from auscult.agfsync.cli import main

if __name__ == "__main__":
    main()
