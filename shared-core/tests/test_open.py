import doctest
import importlib
import inspect
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import auscult.core.data as data
from auscult.core.data import load_cohort
from auscult.core.data.open import READERS
from auscult.core.data.options import check_options
from auscult.core.errors import InputError


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("tjj", {}, "there is no data set 'tjj'; did you mean 'tjh'[?] known are: .*tjh"),
        ("TJH", {}, "did you mean 'tjh'[?]"),
        ("hospital:/data", {}, "there is no data set 'hospital'; known are: .*tjh"),
        ("", {}, "there is no data set ''"),
        ("tjh:", {}, "names no file after the colon"),
        ("tjh", {"fold": 1}, "the reader of 'tjh' got an unexpected keyword argument 'fold'; its options are: sheet"),
        ("tjh", {"path": "x"}, "the reader of 'tjh' multiple values for argument 'path'"),
        ("tjh", {"sheet": "361"}, "TJH has no sheet '361': use '375' or '110'"),
    ],
)  # fmt: skip
def test_what_cannot_be_opened_is_one_sentence(spec, options, message):
    with pytest.raises(InputError, match=message) as error:
        load_cohort(spec, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("mimic4:x", {"hours": "abc"}, "hours is 'abc': the reader of 'mimic4' takes a number or null there"),
        ("mimic4:x", {"count_death": "maybe"}, "count_death is 'maybe': .* takes true or false there"),
        ("mimic4:x", {"count_death": 1}, "count_death is 1: .* takes true or false there"),
        ("mimic3:x", {"min_hours": True}, "min_hours is True: .* takes a number or null there"),
        ("mimic3:x", {"threads": 1.5}, r"threads is 1\.5: .* takes a whole number or null there"),
        ("eicu:x", {"static": 5}, "static is 5: .* takes a list of texts there"),
        ("eicu:x", {"panel": 5}, "panel is 5: .* takes a text or a Panel there"),
        ("cdsl:x", {"units": {"DD": 5}}, "units is {'DD': 5}: .* takes a mapping to a text or null there"),
        ("meds:x", {"panel": "HR"}, "panel is 'HR': .* takes a mapping to a text or a list of texts or null there"),
        ("meds:x", {"window": "48"}, "window is '48': .* takes a number or null there"),
        ("table:x", {"codes": [1, 2]}, r"codes is \[1, 2\]: .* takes a list of texts or a text or null there"),
        ("table:x", {"columns": 5}, "columns is 5: .* takes a mapping or a text or null there"),
        ("table:x", {"static": 5}, "static is 5: .* takes a path or a text or null there"),
    ],
)
def test_an_option_of_another_kind_is_one_sentence(spec, options, message):
    with pytest.raises(InputError, match=message) as error:
        load_cohort(spec, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", READERS)
def test_the_defaults_of_every_reader_are_of_their_kinds(name):
    load = importlib.import_module(READERS[name]).load
    defaults = {key: entry.default for key, entry in inspect.signature(load).parameters.items() if key != "path"}
    check_options(name, load, defaults)


@pytest.mark.parametrize("codes", [("a", "b"), np.array(["a", "b"]), pd.Index(["a", "b"]), dict.fromkeys("ab").keys()])
def test_a_list_may_be_of_any_kind_that_has_an_order(codes):
    load = importlib.import_module(READERS["table"]).load
    check_options("table", load, {"codes": codes, "time_unit": np.str_("days")})
    with pytest.raises(InputError, match="the reader of 'table' takes a list of texts or a text or null there"):
        check_options("table", load, {"codes": set(codes)})


def test_every_reader_that_is_listed_exists():
    for module in READERS.values():
        assert callable(importlib.import_module(module).load)


def test_every_public_name_resolves():
    assert {name: getattr(data, name).__name__ for name in data.__all__} == {name: name for name in data.__all__}


def test_importing_the_data_layer_loads_no_frame_library():
    program = (
        "import sys, auscult.core.data as data; data.Cohort, data.split_subjects, data.describe, data.load_cohort; "
        "print([m for m in ('pandas', 'pyarrow', 'sklearn', 'openpyxl', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("module", ["__init__", "cohort", "feature", "open", "ragged", "splits", "summary", "tjh"])
def test_the_examples_run(module):
    name = "auscult.core.data" if module == "__init__" else f"auscult.core.data.{module}"
    assert doctest.testmod(importlib.import_module(name)).failed == 0
