import numpy as np
import pandas as pd
import pytest

from auscult.core.errors import InputError
from auscult.core.testing import assert_self_contained
from auscult.m3fair import Attribute, Reweigher, audit, audit_over_time
from auscult.m3fair.plots import plot_calibration, plot_disparities, plot_factors, plot_rates, plot_thresholds
from auscult.m3fair.presentation import model_card, to_markdown, to_page


@pytest.fixture
def rows():
    rng = np.random.default_rng(5)
    n = 500
    frame = pd.DataFrame(
        {
            "sex": rng.choice(["F", "M"], n),
            "race": rng.choice(["a|b", "<script>alert(1)</script>", None], n),
            "day": pd.Timestamp("2020-01-06") + pd.to_timedelta(rng.integers(0, 84, n), unit="D"),
        }
    )
    frame["y"] = rng.integers(0, 2, n)
    frame["score"] = rng.random(n) * 0.7 + 0.3 * frame["y"]
    frame["decision"] = (frame["score"] > 0.5).astype(int)
    return frame


@pytest.fixture
def report(rows):
    return audit(rows["y"], rows["decision"], y_score=rows["score"], sensitive_features=rows[["sex", "race"]])


def test_worst_groups_are_sorted_by_distance(report):
    worst = report.worst(4)
    values = [
        abs(item.value) for item in report.comparisons if item.metric == worst[0].metric and item.comparison.group
    ]
    assert [item.distance for item in worst] == sorted(values, reverse=True)[:4]
    ratio = report.worst(1, "disparate_impact")[0]
    assert ratio.distance == pytest.approx(1 - min(ratio.value, 1 / ratio.value))


def test_any_rates_and_disparities_of_the_field(rows):
    report = audit(
        rows["y"], rows["decision"], sensitive_features=rows[["sex"]], metrics=["f1", "false_negative_rate"],
        disparities=["predictive_parity_difference", "average_absolute_odds_difference"],
    )  # fmt: skip
    from sklearn.metrics import f1_score

    women = rows["sex"] == "F"
    assert report.groups[0].metrics["f1"] == pytest.approx(f1_score(rows["y"][women], rows["decision"][women]))
    assert np.isnan(report.groups[0].intervals["f1"]).all(), "no closed form"
    assert {item.metric for item in report.comparisons} == {
        "predictive_parity_difference", "average_absolute_odds_difference",
    }  # fmt: skip
    assert_self_contained(report.to_html())
    with pytest.raises(InputError, match="'recall' is unknown"):
        audit(rows["y"], rows["decision"], sensitive_features=rows[["sex"]], metrics=["recall"])
    with pytest.raises(InputError, match="'spd' is unknown"):
        audit(rows["y"], rows["decision"], sensitive_features=rows[["sex"]], disparities=["spd"])


def test_summary_is_the_range_over_the_groups(report):
    frame = report.summary.set_index(["attributes", "metric"])
    by_sex = report.by_group[report.by_group["group"].str.match(r"^sex=.$")]
    row = frame.loc[("sex", "accuracy")]
    assert row["difference"] == pytest.approx(by_sex["accuracy"].max() - by_sex["accuracy"].min())
    assert row["ratio"] == pytest.approx(by_sex["accuracy"].min() / by_sex["accuracy"].max())
    assert row["lowest"] == by_sex.loc[by_sex["accuracy"].idxmin(), "group"]
    assert set(frame.index.get_level_values("attributes")) == {"sex", "race", "sex & race"}


def test_markdown_escapes_and_shows_every_group(report):
    text = to_markdown({"before": report, "after": report})
    assert "a\\|b" in text
    table = [line for line in text.splitlines() if line.startswith("| everyone")]
    assert len(table) == 2
    assert text.count("| sex=F |") == 2
    assert "before | after" in text


def test_page_is_self_contained_and_escaped(report, tmp_path):
    page = to_page({"before": report, "after": report}, title="Audit <b>").html()
    assert_self_contained(page)
    assert "<script>alert(1)</script>" not in page
    assert "Audit &lt;b&gt;" in page
    assert report.to_html(tmp_path / "audit.html", title="One") == (tmp_path / "audit.html").read_text("utf-8")


