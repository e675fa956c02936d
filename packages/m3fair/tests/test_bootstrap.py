import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.core.errors import InputError
from auscult.m3fair import bootstrap
from auscult.m3fair.bootstrap import ClusterTables, bootstrap_audit, resample_clusters, resample_table
from auscult.m3fair.metrics.confusion import Confusion
from auscult.m3fair.metrics.disparity import DISPARITIES
from auscult.m3fair.metrics.ranking import auroc
from auscult.m3fair.poisson import auroc_replicates, multiplicities

SHAPE = (2, 2, 2)
CHANCES = np.array([[[0.20, 0.06], [0.07, 0.12]], [[0.22, 0.08], [0.05, 0.20]]])
METRICS = ("selection_rate", "true_positive_rate", "precision")
NAMES = ("statistical_parity_difference", "disparate_impact", "equal_opportunity_difference")
GROUP, REFERENCE = np.array([True, False]), np.array([False, True])


def disparities(cells, name):
    group, reference = (Confusion(cells[..., p, :, :], cells[..., p, :, :]) for p in (0, 1))
    return DISPARITIES[name].value(group, reference)


def draw_rows(n, seed, weighted=False):
    """Return the cell of each of n rows, and weights that differ within cells."""
    rng = np.random.default_rng(seed)
    cell = rng.choice(8, n, p=CHANCES.ravel())
    return cell, rng.choice([0.2, 1.0, 1.5, 6.0], n) * (1 + cell % 2) if weighted else np.ones(n)


def count_rows(cell, weight):
    return [np.bincount(cell, weight**power, 8).reshape(SHAPE) for power in (0, 1, 2)]


def row_bootstrap(cell, weight, n_boot, seed):
    """Draw rows with replacement, one replicate after the other."""
    rng = np.random.default_rng(seed)
    replicates = np.empty((n_boot, 8))
    for b in range(n_boot):
        rows = rng.integers(len(cell), size=len(cell))
        replicates[b] = np.bincount(cell[rows], weight[rows], 8)
    return replicates.reshape(n_boot, *SHAPE)


def assert_same_distribution(mine, theirs):
    """Compare the tails, and by Kolmogorov and Smirnov all quantiles, of independent replicates, at 5 errors."""
    ordered = np.sort(np.concatenate([mine, theirs]))
    shares = [np.searchsorted(np.sort(part), ordered, side="right") / len(part) for part in (mine, theirs)]
    assert np.abs(shares[0] - shares[1]).max() < 1.95 * np.sqrt(1 / len(mine) + 1 / len(theirs))
    for q, density in ((0.025, 0.058), (0.5, 0.399), (0.975, 0.058)):
        error = np.std(theirs) * np.sqrt(q * (1 - q) * (1 / len(mine) + 1 / len(theirs))) / density
        assert np.quantile(mine, q) == pytest.approx(np.quantile(theirs, q), abs=5 * error)


@pytest.mark.parametrize("weighted", [False, True])
def test_property_12_table_and_rows_give_the_same_replicates(weighted):
    cell, weight = draw_rows(1500, 1, weighted)
    table = resample_table(*count_rows(cell, weight), 8000, np.random.default_rng(2))
    rows = row_bootstrap(cell, weight, 8000, 3)
    for name in NAMES:
        assert_same_distribution(disparities(table, name), disparities(rows, name))


def test_moments_of_weight_sums_are_those_of_drawn_rows():
    cell, weight = draw_rows(60, 4, weighted=True)
    table = resample_table(*count_rows(cell, weight), 40_000, np.random.default_rng(5)).reshape(-1, 8)
    n = len(cell)
    rows = weight[:, None] * (cell[:, None] == np.arange(8))
    np.testing.assert_allclose(table.mean(axis=0), rows.sum(axis=0), rtol=0.02)
    np.testing.assert_allclose(np.cov(table.T), n * np.cov(rows.T, bias=True), atol=0.03 * n * rows.var(axis=0).max())


