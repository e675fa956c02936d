import doctest
import json

import numpy as np
import pytest

from auscult.core import __main__ as program
from auscult.core import cli
from auscult.core.data import Cohort, Feature, describe, load_cohort, missing_over_time, plot_missing, summary
from auscult.core.errors import InputError

NAN = np.nan


def ragged(draw, records=40, features=3, longest=30.0):
    """Return stays of 0 to 6 steps at any time, some before their start."""
    length = draw.integers(0, 7, records)
    time, values = np.full((records, 6), NAN), np.full((records, 6, features), NAN)
    for i, n in enumerate(length):
        time[i, :n] = np.sort(draw.choice(np.arange(-5, longest, 0.25), n, replace=False))
        values[i, :n] = np.where(draw.random((n, features)) < 0.5, draw.random((n, features)), NAN)
    return Cohort(
        record_id=np.arange(records), subject_id=np.arange(records) // 2, time=time, values=values, length=length,
        features=tuple(Feature(name) for name in "abc"[:features]),
    )  # fmt: skip


def by_hand(cohort, width):
    """Count bin by bin, stay by stay."""
    bins = {}
    for i, n in enumerate(cohort.length):
        where = [int(np.floor(hour / width)) for hour in cohort.time[i, :n]]
        for b in range(where[0], where[-1] + 1) if n else ():
            here = cohort.values[i, :n][np.array(where) == b]
            bins.setdefault(b, []).append(~(~np.isnan(here)).any(axis=0))
    return bins


@pytest.mark.parametrize("width", [1, 2.5, 24, 1000])
def test_missing_over_time_is_counted_by_hand(monkeypatch, width):
    monkeypatch.setattr(summary, "_CHUNK", 7)
    cohort = ragged(np.random.default_rng(0))
    found, wanted = missing_over_time(cohort, width=width), by_hand(cohort, width)
    assert found.start.tolist() == [b * width for b in range(min(wanted), max(wanted) + 1)]
    for b, stays, rate in zip(found.start / width, found.stays, found.rate, strict=True):
        missing = wanted.get(int(b), [])
        assert stays == len(missing)
        np.testing.assert_allclose(rate, np.mean(missing, axis=0) if missing else NAN)


def test_the_width_fits_the_length_of_the_stays():
    for longest, width in ((30, 1), (24 * 30, 24), (24 * 365, 168), (24 * 365 * 3, 720), (24 * 365 * 30, 8766)):
        assert missing_over_time(ragged(np.random.default_rng(1), longest=longest)).width == width


def test_nobody_has_no_width():
    nobody = missing_over_time(ragged(np.random.default_rng(0)).select([]))
    assert (nobody.stays.tolist(), nobody.rate.shape) == ([0], (1, 3))
    assert describe(ragged(np.random.default_rng(0)).select([]))["missing_over_time"]["missing_rate"] == [None]


@pytest.mark.parametrize("width", [0, -1, NAN, np.inf])
def test_a_width_that_is_none_is_refused(width):
    with pytest.raises(InputError, match=r"width is .*: give hours, a number above 0"):
        missing_over_time(load_cohort("tjh"), width=width)


def test_the_plot_shows_the_rates_the_most_complete_feature_first():
    cohort = load_cohort("tjh")
    axes = plot_missing(cohort)
    rates, shown = missing_over_time(cohort).rate, axes.images[0].get_array()
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names[0] == "White blood cell count"
    assert names[-1].startswith("Interleukin")
    for row, name in zip(shown, names, strict=True):
        np.testing.assert_allclose(row, rates[:, cohort.feature_index(name)])
    assert axes.get_xlabel() == "days since the start of the stay, in steps of 1"
    assert "334 stays" in axes.get_title()


