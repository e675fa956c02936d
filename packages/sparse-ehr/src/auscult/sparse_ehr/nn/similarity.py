"""What compares patients with prototypes."""

import torch
from torch import Tensor

from auscult.core.kernels.confident_similarity import confident_similarity


def patient_similarity(kind: str, x: Tensor, c: Tensor, y: Tensor, d: Tensor, zeta: Tensor) -> Tensor:
    """Return the similarity [N, M] of rows x [N, F] and y [M, F] with confidences c and d, larger for closer.

    ``"confident"`` is the method's own (section 5.3). ``"euclidean"`` is the same with every confidence at 1:
    1 / ((1 - zeta) mean squared difference + zeta). ``"cosine"`` is (1 + cosine) / 2. All are in float32 at least.
    """
    if kind == "cosine":
        # Autocast would round the product.
        with torch.autocast(x.device.type, enabled=False):
            full = torch.promote_types(x.dtype, torch.float32)
            one, other = (torch.nn.functional.normalize(rows.to(full), dim=1) for rows in (x, y))
            return (1 + one @ other.T) / 2
    if kind == "euclidean":
        c, d = torch.ones_like(c), torch.ones_like(d)
    return confident_similarity(x, c, y, d, zeta)
