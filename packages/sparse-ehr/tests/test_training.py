"""Training: resumption to the last bit, early stopping, several processes."""

import dataclasses
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from auscult.core.errors import InputError
from auscult.core.risk import auprc
from auscult.core.testing import run_group
from auscult.sparse_ehr import PrismClassifier, training
from auscult.sparse_ehr.forward import forward
from auscult.sparse_ehr.inputs import Preparer, to_grid
from auscult.sparse_ehr.nn import Prism, PrismConfig
from auscult.sparse_ehr.training import TrainingConfig, train


def prepare(made, count=60):
    X, static, y = made.array(count)
    grid = to_grid(X, static)
    preparer = Preparer().fit(grid)
    inputs = preparer.transform(grid)
    rows, held = slice(0, count - 20), slice(count - 20, None)
    return preparer, (inputs.rows(rows), y[rows] == 1, inputs.rows(held), y[held] == 1)


def make_model(preparer, **changes):
    torch.manual_seed(0)
    config = PrismConfig(preparer.widths_, preparer.n_static_, channel=3, hidden=4, n_prototypes=2, **changes)
    return Prism(config, torch.from_numpy(preparer.presence_rate_))


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


class KilledError(Exception):
    pass


@pytest.mark.parametrize("after", [1, 3])
def test_a_killed_training_goes_on_to_the_same_weights(made, tmp_path, monkeypatch, after):
    preparer, data = prepare(made)
    config = TrainingConfig(max_epochs=5, batch_size=16, device="cpu")
    whole = make_model(preparer)
    history = train(whole, *data, config, seed=3)
    killed, file = make_model(preparer), tmp_path / "state.pt"
    save = training._Run.save

    def save_and_die(run, path):
        save(run, path)
        if run.epoch == after:
            raise KilledError

    monkeypatch.setattr(training._Run, "save", save_and_die)
    with pytest.raises(KilledError):
        train(killed, *data, config, seed=3, checkpoint=file)
    monkeypatch.undo()
    again = make_model(preparer)
    assert train(again, *data, config, seed=3, checkpoint=file) == history
    for name, value in weights(whole).items():
        assert torch.equal(value, again.state_dict()[name]), name
    # A finished one is only read.
    third = make_model(preparer)
    assert train(third, *data, config, seed=3, checkpoint=file) == history
    assert all(torch.equal(value, third.state_dict()[name]) for name, value in weights(whole).items())


def test_the_checkpoint_of_another_training_is_refused(made, tmp_path):
    preparer, data = prepare(made)
    file = tmp_path / "state.pt"
    train(make_model(preparer), *data, TrainingConfig(max_epochs=1, device="cpu"), seed=0, checkpoint=file)
    for config, seed in (
        (TrainingConfig(max_epochs=2, device="cpu"), 0),
        (TrainingConfig(max_epochs=1, device="cpu"), 1),
    ):
        with pytest.raises(InputError, match="another model or other data"):
            train(make_model(preparer), *data, config, seed=seed, checkpoint=file)
    inputs, label, held_out, held_out_label = data
    other = dataclasses.replace(inputs, values=inputs.values[:, ::-1]), np.roll(label, 1)
    other_held_out = dataclasses.replace(held_out, hours=held_out.hours[::-1]), np.roll(held_out_label, 1)
    for changed in (
        (other[0], label, held_out, held_out_label),
        (inputs, other[1], held_out, held_out_label),
        (inputs, label, other_held_out[0], held_out_label),
        (inputs, label, held_out, other_held_out[1]),
    ):
        with pytest.raises(InputError, match="another model or other data"):
            train(make_model(preparer), *changed, TrainingConfig(max_epochs=1, device="cpu"), seed=0, checkpoint=file)
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"state\.pt cannot be read"):
        train(make_model(preparer), *data, TrainingConfig(max_epochs=1, device="cpu"), seed=0, checkpoint=file)


def test_the_weights_are_those_of_the_best_epoch(made):
    preparer, data = prepare(made)
    model = make_model(preparer)
    history = train(
        model, *data, TrainingConfig(max_epochs=6, patience=6, batch_size=8, learning_rate=0.02, device="cpu"), seed=0
    )
    logits = forward(model, data[2], device="cpu").logits
    assert auprc(data[3], logits) == max(row["auprc"] for row in history)


def test_it_ends_when_nothing_gets_better(made, monkeypatch):
    preparer, data = prepare(made)
    monkeypatch.setattr(training, "auprc", lambda label, risk: 0.5)
    history = train(make_model(preparer), *data, TrainingConfig(max_epochs=30, patience=3, device="cpu"), seed=0)
    assert len(history) == 4


