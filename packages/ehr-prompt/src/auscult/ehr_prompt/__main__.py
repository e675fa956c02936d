"""``python -m auscult.ehr_prompt``: the command without its script."""

from auscult.ehr_prompt.cli import main

if __name__ == "__main__":
    main()