def test_equal_weights_within_cells_are_exact():
    count = np.array([5.0, 0.0, 7.0])
    value = np.array([0.3, 1.0, 4.0])
    sums = resample_table(count, count * value, count * value**2, 500, np.random.default_rng(6))
    drawn = sums / value
    np.testing.assert_allclose(drawn, np.round(drawn), atol=1e-9)
    np.testing.assert_allclose(drawn.sum(axis=1), 12)
    assert not drawn[:, 1].any()


def test_weights_of_zero_count_for_nothing():
    sums = resample_table(
        np.array([4.0, 4.0]), np.array([0.0, 4.0]), np.array([0.0, 4.0]), 50, np.random.default_rng(0)
    )
    assert not sums[:, 0].any()
    assert sums[:, 1].any()


def test_property_12_coverage_is_nominal():
    rng = np.random.default_rng(7)
    truth = {name: float(disparities(CHANCES, name)) for name in NAMES}
    simulations = 1500
    covered = dict.fromkeys(NAMES, 0)
    for table in rng.multinomial(800, CHANCES.ravel(), simulations).astype(float):
        cells = table.reshape(SHAPE)
        found = bootstrap_audit(
            cells, cells, cells, np.zeros((0, 2), dtype=bool), [(GROUP, REFERENCE)],
            metrics=(), disparities=NAMES, n_boot=399, seed=int(rng.integers(2**32)),
        )  # fmt: skip
        for name, interval in found.disparities.items():
            covered[name] += interval.low[0] <= truth[name] <= interval.high[0]
    for name in NAMES:
        assert 0.93 <= covered[name] / simulations <= 0.97, name


def audit_of(cells, **options):
    return bootstrap_audit(
        *cells, np.array([GROUP, REFERENCE, GROUP | REFERENCE]), [(GROUP, REFERENCE), (REFERENCE, GROUP)],
        metrics=METRICS, disparities=NAMES, **options,
    )  # fmt: skip


def bounds(found):
    return np.concatenate(
        [[part.low, part.high] for kind in (found.metrics, found.disparities) for part in kind.values()], axis=1
    )


