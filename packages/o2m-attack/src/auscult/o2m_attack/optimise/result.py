"""What an optimisation returns."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Step(NamedTuple):
    """One iteration; the last three columns count from the start of the optimisation.

    Attributes
    ----------
    step
        From 1.
    accepted
        ``text``, ``image``, ``both`` or ``stay``.
    text_loss, image_loss
        Of the best candidate of each branch; None where there was none.
    loss, best_loss
        After the iteration, and the lowest so far.
    linf_255
        Largest change of a pixel of the current image, in units of 1/255.
    forward_tokens
        Positions that went forward through the language model.
    vision_passes
        Images that went forward through the vision tower.
    seconds
        Of wall clock; never the same twice, so that exports for comparison leave it out.
    """

    step: int
    accepted: str
    text_loss: float | None
    image_loss: float | None
    loss: float
    best_loss: float
    linf_255: float
    forward_tokens: int
    vision_passes: int
    seconds: float


@dataclass(frozen=True, eq=False)
class AttackResult:
    """The best point of an optimisation, on the lattice of an 8-bit file.

    Attributes
    ----------
    image
        [3, H, W], float32 in [0, 1]: each pixel is a whole number of 1/255 within epsilon of the clean image.
    clean_image
        [3, H, W]: what the vision tower sees of the record's image, of the same kind.
    suffix, suffix_ids
        The suffix as text and as token ids [n]; encoding the whole rendered prompt gives these ids in place.
    best_loss
        The lowest loss of the optimisation, before rounding to 8 bits.
    final_loss
        The loss measured again on ``image`` and ``suffix_ids``.
    initial_loss
        Of the clean image and the initial suffix.
    history
        One row an iteration; ``pandas.DataFrame(result.history)`` is a table of it.
    stopped
        Why it ended: ``steps``, ``target_loss``, ``patience``, ``exact``, ``judge``, ``seconds``, ``forward_tokens``.
    """

    image: "Tensor"
    clean_image: "Tensor"
    suffix: str
    suffix_ids: list[int]
    best_loss: float
    final_loss: float
    initial_loss: float
    history: list[Step] = field(repr=False)
    stopped: str = "steps"
