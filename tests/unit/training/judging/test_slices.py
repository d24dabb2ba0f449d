from __future__ import annotations

import msgspec
import numpy as np
import pytest
from scipy import stats

from cluster.schema import Feature, FeatureSchema, Label
from training.judging import slices
from training.judging.evaluate import row_losses
from training.judging.slice_search import Bound, distinct, from_categories, from_trees
from training.judging.slices import Slices, excess, find, holm

SCHEMA = FeatureSchema(
    features=(
        Feature(name="visib", type="number"),
        Feature(name="carrier", type="category", categories=("AA", "UA", "HA", "F9")),
        Feature(name="wind", type="number"),
    ),
    label=Label(name="late", classes=(0, 1)),
)
LABEL = SCHEMA.label
DAY = 86400.0


def world(n: int = 3000, *, weak: bool, seed: int = 0):
    """A model that says 0.2 everywhere; with `weak` it is wrong where the carrier is HA or F9 and the sight is short."""
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.uniform(0, 10, n), rng.integers(0, 4, n), rng.normal(size=n)]).astype(np.float32)
    X[rng.random(n) < 0.05, 2] = np.nan
    bad = (X[:, 0] <= 3.2) & (X[:, 1] >= 2) & weak
    y = (rng.random(n) < np.where(bad, 0.8, 0.2)).astype(np.float64)
    return X, y, np.full((n, 1), 0.2, dtype=np.float32), bad


def test_a_planted_slice_is_found_described_and_measured():
    X, y, scores, bad = world(weak=True)
    found = find(LABEL, SCHEMA, X, y, scores, rng=np.random.default_rng(0))
    planted = next(s for s in found.found if set(s.features) == {"visib", "carrier"} and s.metric == 0.5)
    assert planted.source == "tree"
    assert "carrier in {HA, F9, (unknown)}" in planted.where or "carrier not in {AA, UA" in planted.where
    assert "visib <= 3.2" in planted.where or "visib <= 3.1" in planted.where
    assert planted.share == pytest.approx(bad.mean(), abs=0.02)
    assert planted.loss == pytest.approx(-(0.8 * np.log(0.2) + 0.2 * np.log(0.8)), abs=0.1)
    assert planted.rest_loss == pytest.approx(-(0.2 * np.log(0.2) + 0.8 * np.log(0.8)), abs=0.05)
    assert planted.expected_loss == pytest.approx(0.5004, abs=1e-3)  # the model believes itself right
    assert planted.excess.lower < planted.loss - planted.rest_loss < planted.excess.upper
    assert planted.p_value < 1e-6
    assert found.message == f"{len(found.found)} of {found.tested} tested slices do worse than the rest, at 5% over all of them"


def test_chance_slices_are_reported_no_more_often_than_promised():
    rng = np.random.default_rng(7)
    alarms = 0
    for seed in range(40):
        X, y, scores, _ = world(400, weak=False, seed=seed)
        alarms += bool(find(LABEL, SCHEMA, X, y, scores, rng=rng).found)
    assert alarms <= 6  # 5 % of 40 are 2; more than 6 has a probability below 1 %


def test_figures_are_of_the_half_that_did_not_suggest_the_slice(monkeypatch):
    X, y, scores, _ = world(weak=True)
    chosen = np.zeros(len(y), dtype=np.bool_)
    chosen[::2] = True
    monkeypatch.setattr(slices, "_half", lambda scene, rng: chosen)
    found = find(
        LABEL,
        SCHEMA,
        X,
        y,
        scores,
        rng=np.random.default_rng(0),
        protected={"carrier": np.array(["AA", "UA", "HA", "F9"])[X[:, 1].astype(int)]},
    )
    hawaiian = next(s for s in found.found if s.where == "carrier in {HA}")
    inside = (X[:, 1] == 2) & ~chosen
    assert (hawaiian.source, hawaiian.rows) == ("protected", int(inside.sum()))
    assert hawaiian.loss == pytest.approx(row_losses(LABEL, y, scores)[inside].mean())
    assert hawaiian.rest_loss == pytest.approx(row_losses(LABEL, y, scores)[~inside & ~chosen].mean())