def test_plots_are_axes_with_every_group(rows, report):
    before_after = {"before": report, "after": report}
    assert len(plot_rates(before_after, "accuracy").get_yticklabels()) == 1 + 2 + 3
    ax = plot_disparities(before_after, "disparate_impact", order=2)
    assert ax.get_xscale() == "log"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["before", "after"]
    reweigher = Reweigher(["sex"]).fit(rows, rows["y"])
    assert len(plot_factors(reweigher.factors_, "y").get_yticklabels()) == 4


def test_threshold_and_calibration_plots_have_a_line_a_group(rows):
    ax = plot_thresholds(rows["y"], rows["score"], rows["sex"], rate="true_positive_rate")
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names[:2] == ["F", "M"]
    assert names[2].startswith("balanced accuracy")
    line = ax.get_lines()[0]
    members = (rows["sex"] == "F") & (rows["y"] == 1)
    expected = [(rows["score"][members] >= t).mean() for t in line.get_xdata()]
    np.testing.assert_allclose(line.get_ydata(), expected)
    ax = plot_calibration(rows["y"], rows["score"], rows["race"], bins=4, weight=np.ones(len(rows)))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["<script>alert(1)</script>", "a|b", "missing"]


def test_model_card_names_an_attribute_of_one_group(rows):
    alone = audit(rows["y"], rows["decision"], sensitive_features={"unit": ["a"] * len(rows)})
    assert "- Sensitive attributes: unit." in model_card(alone)


def test_model_card_states_weights_and_limits(rows, report):
    reweigher = Reweigher(["sex"], mode="intersection").fit(rows, rows["y"])
    card = model_card(report, reweigher, data="500 synthetic rows")
    assert "500 synthetic rows" in card
    assert "mode intersection" in card
    assert "do not imply equal predictions" in card
    assert "statistical parity difference" in card


@pytest.mark.parametrize(("every", "count"), [("day", 84), ("week", 12), ("month", 3), ("quarter", 1), ("year", 1)])
def test_periods(rows, every, count):
    # Every day has both labels only by chance: dense weeks and longer always do.
    slices = audit_over_time(
        rows["y"], rows["decision"], time=rows["day"], every=every, sensitive_features=rows[["sex"]], min_group=0
    )
    assert len(slices.periods) <= count
    if every != "day":
        assert len(slices.periods) == count
        assert sum(report.n for report in slices.reports) == len(rows)
    assert slices.periods[0] == {"year": "2020-01-01", "quarter": "2020-01-01", "month": "2020-01-01"}.get(
        every, "2020-01-06"
    )


def test_a_slice_equals_the_audit_of_its_rows(rows):
    slices = audit_over_time(
        rows["y"], rows["decision"], time=rows["day"], every="month", sensitive_features=rows[["sex", "race"]], order=2
    )
    part = rows[rows["day"].dt.month == 2]
    alone = audit(part["y"], part["decision"], sensitive_features=part[["sex", "race"]])
    february = slices.reports[slices.periods.index("2020-02-01")]
    assert february.to_dict()["groups"] == alone.to_dict()["groups"]
    frame = slices.to_frame()
    assert set(frame["period"]) == set(slices.periods)
    assert slices.plot().get_ylabel() == "statistical parity difference"


def test_a_period_without_a_label_or_the_reference_is_named(rows):
    day = rows["day"]
    rows.loc[day.dt.month == 1, "y"] = 1
    rows.loc[day.dt.month == 2, "sex"] = "M"
    options = {"time": day, "sensitive_features": rows[["sex"]], "attributes": [Attribute("sex", "F")]}
    slices = audit_over_time(rows["y"], rows["decision"], **options)
    assert slices.periods == ("2020-03-01",)
    n = int((day.dt.month == 1).sum())
    assert slices.skipped == {
        "2020-01-01": f"the label 'y' is 1 in all {n} rows", "2020-02-01": "the reference F of 'sex' does not occur",
    }  # fmt: skip
    with pytest.raises(InputError, match=r"no period can be audited \(2020-01-01: the label 'y' is 0"):
        audit_over_time((day.dt.month > 1).astype(int).rename("y"), rows["decision"], **options)