def test_one_epoch_moves_every_parameter_and_places_the_prototypes(made):
    preparer, data = prepare(made)
    model = make_model(preparer)
    before = weights(model)
    train(model, *data, TrainingConfig(max_epochs=1, batch_size=16, device="cpu"), seed=0)
    unmoved = [name for name, value in before.items() if torch.equal(value, model.state_dict()[name])]
    # The graph's running mean starts anew with the prototypes.
    assert unmoved == ["rate", "prototypes.embedding", "prototypes.updates"]
    summary = forward(model, data[0], device="cpu").summary
    centres = model.prototypes.centres.numpy()
    # k-means: each centre is the mean of the patients that are nearest to it.
    nearest = ((summary[:, None] - centres) ** 2).sum(2).argmin(1)
    for k in range(2):
        np.testing.assert_allclose(centres[k], summary[nearest == k].mean(0), atol=1e-4)


@pytest.mark.parametrize("rate", [1e5, 1e20])
def test_a_training_that_diverges_says_so(made, rate):
    preparer, data = prepare(made)
    with pytest.raises(InputError, match=r"diverged at epoch \d with learning_rate 1.*: give a lower one"):
        train(make_model(preparer), *data, TrainingConfig(max_epochs=9, learning_rate=rate, device="cpu"), seed=0)


def test_batches_hold_everybody_once_and_differ_by_epoch():
    for processes in (1, 2):
        batches = list(training._batches(50, 16, 0, 0, processes))
        assert all(len(batch) % processes == 0 for batch in batches)
        assert len(np.unique(np.concatenate(batches))) >= 50 - len(batches) * (processes - 1)
    first, second = (np.concatenate(list(training._batches(50, 16, 0, epoch, 1))) for epoch in (0, 1))
    assert sorted(first) == list(range(50))
    assert not np.array_equal(first, second)


def test_the_learning_rate_rises_and_falls():
    shares = [training._share(epoch, 40) for epoch in np.linspace(0, 39.9, 200)]
    top = int(np.argmax(shares))
    assert 0 < top < 15
    assert shares[0] < 0.1
    assert (np.diff(shares[:top]) > 0).all()
    assert (np.diff(shares[top:]) < 0).all()
    assert max(shares) <= 1


SCRIPT = """
import json, sys
import numpy as np
import torch
from auscult.sparse_ehr import PrismClassifier

torch.set_num_threads(1)
rng = np.random.default_rng(0)
y = np.arange(48) % 3 == 0
X = rng.normal(size=(48, 4, 2)) + y[:, None, None]
X[rng.random(X.shape) < 0.5] = np.nan
options = {"channel": 3, "hidden": 4, "n_members": 1, "batch_size": 8, "summary_stack": False}
options["max_epochs"] = int(sys.argv[1])
model = PrismClassifier(**options, checkpoint=sys.argv[2] if len(sys.argv) > 2 else None).fit(X, y)
print(json.dumps(model.predict_proba(X)[:, 1].tolist()))
"""


def test_a_process_that_is_killed_resumes(tmp_path):
    """By a signal that nothing can catch, at whatever moment it comes."""
    script = tmp_path / "fit.py"
    script.write_text(SCRIPT)
    arguments = [sys.executable, str(script), "12"]
    started = subprocess.Popen([*arguments, str(tmp_path / "kept")], stdout=subprocess.PIPE)
    file = tmp_path / "kept/member-0.pt"
    while not file.exists() and started.poll() is None:
        time.sleep(0.01)
    started.send_signal(signal.SIGKILL)
    started.communicate()
    assert file.exists()
    runs = [
        subprocess.run([*arguments, *more], capture_output=True, text=True, check=True)
        for more in ([str(tmp_path / "kept")], [])
    ]
    assert json.loads(runs[0].stdout) == json.loads(runs[1].stdout)


def test_two_processes_train_one_model(monkeypatch):
    """Both end with the same weights; the variables that a launcher sets are all it takes."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    done = run_group("-c", SCRIPT, "2", processes=2)
    assert [one.returncode for one in done] == [0, 0], done
    risks = [json.loads(one.stdout) for one in done]
    assert risks[0] == risks[1]
    assert len(set(risks[0])) > 10


@pytest.mark.parametrize("calls", [[{"device": "cpu"}, {"device": "auto"}]])
def test_several_trainings_in_one_process(made, calls):
    X, static, y = made.array()
    for options in calls:
        PrismClassifier(**{**made.small, **options}, summary_stack=False).fit(X, y, static=static)