def test_groups_of_protected_columns_are_always_tested():
    X, y, scores, _ = world(1000, weak=False)
    sex = np.array(["female", "male"])[np.arange(1000) % 2]
    without = find(LABEL, SCHEMA, X, y, scores, rng=np.random.default_rng(0))
    with_sex = find(LABEL, SCHEMA, X, y, scores, rng=np.random.default_rng(0), protected={"sex": sex})
    assert with_sex.tested == without.tested + 2


def test_one_bad_day_is_not_a_weak_slice():
    """Losses differ by day and by nothing else; a feature tells the days apart."""
    rng = np.random.default_rng(5)
    n, days = 4000, 40
    day = np.arange(n) * days // n
    X = np.column_stack([rng.normal(size=days)[day], rng.integers(0, 4, n), rng.normal(size=n)]).astype(np.float32)
    rate = rng.uniform(0.05, 0.6, days)[day]
    y, scores = (rng.random(n) < rate).astype(np.float64), np.full((n, 1), 0.3, dtype=np.float32)
    as_if_independent = find(LABEL, SCHEMA, X, y, scores, rng=np.random.default_rng(1))
    by_day = find(LABEL, SCHEMA, X, y, scores, rng=np.random.default_rng(1), times=np.asarray(day * DAY, dtype=np.float64))
    assert len(as_if_independent.found) > 0
    assert by_day.found == []
    assert by_day.tested > 3


def test_few_rows_are_not_judged():
    X, y, scores, _ = world(199, weak=True)
    found = find(LABEL, SCHEMA, X, y, scores, rng=np.random.default_rng(0))
    assert (found.rows, found.tested, found.found) == (199, 0, [])
    assert found.message == "not judged: 199 labelled rows, 200 are needed"


def test_rows_without_a_label_do_not_count():
    X, y, scores, _ = world(400, weak=True)
    y[:300] = np.nan
    assert find(LABEL, SCHEMA, X, y, scores, rng=np.random.default_rng(0)).rows == 100


def test_a_model_that_is_right_everywhere_has_no_weak_slice():
    X, y, _, _ = world(600, weak=False)
    found = find(LABEL, SCHEMA, X, y, y[:, None].astype(np.float32), rng=np.random.default_rng(0))
    assert found.found == []


def test_regression_slices_compare_squared_errors():
    X, _, _, bad = world(weak=True)
    rng = np.random.default_rng(2)
    y = 10 + rng.normal(size=len(X)) * np.where(bad, 5, 1)
    label = Label(name="delay", task="regression")
    found = find(label, SCHEMA, X, y, np.full((len(X), 1), 10, dtype=np.float32), rng=np.random.default_rng(0))
    worst = next(s for s in found.found if set(s.features) == {"visib", "carrier"})
    assert (found.loss, found.metric, worst.expected_loss) == ("squared_error", "rmse", None)
    assert worst.loss == pytest.approx(25, rel=0.2)
    assert worst.rest_loss == pytest.approx(1, abs=0.3)
    assert worst.metric == pytest.approx(worst.loss**0.5)


def test_multiclass_slices_compare_log_losses():
    scores = np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]], dtype=np.float32)
    label = Label(name="size", task="multiclass", classes=("S", "M", "L"))
    assert row_losses(label, np.array([0.0, 2.0]), scores) == pytest.approx([-np.log(0.5), -np.log(0.1)])


def test_the_same_rng_gives_the_same_slices_and_they_survive_a_file():
    X, y, scores, _ = world(1000, weak=True)
    one, two = (find(LABEL, SCHEMA, X, y, scores, rng=np.random.default_rng(3)) for _ in range(2))
    assert one == two
    assert msgspec.json.decode(msgspec.json.encode(one), type=Slices) == one


VALUES = np.array([1.0, 2, 4, 3, 0, 1, 5, 6, 2, 1, 0, 3])
INSIDE = np.array([1, 1, 0, 0, 1, 0, 1, 1, 0, 0, 0, 1], dtype=np.bool_)


def test_independent_rows_are_compared_by_welch():
    found = excess(VALUES, INSIDE, None)
    reference = stats.ttest_ind(VALUES[INSIDE], VALUES[~INSIDE], equal_var=False)
    bounds = reference.confidence_interval(0.95)
    assert [found.interval.estimate, found.interval.lower, found.interval.upper] == pytest.approx([1, bounds.low, bounds.high])
    assert found.p_value == pytest.approx(reference.pvalue / 2)


