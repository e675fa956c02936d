import doctest
import importlib
import pkgutil

import pytest

import auscult.ehr_prompt

MODULES = [
    module.name
    for module in pkgutil.walk_packages(auscult.ehr_prompt.__path__, "auscult.ehr_prompt.")
    if not module.name.endswith("__main__")
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_the_text_are_right(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
