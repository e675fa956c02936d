"""The metrics' public names."""

import importlib
import inspect

import pytest

from auscult.m3fair import metrics

MODULES = ("calibration", "confusion", "disparity", "individual", "inequality", "labels", "many", "ranking")


def test_every_public_name_is_there():
    assert len(metrics.__all__) == len(set(metrics.__all__))
    for name in metrics.__all__:
        assert getattr(metrics, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = metrics.nothing


@pytest.mark.parametrize("module", MODULES)
def test_every_public_function_is_exported_and_has_an_example(module):
    source = importlib.import_module(f"auscult.m3fair.metrics.{module}")
    mine = {name: one for name, one in vars(source).items() if getattr(one, "__module__", None) == source.__name__}
    functions = {name: one for name, one in mine.items() if inspect.isfunction(one) and not name.startswith("_")}
    assert set(functions) <= set(metrics.__all__)
    assert all(">>>" in (inspect.getdoc(one) or "") for one in functions.values())
