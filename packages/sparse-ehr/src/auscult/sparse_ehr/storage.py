"""A fitted model as a folder: weights as safetensors, trees as LightGBM's text, the rest as JSON; nothing pickled."""

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from auscult.core.canonical import plain
from auscult.core.errors import InputError
from auscult.sparse_ehr.baselines import LightGBMBaseline
from auscult.sparse_ehr.calibration import Calibrator, Stack
from auscult.sparse_ehr.inputs import Preparer
from auscult.sparse_ehr.members import Member
from auscult.sparse_ehr.nn.config import PrismConfig
from auscult.sparse_ehr.nn.prism import Prism
from auscult.sparse_ehr.similar import Reference

if TYPE_CHECKING:
    from auscult.sparse_ehr.estimator import PrismClassifier

T = TypeVar("T", bound="PrismClassifier")

FORMAT = 1
"""Changes whenever an older version could not read, or would misread, what this one writes."""

_MODEL, _REFERENCE = "model.json", "reference.safetensors"


def save_model(model: "PrismClassifier", folder: Path) -> None:
    """Write a fitted model into a folder: all of it, or nothing.

    Raises
    ------
    InputError
        Where the folder holds something other than a saved model, or cannot be written.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / _MODEL).exists():
        raise InputError(f"{folder} holds something that is no saved model: choose another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        partial.chmod(0o777 & ~_umask())
        _write(model, partial)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def load_model(kind: type[T], folder: Path) -> T:
    """Return the model that a folder holds.

    Raises
    ------
    InputError
        Where a file is missing, cut off or changed, or another version wrote it.
    """
    described = _read_description(folder)
    for name, digest in described["files"].items():
        if _digest(_bytes(folder / name)) != digest:
            raise InputError(
                f"{folder / name} is damaged: it is not what was saved; restore it, or train into another folder"
            )
    try:
        return _restored(kind, folder, described)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{folder / _MODEL} describes no model ({error!r}): restore it, or train into another folder"
        ) from None


def _write(model: "PrismClassifier", folder: Path) -> None:
    from safetensors.torch import save_file

    for number, member in enumerate(model.members_):
        weights = {name: value.contiguous() for name, value in member.network.state_dict().items()}
        save_file(weights, folder / f"network-{number}.safetensors")
        if member.trees is not None:
            member.trees.save(folder / f"trees-{number}.txt")
    reference = model.reference_
    arrays = {"summary": reference.summary, "confidence": reference.confidence, "prototype": reference.prototype}
    arrays |= {"label": reference.label, "held_label": model.validation_["label"]}
    arrays |= {"held_probability": model.validation_["probability"]}
    save_file({name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()}, folder / _REFERENCE)
    described = {
        "format": FORMAT,
        "parameters": plain(model.get_params()),
        "classes": plain(model.classes_),
        "members": [
            {
                "network": plain(member.network.config),
                "preparer": member.preparer.to_dict(),
                "trees": member.trees is not None,
                "history": member.history,
            }
            for member in model.members_
        ],
        "stack": None if model.stack_ is None else model.stack_.to_dict(),
        "calibrator": None if model.calibrator_ is None else model.calibrator_.to_dict(),
        "record_id": plain(reference.record_id),
        "files": {path.name: _digest(path.read_bytes()) for path in sorted(folder.iterdir())},
    }
    text = json.dumps(described)
    for path in folder.iterdir():  # safetensors' are for the owner's eyes alone
        path.chmod(0o666 & ~_umask())
    (folder / _MODEL).write_text(json.dumps({"sha256": _digest(text.encode()), "model": text}), encoding="utf-8")


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / _MODEL
    try:
        outer = json.loads(_bytes(path))
        text: str = outer["model"]
        if _digest(text.encode()) != outer["sha256"]:
            raise ValueError("its digest is another")
        described: dict[str, Any] = json.loads(text)
        found = described["format"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is damaged ({error}): restore it, or train into another folder") from None
    if found != FORMAT:
        raise InputError(
            f"{folder} was saved in format {found}, and this version of sparse-ehr reads format {FORMAT}: "
            "use the version that saved it, or train into another folder"
        )
    return described


def _restored(kind: type[T], folder: Path, described: dict[str, Any]) -> T:
    from safetensors.torch import load_file

    model = kind(**described["parameters"])
    model.classes_ = np.array(described["classes"])
    model.members_ = []
    for number, saved in enumerate(described["members"]):
        preparer = Preparer.from_dict(saved["preparer"])
        network = Prism(PrismConfig(**saved["network"]), torch.from_numpy(preparer.presence_rate_))
        network.load_state_dict(load_file(folder / f"network-{number}.safetensors"))
        trees = LightGBMBaseline.load(folder / f"trees-{number}.txt") if saved["trees"] else None
        model.members_.append(Member(preparer, network.eval(), trees, saved["history"]))
    model.n_features_in_ = len(model.members_[0].preparer.features_)
    model.n_steps_in_ = model.members_[0].preparer.n_steps_
    model.stack_ = Stack.from_dict(described["stack"]) if described["stack"] else None
    model.calibrator_ = Calibrator.from_dict(described["calibrator"]) if described["calibrator"] else None
    model.history_ = [member.history for member in model.members_]
    arrays: dict[str, NDArray[Any]] = {name: t.numpy() for name, t in load_file(folder / _REFERENCE).items()}
    model.validation_ = {"label": arrays.pop("held_label"), "probability": arrays.pop("held_probability")}
    model.reference_ = Reference(**arrays, record_id=np.array(described["record_id"], dtype=object))
    return model


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path} is missing: give the folder of a model that was saved whole") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): give the folder of a saved model") from None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
