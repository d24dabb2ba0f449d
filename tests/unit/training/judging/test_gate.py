from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss, mean_squared_error, roc_auc_score

from cluster.errors import ConfigError, DataError, NotEnoughData
from cluster.schema import Label
from cluster.settings import parse
from cluster.training_settings import Gate
from tests.builders import make_settings
from training.judging import bootstrap
from training.judging.bootstrap import block_of, bootstrap_improvement, weighted_metric
from training.judging.evaluate import metric_value
from training.judging.gate import judge

BINARY = Label(name="late", classes=(0, 1))
THREE = Label(name="kind", task="multiclass", classes=("a", "b", "c"))
NUMBER = Label(name="price", task="regression")
DAY = 86400.0
LENIENT = Gate(min_rows=20, max_calibration_error=1.0)


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough for verdicts that are not close."""
    monkeypatch.setattr(bootstrap, "RESAMPLES", 200)


def stream(rows: int = 2000, days: int = 20, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True probabilities, labels drawn from them, and times."""
    rng = np.random.default_rng(seed)
    p = rng.uniform(0.05, 0.95, rows)
    return p, (rng.random(rows) < p).astype(np.float64), np.sort(rng.uniform(0, days * DAY, rows))


def column(p: np.ndarray) -> np.ndarray:
    return p.astype(np.float32).reshape(-1, 1)


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def test_a_clearly_better_challenger_passes_and_the_reasons_carry_the_figures() -> None:
    p, y, times = stream()
    noise = np.random.default_rng(1).uniform(0, 1, len(p))
    verdict = judge(BINARY, LENIENT, y, column(noise), column(p), times, rng=rng())
    assert verdict.passed
    assert (verdict.metric, verdict.rows) == ("roc_auc", 2000)
    assert verdict.champion == pytest.approx(roc_auc_score(y, noise.astype(np.float32)))
    assert verdict.challenger == pytest.approx(roc_auc_score(y, p.astype(np.float32)))
    assert verdict.improvement is not None
    assert verdict.improvement.lower > 0.2
    assert verdict.improvement.lower < verdict.improvement.estimate < verdict.improvement.upper
    assert verdict.reasons[0].startswith("roc_auc improves: champion 0.5")
    assert f"at least {verdict.improvement.lower:+.4f} with 90% confidence" in verdict.reasons[0]


def test_a_worse_challenger_is_refused() -> None:
    p, y, times = stream()
    verdict = judge(BINARY, LENIENT, y, column(p), column(1 - p), times, rng=rng())
    assert not verdict.passed
    assert verdict.reasons[0].startswith("roc_auc is not shown to improve")


def test_an_equal_challenger_is_refused_since_nothing_is_gained() -> None:
    p, y, times = stream()
    verdict = judge(BINARY, LENIENT, y, column(p), column(p), times, rng=rng())
    assert not verdict.passed
    assert verdict.improvement is not None
    assert (verdict.improvement.estimate, verdict.improvement.lower, verdict.improvement.upper) == (0.0, 0.0, 0.0)


def test_an_improvement_below_the_least_wanted_is_refused() -> None:
    p, y, times = stream()
    strict = LENIENT.model_copy(update={"min_improvement": 0.4})
    verdict = judge(BINARY, strict, y, column(np.full_like(p, 0.5)), column(p), times, rng=rng())
    assert not verdict.passed
    assert "(must exceed +0.4000)" in verdict.reasons[0]


def test_a_ranking_bought_with_bad_calibration_is_refused_and_that_reason_comes_first() -> None:
    p, y, times = stream()
    blurred = np.clip(p + np.random.default_rng(2).normal(0, 0.3, len(p)), 0.01, 0.99)
    verdict = judge(BINARY, Gate(min_rows=20, max_calibration_error=0.1), y, column(blurred), column(p * 0.2), times, rng=rng())
    assert not verdict.passed
    assert verdict.reasons[0].startswith("calibration error")
    assert "is above" in verdict.reasons[0]
    assert verdict.reasons[1].startswith("roc_auc improves")
    assert verdict.calibration_error["challenger"] > 0.3


def test_a_challenger_no_worse_calibrated_than_a_bad_champion_may_pass() -> None:
    p, y, times = stream()
    shuffled = np.random.default_rng(3).permutation(p) * 0.1
    verdict = judge(BINARY, Gate(min_rows=20, max_calibration_error=0.01), y, column(shuffled), column(p * 0.5), times, rng=rng())
    assert verdict.calibration_error["challenger"] > 0.01
    assert verdict.passed