def test_rows_of_a_block_are_compared_as_statsmodels_does():
    # OLS on the slice's indicator, cluster-robust, statsmodels 0.15.0, times B / (B - 1); t with 3 degrees of freedom
    found = excess(VALUES, INSIDE, np.repeat(np.arange(4), 3))
    reach = stats.t.ppf(0.975, 3) * 1.5882801216586329
    assert [found.interval.estimate, found.interval.upper] == pytest.approx([1, 1 + reach])
    assert found.p_value == pytest.approx(0.2868162874180647)


def test_p_values_are_corrected_as_statsmodels_does():
    assert holm([0.001, 0.02, 0.04, 0.011, 0.5]) == pytest.approx([0.005, 0.06, 0.08, 0.044, 0.5])  # multipletests, statsmodels 0.15.0
    assert holm([]) == []


def test_equal_losses_are_no_excess():
    assert excess(np.ones(6), np.array([1, 1, 1, 0, 0, 0], dtype=np.bool_), None).p_value == 1.0


def test_a_bound_means_what_it_says():
    values = np.array([[1], [2], [3], [np.nan]], dtype=np.float32)
    assert Bound(0, 1, 2, missing=False).holds(values).tolist() == [False, True, False, False]
    assert Bound(0, -np.inf, 2, missing=True).holds(values).tolist() == [True, True, False, True]


@pytest.mark.parametrize(
    ("bound", "text"),
    [
        (Bound(0, -np.inf, 3.2, missing=False), "visib <= 3.2"),
        (Bound(0, 3.2, np.inf, missing=True), "visib > 3.2 or missing"),
        (Bound(0, 1.5, 3.25, missing=False), "1.5 < visib <= 3.25"),
        (Bound(0, -np.inf, np.inf, missing=False), "visib is known"),
        (Bound(1, -np.inf, 0.5, missing=False), "carrier in {AA}"),
        (Bound(1, 1.5, np.inf, missing=False), "carrier in {HA, F9, (unknown)}"),
        (Bound(1, 0.5, np.inf, missing=True), "carrier not in {AA}"),
        (Bound(1, 0.5, 2.5, missing=False), "carrier in {UA, HA}"),
    ],
)
def test_a_bound_is_told_in_names_and_numbers(bound, text):
    assert bound.text(SCHEMA.features[bound.column]) == text


def test_a_long_list_of_categories_is_cut():
    feature = Feature(name="dest", type="category", categories=tuple(f"D{i:02}" for i in range(60)))
    assert Bound(0, -np.inf, 19.5, missing=False).text(feature).endswith("D10, D11, and 8 more}")


def test_a_node_s_rows_are_those_the_tree_sends_there():
    X, _, _, bad = world(800, weak=True)
    X[::20, 0] = np.nan
    loss, half = bad.astype(np.float64) + np.isnan(X[:, 0]), np.arange(800) % 2 == 0
    found = from_trees(SCHEMA, X, loss, half, least=20, seed=0)
    assert len(found) > 6
    assert all((c.rows & half).sum() >= 20 for c in found)
    best = max(found, key=lambda c: loss[c.rows & half].mean())
    assert loss[best.rows].mean() > 0.9
    assert any("or missing" in c.where for c in found)


def test_each_category_and_each_group_is_a_candidate():
    X = np.array([[1, 0, 0], [1, 4, 0], [1, np.nan, 0]], dtype=np.float32)
    found = {c.where: c.rows.tolist() for c in from_categories(SCHEMA, X, {"sex": np.array(["f", None, "f"], dtype=object)})}
    assert found["carrier in {AA}"] == [True, False, False]
    assert found["carrier in {(unknown)}"] == [False, True, False]
    assert found["carrier in {(missing)}"] == [False, False, True]
    assert found["sex in {f}"] == [True, False, True]
    assert found["sex in {(missing)}"] == [False, True, False]


def test_slices_of_nearly_the_same_rows_are_one():
    X = np.tile(np.array([[1, 0, 0]], dtype=np.float32), (10, 1))
    twice = from_categories(SCHEMA, X, {"sex": np.array(["f"] * 10), "gender": np.array(["f"] * 9 + ["m"])})
    assert [c.where for c in distinct([c for c in twice if c.rows.any()])] == ["carrier in {AA}", "gender in {m}"]