def test_intervals_depend_on_the_seed_alone(monkeypatch):
    cell, weight = draw_rows(300, 8)
    cells = count_rows(cell, weight)
    first = bounds(audit_of(cells, seed=1))
    assert not np.array_equal(first, bounds(audit_of(cells, seed=2)))
    clusters = ClusterTables.of(np.arange(300) // 3, cell, SHAPE)
    drawn = bounds(audit_of(cells, seed=1, clusters=clusters))
    monkeypatch.setattr(bootstrap, "_NUMBERS_AT_ONCE", 100)
    assert np.array_equal(first, bounds(audit_of(cells, seed=1)))
    assert np.array_equal(drawn, bounds(audit_of(cells, seed=1, clusters=clusters)))


def test_intervals_are_those_of_the_replicates():
    cell, weight = draw_rows(300, 9)
    cells = count_rows(cell, weight)
    found = audit_of(cells, n_boot=999, seed=3)
    replicates = resample_table(*cells, 999, np.random.default_rng(3))
    ordered = np.sort(disparities(replicates, NAMES[0]))
    interval = found.disparities[NAMES[0]]
    assert (interval.low[0], interval.high[0]) == pytest.approx((ordered[24], ordered[-25]))
    assert (interval.low[1], interval.high[1]) == pytest.approx((-ordered[-25], -ordered[24]))
    everyone = np.sort(Confusion(*[replicates.sum(axis=1)] * 2).rate("precision"))
    assert found.metrics["precision"].low[2] == pytest.approx(everyone[24])


def test_rows_of_weight_m_are_rows_but_duplicates_are_more_rows():
    cell, weight = draw_rows(400, 10)
    single = audit_of(count_rows(cell, weight))
    heavy = audit_of(count_rows(cell, 5 * weight))
    np.testing.assert_allclose(bounds(heavy), bounds(single))
    many = audit_of(count_rows(np.repeat(cell, 5), np.ones(2000)))
    widths = [np.diff(bounds(found), axis=0) for found in (single, many)]
    np.testing.assert_allclose(widths[0] / widths[1], np.sqrt(5), rtol=0.25)


@pytest.mark.parametrize("weighted", [False, True])
def test_clusters_of_one_row_are_rows(weighted):
    cell, weight = draw_rows(1000, 11, weighted)
    clusters = ClusterTables.of(np.arange(1000), cell, SHAPE, weight)
    assert len(clusters.repeats) == (32 if weighted else 8)
    replicates = resample_clusters(clusters, 8000, np.random.default_rng(12))
    rows = row_bootstrap(cell, weight, 8000, 13)
    for name in NAMES:
        assert_same_distribution(disparities(replicates, name), disparities(rows, name))


def test_few_unequal_weights_are_drawn_exactly_as_clusters_of_one_row():
    cell, weight = draw_rows(40, 14, weighted=True)
    replicates = resample_clusters(
        ClusterTables.of(np.arange(40), cell, SHAPE, weight), 8000, np.random.default_rng(15)
    )
    rows = row_bootstrap(cell, weight, 8000, 16)
    rates = [Confusion(*[part.sum(axis=1)] * 2).rate("selection_rate") for part in (replicates, rows)]
    assert_same_distribution(*rates)


def test_duplicated_rows_of_a_cluster_add_nothing():
    cell, weight = draw_rows(600, 17)
    m = 4
    cells = count_rows(np.repeat(cell, m), np.ones(600 * m))
    clusters = ClusterTables.of(np.repeat(np.arange(600), m), np.repeat(cell, m), SHAPE)
    by_cluster, by_row = (audit_of(cells, n_boot=4000, clusters=part) for part in (clusters, None))
    alone = audit_of(count_rows(cell, weight), n_boot=4000, clusters=ClusterTables.of(np.arange(600), cell, SHAPE))
    np.testing.assert_allclose(bounds(by_cluster), bounds(alone))
    widths = [np.diff(bounds(found), axis=0) for found in (by_cluster, by_row)]
    np.testing.assert_allclose(widths[0] / widths[1], np.sqrt(m), rtol=0.12)


@settings(deadline=None, derandomize=True)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 7), st.sampled_from([0.5, 1.0])), min_size=1, max_size=40
    ),
    seed=st.integers(0, 5),
)
def test_cluster_tables_hold_every_row_whatever_the_order_and_names(rows, seed):
    name, cell, weight = (np.array(part) for part in zip(*rows, strict=True))
    number = np.unique(name, return_inverse=True)[1]
    tables = ClusterTables.of(number, cell, SHAPE, weight)
    assert tables.n == number.max() + 1
    total = np.bincount(tables.cell, tables.weight * tables.repeats[tables.table], 8)
    np.testing.assert_allclose(total, np.bincount(cell, weight, 8))
    rng = np.random.default_rng(seed)
    order, renamed = rng.permutation(len(cell)), rng.permutation(tables.n)
    again = ClusterTables.of(renamed[number][order], cell[order], SHAPE, weight[order])
    for part in ("repeats", "table", "cell", "weight"):
        assert np.array_equal(getattr(tables, part), getattr(again, part))


def test_resamples_that_lose_a_group_are_left_out_and_counted():
    cells = np.array([[[30.0, 10.0], [0.0, 1.0]], [[20.0, 10.0], [10.0, 20.0]]])
    found = audit_of([cells] * 3, n_boot=4000)
    lost = found.disparities["equal_opportunity_difference"].undefined
    assert lost[0] == lost[1] == found.metrics["true_positive_rate"].undefined[0]
    assert lost[0] / 4000 == pytest.approx((1 - 1 / 101) ** 101, abs=0.04)
    assert np.isfinite(bounds(found)).all()
    assert not found.disparities["statistical_parity_difference"].undefined.any()


def test_a_group_without_positives_has_no_interval():
    cells = np.array([[[30.0, 10.0], [0.0, 0.0]], [[20.0, 10.0], [10.0, 20.0]]])
    interval = audit_of([cells] * 3, n_boot=50).disparities["equal_opportunity_difference"]
    assert np.isnan([interval.low, interval.high]).all()
    assert interval.undefined.tolist() == [50, 50]


def test_a_ratio_to_nobody_is_infinite_not_undefined():
    cells = np.array([[[20.0, 20.0], [0.0, 1.0]], [[40.0, 1.0], [10.0, 0.0]]])
    interval = audit_of([cells] * 3).disparities["disparate_impact"]
    assert interval.high[0] == np.inf
    assert interval.low[1] == 0


