"""The settings of an optimisation, with the paper's and the released code's values as presets."""

from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any, Literal

from auscult.core.errors import InputError

Accept = Literal["better", "better_or_stay", "joint", "alternate", "text", "image"]
Sampler = Literal["gradient", "uniform", "reference"]

# One step of 1/255 in the normalised space of CLIP's red channel is this much in pixels.
_CLIP_RED_STD = 0.26862954

_PRESETS: dict[str, dict[str, Any]] = {
    "recommended": {},
    "paper": {"accept": "better", "image_steps": 1, "n_replace": 1, "sampler": "gradient"},
    "reference": {
        "accept": "better",
        "steps": 10,
        "epsilon": 0.3 * _CLIP_RED_STD,
        "alpha": 2 / 255 * _CLIP_RED_STD,
        "image_steps": 5,
        "search_width": 10,
        "topk": 64,
        "sampler": "reference",
        "initial_suffix": "}&" * 10,
        "new_tokens": 30,
    },
}


@dataclass(frozen=True, kw_only=True)
class AttackConfig:
    """Settings of :class:`~auscult.o2m_attack.optimise.mcm.MCM`, ``GCG`` and ``PGD``.

    Parameters
    ----------
    steps
        Iterations at most.
    epsilon
        Radius of the L-infinity ball around the clean image, in pixels of [0, 1].
    alpha
        Length of one image step, in the same unit.
    image_steps
        Image steps (K) in one iteration of MCM or PGD; 0 leaves the image alone.
    search_width
        Suffix candidates (B) in one iteration of MCM or GCG; 0 leaves the suffix alone.
    topk
        Tokens with the steepest descent that a position draws from.
    n_replace
        Positions that differ between a candidate and the current suffix; the sampler ``reference`` changes one.
    suffix_length
        Tokens of the suffix where ``initial_suffix`` is None.
    initial_suffix
        The suffix to begin with, in place of a neutral one of ``suffix_length`` tokens.
    accept
        What MCM keeps of an iteration's candidates. ``better`` (paper, Algorithm 1): the one with the lower loss, text
        at a tie. ``better_or_stay`` (ours): also neither, where both are worse than now. ``joint`` (ours): the best of
        neither, text, image and both. ``alternate``: text and image in turn. ``text``, ``image``: that one. Where only
        the image can change, its steps are always taken.
    sampler
        How candidates are drawn. ``gradient`` (paper): tokens by the softmax of their descent, positions at random.
        ``uniform`` (GCG): tokens uniformly. ``reference``: the released code's evenly spaced positions, of which some
        are never reached where the suffix is longer than ``search_width``.
    temperature
        Of the softmax of ``gradient``.
    allow_non_ascii
        Whether the suffix may hold tokens beyond printable ASCII.
    target_loss, patience
        Stop at this loss, or after this many iterations without a better one.
    stop_when_exact
        Stop once the target is the model's greedy continuation.
    judge_every
        Ask the judge that is given to ``run`` every so many iterations, and stop at its yes.
    max_seconds, max_forward_tokens
        Budgets; the iteration in which one is reached is the last.
    new_tokens
        Length of a generated reply, for the judge and for a campaign.
    candidate_batch
        Candidates in one forward pass; None tries all of them and halves on running out of memory.
    seed
        Of all random choices; the streams of records and steps are independent of each other.

    Raises
    ------
    InputError
        A value out of its range.

    Examples
    --------
    >>> AttackConfig.preset("reference", seed=1).image_steps
    5
    """

    steps: int = 100
    epsilon: float = 8 / 255
    alpha: float = 1 / 255
    image_steps: int = 1
    search_width: int = 512
    topk: int = 256
    n_replace: int = 1
    suffix_length: int = 20
    initial_suffix: str | None = None
    accept: Accept = "better_or_stay"
    sampler: Sampler = "gradient"
    temperature: float = 1.0
    allow_non_ascii: bool = False
    target_loss: float | None = None
    patience: int | None = None
    stop_when_exact: bool = False
    judge_every: int | None = None
    max_seconds: float | None = None
    max_forward_tokens: int | None = None
    new_tokens: int = 64
    candidate_batch: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if not isinstance(value, Integral) and (value is not None or name not in _OPTIONAL):
                raise InputError(f"{name} is {value!r}: use a whole number")
            if value is not None and not getattr(self, name) >= least:
                raise InputError(f"{name} is {value}: use {least} or more")
        for name in ("epsilon", "alpha", "temperature", "target_loss", "max_seconds"):
            value = getattr(self, name)
            if not (isinstance(value, Real) and value == value) and (value is not None or name not in _OPTIONAL):
                raise InputError(f"{name} is {value!r}: use a number")
        if self.max_seconds is not None and self.max_seconds < 0:
            raise InputError(f"max_seconds is {self.max_seconds}: use 0 or more")
        if not 0 <= self.epsilon <= 1:
            hint = f"; {self.epsilon:g}/255 may be meant" if self.epsilon > 1 else ""
            raise InputError(f"epsilon is {self.epsilon}: pixels lie in [0, 1], so use 0 to 1{hint}")
        if not 0 < self.alpha <= 1:
            raise InputError(f"alpha is {self.alpha}: a step in pixels of [0, 1] is above 0 and at most 1")
        if not self.temperature > 0:
            raise InputError(f"temperature is {self.temperature}: use a number above 0")
        for name, allowed in (("accept", Accept), ("sampler", Sampler)):
            if getattr(self, name) not in allowed.__args__:  # type: ignore[attr-defined]  # a Literal's values
                raise InputError(f"{name} is {getattr(self, name)!r}: use {', '.join(allowed.__args__)}")  # type: ignore[attr-defined]
        if self.initial_suffix is not None and not self.initial_suffix.strip():
            raise InputError("initial_suffix is empty: give some text, or None for a neutral one")

    @classmethod
    def preset(cls, name: str, **changes: Any) -> "AttackConfig":
        """Return a named set of values, with changes.

        ``recommended`` are the defaults. ``paper`` is Algorithm 1, whose T, B, k and epsilon have no published value
        and are the defaults. ``reference`` has the released code's values, its epsilon and alpha converted from
        normalised units to pixels of the red channel; what the released code does wrong (the ball around the last
        image, the clamp in normalised space, a loss from before the last image step) is not done here.

        Raises
        ------
        InputError
            There is no such preset, or a value is out of its range.
        """
        if name not in _PRESETS:
            raise InputError(f"there is no preset {name!r}: use {', '.join(_PRESETS)}")
        return replace(cls(), **{**_PRESETS[name], **changes})


_LEAST = {
    "steps": 0,
    "image_steps": 0,
    "search_width": 0,
    "topk": 1,
    "n_replace": 1,
    "suffix_length": 1,
    "patience": 1,
    "judge_every": 1,
    "max_forward_tokens": 1,
    "new_tokens": 1,
    "candidate_batch": 1,
    "seed": 0,
}

_OPTIONAL = frozenset(
    {"target_loss", "patience", "judge_every", "max_seconds", "max_forward_tokens", "candidate_batch"}
)


def parse_fraction(text: str) -> float:
    """Return a number written as ``0.03`` or ``8/255``.

    Raises
    ------
    InputError
        It is neither.

    Examples
    --------
    >>> parse_fraction("51/255")
    0.2
    """
    try:
        top, slash, bottom = text.partition("/")
        return float(top) / (float(bottom) if slash else 1.0)
    except (ValueError, ZeroDivisionError):
        raise InputError(f"{text!r} is no number: write it like 0.03 or 8/255") from None
