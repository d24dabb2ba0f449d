"""The estimate without labels, on windows whose truth is known: right under covariate shift, and blind to concept shift, which it says."""

import msgspec
import numpy as np
import pytest

from cluster.intervals import Intervals
from cluster.schema import Floats, Label, Matrix
from monitoring import estimate, performance
from monitoring.profile import Profile
from monitoring.reach import Reach, reach_of
from monitoring.said import Figure, Live
from monitoring.sketches import Sketcher, prediction_columns
from tests.unit.monitoring.world import SCHEMA, Stream, profile_of

REFERENCE = Stream(np.random.default_rng(4), 60, rows=400)
PROFILE: Profile = profile_of(REFERENCE, 60)
NEAR = Reach(0.0, 0.0)
LABEL = SCHEMA.label


def window(rng: np.random.Generator, *, shift: float = 0.0, rows: int = 400, concept: float = 1.0) -> tuple[Matrix, Matrix, Floats]:
    """Encoded rows, scores and labels: the first feature decides, with a weight that `concept` multiplies."""
    raw = rng.standard_normal((rows, 3)) + np.array([shift, 0, 0])
    matrix = np.column_stack([raw[:, 0], raw[:, 1], np.clip(np.floor(raw[:, 2] + 2), 0, 3)]).astype(np.float32)
    scores = (1 / (1 + np.exp(1 - raw[:, 0])))[:, None].astype(np.float32)
    y = (rng.random(rows) < 1 / (1 + np.exp(1 - concept * raw[:, 0]))).astype(np.float64)
    return matrix, scores, y


def reach_to(matrix: Matrix, scores: Matrix) -> Reach:
    sketcher = Sketcher(PROFILE.columns)
    return reach_of(PROFILE, sketcher, sketcher.summarise(np.column_stack([matrix, prediction_columns("binary", scores)])))


def guess(scores: Matrix, reach: Reach, live: Live | None = None, y: Floats | None = None) -> list[Figure]:
    y = np.full(len(scores), np.nan) if y is None else y
    return estimate.estimate(LABEL, PROFILE, None, scores, y, reach, live or Live())


@pytest.mark.parametrize("shift", [0.0, 0.5, -0.7, 1.5])
def test_bounds_hold_where_only_the_rows_have_moved(shift):
    rng, inside = np.random.default_rng(7), 0
    for _ in range(40):
        matrix, scores, y = window(rng, shift=shift)
        found, *_ = guess(scores, reach_to(matrix, scores))
        truth = performance.measure(LABEL, scores, y)["brier"]
        assert found.lower is not None
        assert found.upper is not None
        inside += found.lower <= truth <= found.upper
    assert inside >= 36  # a 95 % interval holds in fewer windows once in seven hundred


def test_a_changed_concept_moves_the_truth_and_not_the_estimate_which_says_so():
    matrix, scores, y = window(np.random.default_rng(1), concept=-1.0, rows=4000)
    _, _, usual = window(np.random.default_rng(1), rows=4000)
    found, *_ = guess(scores, reach_to(matrix, scores))
    assert found.value == pytest.approx(performance.measure(LABEL, scores, usual)["brier"], abs=0.01)
    assert found.upper is not None
    assert performance.measure(LABEL, scores, y)["brier"] > found.upper + 0.1
    assert "if what happens to such rows has not changed, which only labels can show" in found.message


def test_the_estimates_that_labels_proved_wrong_correct_and_bound_the_next():
    rng, live = np.random.default_rng(3), Live()
    for _ in range(20):
        _, scores, y = window(rng, concept=-1.0)
        live = estimate.checked(LABEL, PROFILE, None, scores, y, live)
    inside = 0
    for _ in range(40):
        _, scores, y = window(rng, concept=-1.0)
        truth, found = performance.measure(LABEL, scores, y), guess(scores, NEAR, live)
        assert {f.name for f in found} == {"brier", "accuracy", "log_loss", "roc_auc"}
        inside += all(f.lower is not None and f.upper is not None and f.lower <= truth[f.name] <= f.upper for f in found[:1])
    assert inside >= 36


def test_bounds_widen_with_the_distance_and_with_rows_outside():
    _, scores, _ = window(np.random.default_rng(2))
    widths = []
    for reach in (NEAR, Reach(0.0, 1.0), Reach(0.1, 1.0)):
        found, *_ = guess(scores, reach)
        assert found.lower is not None
        assert found.upper is not None
        widths.append(found.upper - found.lower)
    assert widths[1] == pytest.approx(2 * widths[0])
    assert widths[2] > widths[1] + 0.07


def test_too_far_outside_nothing_can_be_known():
    matrix, scores, _ = window(np.random.default_rng(2), shift=9.0)
    reach = reach_to(matrix, scores)
    found, *others = guess(scores, reach)
    assert reach.outside > 0.9
    assert (found.value, found.lower, found.upper, others) == (None, None, None, [])
    assert found.message.startswith("cannot be known: up to ")


def test_labels_take_over_as_they_come():
    _, scores, y = window(np.random.default_rng(9))
    truth = performance.measure(LABEL, scores, y)["brier"]
    last = 1.0
    for known in (0, 100, 300, 399):
        found, *_ = guess(scores, NEAR, y=np.where(np.arange(400) < known, y, np.nan))
        assert found.lower is not None
        assert found.upper is not None
        assert found.upper - found.lower < last
        last = found.upper - found.lower
    assert found.value == pytest.approx(truth, abs=0.002)
    assert guess(scores, NEAR, y=y) == []


def test_what_is_expected_of_sure_and_calibrated_scores_comes_true():
    _, scores, y = window(np.random.default_rng(5), rows=60_000)
    guessed, truth = estimate.expected(LABEL, scores), performance.measure(LABEL, scores, y)
    assert guessed == pytest.approx({name: truth[name] for name in guessed}, abs=0.006)


def test_several_classes_expect_what_their_probabilities_say():
    rng = np.random.default_rng(6)
    p = rng.dirichlet([1, 2, 3], 60_000).astype(np.float32)
    y = (rng.random((60_000, 1)) > np.cumsum(p, axis=1)).sum(axis=1).clip(0, 2).astype(np.float64)
    label = Label(name="colour", task="multiclass", classes=("red", "green", "blue"))
    guessed, truth = estimate.expected(label, p), performance.measure(label, p, y)
    assert guessed == pytest.approx({name: truth[name] for name in guessed}, abs=0.006)


def test_a_regression_expects_errors_that_go_with_its_intervals():
    few = Intervals(confidence=0.9, method="", edges=[0.0], half_widths=[1.0, 2.0], rows=0, coverage=0.9)
    profile = msgspec.structs.replace(PROFILE, performance={"rmse": 3.0})
    errors = estimate.squared_errors(profile, few, np.array([[-1.0], [1.0]], dtype=np.float32))
    assert errors is not None
    assert errors[1] == pytest.approx(4 * errors[0])
    assert estimate.squared_errors(PROFILE, few, np.zeros((1, 1), dtype=np.float32)) is None
