"""Which implementation of an operation runs: the torch formula, or the Triton kernel."""

import importlib.util
import os

from auscult.core.errors import InputError, missing_dependency

IMPLEMENTATIONS = ("auto", "torch", "triton")

# Operations whose kernel was measured to win on CUDA; "auto" takes the kernel for these alone.
MEASURED_ON_CUDA: frozenset[str] = frozenset()


def choose_implementation(operation: str, device_type: str, name: str = "auto") -> str:
    """Return ``"torch"`` or ``"triton"``.

    Parameters
    ----------
    operation
        The operation's name, such as ``"channel_gru"``.
    device_type
        Where its tensors are: ``"cpu"``, ``"cuda"``, ``"mps"``.
    name
        ``"torch"`` or ``"triton"``, checked; or ``"auto"``: the kernel on CUDA where it was measured to win
        and Triton is installed, else the torch formula.

    Raises
    ------
    InputError
        The name is no implementation; or Triton is asked for where it cannot run: it needs a CUDA device, or
        its interpreter (``TRITON_INTERPRET=1`` in the environment before the first use).
    MissingDependencyError
        Triton is asked for and is not installed.

    Examples
    --------
    >>> choose_implementation("channel_gru", "cpu")
    'torch'
    """
    if name not in IMPLEMENTATIONS:
        raise InputError(f"there is no implementation {name!r}: use {', '.join(IMPLEMENTATIONS)}")
    installed = importlib.util.find_spec("triton") is not None
    if name == "auto":
        wins = device_type == "cuda" and operation in MEASURED_ON_CUDA and installed
        return "triton" if wins else "torch"
    if name == "triton" and not installed:
        raise missing_dependency("triton", purpose=f"the kernel of {operation}", install="auscult-core[triton]")
    if name == "triton" and device_type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        raise InputError(f"the kernel of {operation} needs a CUDA device, not {device_type!r}: use auto or torch")
    return name
