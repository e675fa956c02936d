"""One member of the estimator: inputs, network and trees, fitted on one part of the stays and stopped on another."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from auscult.core.data.cohort import Cohort
from auscult.core.device import choose_device, derive_seed
from auscult.core.errors import ConfigError
from auscult.sparse_ehr.baselines import LightGBMBaseline
from auscult.sparse_ehr.calibration import log_odds
from auscult.sparse_ehr.forward import Findings, forward
from auscult.sparse_ehr.inputs import Preparer
from auscult.sparse_ehr.nn.config import PrismConfig
from auscult.sparse_ehr.nn.prism import Prism
from auscult.sparse_ehr.training import TrainingConfig, train

# A prototype stands for so many patients at least (specification, section 5.2).
_PATIENTS_PER_PROTOTYPE = 20


@dataclass(frozen=True)
class MemberConfig:
    """What a member is made of.

    Parameters
    ----------
    variant
        ``"corrected"``, or ``"released"``: the formulas of the authors' file.
    switches
        Fields of :class:`~auscult.sparse_ehr.nn.PrismConfig` that differ from the variant's.
    missing_inputs
        As in :class:`~auscult.sparse_ehr.inputs.Preparer`; by default only the corrected variant has them.
    every
        As in :class:`~auscult.sparse_ehr.inputs.Preparer`.
    training
        How the network is trained.
    trees
        Whether boosted trees on summaries are fitted beside it.
    """

    variant: Literal["corrected", "released"]
    switches: Mapping[str, Any]
    missing_inputs: bool | None
    every: int
    training: TrainingConfig
    trees: bool

    def __post_init__(self) -> None:
        if self.variant not in ("corrected", "released"):
            raise ConfigError(f"variant is {self.variant!r}: use 'corrected' or 'released'")
        self.network((1,), 0, 1.0, 10_000)

    def network(self, widths: tuple[int, ...], n_static: int, horizon: float, patients: int) -> PrismConfig:
        """Return the network's configuration for inputs of these widths and so many training stays."""
        make = PrismConfig.released if self.variant == "released" else PrismConfig
        try:
            config = make(widths, n_static, **{"horizon": horizon, **self.switches})
        except TypeError as error:
            fields = [name for name in PrismConfig.__dataclass_fields__ if name not in ("widths", "n_static")]
            unknown = [name for name in self.switches if name not in fields]
            if not unknown:
                raise
            raise ConfigError(f"there is no switch {unknown[0]!r}: known are {', '.join(fields)}") from error
        return replace(config, n_prototypes=max(1, min(config.n_prototypes, patients // _PATIENTS_PER_PROTOTYPE)))


@dataclass
class Member:
    """A fitted member; the network is on the CPU between calls.

    Parameters
    ----------
    preparer
        Makes its inputs.
    network
        PRISM.
    trees
        LightGBM on summaries, or None.
    history
        What each epoch of its training was like.
    """

    preparer: Preparer
    network: Prism
    trees: LightGBMBaseline | None
    history: list[dict[str, float]]

    def findings(self, grid: Cohort, *, device: str = "auto", cells: bool = False) -> Findings:
        """Return what the network says of stays whose columns are those of the fit."""
        place, inputs = choose_device(device), self.preparer.transform(grid)
        asked = self.preparer.cells(grid) if cells else None
        try:
            return forward(self.network.to(place), inputs, device=place, cells=asked)
        finally:
            self.network.to("cpu")

    def tree_log_odds(self, grid: Cohort) -> NDArray[np.float64] | None:
        """Return what the trees say, [N], or None without trees."""
        return None if self.trees is None else log_odds(self.trees.predict_proba(grid)[:, 1])


def fit_member(
    grid: Cohort,
    label: NDArray[np.bool_],
    held_out: Cohort,
    held_out_label: NDArray[np.bool_],
    config: MemberConfig,
    *,
    seed: int,
    checkpoint: Path | None = None,
) -> Member:
    """Fit a member on stays on a grid; everything that is fitted is fitted on ``grid`` alone.

    Parameters
    ----------
    grid, label
        Training stays (:func:`~auscult.sparse_ehr.inputs.to_grid`) and their labels [N].
    held_out, held_out_label
        Stays that decide when to stop.
    config
        What to make.
    seed
        Of everything random.
    checkpoint
        As in :func:`~auscult.sparse_ehr.training.train`.
    """
    preparer = Preparer(missing_inputs=_missing_inputs(config), every=config.every).fit(grid)
    prism = config.network(preparer.widths_, preparer.n_static_, preparer.horizon_, len(grid))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "weights"))
        network = Prism(prism, torch.from_numpy(preparer.presence_rate_))
    trees = None
    if config.trees:
        trees = LightGBMBaseline(random_state=derive_seed(seed, "trees") % 2**31)
        trees.fit(grid, label.astype(np.int64), validation=(held_out, held_out_label.astype(np.int64)))
    history = train(
        network, preparer.transform(grid), label, preparer.transform(held_out), held_out_label, config.training,
        seed=derive_seed(seed, "training"), checkpoint=checkpoint,
    )  # fmt: skip
    return Member(preparer, network, trees, history)


def _missing_inputs(config: MemberConfig) -> bool:
    return config.variant == "corrected" if config.missing_inputs is None else config.missing_inputs
