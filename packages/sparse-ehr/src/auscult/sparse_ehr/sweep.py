"""How much models lose where more is missing, and what each part of PRISM is worth; resumable."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from auscult.core.data.cohort import Cohort
from auscult.core.errors import InputError
from auscult.core.intervals import Interval
from auscult.core.risk import METRICS
from auscult.sparse_ehr.comparison import MODELS, replicate_means, stored_outcomes, to_interval, write_rows
from auscult.sparse_ehr.trials import PRISM, SEEDS, SHARES, Outcome, Trial, open_store, run_trials

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BOTH, TEST_ONLY = "training and test", "test only"

_REPAIRS: Mapping[str, Mapping[str, Any]] = {
    "attention rescaled": {"rescale_attention": True},
    "confidence normalised": {"normalize_confidence": True},
    "graph normalised": {"graph_normalization": "row"},
    "prototypes moved in training alone": {"prototype_update": "ema"},
    "members' confidence": {"member_confidence": True},
    "constrained": {"constrain": True},
    "explicit never": {"explicit_never": True},
}

ABLATIONS: Mapping[str, Mapping[str, Any]] = {
    **{
        name: {"switches": switches}
        for name, switches in {
            "PRISM": {},
            "no confidence": {"confidence": False},
            "no presence rate": {"use_rate": False},
            "no time since last": {"use_time": False},
            "no calibrated attention": {"calibrated_attention": False},
            "no prototypes": {"prototypes": False},
            "euclidean similarity": {"similarity": "euclidean"},
            "cosine similarity": {"similarity": "cosine"},
            "fixed prototypes": {"prototype_update": "fixed"},
            "prototypes of the batch": {"prototype_update": "batch"},
            "4 prototypes": {"n_prototypes": 4},
            "64 prototypes": {"n_prototypes": 64},
            "attention paid": {"attention_apply": "paid"},
            "no direct read-out": {"direct_readout": False},
            "no normalised steps": {"normalize_steps": False},
        }.items()
    },
    "as released": {"variant": "released", "prototype_init": "input", "switches": {}},
    **{
        f"as released, {name}": {"variant": "released", "prototype_init": "input", "switches": switches}
        for name, switches in _REPAIRS.items()
    },
    "as released, latent prototypes": {"variant": "released", "prototype_init": "latent", "switches": {}},
}
"""Name -> options of the estimator that differ: PRISM without a part, and as released with a single repair."""

_MEASURES = ("auroc", "auprc")
_MARKERS = "os^D"


class Point(NamedTuple):
    """A model at one deletion: its AUPRC on ``splits``, and what it lost against none, each with its interval."""

    model: str
    where: str
    share: float
    splits: tuple[int, ...]
    auprc: Interval
    loss: Interval


@dataclass(frozen=True)
class Sweep:
    """What models lose where observed values are deleted.

    Parameters
    ----------
    points
        Of each model, mode of deletion and share.
    excess
        (model, other, mode, share) -> how much more the other lost than the model, paired; above 0 the model is the
        more robust.
    """

    points: Sequence[Point]
    excess: Mapping[tuple[str, str, str, float], Interval]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        return {
            "points": [
                {
                    "model": p.model, "deleted_in": p.where, "share": p.share, "splits": list(p.splits),
                    "auprc": p.auprc.to_dict(), "loss": p.loss.to_dict(),
                }
                for p in self.points
            ],
            "excess_loss": [
                {"model": one, "against": other, "deleted_in": where, "share": share, **interval.to_dict()}
                for (one, other, where, share), interval in self.excess.items()
            ],
        }  # fmt: skip


def sweep_missingness(
    cohort: Cohort,
    out: str | Path,
    *,
    task: str = "mortality",
    models: Sequence[str] = MODELS,
    shares: Sequence[float] = SHARES,
    splits: Sequence[int] = SEEDS[:1],
    options: Mapping[str, Mapping[str, Any]] | None = None,
    n_boot: int = 1000,
) -> Sweep:
    """Delete observed values at random, and see what each model loses.

    Values are deleted once in training and test part alike, with models fitted anew, and once in the test part alone,
    with the models that were fitted on everything.

    Parameters
    ----------
    cohort, out, task, models, options, n_boot
        As in :func:`auscult.sparse_ehr.comparison.compare_models`; the folder may be the same.
    shares
        Of the observed values to delete, with 0 among them.
    splits
        Seeds of the splits to fit on. Losses in the test part alone are of all splits that the folder has.
    """
    from auscult.sparse_ehr.labels import label_of

    if 0 not in shares or len(shares) < 2:
        raise InputError(f"shares are {tuple(shares)}: give 0, which losses count from, and at least one more")
    label = label_of(cohort, task)
    chosen = options or {}
    trials = [
        Trial(model, seed, share, (0.0, *(s for s in shares if s)) if not share else (), chosen.get(model, {}))
        for seed in splits
        for model in models
        for share in (0.0, *(float(s) for s in sorted(shares) if s))
    ]
    with open_store(cohort, out, task) as store:
        run_trials(cohort, label, trials, store)
        found = [outcome for outcome in stored_outcomes(store) if outcome.test_deletion in shares]
    result = to_sweep(found, n_boot=n_boot)
    folder = Path(out)
    rows = [
        {
            "model": p.model, "deleted in": p.where, "share": p.share, "splits": len(p.splits),
            "auprc": p.auprc.value, "low": p.auprc.low, "high": p.auprc.high,
            "loss": p.loss.value, "loss low": p.loss.low, "loss high": p.loss.high,
        }
        for p in result.points
    ]  # fmt: skip
    write_rows(folder / "sweep.csv", rows)
    write_report(result, folder / "sweep.html", task=task)
    return result


def to_sweep(outcomes: Sequence[Outcome], *, n_boot: int = 1000, seed: int = 0) -> Sweep:
    """Return the losses of models from what they said of test parts.

    Parameters
    ----------
    outcomes
        Of models without deletion, with deletion in the test part, with deletion throughout.
    n_boot, seed
        As in :func:`auscult.sparse_ehr.comparison.compare_outcomes`.
    """
    at: dict[tuple[str, float, float], dict[int, Outcome]] = {}
    for o in outcomes:
        at.setdefault((o.model, o.deletion, o.test_deletion), {})[o.split] = o
    models = [model for model, trained, tested in at if trained == tested == 0]
    places = sorted({(trained, tested) for _, trained, tested in at if tested and trained in (0, tested)})

    def sides(model: str, place: tuple[float, float]) -> list[dict[int, Outcome]]:
        """Without and with deletion, on the splits that have both."""
        pair = [at[model, 0.0, 0.0], at.get((model, *place), {})]
        return [{split: side[split] for split in pair[0] if split in pair[1]} for side in pair]

    points: list[Point] = []
    excess = {}
    for model in models:
        for trained, tested in places:
            mine, where = sides(model, (trained, tested)), BOTH if trained else TEST_ONLY
            if not mine[0]:
                continue
            value, drawn = replicate_means(mine, ["auprc"], n_boot=n_boot, seed=seed)
            whole, thinned = (to_interval(value[i, 0], drawn[:, i, 0]) for i in (0, 1))
            splits = tuple(sorted(mine[0]))
            if not any((p.model, p.where) == (model, where) for p in points):
                points.append(Point(model, where, 0.0, splits, whole, Interval(0.0, 0.0, 0.0)))
            loss = to_interval(value[0, 0] - value[1, 0], drawn[:, 0, 0] - drawn[:, 1, 0])
            points.append(Point(model, where, tested, splits, thinned, loss))
            for other in models if model.startswith(PRISM) else ():
                four = [*mine, *sides(other, (trained, tested))]
                shared = sorted(four[0].keys() & four[2].keys())
                if other != model and shared:
                    kept = [{split: side[split] for split in shared} for side in four]
                    v, d = replicate_means(kept, ["auprc"], n_boot=n_boot, seed=seed)
                    sign = np.array([-1, 1, 1, -1])
                    excess[model, other, where, tested] = to_interval(sign @ v[:, 0], d[:, :, 0] @ sign)
    return Sweep(points, excess)


def ablate(
    cohort: Cohort,
    out: str | Path,
    *,
    task: str = "mortality",
    ablations: Mapping[str, Mapping[str, Any]] = ABLATIONS,
    split: int = SEEDS[0],
    options: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Fit PRISM alone with one thing changed at a time, on one split, and return AUROC and AUPRC of each.

    Parameters
    ----------
    cohort, out, task
        As in :func:`sweep_missingness`.
    split
        Seed of the split.
    ablations
        Name -> options of the estimator.
    options
        Of the estimator, the same for all.
    """
    from auscult.sparse_ehr.labels import label_of

    label = label_of(cohort, task)
    rows = []
    with open_store(cohort, out, task) as store:
        for name, changed in ablations.items():
            chosen = {**(options or {}), "summary_stack": False, **changed}
            trial = Trial("prism", split, tests=(0.0,), options=chosen, purpose="ablation")
            (outcome,) = run_trials(cohort, label, [trial], store)
            measured = {m: float(METRICS[m](outcome.label.astype(np.bool_), outcome.probability)) for m in _MEASURES}
            rows.append({"model": name, "split": split, **measured, "seconds": outcome.details["seconds"]})
    write_rows(Path(out) / "ablations.csv", rows)
    return rows