@pytest.mark.parametrize(("options", "sentence"), [({"n_boot": 0}, "n_boot is 0"), ({"seed": -1}, "the seed is -1")])
def test_wrong_options(options, sentence):
    with pytest.raises(InputError, match=sentence):
        audit_of([np.ones(SHAPE)] * 3, **options)


def test_multiplicities_are_poisson():
    times = multiplicities(1000, range(1000), 0).astype(float)
    assert times.mean() == pytest.approx(1, abs=0.005)
    assert times.var() == pytest.approx(1, abs=0.01)
    poisson = np.exp(-1) / np.cumprod(np.r_[1, np.arange(1, 7)])
    np.testing.assert_allclose(np.bincount(times.astype(int).ravel())[:7] / 1e6, poisson, atol=0.002)
    neighbours = np.corrcoef(times[:, :-1].ravel(), times[:, 1:].ravel())[0, 1]
    replicates = np.corrcoef(times[:-1].ravel(), times[1:].ravel())[0, 1]
    assert abs(neighbours) < 0.005
    assert abs(replicates) < 0.005
    assert not np.array_equal(times, multiplicities(1000, range(1000), 1))


def scored_rows(n=120, seed=20):
    rng = np.random.default_rng(seed)
    label = rng.random(n) < 0.4
    score = np.round(rng.random(n) + 0.5 * label, 1)
    return label, score, rng.integers(0, 3, n), rng.random(n) + 0.1, rng.integers(0, 40, n)


MEMBERS = np.array([[True, True, True], [True, False, False], [False, True, True]])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("clustered", [False, True])
def test_area_replicates_are_the_areas_of_the_drawn_rows(weighted, clustered):
    label, score, combination, weight, cluster = scored_rows()
    order = np.argsort(score, kind="stable")
    replicates = auroc_replicates(
        label, score, combination, MEMBERS, weight=weight if weighted else None, n_boot=20, seed=4,
        cluster=cluster if clustered else None,
    )  # fmt: skip
    times = multiplicities(cluster.max() + 1 if clustered else len(label), range(20), 4).astype(float)
    for b in range(20):
        drawn = times[b][cluster] if clustered else times[b][np.argsort(order)]
        mass = drawn * weight if weighted else drawn
        for g, mask in enumerate(MEMBERS):
            there = mask[combination]
            assert replicates[b, g] == pytest.approx(auroc(label[there], score[there], mass[there]).value, abs=1e-12)


def test_area_replicates_do_not_depend_on_the_blocks():
    label, score, combination, weight, _ = scored_rows()
    found = [
        auroc_replicates(label, score, combination, MEMBERS, weight=weight, n_boot=30, block=block)
        for block in (None, 1, 7)
    ]
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])
    longer = auroc_replicates(label, score, combination, MEMBERS, weight=weight, n_boot=40)
    assert np.array_equal(found[0], longer[:30])


def test_area_replicates_are_distributed_as_those_of_drawn_rows():
    label, score, combination, _, _ = scored_rows(n=300)
    mine = auroc_replicates(label, score, combination, MEMBERS[:1], n_boot=4000)[:, 0]
    rng = np.random.default_rng(21)
    theirs = np.empty(4000)
    for b in range(4000):
        rows = rng.integers(300, size=300)
        theirs[b] = auroc(label[rows], score[rows]).value
    assert_same_distribution(mine, theirs)


def test_areas_of_duplicated_rows_drawn_together_are_wider():
    label, score, combination, _, _ = (np.repeat(part, 4) for part in scored_rows(n=400))
    cluster = np.repeat(np.arange(400), 4)
    spreads = [
        auroc_replicates(label, score, combination, MEMBERS[:1], n_boot=2000, cluster=part).std()
        for part in (cluster, None)
    ]
    assert spreads[0] / spreads[1] == pytest.approx(2, rel=0.1)


def test_a_group_without_negatives_has_no_area():
    label, score, combination = np.array([True, False, True]), np.array([0.1, 0.2, 0.3]), np.array([0, 0, 1])
    replicates = auroc_replicates(label, score, combination, np.array([[False, True]]), n_boot=10)
    assert np.isnan(replicates).all()