def test_a_label_of_stays_has_a_rate_with_its_interval_and_the_unknown_are_counted():
    cohort = ragged(np.random.default_rng(0), records=10)
    labelled = Cohort(
        **{name: getattr(cohort, name) for name in ("record_id", "subject_id", "time", "values", "length", "features")},
        labels={"mortality": [1, 0, 0, 0, NAN, NAN, 0, 0, 0, 0], "los_days": np.arange(10.0), "saps_i": [NAN] * 10},
    )
    labels = describe(labelled)["labels"]
    assert labels["mortality"]["rate"]["value"] == 1 / 8
    low, high = labels["mortality"]["rate"]["ci"]
    assert 0 < low < 1 / 8 < high < 0.5
    assert labels["mortality"]["unknown"] == 2
    assert "rate" not in labels["los_days"]
    assert (labels["saps_i"]["n"], labels["saps_i"]["unknown"]) == (0, 10)


def test_the_examples_of_the_command_line_run():
    assert doctest.testmod(cli).failed == 0


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        cli.run(program.app, ["data", "describe", *map(str, arguments)])
    out, err = capsys.readouterr()
    return end.value.code, out, err


@pytest.fixture
def table(tmp_path):
    (tmp_path / "events.csv").write_text(
        "patient,when,item,result\n1,0,HR,80\n1,2,Lactate,2.5\n2,1,HR,\n2,30,HR,95\n", "utf-8"
    )
    (tmp_path / "deaths.csv").write_text("patient,mortality\n1,1\n2,0\n3,0\n", "utf-8")
    return tmp_path


COLUMNS = "subject=patient,time=when,code=item,value=result"


def test_a_table_of_ones_own_is_described_from_the_command_line(table, capsys):
    code, out, err = run(
        capsys, f"table:{table}/events.csv", "--columns", COLUMNS, "--labels", table / "deaths.csv", "--json",
        "--data-option", "time_unit=minutes",
    )  # fmt: skip
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert (found["records"], found["records_without_a_step"], found["hours"]["max"]) == (3, 1, 0.5)
    assert found["labels"]["mortality"]["rate"]["value"] == pytest.approx(1 / 3)
    assert found["features"]["HR"]["missing_rate"] == pytest.approx(1 / 3)
    wanted = load_cohort(f"table:{table}/events.csv", columns=COLUMNS, labels=table / "deaths.csv", time_unit="minutes")
    assert found["fingerprint"] == wanted.fingerprint()


def test_the_text_holds_what_the_json_holds(table, capsys):
    code, out, _ = run(capsys, "tjh")
    assert code == 0
    for line in (
        "361 stays of 361 subjects, 1,704 steps, 0 stays without any",
        "stays began 2020-01-10T00:00:00 to 2020-02-17T00:00:00",
        "6,106       361            14  drop rows without patient, record time or discharge",
        "mortality per record: rate 0.46 (0.41 to 0.51)",
        "los_days per step: 0 to 35, median 6",
        "missing: 56.4% of all cells",
        "39.9%  White blood cell count",
        "missing by time, in steps of 24 hours",
        "note: 'PH value' mixes blood and urine",
    ):
        assert line in out
    code, out, _ = run(capsys, f"table:{table}/events.csv", "--columns", COLUMNS)
    assert code == 0
    assert "no labels" in out
    assert "the stays have no dates" in out


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_plot_is_written_whole(tmp_path, capsys, suffix):
    target = tmp_path / f"missing{suffix}"
    assert run(capsys, "tjh", "--json", "--plot", target)[0] == 0
    begin = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix]
    assert target.read_bytes().startswith(begin)
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tjj"], "there is no data set 'tjj'; did you mean 'tjh'?"),
        (["tjh", "--plot", "missing.txt"], "--plot is 'missing.txt': give a file that ends in .png, .svg, .pdf"),
        (["tjh", "--columns", "subject=x"], "the reader of 'tjh' got an unexpected keyword argument 'columns'"),
        (["tjh", "--data-option", "sheet"], "--data-option is 'sheet': write NAME=VALUE"),
        (["tjh", "--data-option", "sheet=361"], "TJH has no sheet '361': use '375' or '110'"),
        (["tjh", "--data-option", "sheet=[", "--json"], "the data option 'sheet=[' has a value that YAML does not"),
        (["tjh", "--data-option", "a=1", "--data-option", "a=2"], "the data option 'a' is given twice"),
    ],
)
def test_wrong_arguments_are_one_sentence(capsys, arguments, message):
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1