def plot_sweep(result: Sweep, where: str = BOTH, *, ax: "Axes | None" = None) -> "Axes":
    """Plot the AUPRC of every model over the share of deleted values, with its interval."""
    from matplotlib import pyplot as plt

    from auscult.core.report import PALETTE

    if ax is None:
        _, ax = plt.subplots(figsize=(7.6, 3.6), layout="constrained")
    for i, model in enumerate(dict.fromkeys(p.model for p in result.points)):
        points = sorted((p for p in result.points if p.model == model and p.where == where), key=lambda p: p.share)
        shares = [100 * p.share + 0.6 * i for p in points]
        ends = np.array([[p.auprc.value - p.auprc.low, p.auprc.high - p.auprc.value] for p in points]).T
        if points:
            values = [p.auprc.value for p in points]
            colour, marker = PALETTE[i % len(PALETTE)], _MARKERS[i // len(PALETTE) % len(_MARKERS)]
            ax.errorbar(shares, values, ends, color=colour, marker=marker, capsize=2, label=model)
    ax.set_xlabel(f"observed values deleted in {where} (%)")
    ax.set_ylabel("AUPRC")
    ax.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    return ax


def write_report(result: Sweep, path: str | Path, *, task: str) -> str:
    """Write the sweep as one HTML page."""
    from auscult.core.report import Report

    report = Report(f"More missing values: models of {task}")
    for where in (BOTH, TEST_ONLY):
        report.section(f"Deleted in {where}")
        axes = plot_sweep(result, where)
        report.figure(axes, caption="AUPRC", alt=f"AUPRC of each model over the share deleted in {where}")
        rows = [
            {"model": p.model, "deleted": f"{p.share:.0%}", "splits": len(p.splits), "AUPRC": p.auprc, "lost": p.loss}
            for p in result.points
            if p.where == where
        ]
        report.table(rows, caption="AUPRC, and what was lost against no deletion, with 95 % intervals")
        excess = [
            {"model": other, "compared with": one, "deleted": f"{share:.0%}", "lost more": interval}
            for (one, other, mode, share), interval in result.excess.items()
            if mode == where
        ]
        if excess:
            report.table(excess, caption="AUPRC that a model lost more than the other, on the same resampled subjects")
    return report.write(path)
