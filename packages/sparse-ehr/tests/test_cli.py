"""The commands as other programs use them: options, files, JSON, exit codes."""

import contextlib
import io
import json
import math
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from auscult.core import cli as core_cli
from auscult.core.testing import (
    Completed,
    assert_one_sentence,
    assert_self_contained,
    files_below,
    run_command,
    run_group,
)
from auscult.sparse_ehr import PrismClassifier, jobs
from auscult.sparse_ehr.cli import app

CONFIG = """
n_members: 1
channel: 3
hidden: 4
max_epochs: 1
bin_hours: 12
window_hours: 48
device: cpu
switches: {hard_mask: true}
"""
MEASURES = {"auroc", "auprc", "minpse", "brier", "ece", "log_loss"}


def sparse_ehr(*arguments):
    """Run the command in this process, which has the libraries loaded already."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
        core_cli.run(app, list(map(str, arguments)))
    return Completed(ended.value.code or 0, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return a folder with a long table of 80 stays, another of 20 without labels, and a configuration."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    for name, count, first in (("train", 80, 0), ("new", 20, 500)):
        rows = []
        for i in range(count):
            died = int(rng.random() < 0.4)
            for _ in range(int(rng.integers(1, 6))):
                label = {"mortality": died} if name == "train" else {}
                code, value = (
                    ("lactate", rng.normal(2 + died, 1)) if rng.random() < 0.6 else ("pulse", rng.normal(80, 9))
                )
                rows.append(
                    {
                        "subject_id": f"P{first + i}",
                        "time": rng.uniform(0, 47),
                        "code": code,
                        "value": value,
                        **label,
                    }
                )
        pd.DataFrame(rows).to_csv(folder / f"{name}.csv", index=False)
    (folder / "config.yaml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="module")
def run(files):
    done = sparse_ehr(
        "train", "--data", f"table:{files / 'train.csv'}", "--task", "mortality", "--out", files / "run",
        "--config", files / "config.yaml", "--seed", "3", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done
    return files / "run", json.loads(done.stdout)


def are_measured(result):
    """Calibration error is larger in resamples than in the sample, so its interval need not hold it."""
    return all(
        set(value) == {"value", "ci"}
        and value["ci"][0] <= value["ci"][1]
        and (name == "ece" or value["ci"][0] <= value["value"] <= value["ci"][1])
        for name, value in result.items()
    )


def test_train_says_what_it_did_and_leaves_a_model(run):
    folder, result = run
    assert (result["n"], result["task"], result["members"], result["epochs"]) == (80, "mortality", 1, [1])
    assert set(result["held_out"]) == MEASURES
    assert are_measured(result["held_out"])
    assert {"manifest.json", "model/model.json", "model/network-0.safetensors", "model/trees-0.txt"} <= set(
        files_below(folder)
    )
    assert not (folder / "checkpoints").exists()
    model = PrismClassifier.load(folder / "model")
    assert (model.random_state, model.bin_hours, model.switches) == (3, 12.0, {"hard_mask": True})
    assert json.loads((folder / "manifest.json").read_text())["seed"] == 3


def test_a_finished_run_is_only_read(run, files, monkeypatch):
    folder, result = run
    monkeypatch.setattr(PrismClassifier, "fit", None)
    again = jobs.train_run(f"table:{files / 'train.csv'}", "mortality", folder, seed=3, config=files / "config.yaml")
    assert {**again, "run": result["run"]} == result


def test_another_run_in_the_same_folder_is_refused(run, files):
    folder, _ = run
    before = files_below(folder / "model")
    done = sparse_ehr(
        "train", "--data", f"table:{files / 'train.csv'}", "--task", "mortality", "--out", folder,
        "--config", files / "config.yaml", "--seed", "4",
    )  # fmt: skip
    assert_one_sentence(done, "seed")
    assert files_below(folder / "model") == before


def test_predict_needs_no_labels(run, files, tmp_path):
    folder, _ = run
    out = tmp_path / "p.parquet"
    done = sparse_ehr("predict", folder, "--data", f"table:{files / 'new.csv'}", "--out", out)
    assert done.returncode == 0, done
    table = pd.read_parquet(out)
    assert list(table.columns) == ["subject_id", "probability"]
    assert sorted(table["subject_id"]) == sorted(f"P{500 + i}" for i in range(20))
    assert table["probability"].between(0, 1).all()


def test_evaluate_gives_measures_with_intervals_and_knows_whom_it_was_fitted_on(run, files):
    folder, _ = run
    done = sparse_ehr("evaluate", folder, "--data", f"table:{files / 'train.csv'}", "--json", "--n-boot", "50")
    assert done.returncode == 0, done
    result = json.loads(done.stdout)
    assert set(result) == {"n", "events", *MEASURES}
    assert result["n"] == 80
    assert are_measured({name: result[name] for name in MEASURES})
    assert "fitted on 80 of these 80 subjects" in done.stderr
    text = sparse_ehr("evaluate", folder, "--data", f"table:{files / 'train.csv'}", "--n-boot", "50").stdout
    assert "auroc" in text


def test_measures_of_one_class_are_null(run, files, tmp_path):
    folder, _ = run
    rows = pd.read_csv(files / "train.csv")
    rows[rows["mortality"] == 0].to_csv(tmp_path / "alive.csv", index=False)
    done = sparse_ehr("evaluate", folder, "--data", f"table:{tmp_path / 'alive.csv'}", "--json", "--n-boot", "20")
    result = json.loads(done.stdout)
    assert result["auroc"] == {"value": None, "ci": [None, None]}
    assert math.isfinite(result["brier"]["value"])


def test_explain_writes_a_page(run, files, tmp_path):
    folder, _ = run
    done = sparse_ehr("explain", folder, "--subject", "P7", "--k", "4", "--json")
    assert done.returncode == 0, done
    result = json.loads(done.stdout)
    assert result["subject_id"] == "P7"
    assert len(result["similar"]) == 4
    assert "P7" not in {str(one["record_id"]) for one in result["similar"]}
    assert {row["feature"] for row in result["confidence"]} == {"lactate", "pulse"}
    page = (folder / "explain-P7.html").read_text("utf-8")
    assert_self_contained(page)
    assert "How far each value was trusted" in page
    new = sparse_ehr(
        "explain", folder, "--subject", "P503", "--data", f"table:{files / 'new.csv'}", "--out", tmp_path / "page.html"
    )
    assert new.returncode == 0, new
    assert_self_contained((tmp_path / "page.html").read_text("utf-8"))


def test_train_without_the_stack(files, tmp_path):
    done = sparse_ehr(
        "train", "--data", f"table:{files / 'train.csv'}", "--task", "mortality", "--out", tmp_path / "run",
        "--config", files / "config.yaml", "--no-summary-stack",
    )  # fmt: skip
    assert done.returncode == 0, done
    assert not (tmp_path / "run/model/trees-0.txt").exists()
    assert "AUROC" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "tjh", "--task", "readmission"], ["readmission", "mortality"]),
        (["--data", "tjhh", "--task", "mortality"], ["tjh"]),
        (["--data", "tjh", "--task", "death"], ["death"]),
        (["--data", "table:nowhere.csv", "--task", "mortality"], ["nowhere.csv"]),
        (["--data", "tjh", "--task", "mortality", "--config", "nowhere.yaml"], ["nowhere.yaml"]),
    ],
)
def test_wrong_usage_is_one_sentence_and_leaves_nothing(tmp_path, arguments, words):
    assert_one_sentence(sparse_ehr("train", *arguments, "--out", tmp_path / "run"), *words)
    assert files_below(tmp_path) == {}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("chanel: 3", ["chanel", "channel"]),
        ("n_members: many", ["n_members"]),
        ("variant: fixed", ["variant"]),
        ("random_state: 1", ["random_state"]),
        ("switches: {similarity: l2}", ["similarity"]),
        ("bin_hours: 0", ["bin_hours is 0"]),
        ("window_hours: -5", ["window_hours is -5"]),
        ("device: tpu", ["tpu"]),
        ("n_members: 500", ["too few for 500 members"]),
    ],
)
def test_a_wrong_configuration_is_one_sentence(tmp_path, config, words):
    (tmp_path / "config.yaml").write_text(config)
    done = sparse_ehr(
        "train", "--data", "tjh", "--task", "mortality", "--out", tmp_path / "run", "--config", tmp_path / "config.yaml"
    )
    assert_one_sentence(done, *words)
    assert not (tmp_path / "run").exists()


def test_what_is_refused_at_the_fit_leaves_a_folder_as_it_was(tmp_path):
    (tmp_path / "config.yaml").write_text("n_members: 500")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/notes.txt").write_text("mine")
    arguments = ["train", "--data", "tjh", "--task", "mortality", "--out", tmp_path / "run"]
    assert_one_sentence(sparse_ehr(*arguments, "--config", tmp_path / "config.yaml"), "too few")
    assert set(files_below(tmp_path / "run")) == {"notes.txt"}


def test_stays_without_a_label_are_left_out_and_counted(files, tmp_path):
    rows = pd.read_csv(files / "train.csv")
    rows["mortality"] = rows["mortality"].where(rows["subject_id"] > "P3")
    rows.to_csv(tmp_path / "some.csv", index=False)
    arguments = ("--data", f"table:{tmp_path / 'some.csv'}", "--task", "mortality", "--out", tmp_path / "run")
    done = sparse_ehr("train", *arguments, "--config", files / "config.yaml", "--json")
    unknown = rows.loc[rows["mortality"].isna(), "subject_id"].nunique()
    assert json.loads(done.stdout)["unknown_labels"] == unknown > 0
    assert f"{unknown} stays have no label" in done.stderr


@pytest.mark.parametrize("command", ["train", "compare", "sweep"])
@pytest.mark.parametrize(("label", "words"), [(0, "1 class (0)"), (None, "unknown"), ("absent", "no label")])
def test_labels_that_nothing_can_be_learnt_from_are_one_sentence(files, tmp_path, command, label, words):
    rows = pd.read_csv(files / "train.csv").drop(columns="mortality")
    if label != "absent":
        rows["mortality"] = label
    rows.to_csv(tmp_path / "odd.csv", index=False)
    done = sparse_ehr(
        command, "--data", f"table:{tmp_path / 'odd.csv'}", "--task", "mortality", "--out", tmp_path / "run"
    )
    assert_one_sentence(done, words)
    assert not (tmp_path / "run").exists()


def test_a_folder_without_a_run_and_a_damaged_one(run, files, tmp_path):
    folder, _ = run
    assert_one_sentence(
        sparse_ehr("predict", tmp_path / "x", "--data", "tjh", "--out", tmp_path / "p.parquet"), "no run"
    )
    assert_one_sentence(sparse_ehr("predict", folder, "--data", "tjh", "--out", tmp_path / "p.csv"), ".parquet")
    # Columns of other data.
    assert_one_sentence(sparse_ehr("predict", folder, "--data", "tjh", "--out", tmp_path / "p.parquet"), "lactate")
    assert_one_sentence(sparse_ehr("explain", folder, "--subject", "nobody"), "nobody", "P0")
    weights = folder / "model/network-0.safetensors"
    content = weights.read_bytes()
    try:
        weights.write_bytes(content[:100])
        done = sparse_ehr("evaluate", folder, "--data", f"table:{files / 'train.csv'}", "--json")
        assert_one_sentence(done, "network-0.safetensors")
        done = sparse_ehr(
            "train", "--data", f"table:{files / 'train.csv'}", "--task", "mortality", "--out", folder,
            "--config", files / "config.yaml", "--seed", "3",
        )  # fmt: skip
        assert_one_sentence(done, "network-0.safetensors", "another folder")
    finally:
        weights.write_bytes(content)


def test_the_script_and_its_version():
    done = run_command("sparse-ehr", "--version")
    assert (done.returncode, done.stdout.split()[0]) == (0, "sparse-ehr")


def test_the_help_names_what_others_rely_on():
    for command, words in {
        "train": ["--data", "--task", "--out", "--seed", "--config", "--no-summary-stack"],
        "predict": ["--data", "--out"], "evaluate": ["--data", "--json"], "compare": ["--data", "--out"],
        "sweep": ["--data", "--out"], "explain": ["--subject"], "demo": ["--out"],
    }.items():  # fmt: skip
        shown = sparse_ehr(command, "--help").stdout
        assert not [word for word in words if word not in shown]


def test_a_run_that_was_killed_after_its_training_is_finished(files, tmp_path, monkeypatch):
    arguments = (f"table:{files / 'train.csv'}", "mortality", tmp_path / "run")
    save = PrismClassifier.save

    def save_and_die(model, folder):
        save(model, folder)
        raise KeyboardInterrupt

    monkeypatch.setattr(PrismClassifier, "save", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        jobs.train_run(*arguments, seed=1, config=files / "config.yaml")
    before = files_below(tmp_path / "run/model")
    assert (tmp_path / "run/checkpoints/member-0.pt").exists()
    monkeypatch.undo()
    assert jobs.train_run(*arguments, seed=1, config=files / "config.yaml")["n"] == 80
    assert files_below(tmp_path / "run/model") == before
    assert not (tmp_path / "run/checkpoints").exists()


def test_options_of_the_data_are_kept_with_the_run(files, tmp_path):
    rows = pd.read_csv(files / "train.csv")
    rows.groupby("subject_id")["mortality"].first().reset_index().to_csv(tmp_path / "died.csv", index=False)
    renamed = rows.drop(columns="mortality").rename(columns={"code": "item"})
    renamed.to_csv(tmp_path / "items.csv", index=False)
    given = ("--data", f"table:{tmp_path / 'items.csv'}", "--columns", "code=item", "--labels", tmp_path / "died.csv")
    common = ("--task", "mortality", "--config", files / "config.yaml", "--json", "--seed", "3")
    done = sparse_ehr("train", *given, *common, "--out", tmp_path / "run")
    assert json.loads(done.stdout)["n"] == 80, done
    done = sparse_ehr("train", *given[:4], "--data-option", "labels=other.csv", *common, "--out", tmp_path / "run")
    assert done.returncode == 2
    done = sparse_ehr("predict", tmp_path / "run", *given[:4], "--out", tmp_path / "p.parquet")
    assert done.returncode == 0, done
    assert len(pd.read_parquet(tmp_path / "p.parquet")) == 80
    done = sparse_ehr("evaluate", tmp_path / "run", *given, "--n-boot", "5", "--json")
    assert json.loads(done.stdout)["n"] == 80
    done = sparse_ehr("explain", tmp_path / "run", "--subject", "P3", "--json")
    assert done.returncode == 0, done


def test_explain_wants_the_data_as_they_were(files, tmp_path):
    table = tmp_path / "train.csv"
    table.write_text((files / "train.csv").read_text())
    settings = {"seed": 3, "config": files / "config.yaml"}
    jobs.train_run(f"table:{table}", "mortality", tmp_path / "run", **settings)
    table.write_text(table.read_text().replace("lactate", "pulse", 1))
    done = sparse_ehr("explain", tmp_path / "run", "--subject", "P3")
    assert_one_sentence(done, "train.csv", "has changed", "train again")
    table.unlink()
    done = sparse_ehr("explain", tmp_path / "run", "--subject", "P503", "--data", f"table:{files / 'new.csv'}")
    assert_one_sentence(done, "was fitted on", "train.csv")


@pytest.mark.parametrize("command", [("predict", "--out", "p.parquet"), ("evaluate",)])
def test_a_run_of_another_version_is_refused(run, files, tmp_path, command):
    folder = tmp_path / "run"
    shutil.copytree(run[0], folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"schema": 99}))
    name, *options = command
    done = sparse_ehr(name, folder, "--data", f"table:{files / 'train.csv'}", *options)
    assert_one_sentence(done, "99")


def test_two_processes_train_one_run(files, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    arguments = ("--data", f"table:{files / 'train.csv'}", "--task", "mortality", "--config", files / "config.yaml")
    command = ("-m", "auscult.sparse_ehr", "train", *arguments, "--out", tmp_path / "run", "--json")
    first, second = run_group(*command, processes=2)
    assert (first.returncode, second.returncode, second.stdout) == (0, 0, ""), (first, second)
    assert json.loads(first.stdout)["n"] == 80
    again = run_group(*command, processes=2)
    assert [one.stdout for one in again] == [first.stdout, ""]


def test_compare_and_sweep_pass_on_what_was_asked_for(monkeypatch, tmp_path):
    """What they compute is tested where it is computed."""
    from auscult.sparse_ehr import comparison, sweep

    asked, measured = [], {"value": 0.8, "ci": [0.7, 0.9]}
    result = SimpleNamespace(to_dict=lambda: {"models": {"prism": {"auroc": measured, "auprc": measured}}})

    def record(cohort, out, **options):
        asked.append((len(cohort), out, options))
        return result

    monkeypatch.setattr(comparison, "compare_models", record)
    monkeypatch.setattr(sweep, "sweep_missingness", record)
    monkeypatch.setattr(sweep, "ablate", lambda cohort, out, **options: [{"model": "all"}])
    done = sparse_ehr("compare", "--data", "tjh", "--out", tmp_path, "--split", "3", "--split", "4")
    assert "AUROC 0.800 (0.700 to 0.900)" in done.stdout
    shown = sparse_ehr("sweep", "--data", "tjh", "--out", tmp_path, "--ablations", "--json")
    assert json.loads(shown.stdout)["ablations"] == [{"model": "all"}]
    assert asked == [
        (361, tmp_path, {"task": "mortality", "splits": (3, 4)}),
        (361, tmp_path, {"task": "mortality", "splits": (42,)}),
    ]
