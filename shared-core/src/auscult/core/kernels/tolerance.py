"""How far an implementation may be from its reference, by the type it computes in."""

from typing import NamedTuple


class Tolerance(NamedTuple):
    """Allowed is ``absolute + relative * |expected|``."""

    relative: float
    absolute: float


_BY_DTYPE = {
    "float64": Tolerance(1e-10, 1e-12),
    "float32": Tolerance(1e-4, 1e-5),
    "float16": Tolerance(2e-3, 2e-3),
    "bfloat16": Tolerance(2e-2, 2e-2),
}


def tolerance(dtype: object) -> Tolerance:
    """Return the tolerance of a dtype of torch, or of its name.

    Sums run in another order than in the reference, in float32 at least; the half types add the rounding of
    inputs and result.

    Examples
    --------
    >>> tolerance("float32").relative
    0.0001
    """
    return _BY_DTYPE[str(dtype).removeprefix("torch.")]
