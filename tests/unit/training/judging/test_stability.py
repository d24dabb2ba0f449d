from __future__ import annotations

import msgspec
import numpy as np
import pytest

from cluster.errors import NotEnoughData
from cluster.schema import Feature, FeatureSchema, Label, Matrix
from tests.unit.training.tables import rows_of, schema_of
from training.judging import small_trees, stability
from training.judging.disturbances import Disturber
from training.judging.stability import Spread, Stress, group_spread, seeds, spread, stress
from training.members import Rows

SCHEMA = schema_of("binary")
LABEL = SCHEMA.label


def by_wind(matrix: Matrix) -> Matrix:
    """Rises with the wind alone; a missing one scores 0.5."""
    return (1 / (1 + np.exp(-np.clip(np.nan_to_num(matrix[:, :1]), -20, 20)))).astype(np.float32)


def stressed(scorer=by_wind, **more) -> Stress:
    rows = rows_of("binary", 300)
    return stress(LABEL, SCHEMA, rows.X, rows.y, scorer, rng=np.random.default_rng(0), **more)


def test_more_noise_moves_scores_more_and_the_feature_that_matters_is_named():
    noise = [d for d in stressed().disturbances if d.kind == "noise"]
    assert [d.size for d in noise] == [0.01, 0.05, 0.1]
    assert 0 < noise[0].score_change < noise[1].score_change < noise[2].score_change < 0.05
    assert {d.worst_feature for d in noise} == {"wind"}
    assert noise[2].flipped is not None
    assert 0 < noise[2].flipped < 0.1


def test_every_kind_is_there_and_each_feature_is_missing_once():
    found = stressed()
    assert [(d.kind, d.size) for d in found.disturbances[:9]] == [
        ("noise", 0.01),
        ("noise", 0.05),
        ("noise", 0.1),
        ("missing", 0.05),
        ("missing", 0.2),
        ("missing", 0.5),
        ("below_range", 0.2),
        ("above_range", 0.2),
        ("unknown_category", 0.2),
    ]
    assert [d.feature for d in found.disturbances[9:]] == ["wind", "carrier", "miles", "seconds"]
    assert (found.rows, found.feature_rows, found.metric) == (300, 300, "roc_auc")


def test_losing_the_only_feature_read_loses_the_metric_and_losing_others_costs_nothing():
    found = stressed()
    gone = {d.feature: d for d in found.disturbances if d.kind == "feature_missing"}
    assert gone["wind"].after["roc_auc"] == 0.5
    assert gone["wind"].before["roc_auc"] > 0.7
    assert gone["carrier"].score_change == 0
    assert gone["carrier"].flipped == 0
    assert gone["carrier"].after == gone["carrier"].before
    unknown = next(d for d in found.disturbances if d.kind == "unknown_category")
    assert (unknown.score_change, unknown.worst_feature, unknown.worst_change) == (0.0, "carrier", 0.0)


def test_decisions_flip_by_the_label_s_threshold():
    def steady(matrix):
        return np.where(np.isnan(matrix[:, :1]), 0.4, 0.2).astype(np.float32)

    rows = rows_of("binary", 400)
    for threshold, flips in ((0.5, False), (0.3, True)):
        label = LABEL.model_copy(update={"threshold": threshold})
        found = stress(label, SCHEMA, rows.X, rows.y, steady, rng=np.random.default_rng(0))
        gone = next(d for d in found.disturbances if d.feature == "wind")
        assert gone.flipped == (pytest.approx(float((~np.isnan(rows.X[:, 0])).mean())) if flips else 0)


def test_large_tables_are_sampled():
    found = stressed(most_rows=100, feature_rows=30)
    assert (found.rows, found.feature_rows) == (100, 30)
    assert {d.rows for d in found.disturbances if d.kind == "feature_missing"} == {30}
    assert {d.rows for d in found.disturbances if d.kind != "feature_missing"} == {100}


def test_the_same_seed_gives_the_same_stress_and_it_survives_a_file():
    assert stressed() == stressed()
    assert msgspec.json.decode(msgspec.json.encode(stressed()), type=Stress) == stressed()


def test_regression_and_multiclass_are_disturbed_too():
    rows = rows_of("regression", 200)
    found = stress(schema_of("regression").label, SCHEMA, rows.X, rows.y, by_wind, rng=np.random.default_rng(0))
    assert {d.flipped for d in found.disturbances} == {None}
    assert set(found.disturbances[0].before) == {"rmse", "mae", "r2"}

    def classes(matrix):
        p = by_wind(matrix)
        return np.hstack([p, 0.6 * (1 - p), 0.4 * (1 - p)])

    rows = rows_of("multiclass", 200)
    found = stress(schema_of("multiclass").label, SCHEMA, rows.X, rows.y, classes, rng=np.random.default_rng(0))
    flipped = next(d for d in found.disturbances if d.feature == "wind").flipped
    assert flipped is not None
    assert flipped > 0.2


