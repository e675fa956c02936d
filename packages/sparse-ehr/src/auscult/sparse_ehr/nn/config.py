"""What a PRISM model is made of: sizes, repairs of the released code, options, ablations."""

import math
import numbers
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Self, get_args, get_origin

import numpy as np

from auscult.core.errors import ConfigError

_KINDS: dict[Any, tuple[Any, str]] = {
    bool: ((bool, np.bool_), "True or False"),
    int: (numbers.Integral, "a whole number"),
    float: (numbers.Real, "a number"),
}


def check_types(config: Any) -> None:
    """Say which field of a dataclass is no truth value, number or known word where one has to be.

    Raises
    ------
    ConfigError
        With the field, its value and what to give.
    """
    for field in fields(config):
        value, kind = getattr(config, field.name), field.type
        if get_origin(kind) is Literal and value not in get_args(kind):
            raise ConfigError(f"{field.name} is {value!r}: use {', '.join(get_args(kind))}")
        if kind in _KINDS:
            accepted, words = _KINDS[kind]
            if not isinstance(value, accepted) or (kind is not bool and isinstance(value, bool)):
                raise ConfigError(f"{field.name} is {value!r}: give {words}")


@dataclass(frozen=True)
class PrismConfig:
    """Sizes and switches of :class:`auscult.sparse_ehr.nn.Prism`.

    The defaults are the corrected variant. :meth:`released` gives the formulas as the authors' released model
    file has them; each repair is a switch of its own, so that one can be studied at a time.

    Parameters
    ----------
    widths
        Input columns of each dynamic variable: 1, or the number of levels of a one-hot variable.
    n_static
        Static values of a patient.
    channel
        Width C of each variable's state.
    hidden
        Width H of the patient's state and of the graph.
    n_prototypes
        Number K of prototype patients.
    dropout
        Before the last linear map.
    state_dropout
        On the calibrated states of all variables, before they are fused and read out.
    normalize_steps
        Our extension: each fused step is scaled to mean 0 and variance 1 (layer normalisation) before the last GRU.
        Without it, learning rates well above 1e-3 can end in a model that predicts one risk for all.
    direct_readout
        Our extension: a linear map of the last calibrated states of all variables is added to the logit.
    horizon
        Hours of the window. Time since the last record counts in halves of it, so 48 hours give days.
    rescale_attention
        Repair 1: confidence is computed from attention relative to its mean; as released, it shrinks with the
        number of cells, and a variable that was never observed is trusted most.
    normalize_confidence
        Repair 2: inside the attention, confidence is scaled to a sum of 1, as attention is.
    graph_normalization
        Repair 3: how similarities are scaled in the graph; ``"none"`` lets its output grow with the batch.
    prototype_update
        Repair 4: ``"ema"`` moves prototypes in training towards the mean of the patients assigned to them,
        ``"fixed"`` keeps them, ``"batch"`` overwrites them at every forward pass, in evaluation too. Except for
        ``"batch"`` a prediction does not depend on the other patients of its batch.
    member_confidence
        Repair 6: a prototype's confidence is the mean of its members', not 1.
    constrain
        Repair 7: mixing weights stay in (0, 1) and decays above 0.
    explicit_never
        Repair 10: "never observed" is given, not read from a time of 2 days or more.
    attention_apply
        ``"received"``: each cell collects the values of the variables that attended to it (as released);
        ``"paid"``: the usual form, added to the last step.
    confidence_pool
        What confidence of a variable the similarity sees: the mean over steps, or the last.
    confidence_from
        ``"missingness"``: confidence without the factor of attention, a pure reliability.
    hard_mask
        A variable's state stays zero until its first observation, so no fill value has any influence.
    confidence
        Ablation: without it every confidence is 1.
    use_rate
        Ablation: without it a variable that was never observed has confidence 0.
    use_time
        Ablation: without it time since the last record counts as 0.
    calibrated_attention
        Ablation: without it confidence does not enter the attention.
    prototypes
        Ablation: without it prototypes do not enter the prediction.
    similarity
        Ablation: what compares patients and prototypes.

    Raises
    ------
    ConfigError
        For a size that is not positive, an unknown choice or a value of another type.
    """

    widths: tuple[int, ...]
    n_static: int = 0
    channel: int = 16
    hidden: int = 32
    n_prototypes: int = 16
    dropout: float = 0.3
    state_dropout: float = 0.3
    normalize_steps: bool = True
    direct_readout: bool = True
    horizon: float = 48.0
    rescale_attention: bool = True
    normalize_confidence: bool = True
    graph_normalization: Literal["row", "symmetric", "none"] = "row"
    prototype_update: Literal["ema", "fixed", "batch"] = "ema"
    member_confidence: bool = True
    constrain: bool = True
    explicit_never: bool = True
    attention_apply: Literal["received", "paid"] = "received"
    confidence_pool: Literal["mean", "last"] = "mean"
    confidence_from: Literal["attention", "missingness"] = "attention"
    hard_mask: bool = False
    confidence: bool = True
    use_rate: bool = True
    use_time: bool = True
    calibrated_attention: bool = True
    prototypes: bool = True
    similarity: Literal["confident", "euclidean", "cosine"] = "confident"

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        check_types(self)
        sizes = {"channel": self.channel, "hidden": self.hidden, "n_prototypes": self.n_prototypes}
        for name, size in (*sizes.items(), ("horizon", self.horizon), *(("a width", width) for width in self.widths)):
            if not 0 < size < math.inf:
                raise ConfigError(f"{name} is {size}, but must be positive and finite")
        if not self.widths or self.n_static < 0:
            raise ConfigError(
                f"{len(self.widths)} widths and n_static={self.n_static}: give at least one width, no negative n_static"
            )
        for name, share in (("dropout", self.dropout), ("state_dropout", self.state_dropout)):
            if not 0 <= share < 1:
                raise ConfigError(f"{name} is {share}: give a share from 0 to below 1")

    @classmethod
    def released(cls, widths: tuple[int, ...], n_static: int = 0, **changes: Any) -> Self:
        """Return the model as released: its sizes, and no repair; ``changes`` are other fields."""
        config = cls(
            widths, n_static, channel=8, hidden=32, n_prototypes=10, dropout=0.0, state_dropout=0.0,
            normalize_steps=False, direct_readout=False, rescale_attention=False,
            normalize_confidence=False, graph_normalization="none", prototype_update="batch",
            member_confidence=False, constrain=False, explicit_never=False,
        )  # fmt: skip
        return replace(config, **changes)

    @property
    def n_features(self) -> int:
        """Static values and dynamic variables together, F; static ones come first everywhere."""
        return self.n_static + len(self.widths)
