"""Aesthetic measures: LAION's head on CLIP embeddings, and the shapes world's tidiness. Yours needs only ``rate``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from auscult.core.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

_LAYERS = {0: (768, 1024), 2: (1024, 128), 4: (128, 64), 6: (64, 16), 7: (16, 1)}


class Aesthetic(Protocol):
    """Rates pictures from 0 to 100."""

    def rate(self, images: "Sequence[Image]", embeddings: npt.NDArray[np.float32] | None) -> npt.NDArray[np.float64]:
        """Return one rating a picture; ``embeddings`` are CLIP's, where there is a CLIP."""


class Tidiness:
    """How clean a picture of the shapes world is."""

    def rate(self, images: "Sequence[Image]", embeddings: npt.NDArray[np.float32] | None) -> npt.NDArray[np.float64]:
        """Return :func:`auscult.agfsync.shapes.looking.tidiness` of each picture."""
        from auscult.agfsync.shapes.looking import tidiness

        return tidiness([np.asarray(image) for image in images])


class LaionHead:
    """LAION's improved aesthetic predictor: five linear layers without activations on unit ViT-L/14 embeddings.

    Parameters
    ----------
    path
        ``sac+logos+ava1-l14-linearMSE.pth`` or any file of that layout (``.pth`` or ``.safetensors``).
    """

    def __init__(self, path: str | Path) -> None:
        import torch

        path = Path(path)
        try:
            if path.suffix == ".safetensors":
                from safetensors.torch import load_file

                state = load_file(path)
            else:
                state = torch.load(path, map_location="cpu", weights_only=True)
            weights = [(state[f"layers.{i}.weight"], state[f"layers.{i}.bias"]) for i in _LAYERS]
        except Exception as error:  # unpickling raises whatever the bytes make it
            reason = " ".join(str(error).split())[:120]
            raise InputError(f"{path} is no file of the LAION aesthetic predictor ({reason}): give its .pth") from error
        # Dropout is off and nothing lies between the layers, so all of it is one linear map.
        weight, bias = torch.eye(weights[0][0].shape[1], dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
        for matrix, offset in weights:
            weight, bias = matrix.double() @ weight, matrix.double() @ bias.expand(matrix.shape[1]) + offset.double()
        self._weight, self._bias = weight[0].numpy(), float(bias[0])

    def rate(self, images: "Sequence[Image]", embeddings: npt.NDArray[np.float32] | None) -> npt.NDArray[np.float64]:
        """Return ten times the prediction, which is about 1 to 10."""
        if embeddings is None or embeddings.shape[1] != len(self._weight):
            width = None if embeddings is None else embeddings.shape[1]
            raise InputError(
                f"the aesthetic head takes embeddings of width {len(self._weight)}, not {width}: use CLIP ViT-L/14"
            )
        return np.asarray(10 * (embeddings.astype(np.float64) @ self._weight + self._bias), np.float64)


def make_aesthetic(name: str, head: str | None) -> Any:
    """Return the measure that a configuration names; None for ``none``."""
    if name == "none":
        return None
    return Tidiness() if name == "shapes" else LaionHead(str(head))
