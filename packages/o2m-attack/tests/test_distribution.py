from importlib.metadata import version

import auscult.o2m_attack
from auscult.core.testing import imported_modules


def test_version_is_the_distribution_s():
    assert auscult.o2m_attack.__version__ == version("o2m-attack")


def test_what_needs_no_model_loads_no_torch():
    names = "AttackConfig, Query, Record, Templates, run"
    loaded = imported_modules(f"from auscult.o2m_attack import {names}; import auscult.o2m_attack.cli")
    assert not loaded & {"torch", "transformers", "PIL"}
    assert set(names.split(", ")) < set(dir(auscult.o2m_attack))