def test_too_few_rows_are_refused_with_the_number_asked_for() -> None:
    p, y, times = stream(rows=40)
    verdict = judge(BINARY, Gate(min_rows=50), y, column(p), column(p), times, rng=rng())
    assert not verdict.passed
    assert verdict.reasons == ["too few labelled rows in the hold-out: 40 of the 50 that gate.min_rows asks for"]
    assert (verdict.champion, verdict.challenger, verdict.improvement) == (None, None, None)


def test_no_rows_at_all_are_refused() -> None:
    nothing, scores = np.empty(0), np.empty((0, 1), dtype=np.float32)
    verdict = judge(BINARY, Gate(), nothing, scores, scores, nothing, rng=rng())
    assert (verdict.passed, verdict.rows) == (False, 0)
    assert "0 of the 500" in verdict.reasons[0]


def test_a_hold_out_of_one_class_is_refused() -> None:
    p, _, times = stream(rows=600)
    verdict = judge(BINARY, Gate(), np.zeros(600), column(p), column(p), times, rng=rng())
    assert verdict.reasons == ["all 600 labelled rows of the hold-out are of one class: nothing can be compared"]


def test_a_regression_is_judged_by_rmse_where_less_is_better() -> None:
    _, _, times = stream()
    y = np.random.default_rng(4).normal(100, 10, 2000)
    good, bad = column(y + np.random.default_rng(5).normal(0, 1, 2000)), column(y + np.random.default_rng(6).normal(0, 5, 2000))
    verdict = judge(NUMBER, LENIENT, y, bad, good, times, rng=rng())
    assert (verdict.passed, verdict.metric, verdict.calibration_error) == (True, "rmse", {})
    assert verdict.improvement is not None
    assert verdict.improvement.estimate == pytest.approx(4.0, abs=0.3)
    assert not judge(NUMBER, LENIENT, y, good, bad, times, rng=rng()).passed


def test_a_regression_whose_labels_are_all_equal_is_judged_all_the_same() -> None:
    _, _, times = stream(rows=100)
    verdict = judge(NUMBER, LENIENT, np.full(100, 5.0), column(np.full(100, 7.0)), column(np.full(100, 5.5)), times, rng=rng())
    assert verdict.passed


def test_classes_are_judged_by_log_loss_where_less_is_better() -> None:
    _, _, times = stream()
    y = np.random.default_rng(8).integers(0, 3, 2000)
    good = np.full((2000, 3), 0.2, dtype=np.float32)
    good[np.arange(2000), y] = 0.6
    flat = np.full((2000, 3), 1 / 3, dtype=np.float32)
    verdict = judge(THREE, LENIENT, y.astype(np.float64), flat, good, times, rng=rng())
    assert (verdict.passed, verdict.metric) == (True, "log_loss")
    assert verdict.improvement is not None
    assert verdict.improvement.estimate == pytest.approx(np.log(3) - np.log(1 / 0.6), abs=1e-5)


def test_a_metric_the_task_does_not_have_is_named_with_what_is_allowed() -> None:
    _, _, times = stream(rows=100)
    y = np.random.default_rng(8).normal(size=100)
    with pytest.raises(DataError, match="task regression has no metric 'roc_auc'; allowed: rmse"):
        judge(NUMBER, LENIENT.model_copy(update={"metric": "roc_auc"}), y, column(y), column(y), times, rng=rng())


@pytest.mark.parametrize(
    ("task", "metric", "allowed"),
    [
        ("regression", "roc_auc", "rmse"),
        ("multiclass", "brier", "log_loss, accuracy"),
        ("binary", "rmse", "roc_auc, log_loss, brier, accuracy"),
    ],
)
def test_a_metric_the_task_does_not_have_is_refused_when_the_settings_are_read(
    tmp_path: Path, task: str, metric: str, allowed: str
) -> None:
    content = make_settings(tmp_path).dump()
    content["schema"]["label"] = {"name": "late", "task": task}
    content["gate"]["metric"] = metric
    with pytest.raises(ConfigError, match=f"gate.metric is '{metric}' and schema.label.task is {task}; allowed: {allowed}"):
        parse(content)


@pytest.mark.parametrize(("label", "metrics"), [(BINARY, ["roc_auc", "log_loss", "brier", "accuracy"]), (NUMBER, ["rmse"])])
def test_every_metric_that_may_be_chosen_can_be_judged(label: Label, metrics: list[Any]) -> None:
    p, y, times = stream(rows=300)
    for metric in metrics:
        verdict = judge(label, LENIENT.model_copy(update={"metric": metric}), y, column(1 - p), column(p), times, rng=rng())
        assert (verdict.passed, verdict.metric) == (True, metric)


