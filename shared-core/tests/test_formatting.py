"""Numbers and intervals as text."""

import doctest
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.core import formatting
from auscult.core.errors import InputError
from auscult.core.formatting import format_column, format_interval, format_number, format_value
from auscult.core.intervals import Interval


def test_the_examples_of_the_documentation_hold():
    assert doctest.testmod(formatting).failed == 0


@pytest.mark.parametrize("missing", [None, math.nan, np.float32("nan"), pd.NaT, pd.NA, np.datetime64("NaT")])
def test_what_is_missing_is_an_en_dash(missing):
    assert format_value(missing) == "–"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-0.0, "0"),
        (9999, "9999"),
        (10_000, "10,000"),
        (9999.6, "10,000"),
        (2**63 + 1, "9,223,372,036,854,775,809"),
        (np.int64(-12345), "−12,345"),
        (0.5, "0.500"),
        (-0.02468, "−0.0247"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
        (np.True_, "yes"),
        (False, "no"),
        ("True", "True"),
        (pd.Timestamp("2020-02-01"), "2020-02-01 00:00:00"),
        ([1, 2], "[1, 2]"),
        ({"value": 0.5, "ci": [0.25, None]}, "0.50 (0.25 to –)"),
        ({"value": None, "ci": [None, None]}, "–"),
    ],
)
def test_values_as_text(value, text):
    assert format_value(value) == text


@settings(deadline=None, derandomize=True)
@given(st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False))
def test_a_number_keeps_three_significant_digits(value):
    text = format_number(value).replace("−", "-").replace(",", "")
    assert float(text) == pytest.approx(value, rel=0.5e-2)


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (Interval(0.3123, 0.2481, 0.3802), "0.31 (0.25 to 0.38)"),
        (Interval(-0.0123, -0.0181, -0.0002), "−0.012 (−0.018 to 0.000)"),
        (Interval(1234.6, 1100.2, 1400.0), "1235 (1100 to 1400)"),
        (Interval(1.4, 0.9, math.inf), "1.40 (0.90 to ∞)"),
        (Interval(1.0, 1.0, 1.0), "1 (1 to 1)"),
        (Interval(0.5, math.nan, math.nan), "0.500"),
    ],
)
def test_an_interval_shows_two_digits_of_its_width(interval, text):
    assert format_interval(interval) == text


def test_an_interval_takes_given_decimals():
    assert format_interval({"value": 0.3123, "ci": [0.2, 0.4]}, decimals=1) == "0.3 (0.2 to 0.4)"


def test_what_is_no_interval_is_named():
    with pytest.raises(InputError, match=r"0\.5 is no interval"):
        format_interval(0.5)


@pytest.mark.parametrize(
    ("values", "spec", "texts"),
    [
        ([0.98, 0.0512, None], None, ["0.980", "0.051", "–"]),
        ([3.0, np.nan, 12.0], None, ["3", "–", "12"]),
        ([0.9, 0.000012], None, ["0.900", "1.20e−5"]),
        ([151.2, 43.04, 5.2], None, ["151.2", "43.0", "5.2"]),
        ([0.5, math.inf], None, ["0.500", "∞"]),
        ([0.25, None, "n/a"], ".0%", ["25%", "–", "n/a"]),
        ([Interval(-0.25, -0.5, 0.0)], ".0%", ["−25% (−50% to 0%)"]),
        ([1, None], lambda v: f"#{v}", ["#1", "–"]),
        (
            [Interval(0.5, 0.41, 0.59), Interval(0.25, 0.22, 0.29), Interval(0.75, 0.746, 0.754)],
            None,
            ["0.500 (0.410 to 0.590)", "0.250 (0.220 to 0.290)", "0.750 (0.746 to 0.754)"],
        ),
        ([], None, []),
    ],
)
def test_a_column_is_formatted_alike(values, spec, texts):
    assert format_column(values, spec) == texts
