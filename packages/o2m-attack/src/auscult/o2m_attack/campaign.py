"""Records times conditions times optimisers, in a private folder that goes on where it was stopped.

Records do not depend on each other: shards of them run side by side, each in a folder of its own inside the run's. A
finished entry is never computed again; one that was interrupted goes on from its last saved iteration, on a CPU with
equal results.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from auscult.core.canonical import difference, digest
from auscult.core.endpoint import RequestFailedError
from auscult.core.errors import InputError, RunMismatchError
from auscult.core.files import replace_atomically
from auscult.core.progress import progress as show_progress
from auscult.core.run_files import MANIFEST, create, read_manifest
from auscult.core.runs import RunStore, record_key
from auscult.o2m_attack.conditions import Templates, check_condition, claimed_attribute, question_text, target_text
from auscult.o2m_attack.config import AttackConfig
from auscult.o2m_attack.record import Record
from auscult.o2m_attack.targets.protocol import Query, Target, WhiteBoxTarget

if TYPE_CHECKING:
    from auscult.o2m_attack.optimise.result import AttackResult
    from auscult.o2m_attack.optimise.state import AttackState

OPTIMIZERS = ("none", "gcg", "pgd", "mcm")
PRIVATE = 0o600
MOST_UNANSWERED = 10
"""Failed requests in a row after which a job ends; fewer may be about what was asked, where a server moderates."""

_IMAGES, _STATES = "images", "states"
_SAVE_EVERY_SECONDS = 5.0

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def run(
    target: Target,
    records: Sequence[Record],
    out: str | Path,
    *,
    conditions: Sequence[str] = ("2m",),
    optimizers: Sequence[str] = ("mcm",),
    config: AttackConfig | None = None,
    shard: tuple[int, int] = (1, 1),
    judge: Callable[[str], bool] | None = None,
    save_every_seconds: float = _SAVE_EVERY_SECONDS,
    progress: bool = False,
) -> dict[str, Any]:
    """Optimise and ask, for every record, condition and optimiser that the folder does not have yet.

    Parameters
    ----------
    target
        The model; for ``none`` alone, replies suffice.
    records
        With different ids.
    out
        The run's folder. Records, images and states in it are readable by their owner alone.
    conditions, optimizers
        Of :data:`~auscult.o2m_attack.conditions.CONDITIONS` and :data:`OPTIMIZERS`.
    config
        Of all optimisers; the folder remembers it and refuses another.
    shard
        (i, n): this call does every n-th record, beginning with the i-th.
    judge
        For ``judge_every`` (see :meth:`~auscult.o2m_attack.optimise.mcm.MCM.run`).
    save_every_seconds
        How often the state of an unfinished optimisation is saved; 0 saves every iteration.
    progress
        Show a bar on stderr.

    Returns
    -------
    dict
        ``entries`` in this shard, ``done`` in this call, ``failed`` ones in all, and ``reasons`` with their counts. A
        request that a server did not answer counts as failed and is asked again by the next call.

    Raises
    ------
    InputError
        An unknown condition or optimiser, ids that occur twice, a model without gradients for an optimiser, no record
        that can be used; or a folder of another run, or with shards of one.
    RequestFailedError
        A server left ten requests in a row unanswered.
    """
    config = config or AttackConfig()
    records = list(records)
    _check(target, records, conditions, optimizers, shard)
    templates = templates_of(target)
    plan = [
        (record, condition, optimizer)
        for record in records[shard[0] - 1 :: shard[1]]
        for condition in dict.fromkeys(conditions)
        for optimizer in dict.fromkeys(optimizers)
    ]
    faults = _faults(plan, templates)
    folder = Path(out) if shard[1] == 1 else Path(out) / f"shard-{shard[0]}-of-{shard[1]}"
    identity = {"attack": config, "templates": templates, "model": target.name}
    whole = digest([record.fingerprint for record in records])
    mine = {"config": identity, "seed": config.seed, "data_fingerprint": whole}
    for part, manifest in _manifests(Path(out)).items():
        if part != folder and (why := _why_not_one_run(part, manifest, folder, mine)):
            raise RunMismatchError(f"{part} is no part of this run ({why}): use its settings, or choose another folder")
    with RunStore.open(
        folder, config=identity, seed=config.seed, data_fingerprint=whole, package="o2m-attack", mode=PRIVATE
    ) as store:
        worker = _Worker(target, config, templates, store, judge, save_every_seconds)
        try:
            done = worker.work(plan, faults, progress)
        except InputError:
            if not len(store):  # nothing was done: the folder stays free for settings that can be used
                (folder / MANIFEST).unlink()
            raise
        failed = [entry["status"] for entry in store.values() if entry["status"] != "ok"] + worker.unanswered
    reasons = {reason: failed.count(reason) for reason in dict.fromkeys(failed)}
    return {"entries": len(plan), "done": done, "failed": len(failed), "reasons": reasons}


def read_entries(folder: str | Path) -> Iterator[dict[str, Any]]:
    """Yield all entries of a run, of all its shards; ``image`` and ``clean_image`` are the paths of their files.

    Raises
    ------
    InputError
        There is no run in the folder.
    """
    for part in run_parts(folder):
        with RunStore.read(part) as store:
            for key, entry in store.items():
                files = {name: part / entry[name] for name in ("image", "clean_image") if entry.get(name)}
                yield {"key": key, **entry, **files}


def run_parts(folder: str | Path) -> list[Path]:
    """Return the folders of a run's shards, or the folder itself where it has none.

    Raises
    ------
    InputError
        What the folder holds is no run of this library, or its parts are those of different runs.
    """
    parts = _manifests(Path(folder))
    for part, manifest in parts.items():
        if isinstance(config := manifest.get("config"), dict) and not {"attack", "templates", "model"} <= set(config):
            raise InputError(f"{part} holds a run of another kind: give the folder of a run of o2m-attack")
    first = next(iter(parts), Path(folder))
    for part, manifest in parts.items():
        if why := _why_not_one_run(first, parts[first], part, manifest):
            raise InputError(f"{part} and {first} are no parts of one run ({why}): keep one of them in {folder}")
    return list(parts) or [Path(folder)]


def read_png(path: Path) -> Pixels:
    """Return uint8 [height, width, 3] of a file that a run wrote.

    Raises
    ------
    InputError
        The file is missing or damaged.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except Exception as error:  # decoders of damaged files raise nearly everything
        raise InputError(f"the run's image {path} is missing or damaged ({error}): restore it, or run anew") from error


