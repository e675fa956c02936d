import importlib.util

import pytest

from auscult.core.errors import InputError, MissingDependencyError
from auscult.core.kernels import dispatch
from auscult.core.kernels.tolerance import tolerance


@pytest.fixture
def triton(monkeypatch):
    """Return a function that says whether triton counts as installed; the interpreter is off."""
    found = importlib.util.find_spec
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)

    def install(there):
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name: (object() if there else None) if name == "triton" else found(name)
        )

    install(True)
    return install


def test_a_kernel_that_was_not_measured_is_off(triton):
    assert dispatch.choose_implementation("channel_gru", "cuda") == "torch"
    assert dispatch.choose_implementation("channel_gru", "cuda", "triton") == "triton"


def test_a_kernel_that_was_measured_is_on_where_it_can_run(triton, monkeypatch):
    monkeypatch.setattr(dispatch, "MEASURED_ON_CUDA", frozenset({"fast"}))
    assert dispatch.choose_implementation("fast", "cuda") == "triton"
    assert dispatch.choose_implementation("fast", "cuda", "torch") == "torch"
    assert dispatch.choose_implementation("fast", "cpu") == "torch"
    triton(False)
    assert dispatch.choose_implementation("fast", "cuda") == "torch"


def test_what_cannot_run_is_refused(triton, monkeypatch):
    with pytest.raises(InputError, match=r"'numba'.*auto, torch, triton"):
        dispatch.choose_implementation("fast", "cpu", "numba")
    with pytest.raises(InputError, match="needs a CUDA device, not 'cpu'"):
        dispatch.choose_implementation("fast", "cpu", "triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert dispatch.choose_implementation("fast", "cpu", "triton") == "triton"
    triton(False)
    with pytest.raises(MissingDependencyError, match=r"auscult-core\[triton\]"):
        dispatch.choose_implementation("fast", "cuda", "triton")


def test_narrower_types_are_allowed_more():
    names = ["float64", "float32", "float16", "bfloat16"]
    assert [tolerance(f"torch.{name}") for name in names] == sorted(tolerance(name) for name in names)
