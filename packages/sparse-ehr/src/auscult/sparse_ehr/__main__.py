"""``python -m auscult.sparse_ehr``: the command without its script."""

from auscult.sparse_ehr.cli import main

if __name__ == "__main__":
    main()
