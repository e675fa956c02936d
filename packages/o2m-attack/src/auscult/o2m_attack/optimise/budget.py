"""What an optimisation has spent, in units that compare optimisers on any machine."""

from dataclasses import dataclass


@dataclass
class Ledger:
    """Counts forward passes.

    A backward pass costs about twice its forward pass and is not counted, nor are replies that a judge asks for.

    Attributes
    ----------
    forward_tokens
        Positions that went forward through the language model, over all rows of a batch.
    vision_passes
        Images, or views of one, that went forward through the vision tower.
    """

    forward_tokens: int = 0
    vision_passes: int = 0
