import sys

import pandas as pd
import pytest

from auscult.core.testing import Completed
from auscult.m3fair import CountTable
from auscult.m3fair.cli import main


@pytest.fixture
def m3fair(monkeypatch, capfd, tmp_path):
    """Run the command within this process, in the temporary folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["m3fair", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as ending:
            code = ending.code or 0
        captured = capfd.readouterr()
        return Completed(code, captured.out, captured.err)

    return call


@pytest.fixture
def adult():
    """Adult (UCI, 45,222 rows without missing values): race, sex and income over 50K."""
    return counted(
        ["race", "sex", "income"],
        {
            ("non-white", "Female"): (2598, 214),
            ("white", "Female"): (10428, 1455),
            ("non-white", "Male"): (2720, 787),
            ("white", "Male"): (18268, 8752),
        },
    )


@pytest.fixture
def tjh():
    """The 361 patients of Tongji Hospital: older than the mean, male, died."""
    return counted(["old", "male", "died"], {(0, 0): (72, 7), (0, 1): (55, 22), (1, 0): (31, 39), (1, 1): (37, 98)})


def counted(columns, cells):
    rows = [(*group, label, count) for group, counts in cells.items() for label, count in enumerate(counts)]
    frame = pd.DataFrame(rows, columns=[*columns, "count"])
    return CountTable.from_frame(frame.assign(weight=frame["count"], weight_squared=frame["count"]))