def write_png(path: Path, pixels: Pixels) -> None:
    """Write uint8 [height, width, 3] as a private PNG file, in one step."""
    from PIL import Image

    def write(partial: Path) -> None:
        create(partial, PRIVATE)
        with partial.open("wb") as file:
            Image.fromarray(pixels).save(file, format="PNG")

    replace_atomically(path, write)


class _Worker:
    """What the entries of one call share."""

    def __init__(
        self,
        target: Target,
        config: AttackConfig,
        templates: Templates,
        store: RunStore,
        judge: Callable[[str], bool] | None,
        save_every_seconds: float,
    ) -> None:
        self._target, self._config, self._templates = target, config, templates
        self._store, self._judge, self._save_every = store, judge, save_every_seconds
        self.unanswered: list[str] = []

    def work(self, plan: list[tuple[Record, str, str]], faults: dict[int, str], progress: bool) -> int:
        done, silent = 0, 0
        with show_progress("Attacking", len(plan)) if progress else contextlib.nullcontext(_ignore) as advance:
            for index, (record, condition, optimizer) in enumerate(plan):
                key = record_key(record.fingerprint, condition, optimizer)
                if key not in self._store:
                    try:
                        entry = self._entry(key, record, condition, optimizer, faults.get(index))
                    except RequestFailedError as error:
                        silent += 1
                        if silent == MOST_UNANSWERED:
                            raise
                        self.unanswered.append(f"failed: {error}")
                    else:
                        self._store.put(key, entry)
                        self._state_path(key).unlink(missing_ok=True)
                        done, silent = done + 1, 0
                advance(1)
        return done

    def _entry(self, key: str, record: Record, condition: str, optimizer: str, fault: str | None) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "kind": "attack", "record_id": record.id, "condition": condition, "optimizer": optimizer,
            "policy": record.policy, "original_attribute": record.original_attribute,
            "unmatch_attribute": record.unmatch_attribute, "claim": claimed_attribute(record, condition),
            "question": question_text(record, condition, self._templates), "seed": self._config.seed,
        }  # fmt: skip
        if fault is not None:
            return {**entry, "status": f"failed: {fault}"}
        try:
            found = (
                self._plain(record, condition, entry["question"])
                if optimizer == "none"
                else self._optimised(key, record, condition, optimizer, entry["question"])
            )
        except InputError as error:
            # Where nothing has worked yet the fault is rather the model's or the settings', and what gives replies
            # alone refuses its address or key: the job ends here.
            if not len(self._store) or not isinstance(self._target, WhiteBoxTarget):
                raise InputError(f"{error} (at record {record.id!r})") from error
            return {**entry, "status": f"failed: {error}"}
        return {**entry, **found, "status": "ok"}

    def _plain(self, record: Record, condition: str, question: str) -> dict[str, Any]:
        pixels: Pixels = record.image
        found: dict[str, Any] = {"suffix": "", "suffix_ids": [], "image": None, "history": []}
        if isinstance(self._target, WhiteBoxTarget):
            from auscult.o2m_attack.preprocess import to_uint8

            clean = self._target.preprocessor.clean(record.image)
            pixels = to_uint8(clean)
            if not _fault(record, condition, "mcm", self._templates):
                found["target"] = target_text(record, condition, self._templates)
                loss = float(self._target.loss(clean.to(self._target.language.device), [], record, condition))
                found |= {"initial_loss": loss, "best_loss": loss, "final_loss": loss}
        found["clean_image"] = self._save_image(digest(["clean", record.fingerprint]), pixels)
        found["response"] = self._reply(pixels, question, "")
        return found

    def _optimised(self, key: str, record: Record, condition: str, optimizer: str, question: str) -> dict[str, Any]:
        from auscult.o2m_attack.optimise.difference import describe_difference
        from auscult.o2m_attack.preprocess import to_uint8

        assert isinstance(self._target, WhiteBoxTarget)  # checked before
        result = self._attack(key, record, condition, optimizer)
        clean = to_uint8(result.clean_image)
        found = {
            "target": target_text(record, condition, self._templates),
            "suffix": result.suffix, "suffix_ids": result.suffix_ids, "initial_loss": result.initial_loss,
            "best_loss": result.best_loss, "stopped": result.stopped,
            "history": [row._asdict() for row in result.history],
            "clean_image": self._save_image(digest(["clean", record.fingerprint]), clean),
            "image": None if optimizer == "gcg" else self._save_image(key, to_uint8(result.image)),
        }  # fmt: skip
        # What is reported is what the files hold.
        pixels = read_png(self._store.folder / str(found["image"] or found["clean_image"]))
        image = self._target.preprocessor.clean(pixels).to(self._target.language.device)
        found["final_loss"] = float(self._target.loss(image, result.suffix_ids, record, condition))
        found["response"] = self._reply(pixels, question, result.suffix)
        last = result.history[-1] if result.history else None
        spent = ("forward_tokens", "vision_passes", "seconds")
        return found | {name: getattr(last, name, 0) for name in spent} | describe_difference(pixels, clean)

    def _attack(self, key: str, record: Record, condition: str, optimizer: str) -> "AttackResult":
        from auscult.o2m_attack.optimise.mcm import GCG, MCM, PGD
        from auscult.o2m_attack.optimise.state import AttackState

        assert isinstance(self._target, WhiteBoxTarget)
        path = self._state_path(key)
        saved = time.monotonic()

        def save(state: "AttackState") -> None:
            nonlocal saved
            if time.monotonic() - saved >= self._save_every:
                path.parent.mkdir(mode=0o700, exist_ok=True)
                state.save(path)
                saved = time.monotonic()

        method = {"gcg": GCG, "pgd": PGD, "mcm": MCM}[optimizer]
        try:
            state = AttackState.load(path) if path.exists() else None
        except InputError:  # a damaged file: what it would have spared is done again, with equal results
            state = None
        return method(self._config).run(
            self._target, record, condition, judge=self._judge, state=state, on_step=save
        )  # fmt: skip

    def _reply(self, pixels: Pixels, question: str, suffix: str) -> str:
        queries = [Query(pixels, question, suffix)]
        return self._target.generate(queries, max_new_tokens=self._config.new_tokens)[0]

    def _save_image(self, name: str, pixels: Pixels) -> str:
        """Write an image unless it is there; return its path within the folder."""
        path = self._store.folder / _IMAGES / f"{name[:24]}.png"
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_png(path, pixels)
        return f"{_IMAGES}/{path.name}"

    def _state_path(self, key: str) -> Path:
        return self._store.folder / _STATES / f"{key[:24]}.npz"