def test_without_labels_there_is_no_stress():
    with pytest.raises(NotEnoughData, match="none of 3 rows has a label"):
        stress(LABEL, SCHEMA, np.zeros((3, 4), dtype=np.float32), np.full(3, np.nan), by_wind, rng=np.random.default_rng(0))


def test_a_disturber_spoils_what_it_says_and_leaves_missing_cells_missing():
    schema = FeatureSchema(
        features=(
            Feature(name="ranged", type="number", range=(0, 10)),
            Feature(name="free", type="number"),
            Feature(name="empty", type="number"),
            Feature(name="carrier", type="category", categories=("A", "B")),
        ),
        label=Label(name="late", classes=(0, 1)),
    )
    usual = np.array([[1, -4, np.nan, 0], [2, 8, np.nan, 1], [np.nan, 2, np.nan, np.nan]], dtype=np.float32)
    disturber, rng = Disturber(schema, usual), np.random.default_rng(0)
    assert [disturber.columns(k) for k in ("noise", "missing", "below_range", "unknown_category")] == [[0, 1], [0, 1, 2, 3], [0, 1], [3]]
    above = disturber.spoil("above_range", 1.0, usual, [0, 1], rng)
    np.testing.assert_array_equal(above[:, 0], np.array([20, 20, np.nan], dtype=np.float32))
    assert above[:, 1].tolist() == [20, 20, 20]  # from -4 to 8, and 12 more
    assert disturber.spoil("below_range", 1.0, usual, [1], rng)[:, 1].tolist() == [-16, -16, -16]
    np.testing.assert_array_equal(
        disturber.spoil("unknown_category", 1.0, usual, [3], rng)[:, 3], np.array([2, 2, np.nan], dtype=np.float32)
    )
    assert np.isnan(disturber.spoil("missing", 1.0, usual, [0, 1, 2, 3], rng)).all()
    np.testing.assert_array_equal(disturber.spoil("missing", 0.0, usual, [0, 1, 2, 3], rng), usual)


def test_noise_has_the_size_it_says():
    wide = np.random.default_rng(1).normal(100, 20, (4000, 4)).astype(np.float32)
    spoilt = Disturber(SCHEMA, wide).spoil("noise", 0.1, wide, [0], np.random.default_rng(2))
    assert float((spoilt - wide)[:, 0].std()) == pytest.approx(2, rel=0.05)
    assert (spoilt[:, 1:] == wide[:, 1:]).all()


def test_folds_are_summed_up_and_one_that_cannot_tell_is_named():
    y, scores = np.array([0.0, 1.0, 0.0, 1.0]), np.array([[0.1], [0.9], [0.2], [0.8]], dtype=np.float32)
    found = spread(LABEL, [(y, scores), (y, 1 - scores), (np.ones(4), scores)])
    assert [(part.name, part.rows, part.value) for part in found.parts] == [("fold 1", 4, 1.0), ("fold 2", 4, 0.0)]
    assert (found.mean, found.worst) == (0.5, 0.0)
    assert found.sd == pytest.approx(np.std([1, 0], ddof=1))
    assert found.message == "fold 3: roc_auc needs rows of all 2 classes of 'late'; 4 rows hold 1"


def test_the_worst_of_a_loss_is_its_highest():
    label = schema_of("regression").label
    one, two = (np.zeros(2), np.ones((2, 1), dtype=np.float32)), (np.zeros(2), np.full((2, 1), 3, dtype=np.float32))
    assert spread(label, [one, two]).worst == 3


def test_no_folds_give_no_figures():
    found = spread(LABEL, [])
    assert (found.parts, found.mean, found.sd, found.worst) == ([], None, None, None)


def test_seeds_give_close_models_and_the_same_ones_again():
    rows, valid = rows_of("binary", 500), rows_of("binary", 300, seed=1)
    found = seeds(LABEL, rows, valid, seeds=(1, 2, 3), threads=1)
    assert [part.name for part in found.parts] == ["seed 1", "seed 2", "seed 3"]
    assert found.mean is not None
    assert found.sd is not None
    assert found.mean > 0.75
    assert 0 < found.sd < 0.03
    assert seeds(LABEL, rows, valid, seeds=(1, 2, 3), threads=1) == found
    assert msgspec.json.decode(msgspec.json.encode(found), type=Spread) == found


