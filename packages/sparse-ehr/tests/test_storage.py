"""Saving and loading: to the last bit, without pickle, and whatever is wrong with a folder is one sentence."""

import json

import numpy as np
import pytest

from auscult.core.errors import InputError
from auscult.core.testing import files_below
from auscult.sparse_ehr import PrismClassifier, storage


@pytest.fixture(scope="module")
def cohort(made):
    return made.cohort()


@pytest.fixture(scope="module")
def fitted(made, cohort):
    options = {**made.small, "switches": {"hard_mask": True}, "n_members": 2}
    return PrismClassifier(**options).fit(cohort, cohort.labels["mortality"])


@pytest.fixture
def folder(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    return tmp_path / "model"


def test_everything_comes_back_to_the_last_bit(fitted, folder, cohort):
    """10: predictions, confidence, prototypes, similar patients."""
    loaded = PrismClassifier.load(folder)
    assert loaded.get_params() == fitted.get_params()
    assert loaded.predict_proba(cohort).tobytes() == fitted.predict_proba(cohort).tobytes()
    assert loaded.confidence(cohort).tobytes() == fitted.confidence(cohort).tobytes()
    for name in ("centres", "confidence", "size", "risk"):
        assert getattr(loaded.prototypes_, name).tobytes() == getattr(fitted.prototypes_, name).tobytes()
    one, two = loaded.similar_patients(cohort, 3), fitted.similar_patients(cohort, 3)
    assert one.similarity.tobytes() == two.similarity.tobytes()
    assert one.record_id.tolist() == two.record_id.tolist()
    assert loaded.history_ == fitted.history_
    np.testing.assert_array_equal(loaded.validation_["probability"], fitted.validation_["probability"])


def test_saving_again_writes_the_same(fitted, folder, tmp_path):
    before = files_below(folder)
    PrismClassifier.load(folder).save(tmp_path / "again")
    assert files_below(tmp_path / "again") == before
    fitted.save(folder)
    assert files_below(tmp_path / "model") == before


def test_nothing_is_pickled(folder):
    assert {path.suffix for path in folder.iterdir()} == {".json", ".txt", ".safetensors"}
    assert not [path for path in folder.iterdir() if path.read_bytes().startswith((b"\x80", b"PK"))]
    assert (folder / "trees-0.txt").read_text().startswith("tree\n")
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1  # who may read one may read all


@pytest.mark.parametrize("calibration", ["isotonic", None])
def test_without_stack_and_with_other_calibrations(made, cohort, tmp_path, calibration):
    words = np.where(cohort.labels["mortality"] == 1, "died", "alive")
    model = PrismClassifier(**made.small, summary_stack=False, calibration=calibration).fit(cohort, words)
    model.save(tmp_path / "model")
    loaded = PrismClassifier.load(tmp_path / "model")
    assert loaded.predict(cohort).tolist() == model.predict(cohort).tolist()
    assert loaded.predict_proba(cohort).tobytes() == model.predict_proba(cohort).tobytes()


@pytest.mark.parametrize("name", ["model.json", "network-1.safetensors", "trees-0.txt", "reference.safetensors"])
@pytest.mark.parametrize("damage", ["cut", "changed", "missing", "empty"])
def test_a_damaged_file_is_named(folder, name, damage):
    path = folder / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        middle = len(content) // 2
        changed = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        path.write_bytes({"cut": content[:middle], "changed": changed, "empty": b""}[damage])
    with pytest.raises(InputError, match=name) as error:
        PrismClassifier.load(folder)
    assert "\n" not in str(error.value)


def test_another_version_is_refused(folder, monkeypatch):
    monkeypatch.setattr(storage, "FORMAT", storage.FORMAT + 1)
    with pytest.raises(InputError, match=r"format 1, and this version .* reads format 2"):
        PrismClassifier.load(folder)


def test_a_description_of_something_else_is_refused(folder):
    path = folder / "model.json"
    inner = json.loads(json.loads(path.read_text())["model"])
    del inner["members"]
    text = json.dumps(inner)
    path.write_text(json.dumps({"sha256": storage._digest(text.encode()), "model": text}))
    with pytest.raises(InputError, match="describes no model"):
        PrismClassifier.load(folder)
    path.write_text("[]")
    with pytest.raises(InputError, match="damaged"):
        PrismClassifier.load(folder)


def test_a_folder_of_something_else_is_left_alone(fitted, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="no saved model"):
        fitted.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_failed_save_leaves_the_old_model(fitted, folder, monkeypatch):
    before = files_below(folder)

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(storage, "_digest", fail)
    with pytest.raises(OSError, match="no space"):
        fitted.save(folder)
    assert files_below(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
