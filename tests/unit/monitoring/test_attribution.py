"""Attribution drift held against streams whose truth is known: days differ from each other, neighbours resemble each other."""

from __future__ import annotations

import numpy as np
import pytest

from cluster.errors import DataError, NotEnoughData
from cluster.schema import Floats
from monitoring.attribution import AttributionReference, Drift, compare, evidence, learn, rank_agreement

FEATURES = ["wind", "carrier", "miles", "seats", "unused"]
TYPICAL = np.array([1.0, 0.5, 0.3, 0.1, 0.0])
ROWS, DAYS = 80, 40


def days(rng: np.random.Generator, count: int, *, memory: float = 0.0, grown: Floats | float = 1.0) -> list[Floats]:
    """Contributions by day. A day has a level of its own for each feature, 15 % around its typical one, near that of the day before."""
    level, made = rng.normal(size=len(FEATURES)), []
    for _ in range(count):
        level = memory * level + np.sqrt(1 - memory**2) * rng.normal(size=len(FEATURES))
        made.append(rng.normal(size=(ROWS, len(FEATURES))) * TYPICAL * np.exp(0.15 * level) * grown)
    return made


def reference_of(stream: list[Floats]) -> AttributionReference:
    return learn(FEATURES, np.vstack(stream), np.repeat(np.arange(len(stream)), ROWS))


def by_feature(drift: Drift) -> dict[str, bool]:
    return {change.feature: change.changed for change in drift.changes}


@pytest.mark.parametrize("memory", [0.0, 0.5])
def test_a_window_in_which_nothing_has_changed_blames_a_feature_in_at_most_one_case_of_twenty(memory: float) -> None:
    rng, blamed, windows = np.random.default_rng(1), 0, 0
    for _ in range(60):
        stream = days(rng, DAYS + 20, memory=memory)
        reference = reference_of(stream[:DAYS])
        blamed += sum(any(by_feature(compare(reference, day)).values()) for day in stream[DAYS:])
        windows += 20
    assert 0.005 < blamed / windows < 0.05


def test_intervals_hold_the_true_change_as_often_as_they_say() -> None:
    rng, held, asked = np.random.default_rng(2), 0, 0
    grown = np.array([1.3, 0.7, 1.0, 1.0, 1.0])
    of_a_normal = np.sqrt(2 / np.pi) * np.exp(0.15**2 / 2)
    for _ in range(150):
        drift = compare(reference_of(days(rng, DAYS)), np.vstack(days(rng, 1, grown=grown)), confidence=0.9)
        for change in drift.changes:
            j = FEATURES.index(change.feature)
            true = of_a_normal * TYPICAL[j] * (grown[j] - 1)
            held += change.change.lower <= true <= change.change.upper
            asked += change.feature != "unused"
    held -= 150  # of the feature that is never used, which is trivially right
    assert 0.86 < held / asked < 0.96


def test_rows_taken_for_independent_would_blame_most_days() -> None:
    """What the blocks are for: without their variance between each other, intervals are far too narrow."""
    rng, blamed = np.random.default_rng(3), 0
    stream = days(rng, DAYS + 40)
    reference = reference_of(stream[:DAYS])
    alone = AttributionReference(
        **{name: getattr(reference, name) for name in reference.__struct_fields__} | {"between": [0.0] * len(FEATURES)}
    )
    blamed = sum(any(by_feature(compare(alone, day)).values()) for day in stream[DAYS:])
    assert blamed > 10


def test_a_feature_whose_contributions_grow_or_vanish_is_blamed_alone_and_first() -> None:
    rng = np.random.default_rng(4)
    reference = reference_of(days(rng, DAYS))
    for place, factor in ((1, 4.0), (2, 0.0)):
        grown = np.ones(len(FEATURES))
        grown[place] = factor
        drift = compare(reference, np.vstack(days(rng, 1, grown=grown)))
        assert [name for name, changed in by_feature(drift).items() if changed] == [FEATURES[place]]
        assert drift.changes[0].feature == FEATURES[place]
        assert (drift.changes[0].change.estimate > 0) == (factor > 1)
        assert drift.rank_agreement < 1


def test_a_feature_that_was_never_used_is_news_once_it_counts_for_something_and_not_before() -> None:
    rng = np.random.default_rng(5)
    stream = days(rng, DAYS + 1)
    reference = reference_of(stream[:DAYS])
    crumb, news = stream[DAYS].copy(), stream[DAYS].copy()
    crumb[:3, 4] = 0.01
    news[:, 4] = 0.2
    assert by_feature(compare(reference, crumb))["unused"] is False
    assert by_feature(compare(reference, news))["unused"] is True


def test_evidence_of_quiet_windows_has_a_mean_of_at_most_one_and_grows_where_something_changed() -> None:
    rng, found = np.random.default_rng(6), []
    for _ in range(40):
        stream = days(rng, DAYS + 30, memory=0.4)
        reference = reference_of(stream[:DAYS])
        previous: list[float | None] = [None] * len(FEATURES)
        for day in stream[DAYS:]:
            seen = evidence(reference, day, previous, cap=30.0)
            previous = [e.standardised for e in seen]
            found += [e.e_value for e in seen]
    assert np.mean(found) < 1.0
    changed = evidence(reference, np.vstack(days(rng, 1, grown=np.array([3.0, 1, 1, 1, 1]))), cap=1e6)
    assert [e.feature for e in changed] == FEATURES
    assert changed[0].e_value > 20


def test_trees_that_use_nothing_say_nothing() -> None:
    stream = [np.zeros((ROWS, len(FEATURES))) for _ in range(10)]
    found = evidence(reference_of(stream), np.zeros((ROWS, len(FEATURES))), cap=100.0)
    assert [np.isfinite([one.e_value, one.standardised]).all() for one in found] == [True] * len(FEATURES)


def test_small_blocks_are_left_out_and_too_few_are_refused() -> None:
    rng = np.random.default_rng(7)
    stream = np.vstack(days(rng, 10))
    blocks = np.repeat(np.arange(10), ROWS)
    blocks[:ROWS] = np.arange(ROWS) - 1000  # a day of single rows
    assert learn(FEATURES, stream, blocks).blocks == 9
    with pytest.raises(NotEnoughData, match="at least 8 blocks of 30 rows; found 7"):
        learn(FEATURES, stream[: 7 * ROWS], np.repeat(np.arange(7), ROWS))


def test_what_does_not_fit_is_refused() -> None:
    reference = reference_of(days(np.random.default_rng(8), 10))
    with pytest.raises(DataError, match=r"shape \(3, 2\) do not fit 5 features"):
        compare(reference, np.zeros((3, 2)))
    with pytest.raises(DataError, match="not finite"):
        compare(reference, np.full((3, 5), np.nan))
    with pytest.raises(DataError, match="holds no row"):
        compare(reference, np.zeros((0, 5)))
    with pytest.raises(DataError, match="3 rows of contributions have 2 blocks"):
        learn(FEATURES, np.zeros((3, 5)), np.zeros(2, dtype=np.int64))


def test_rankings_agree_as_scipy_says() -> None:
    from scipy.stats import spearmanr

    rng = np.random.default_rng(9)
    before, after = rng.integers(0, 5, (20, 6)).astype(np.float64), rng.integers(0, 5, (20, 6)).astype(np.float64)
    expected = [spearmanr(a, b).statistic for a, b in zip(before, after, strict=True)]
    assert rank_agreement(before, after) == pytest.approx(expected)
    assert rank_agreement(np.ones((1, 3)), np.ones((1, 3))) == [1.0]