def test_seeds_of_one_class_are_not_measured():
    rows = rows_of("binary", 100)
    found = seeds(LABEL, Rows(rows.X, np.zeros(100)), rows, threads=1)
    assert (found.mean, found.message) == (None, "100 labelled rows of one class teach nothing about 'late'")


def people(n: int, *, leak: bool) -> tuple[Rows, np.ndarray]:
    """Twenty rows a person. With `leak`, a feature marks the person and the label is the person's own; else the label is the wind's."""
    rng = np.random.default_rng(3)
    person = np.arange(n) // 20
    X = rng.normal(size=(n, 4)).astype(np.float32)
    X[:, 1] = 0
    X[:, 3] = rng.normal(size=n // 20 + 1)[person]
    y = person % 2 if leak else X[:, 0] + rng.normal(size=n) > 0
    return Rows(X, y.astype(np.float64)), np.array([f"p{i}" for i in person])


def test_a_model_that_recognises_people_is_caught_by_keeping_them_whole():
    rows, groups = people(400, leak=True)
    found = group_spread(LABEL, rows, groups, seed=1, threads=1)
    assert found.gap is not None
    assert found.mean is not None
    assert found.gap > 0.3
    assert 0.3 < found.mean < 0.7  # nothing tells the label of new people
    assert np.mean([part.value for part in found.plain]) > 0.95
    assert found.message == "a small XGBoost leans on recognising groups: 20 groups, 400 rows, 5 folds"


def test_a_model_that_does_not_recognise_people_has_no_gap():
    rows, groups = people(400, leak=False)
    found = group_spread(LABEL, rows, groups, seed=1, threads=1)
    assert found.gap is not None
    assert found.gap_error is not None
    assert abs(found.gap) < 2 * found.gap_error
    assert found.message.startswith("a small XGBoost is not seen to lean on recognising groups")


def test_a_smaller_loss_with_split_groups_is_a_gap_above_zero():
    rows, groups = people(400, leak=True)
    found = group_spread(schema_of("regression").label, rows, groups, seed=1, threads=1)
    assert found.metric == "rmse"
    assert found.gap is not None
    assert found.gap > 0.2


def test_groups_are_never_split_and_rows_without_one_are_their_own(monkeypatch):
    rows, groups = people(200, leak=True)
    rows.X[:, 2] = [0] * 40 + [1 + i // 20 for i in range(160)]
    groups = np.array([None] * 40 + groups[40:].tolist(), dtype=object)
    sides = []

    def watch(label, train, valid, *, seed, threads):
        sides.append((set(train.X[:, 2].tolist()) - {0.0}, set(valid.X[:, 2].tolist()) - {0.0}, len(valid)))
        return 0.5

    monkeypatch.setattr(small_trees, "value", watch)
    found = group_spread(LABEL, rows, groups, seed=1, threads=1)
    assert found.message.endswith("48 groups, 200 rows, 5 folds")  # 8 people and 40 rows of nobody
    assert [train & valid for train, valid, _ in sides[:5]] == [set()] * 5
    assert sum(n for _, _, n in sides[:5]) == 200


def test_whole_groups_are_kept_when_there_are_too_many_rows(monkeypatch):
    monkeypatch.setattr(small_trees, "MOST_ROWS", 210)
    monkeypatch.setattr(small_trees, "value", lambda *_, **__: 0.5)
    rows, groups = people(400, leak=True)
    assert group_spread(LABEL, rows, groups, seed=1, threads=1).message.endswith("10 groups, 200 rows, 5 folds")


@pytest.mark.parametrize(
    ("groups", "told"),
    [
        (None, "not measured: no column says which rows belong together"),
        (np.array(["a", "b"] * 50), "not measured: 2 groups cannot fill 5 folds"),
        (np.array([f"{i}" for i in range(100)]), "not measured: all 100 groups are single rows"),
    ],
)
def test_groups_that_cannot_tell_are_not_measured(groups, told):
    found = stability.group_spread(LABEL, rows_of("binary", 100), groups, seed=1, threads=1)
    assert (found.mean, found.gap, found.message) == (None, None, told)


def test_labels_of_one_class_are_not_measured():
    rows, groups = people(100, leak=True)
    found = group_spread(LABEL, Rows(rows.X, np.zeros(100)), groups, seed=1, threads=1)
    assert (found.mean, found.message) == (None, "not measured: fewer than 3 folds hold rows of every class")


def test_groups_without_labels_are_not_measured():
    rows = Rows(np.zeros((4, 4), dtype=np.float32), np.full(4, np.nan))
    assert group_spread(LABEL, rows, np.array(["a"] * 4), seed=1, threads=1).message == "not measured: none of 4 rows has a label"