@pytest.mark.parametrize("ties", [False, True])
def test_the_weighted_auc_equals_an_independent_one(ties: bool) -> None:
    p, y, _ = stream(rows=500)
    scores = np.round(p, 1) if ties else p
    weights = np.random.default_rng(9).integers(0, 4, 500).astype(np.float64)
    found = weighted_metric(BINARY, "roc_auc", y, scores.reshape(-1, 1))(weights)
    assert found == pytest.approx(roc_auc_score(y, scores, sample_weight=weights), abs=1e-12)


def test_the_auc_of_a_resample_without_one_class_is_no_number() -> None:
    y = np.array([0.0, 0.0, 1.0])
    auc = weighted_metric(BINARY, "roc_auc", y, column(np.array([0.1, 0.2, 0.3])))
    assert np.isnan(auc(np.array([1.0, 1.0, 0.0])))


@pytest.mark.parametrize(
    ("metric", "independent"),
    [
        ("log_loss", lambda y, p, w: log_loss(y, p, sample_weight=w)),
        ("brier", lambda y, p, w: brier_score_loss(y, p, sample_weight=w)),
        ("accuracy", lambda y, p, w: accuracy_score(y, p >= 0.5, sample_weight=w)),
        ("rmse", lambda y, p, w: mean_squared_error(y, p, sample_weight=w) ** 0.5),
    ],
)
def test_other_weighted_metrics_equal_independent_ones(metric: str, independent: Callable[..., float]) -> None:
    p, y, _ = stream(rows=400)
    p = p.astype(np.float32).astype(np.float64)
    weights = np.random.default_rng(9).integers(0, 4, 400).astype(np.float64)
    label = NUMBER if metric == "rmse" else BINARY
    assert weighted_metric(label, metric, y, column(p))(weights) == pytest.approx(independent(y, p, weights), abs=1e-9)


@pytest.mark.parametrize("metric", ["log_loss", "accuracy"])
def test_weighted_metrics_of_classes_agree_with_the_unweighted_yardstick(metric: str) -> None:
    scores = np.random.default_rng(1).dirichlet([1, 1, 1], 300).astype(np.float32)
    y = np.random.default_rng(2).integers(0, 3, 300).astype(np.float64)
    assert weighted_metric(THREE, metric, y, scores)(np.ones(300)) == pytest.approx(metric_value(THREE, metric, y, scores), abs=1e-7)


def test_rows_of_a_day_are_one_block() -> None:
    times = np.repeat(np.arange(10) * DAY, 5) + np.tile(np.arange(5) * 3600.0, 10)
    assert block_of(times).tolist() == np.repeat(np.arange(10), 5).tolist()


def test_days_without_rows_make_no_empty_block() -> None:
    times = np.array([0, 1, 2, 3, 4, 5, 6, 30]) * DAY
    assert block_of(times).tolist() == list(range(8))


def test_with_few_days_runs_of_neighbouring_rows_are_the_blocks() -> None:
    times = np.random.default_rng(0).permutation(np.linspace(0, 3 * DAY, 200))
    blocks = block_of(times)
    assert np.unique(blocks, return_counts=True)[1].tolist() == [25] * 8
    assert (np.diff(blocks[np.argsort(times)]) >= 0).all()


def test_a_hold_out_whose_resamples_never_hold_two_classes_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "RESAMPLES", 0)
    p, y, times = stream(rows=50)
    with pytest.raises(NotEnoughData, match="no resample with two classes"):
        bootstrap_improvement(BINARY, "roc_auc", y, column(p), column(p), times, confidence=0.9, rng=rng())


def test_an_equal_challenger_passes_no_more_often_than_the_confidence_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole days favour one or the other: a bootstrap over rows would pass here nearly half of the time."""
    monkeypatch.setattr(bootstrap, "RESAMPLES", 100)
    world = np.random.default_rng(11)
    trials, days, a_day, passed = 200, 20, 30, 0
    times = np.repeat(np.arange(days) * DAY, a_day)
    for _ in range(trials):
        y = np.zeros(days * a_day)
        old, new = (np.repeat(1 + world.normal(0, 0.3, days), a_day) for _ in range(2))
        found = bootstrap_improvement(NUMBER, "rmse", y, column(old), column(new), times, confidence=0.9, rng=world)
        passed += found.lower > 0
    assert passed / trials == pytest.approx(0.1, abs=0.06)
