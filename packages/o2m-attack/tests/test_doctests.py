import doctest
import importlib
import pkgutil

import pytest

import auscult.o2m_attack

MODULES = [
    module.name
    for module in pkgutil.walk_packages(auscult.o2m_attack.__path__, "auscult.o2m_attack.")
    if not module.ispkg
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_a_module(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