def _ignore(_: int) -> None:
    pass


def _manifests(folder: Path) -> dict[Path, dict[str, Any]]:
    """Return the manifests of the folder's own run and of its shards, of those that have one."""
    found = {part: read_manifest(part) for part in (folder, *sorted(folder.glob("shard-*-of-*")))}
    return {part: manifest for part, manifest in found.items() if manifest is not None}


def _why_not_one_run(first: Path, one: dict[str, Any], second: Path, other: dict[str, Any]) -> str:
    """Return why two folders are no parts of one run: unequal settings, or shards that overlap; else nothing."""
    if first != second and not first.name.partition("-of-")[2] == second.name.partition("-of-")[2] != "":
        return "their shards overlap"
    names = ("config", "seed", "data_fingerprint")
    return "; ".join(difference(*({name: manifest.get(name) for name in names} for manifest in (one, other))))


def templates_of(target: Target) -> Templates:
    """Return the wordings of a model; the defaults for one that has none of its own."""
    found = getattr(target, "templates", None)
    return found if isinstance(found, Templates) else Templates()


def _check(
    target: Target,
    records: list[Record],
    conditions: Sequence[str],
    optimizers: Sequence[str],
    shard: tuple[int, int],
) -> None:
    for condition in conditions:
        check_condition(condition)
    for optimizer in optimizers:
        if optimizer not in OPTIMIZERS:
            raise InputError(f"there is no optimizer {optimizer!r}: use {', '.join(OPTIMIZERS)}")
    if not conditions or not optimizers or not records:
        empty = "conditions" if not conditions else "optimizers" if not optimizers else "records"
        raise InputError(f"there are no {empty}: give at least one")
    if set(optimizers) - {"none"} and not isinstance(target, WhiteBoxTarget):
        raise InputError(
            f"{target.name} gives replies but no gradients: use the optimizer none here, or optimise on a local model "
            "and replay on this one with transfer"
        )
    if not 1 <= shard[0] <= shard[1]:
        raise InputError(f"shard {shard[0]}/{shard[1]}: write i/n with i from 1 to n")
    ids = [record.id for record in records]
    if len(set(ids)) < len(ids):
        twice = next(one for one in ids if ids.count(one) > 1)
        raise InputError(f"the id {twice!r} occurs twice in the records: give each its own")


def _faults(plan: list[tuple[Record, str, str]], templates: Templates) -> dict[int, str]:
    """Return what is wrong with the entries that cannot be worked on, by their place; raise if it is all of them."""
    found = {index: fault for index, entry in enumerate(plan) if (fault := _fault(*entry, templates))}
    if found and len(found) == len(plan):
        raise InputError(found[0])
    return found


def _fault(record: Record, condition: str, optimizer: str, templates: Templates) -> str:
    try:
        question_text(record, condition, templates)
        if optimizer != "none":
            target_text(record, condition, templates)
    except InputError as error:
        return str(error)
    return ""