def test_cuts_and_references_are_those_of_all_periods(rows):
    rows["age"] = rows["day"].dt.day_of_year * 1.0
    ages = [Attribute("age", 1, bins="mean")]
    slices = audit_over_time(
        rows["y"], rows["decision"], time=rows["day"], sensitive_features=rows[["age"]], attributes=ages, min_group=0
    )
    mean = f"{rows['age'].mean():.6g}"
    assert slices.periods == ("2020-01-01", "2020-02-01")
    assert {report.groups[0].group["age"] for report in slices.reports[:1]} == {f"up to {mean}"}
    assert "2020-03-01" in slices.skipped
    # More women in all, more men in February.
    rows["sex"] = np.where(rows["day"].dt.month == 2, np.where(rows.index % 3 == 0, "F", "M"), "F")
    rows.loc[rows.index % 5 == 0, "sex"] = "M"
    slices = audit_over_time(rows["y"], rows["decision"], time=rows["day"], sensitive_features=rows[["sex"]])
    assert {item.comparison.reference["sex"] for report in slices.reports for item in report.comparisons} == {"F"}
    assert all("its largest group, F, is used" in report.warnings[-1] for report in slices.reports)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda rows: {"y_score": rows["score"].mask(rows.index == 3)}, "the score of row 3 is nan"),
        (lambda rows: {"sample_weight": np.where(rows.index == 3, -1, 1)}, "the weight of row 3 is -1"),
        (lambda rows: {"sample_weight": [1, 2]}, "2 weights for 500 rows"),
        (lambda rows: {"y_score": [1, 2]}, r"shape \(2,\) for 500 rows"),
        (lambda rows: {"cluster": [1, 2], "ci": "bootstrap"}, "2 clusters for 500 rows"),
        (lambda rows: {"sensitive_features": rows["sex"][:5]}, "different lengths"),
        (lambda rows: {"time": rows["day"][:5]}, "5 times for 500 rows"),
        (lambda rows: {"y_pred": rows["decision"].mask(rows.index == 3, 7)}, "has the value 7"),
        (lambda rows: {"metrics": ["spd"]}, "the metric 'spd' is unknown"),
    ],
)
def test_one_bad_row_drops_no_period(rows, change, sentence):
    arguments = {
        "y_true": rows["y"], "y_pred": rows["decision"], "time": rows["day"], "sensitive_features": rows["sex"]
    }  # fmt: skip
    with pytest.raises(InputError, match=sentence):
        audit_over_time(**arguments | change(rows))


def test_names_that_were_not_measured_are_refused(rows, report):
    for call in (
        lambda: report.worst(3, "spd"),
        lambda: plot_disparities({"a": report}, "spd"),
        lambda: plot_thresholds(rows["y"], rows["score"], rows["sex"], rate="tpr"),
        lambda: audit_over_time(
            rows["y"], rows["decision"], time=rows["day"], sensitive_features=rows["sex"]
        ).plot("spd"),
    ):  # fmt: skip
        with pytest.raises(InputError, match="is unknown: choose from"):
            call()
    with pytest.raises(InputError, match="'accuracy_difference' was not measured, only statistical_parity_difference"):
        report.worst(3, "accuracy_difference")
    with pytest.raises(InputError, match="'f1' was not measured"):
        plot_rates({"a": report}, "f1")
    only = audit(rows["y"], rows["decision"], sensitive_features=rows["sex"], disparities=["accuracy_difference"])
    assert "accuracy difference" in only.to_html()


GROUPS = {
    "NaN": (["F", "M", np.nan], ["F", "M", "missing"]),
    "nullable text": (pd.array(["F", "M", None], dtype="string"), ["F", "M", "missing"]),
    "dates": (
        pd.to_datetime(["2020-01-01", "2021-01-01", None]), ["2020-01-01 00:00:00", "2021-01-01 00:00:00", "missing"]
    ),
}  # fmt: skip


@pytest.mark.parametrize(("values", "names"), GROUPS.values(), ids=GROUPS)
def test_calibration_of_any_kind_of_group(rows, values, names):
    groups = pd.Series(values).take(np.arange(len(rows)) % 3)
    ax = plot_calibration(rows["y"], rows["score"], groups, bins=4)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == names
    assert [len(container[0].get_xdata()) for container in ax.containers] == [4, 4, 4]


def test_a_missing_time_is_named(rows):
    times = rows["day"].copy()
    times[7] = pd.NaT
    with pytest.raises(InputError, match="row 7"):
        audit_over_time(rows["y"], rows["decision"], time=times, sensitive_features=rows[["sex"]])
    with pytest.raises(InputError, match="every='decade'"):
        audit_over_time(rows["y"], rows["decision"], time=rows["day"], every="decade", sensitive_features=rows[["sex"]])
    with pytest.raises(InputError, match="no dates"):
        audit_over_time(rows["y"], rows["decision"], time=["soon"] * 500, sensitive_features=rows[["sex"]])
