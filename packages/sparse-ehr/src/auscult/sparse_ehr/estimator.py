"""The estimator: risks, confidence, similar patients and prototypes, after scikit-learn's conventions."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError

from auscult.core.data.cohort import Cohort
from auscult.core.device import choose_device, derive_seed
from auscult.core.errors import InputError
from auscult.core.progress import progress
from auscult.sparse_ehr.calibration import Calibrator, Method, Stack, probability
from auscult.sparse_ehr.inputs import in_chunks, to_grid
from auscult.sparse_ehr.labels import check_labels, codes_of, deal_folds
from auscult.sparse_ehr.members import Member, MemberConfig, fit_member
from auscult.sparse_ehr.similar import Prototypes, Reference, SimilarPatients, find_similar
from auscult.sparse_ehr.training import TrainingConfig

FloatArray = NDArray[np.float64]

# Stays that are prepared at a time: a large cohort streams through.
_CHUNK = 512
_STEP_HOURS = 4.0


class PrismClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Risk of an outcome from sparse clinical time series, with the confidence of every value and similar patients.

    PRISM (Zhu et al., CIKM 2024, arXiv 2309.04160), by default beside boosted trees on summaries, combined and
    calibrated on stays that neither was fitted on. Members are fitted on all folds but one of the training stays,
    each on another; the fold left out decides when a member's training ends, and all folds together fit the
    combination. A prediction is the mean of the members' and depends on nothing but the stay itself; in the released
    variant, whose prototypes move with every batch, also on the stays before it, in this call and earlier ones.

    Parameters
    ----------
    summary_stack
        Whether LightGBM on summaries (:class:`~auscult.sparse_ehr.baselines.LightGBMBaseline`) is combined with
        PRISM; without it PRISM stands alone. The combination is ours.
    calibration
        ``"temperature"``, ``"isotonic"`` or None.
    n_members
        How many models are averaged. With more than one, as many folds are made as there are members, five at least,
        and each member is fitted without one of them; with one, an eighth of the stays is held out. Where ``fit`` is
        given a validation part, members differ by their seeds alone.
    variant
        ``"corrected"``, or ``"released"``: PRISM as in the authors' file, with its defects.
    switches
        Fields of :class:`~auscult.sparse_ehr.nn.PrismConfig` that differ from the variant's: each repair, option
        and ablation is one.
    missing_inputs
        Whether each variable's encoder also sees if it is measured and how fresh its value is, an extension of ours;
        by default only in the corrected variant.
    channel, hidden, n_prototypes, dropout
        Sizes of the network; by default the variant's.
    max_epochs, patience, batch_size, learning_rate, weight_decay
        As in :class:`~auscult.sparse_ehr.training.TrainingConfig`.
    prototype_init
        As there; by default ``"latent"``, and ``"input"`` in the released variant.
    bin_hours, window_hours
        As in :func:`~auscult.sparse_ehr.inputs.to_grid`.
    step_hours
        Width of a step of the network, in whole bins: it sees what is known at the end of each, and exact times since
        the last measurement; the trees see every bin. By default 4 hours of a cohort, and one bin in the released
        variant; an array's steps, each ``bin_hours`` wide, are all seen unless a width is given.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"``, ...
    random_state
        Seed of everything random.
    checkpoint
        A folder that training keeps its state in and goes on from; None keeps none.

    Attributes
    ----------
    classes_ : ndarray of shape [2]
    n_features_in_, n_steps_in_ : int
    prototypes_ : Prototypes
    validation_ : dict
        ``label`` and ``probability`` [V] of the held-out stays: what the calibration was fitted on, so rather too good.
    history_ : list
        For each member, what each epoch was like.
    stack_ : Stack or None
    calibrator_ : Calibrator or None

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(0, 2, 80)
    >>> X = np.where(rng.random((80, 6, 3)) < 0.5, np.nan, rng.normal(size=(80, 6, 3)) + y[:, None, None])
    >>> model = PrismClassifier(n_members=1, max_epochs=2, channel=4, hidden=8).fit(X, y)
    >>> model.predict_proba(X).shape, model.confidence(X).shape
    ((80, 2), (80, 6, 3))
    """

    def __init__(
        self,
        *,
        summary_stack: bool = True,
        calibration: Method | None = "temperature",
        n_members: int = 5,
        variant: Literal["corrected", "released"] = "corrected",
        switches: Mapping[str, Any] | None = None,
        missing_inputs: bool | None = None,
        channel: int | None = None,
        hidden: int | None = None,
        n_prototypes: int | None = None,
        dropout: float | None = None,
        max_epochs: int = TrainingConfig.max_epochs,
        patience: int = TrainingConfig.patience,
        batch_size: int = TrainingConfig.batch_size,
        learning_rate: float = TrainingConfig.learning_rate,
        weight_decay: float = TrainingConfig.weight_decay,
        prototype_init: Literal["latent", "input"] | None = None,
        bin_hours: float = 1.0,
        window_hours: float = 48.0,
        step_hours: float | None = None,
        device: str = "auto",
        random_state: int = 0,
        checkpoint: str | None = None,
    ) -> None:
        self.summary_stack = summary_stack
        self.calibration = calibration
        self.n_members = n_members
        self.variant = variant
        self.switches = switches
        self.missing_inputs = missing_inputs
        self.channel = channel
        self.hidden = hidden
        self.n_prototypes = n_prototypes
        self.dropout = dropout
        self.max_epochs = max_epochs
        self.patience = patience
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.prototype_init = prototype_init
        self.bin_hours = bin_hours
        self.window_hours = window_hours
        self.step_hours = step_hours
        self.device = device
        self.random_state = random_state
        self.checkpoint = checkpoint

    def fit(
        self,
        X: Any,
        y: ArrayLike,
        *,
        static: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        validation: Sequence[Any] | None = None,
    ) -> Self:
        """Fit.

        Parameters
        ----------
        X
            A cohort, or [N, T, F] with NaN where nothing was measured.
        y
            [N] labels of two classes; the second of them (in sorted order) is the outcome.
        static
            [N, S] of an array, NaN where unknown. A cohort has its own.
        groups
            [N] the person of each stay, so that nobody is both learnt from and held out; a cohort's subjects by
            default, else every stay is a person.
        validation
            X, y, static and groups of stays to hold out in place of a part of ``X``; static and groups may be left
            out, or be None, where ``X`` has none.

        Raises
        ------
        InputError
            For missing labels or a single class, a person on both sides, infinite values, shapes that do not fit,
            or a parameter that makes no sense.
        """
        config = self.member_config()
        if self.step_hours is None and not isinstance(X, Cohort):
            config = dataclasses.replace(config, every=1)
        grid = self._grid(X, static)
        if not grid.observed.any():
            of_cohort = f" from hour 0 to {self.window_hours:g}: check times, or window_hours"
            raise InputError(f"no stay has a value{of_cohort if isinstance(X, Cohort) else ': X is NaN throughout'}")
        self.classes_, label = check_labels(y, len(grid))
        persons = _persons(X, groups, len(grid))
        held_out: list[tuple[Cohort, NDArray[np.bool_]]]
        if validation is None:
            folds = deal_folds(persons, label, self.n_members, seed=derive_seed(self.random_state, "folds") % 2**32)
            learnt = [(grid.select(rows), label[rows]) for rows, _ in folds]
            held_out = [(grid.select(held), label[held]) for _, held in folds]
        else:
            if not 2 <= len(validation) <= 4:
                raise InputError(f"validation has {len(validation)} parts: give X, y, static and groups, or X and y")
            held_X, held_y, held_static, held_groups = (*validation, None, None)[:4]
            held_grid = self._grid(held_X, held_static)
            _refuse_other_columns(grid, held_grid)
            if (groups is None) != (held_groups is None):
                raise InputError("groups are given of one part alone: give them beside X and as validation's fourth")
            if groups is not None or (isinstance(X, Cohort) and isinstance(held_X, Cohort)):
                _refuse_shared_persons(persons, _persons(held_X, held_groups, len(held_grid)))
            learnt = [(grid, label)] * self.n_members
            held_out = [(held_grid, codes_of(held_y, self.classes_, len(held_grid)))] * self.n_members
        self.members_: list[Member] = []
        for number, (part, held) in enumerate(zip(learnt, held_out, strict=True)):
            member = fit_member(
                *part, *held, config, seed=derive_seed(self.random_state, "member", number),
                checkpoint=None if self.checkpoint is None else Path(self.checkpoint) / f"member-{number}.pt",
            )  # fmt: skip
            self.members_.append(member)
        self.n_features_in_, self.n_steps_in_ = len(grid.features), grid.time.shape[1]
        if validation is None:
            scores = [self._scores(held, [one]) for (held, _), one in zip(held_out, self.members_, strict=True)]
            self._combine(scores, np.concatenate([truth for _, truth in held_out]))
        else:
            self._combine([self._scores(held_out[0][0])], held_out[0][1])
        self._describe(grid, label)
        self.history_ = [member.history for member in self.members_]
        return self

    def predict_proba(self, X: Any, *, static: ArrayLike | None = None) -> FloatArray:
        """Return [N, 2] the probabilities of the two classes.

        Parameters
        ----------
        X, static
            As in ``fit``; columns of a cohort may come in another order.
        """
        parts = [self._risk(*self._scores(grid)) for grid in self._chunks(X, static)]
        risk = np.concatenate(parts) if parts else np.empty(0)
        return np.column_stack([1 - risk, risk])

    def log_odds(self, X: Any, *, static: ArrayLike | None = None) -> tuple[FloatArray, FloatArray | None]:
        """Return the log-odds [N] of PRISM and of the trees (None without them), before they are combined.

        Parameters
        ----------
        X, static
            As in ``predict_proba``.
        """
        parts = [self._scores(grid) for grid in self._chunks(X, static)]
        trees = [score for _, score in parts if score is not None]
        network = np.concatenate([score for score, _ in parts]) if parts else np.empty(0)
        return network, np.concatenate(trees) if trees else None

    def predict(self, X: Any, *, static: ArrayLike | None = None) -> NDArray[Any]:
        """Return [N] the more probable class."""
        likely: NDArray[Any] = self.classes_[(self.predict_proba(X, static=static)[:, 1] > 0.5).astype(np.intp)]
        return likely

    def confidence(self, X: Any, *, static: ArrayLike | None = None) -> NDArray[np.float32]:
        """Return [N, T, F] how far each cell, measured or filled, was trusted: the mean over members.

        With the corrected variant 1 is full trust; a variable that was never measured so far has a small one that
        grows with how often it is measured at all. Where a step of the network holds several of the grid, each of
        them has the attention that the network paid to its step, and its own time since the last measurement.
        """
        parts = []
        for grid in self._chunks(X, static):
            cells = [member.findings(grid, device=self.device, cells=True).confidence for member in self.members_]
            parts.append(np.mean(cells, axis=0, dtype=np.float64).astype(np.float32))
        return np.concatenate(parts) if parts else np.empty((0, self.n_steps_in_, self.n_features_in_), np.float32)

    def similar_patients(self, X: Any, k: int = 10, *, static: ArrayLike | None = None) -> SimilarPatients:
        """Return for each stay the k most similar training stays, by the first member's similarity.

        In the corrected variant distances are in standard deviations of the training stays, without which the few best
        measured stays are everybody's neighbours. A cohort's stay is not compared with the training stay of the same
        record.

        Parameters
        ----------
        X, static
            As in ``predict_proba``.
        k
            How many.

        Raises
        ------
        InputError
            Where k is not within 1 to the number of training stays.
        """
        network = self._first().network
        summaries, sure = [], []
        for grid in self._chunks(X, static):
            found = self._first().findings(grid, device=self.device)
            summaries.append(found.summary)
            sure.append(found.summary_confidence)
        if not summaries:
            raise InputError("there is no stay to find similar patients for: give at least one")
        own = None
        if isinstance(X, Cohort):
            place = {record: i for i, record in enumerate(self.reference_.record_id.tolist())}
            own = np.array([place.get(record, -1) for record in X.record_id.tolist()], np.int64)
        return find_similar(
            np.concatenate(summaries), np.concatenate(sure), self.reference_, float(network.prototypes.zeta().detach()),
            k, kind=network.config.similarity, scale=self.variant == "corrected", device=choose_device(self.device),
            own=own,
        )  # fmt: skip

    def save(self, folder: str | Path) -> None:
        """Write the fitted model into a folder, without pickle; :meth:`load` gives it back to the last bit.

        Weights are safetensors, trees LightGBM's text, the rest JSON.
        """
        from auscult.sparse_ehr.storage import save_model

        self._first()
        save_model(self, Path(folder))

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Return the model that :meth:`save` wrote.

        Raises
        ------
        InputError
            Where a file is missing, cut off or changed, or another version wrote it.
        """
        from auscult.sparse_ehr.storage import load_model

        return load_model(cls, Path(folder))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array, tags.input_tags.two_d_array = True, False
        tags.input_tags.allow_nan = True
        tags.classifier_tags.multi_class = False
        return tags

    def member_config(self) -> MemberConfig:
        """Return what the parameters say that each member is made of.

        Raises
        ------
        InputError
            For a parameter that makes no sense.
        """
        members: Any = self.n_members
        if not isinstance(members, (int, np.integer)) or members < 1:
            raise InputError(f"n_members is {members!r}: give a whole number from 1")
        if not isinstance(self.random_state, (int, np.integer)):
            raise InputError(f"random_state is {self.random_state!r}: give a whole number, the seed of everything")
        if not isinstance(self.switches, (Mapping, type(None))):
            raise InputError(f"switches is {self.switches!r}: give a mapping of fields of PrismConfig to values")
        if self.calibration not in ("temperature", "isotonic", None):
            raise InputError(f"calibration is {self.calibration!r}: use 'temperature', 'isotonic' or None")
        for name in ("bin_hours", "window_hours"):
            if not 0 < getattr(self, name) < np.inf:
                raise InputError(f"{name} is {getattr(self, name)}: give a number of hours above 0")
        sizes = {name: getattr(self, name) for name in ("channel", "hidden", "n_prototypes", "dropout")}
        switches = {name: value for name, value in sizes.items() if value is not None}
        by_variant: Any = "input" if self.variant == "released" else "latent"
        training = TrainingConfig(
            self.max_epochs, self.patience, self.batch_size, self.learning_rate, self.weight_decay,
            by_variant if self.prototype_init is None else self.prototype_init, self.device,
        )  # fmt: skip
        return MemberConfig(
            self.variant,
            {**(self.switches if self.switches is not None else {}), **switches},
            self.missing_inputs,
            self._every(),
            training,
            self.summary_stack,
        )

    def _every(self) -> int:
        """Return how many bins are a step of the network."""
        if self.step_hours is None:
            return 1 if self.variant == "released" else max(1, round(_STEP_HOURS / self.bin_hours))
        every = self.step_hours / self.bin_hours
        if not every >= 1 or every != round(every):
            raise InputError(f"step_hours is {self.step_hours}: give a multiple of bin_hours, {self.bin_hours}")
        return round(every)

    def _grid(self, X: Any, static: ArrayLike | None) -> Cohort:
        return to_grid(X, static, bin_hours=self.bin_hours, window_hours=self.window_hours)

    def _first(self) -> Member:
        if not getattr(self, "members_", None):
            raise NotFittedError("this PrismClassifier is not fitted: call fit first")
        return self.members_[0]

    def _chunks(self, X: Any, static: ArrayLike | None) -> Any:
        """Yield stays on a grid, with the columns of the fit, some at a time."""
        preparer = self._first().preparer
        with progress("Stays", total=len(X)) as advance:
            hours = {"bin_hours": self.bin_hours, "window_hours": self.window_hours}
            for grid in in_chunks(X, static, _CHUNK, **hours):
                yield preparer.align(grid if isinstance(X, Cohort) else _renamed(grid, preparer))
                advance(len(grid))

    def _scores(self, grid: Cohort, members: Sequence[Member] | None = None) -> tuple[FloatArray, FloatArray | None]:
        """Return the mean log-odds [N] of the networks and, where there are any, of the trees."""
        chosen = self.members_ if members is None else members
        by_network = np.array([m.findings(grid, device=self.device).logits for m in chosen], np.float64)
        by_trees = [odds for m in chosen if (odds := m.tree_log_odds(grid)) is not None]
        return by_network.mean(axis=0), np.array(by_trees).mean(axis=0) if by_trees else None

    def _risk(self, network: FloatArray, trees: FloatArray | None) -> FloatArray:
        score = network if self.stack_ is None or trees is None else self.stack_(network, trees)
        return probability(score) if self.calibrator_ is None else self.calibrator_(score)

    def _combine(self, scores: Sequence[tuple[FloatArray, FloatArray | None]], held: NDArray[np.bool_]) -> None:
        """Fit the stack and the calibration on held-out stays, each scored by members that did not see it."""
        network = np.concatenate([score for score, _ in scores])
        by_trees = [score for _, score in scores if score is not None]
        trees = np.concatenate(by_trees) if by_trees else None
        self.stack_ = None if trees is None else Stack.fit(network, trees, held)
        score = network if self.stack_ is None or trees is None else self.stack_(network, trees)
        self.calibrator_ = None if self.calibration is None else Calibrator.fit(self.calibration, score, held)
        self.validation_ = {"label": held.astype(np.int64), "probability": self._risk(network, trees)}

    def _describe(self, grid: Cohort, label: NDArray[np.bool_]) -> None:
        """Keep how the training stays are compared, and whom they belong to."""
        found = self._first().findings(grid, device=self.device)
        ids = np.array(grid.record_id.tolist(), dtype=object)
        self.reference_ = Reference(
            found.summary, found.summary_confidence, found.prototype, ids, label.astype(np.int64)
        )

    @property
    def prototypes_(self) -> Prototypes:
        """The prototypes of the first member."""
        graph, preparer = self._first().network.prototypes, self._first().preparer
        member = self.reference_.prototype[:, None] == np.arange(len(graph.centres))
        size = member.sum(0)
        with np.errstate(invalid="ignore"):
            risk = (member * self.reference_.label[:, None]).sum(0) / np.where(size > 0, size, np.nan)
        return Prototypes(
            graph.centres.numpy().copy(), graph.confidence.numpy().copy(), size, risk, preparer.column_names()
        )


def _persons(X: Any, groups: ArrayLike | None, count: int) -> NDArray[Any]:
    if groups is None:
        return X.subject_id if isinstance(X, Cohort) else np.arange(count)
    persons = np.asarray(groups)
    if persons.shape != (count,):
        raise InputError(f"{count} stays have groups of shape {persons.shape}: give the person of each")
    return persons


def _refuse_shared_persons(persons: NDArray[Any], held_out: NDArray[Any]) -> None:
    """Say so where somebody is both learnt from and held out."""
    both = np.intersect1d(persons, held_out)
    if len(both):
        raise InputError(f"subject {both[0]} is in the training and in the validation part: keep it in one")


def _refuse_other_columns(grid: Cohort, held_grid: Cohort) -> None:
    """Say so where the validation part has other columns or steps than the training part."""
    one, other = ((c.features, c.static_features, c.time.shape[1]) for c in (grid, held_grid))
    if one != other:
        names = [f.name for f in (*grid.features, *grid.static_features)]
        raise InputError(f"the validation part needs {one[2]} steps and the columns {', '.join(names)}, in this order")


def _renamed(grid: Cohort, preparer: Any) -> Cohort:
    """Give an array's columns, which have no names, those of the fit."""
    shapes = (len(grid.features), len(grid.static_features))
    fitted = (len(preparer.features_), len(preparer.static_features_))
    if shapes != fitted:
        raise InputError(
            f"X has {shapes[0]} variables and {shapes[1]} static values, but the model was fitted on {fitted[0]} and "
            f"{fitted[1]}: give the same, in the same order"
        )
    return dataclasses.replace(grid, features=preparer.features_, static_features=preparer.static_features_)
