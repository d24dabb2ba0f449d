from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from pydantic import TypeAdapter

from cluster.check_settings import Check, Condition
from cluster.errors import ConfigError
from cluster.schema import Feature, FeatureSchema, Label, Matrix
from training.judging.checks import Checks, Outcome, rules, run
from training.judging.conditions import UNKNOWN, matches, show

SCHEMA = FeatureSchema(
    features=(
        Feature(name="wind", type="number", range=(0, 50)),
        Feature(name="miles", type="number"),
        Feature(name="carrier", type="category", categories=("UA", "B6", "9E")),
    ),
    label=Label(name="late", classes=(0, 1), threshold=0.5),
)
MULTICLASS = SCHEMA.model_copy(update={"label": Label(name="size", task="multiclass", classes=("S", "M", "L"))})
REGRESSION = SCHEMA.model_copy(update={"label": Label(name="price", task="regression")})


def table(n: int = 400, *, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.uniform(0, 50, n), rng.uniform(100, 900, n), rng.integers(0, 4, n)]).astype(np.float32)


def windy(matrix: Matrix) -> Matrix:
    """Rises with the wind, up to 0.9 at 45; carriers and miles change nothing."""
    return np.asarray(np.nan_to_num(np.clip(0.02 * matrix[:, :1], 0, 0.9), nan=0.2), dtype=np.float32)


def by_carrier(matrix: Matrix) -> Matrix:
    """0.1, 0.3, 0.5 and 0.7 by carrier, the last for unknown ones."""
    return np.asarray(np.nan_to_num(np.clip(0.1 + 0.2 * matrix[:, 2:], 0, 1), nan=0.2), dtype=np.float32)


def one(check: dict[str, Any], scorer, *, schema=SCHEMA, matrix=None, **more: Any) -> Outcome:
    checks = TypeAdapter(tuple[Check, ...]).validate_python([{"name": "mine"} | check])
    matrix = table() if matrix is None else matrix
    return run(checks, schema, matrix, scorer, rng=np.random.default_rng(1), **more).outcomes[0]


def test_a_feature_that_changes_nothing_is_invariant():
    found = one({"kind": "invariance", "features": ["carrier", "miles"], "tolerance": 0}, windy)
    assert (found.passed, found.rows, found.share, found.worst, found.changed) == (True, 400, 1.0, None, None)
    assert found.message == "holds: it holds on 100.00% of 400 rows; 100.00% are needed"


def test_a_feature_that_decides_is_not_invariant_and_the_worst_row_is_shown():
    found = one({"kind": "invariance", "features": ["carrier"], "tolerance": 0.3}, by_carrier)
    assert found.passed is False
    assert found.share is not None
    assert 0 < found.share < 1
    assert found.worst is not None
    assert found.changed is not None
    assert list(found.changed) == ["carrier"]
    assert {found.worst["carrier"], found.changed["carrier"]} == {UNKNOWN, "UA"}  # 0.7 against 0.1
    assert abs(found.worst_score[0] - found.changed_score[0]) == pytest.approx(0.6, abs=1e-6)


def test_a_change_is_always_to_another_known_category():
    seen = []

    def watch(matrix):
        seen.append(matrix[:, 2].copy())
        return by_carrier(matrix)

    matrix = table()
    one({"kind": "invariance", "features": ["carrier"]}, watch, matrix=matrix)
    for codes in seen[1:4]:
        assert (codes != matrix[:, 2]).all()
        assert set(codes) == {0.0, 1.0, 2.0}


def test_a_number_is_moved_by_a_share_of_itself_within_its_range():
    found = one({"kind": "invariance", "features": ["wind"], "by": 0.5, "tolerance": 0}, windy)
    assert found.passed is False
    assert found.worst is not None
    assert found.changed is not None
    before, after = float(found.worst["wind"] or 0), float(found.changed["wind"] or 0)
    assert 0.5 * before <= after <= min(50, 1.5 * before)


def test_rows_in_which_nothing_can_be_changed_are_not_tried():
    matrix = table()
    matrix[:300, 2] = np.nan
    assert one({"kind": "invariance", "features": ["carrier"]}, windy, matrix=matrix).rows == 100


@pytest.mark.parametrize(("direction", "passed"), [("up", True), ("down", False)])
def test_a_score_that_rises_with_a_number_is_monotonic_upwards_only(direction, passed):
    assert one({"kind": "monotonic", "feature": "wind", "direction": direction, "step": 5}, windy).passed is passed


def test_a_dip_further_up_is_found():
    def dips(matrix):
        return np.where((matrix[:, :1] > 30) & (matrix[:, :1] < 40), 0.1, 0.6).astype(np.float32)

    matrix = np.tile(np.array([[20, 100, 0]], dtype=np.float32), (60, 1))
    assert one({"kind": "monotonic", "feature": "wind", "direction": "up", "step": 4}, dips, matrix=matrix).passed is False
    found = one({"kind": "monotonic", "feature": "wind", "direction": "up", "step": 6}, dips, matrix=matrix)
    assert (found.passed, found.share) == (False, 0.0)
    assert found.worst == {"wind": 26.0, "miles": 100.0, "carrier": "UA"}  # a step before the dip, which begins at 32
    assert found.changed == {"wind": 32.0}
    assert [*found.worst_score, *found.changed_score] == pytest.approx([0.6, 0.1])
    assert one({"kind": "monotonic", "feature": "wind", "direction": "up", "step": 6, "tolerance": 0.5}, dips, matrix=matrix).passed is True


def test_a_number_at_the_end_of_its_range_or_missing_is_not_raised():
    matrix = table()
    matrix[:100, 0], matrix[100:150, 0] = 50, np.nan
    assert one({"kind": "monotonic", "feature": "wind", "direction": "up"}, windy, matrix=matrix).rows == 250


def test_a_range_holds_for_the_rows_it_speaks_of():
    calm = {"wind": [None, 10]}
    assert one({"kind": "range", "where": calm, "score": [0, 0.2]}, windy).passed is True
    assert one({"kind": "range", "where": calm, "decision": 0}, windy).passed is True
    found = one({"kind": "range", "score": [0, 0.2]}, windy)
    assert found.passed is False
    assert found.share == pytest.approx((table()[:, 0] <= 10).mean())
    assert found.worst is not None
    assert found.worst_score[0] == pytest.approx(0.9)  # the furthest out is shown


def test_a_share_below_one_lets_some_rows_be_otherwise():
    check = {"kind": "range", "decision": 0}
    assert one(check | {"share": 0.4}, windy).passed is True  # the wind is below 25 on about half of the rows
    assert one(check | {"share": 0.6}, windy).passed is False


def test_too_few_rows_are_not_judged_and_keep_nobody_out():
    check = {"kind": "range", "where": {"wind": [0, 1]}, "score": [0.9, 1]}
    found = one(check, windy)
    assert (found.passed, found.rows, found.share) == (None, 9, 0.0)
    assert found.message == "not judged: 9 of 400 rows match where wind: [0, 1]; 50 are needed"
    assert one(check | {"min_rows": 5}, windy).passed is False
    result = run(
        TypeAdapter(tuple[Check, ...]).validate_python([check | {"name": "mine"}]), SCHEMA, table(), windy, rng=np.random.default_rng(0)
    )
    assert result.passed is True
    assert rules(result)[0] == (True, "check 'mine' not judged: 9 of 400 rows match where wind: [0, 1]; 50 are needed")


def test_a_category_that_the_table_lacks_is_not_judged():
    found = one({"kind": "range", "where": {"carrier": "OO"}, "decision": 1}, windy)
    assert (found.passed, found.rows, found.share) == (None, 0, None)
    assert found.message == "not judged: 0 of 400 rows match where carrier: 'OO'; 50 are needed"


def test_rows_that_match_and_cannot_be_tried_are_told_apart():
    matrix = table()
    matrix[5:, 2] = np.nan
    found = one({"kind": "invariance", "features": ["carrier"]}, windy, matrix=matrix)
    assert found.message == "not judged: 400 rows were looked at, 5 of them could be tried; 50 are needed"
    found = one(
        {"kind": "invariance", "features": ["carrier"], "where": {"wind": [0, None], "carrier": ["UA", None]}}, windy, matrix=matrix
    )
    assert found.message.startswith(
        "not judged: 396 of 400 rows match where wind: [0, null]; carrier: [UA, null], 1 of them could be tried;"
    )


def test_an_example_row_gets_its_answer():
    calm = {"kind": "row", "row": {"wind": 5, "carrier": "B6"}}
    found = one(calm | {"score": [0.05, 0.15]}, windy)
    assert (found.passed, found.rows, found.message) == (True, 1, "holds: the row scores 0.1")
    found = one(calm | {"decision": 1}, windy)
    assert (found.passed, found.message) == (False, "fails: the row scores 0.1")
    assert found.worst == {"wind": 5.0, "miles": None, "carrier": "B6"}


def test_a_score_that_is_no_number_breaks_every_kind():
    def broken(matrix):
        return np.full((len(matrix), 1), np.nan, dtype=np.float32)

    for check in (
        {"kind": "invariance", "features": ["wind"]},
        {"kind": "monotonic", "feature": "wind", "direction": "up"},
        {"kind": "range", "score": [0, 1]},
        {"kind": "row", "row": {"wind": 1}, "score": [0, 1]},
    ):
        assert one(check, broken).passed is not True


def test_multiclass_checks_speak_of_one_class():
    def scorer(matrix):
        wind = np.nan_to_num(np.clip(matrix[:, 0] / 100, 0, 1), nan=0.0)
        return np.column_stack([wind, 1 - wind, np.zeros(len(matrix))]).astype(np.float32)

    up = {"kind": "monotonic", "feature": "wind", "direction": "up"}
    assert one(up | {"of": "S"}, scorer, schema=MULTICLASS).passed is True
    assert one(up | {"of": "M"}, scorer, schema=MULTICLASS).passed is False
    assert one({"kind": "range", "of": "L", "score": [0, 0.01]}, scorer, schema=MULTICLASS).passed is True
    assert one({"kind": "range", "decision": "M", "where": {"wind": [0, 49]}}, scorer, schema=MULTICLASS).passed is True
    changed = {"kind": "invariance", "features": ["wind"], "by": 0.5, "tolerance": 0.001}
    assert one(changed | {"of": "L"}, scorer, schema=MULTICLASS).passed is True
    assert one(changed, scorer, schema=MULTICLASS).passed is False


def test_regression_scores_are_in_the_label_s_unit():
    def price(matrix):
        return np.nan_to_num(200 + matrix[:, 1:2], nan=0, posinf=0, neginf=0).astype(np.float32)

    assert one({"kind": "range", "score": [300, 1100]}, price, schema=REGRESSION).passed is True
    assert one({"kind": "range", "score": [300, 600]}, price, schema=REGRESSION).passed is False


def test_at_most_most_rows_are_tried_and_the_same_ones_each_time():
    check = {"kind": "range", "score": [0, 0.5]}
    first, second = (one(check, windy, most_rows=100) for _ in range(2))
    assert first.rows == 100
    assert first == second


def test_checks_that_do_not_fit_the_schema_are_refused():
    with pytest.raises(ConfigError, match=r"checks: check 'mine': 'wnd' is no feature; allowed: wind, miles, carrier"):
        one({"kind": "monotonic", "feature": "wnd", "direction": "up"}, windy)


def test_a_failed_check_keeps_a_challenger_out():
    result = run(
        TypeAdapter(tuple[Check, ...]).validate_python([{"name": "calm", "kind": "range", "decision": 0}]),
        SCHEMA,
        table(),
        windy,
        rng=np.random.default_rng(0),
    )
    assert result.passed is False
    first, edges = rules(result)
    assert first.ok is False
    assert first.reason.startswith("check 'calm' fails: it holds on ")
    assert edges.ok is True


def test_a_result_survives_a_file():
    result = run((), SCHEMA, table(), windy, rng=np.random.default_rng(0))
    assert msgspec.json.decode(msgspec.json.encode(result), type=Checks) == result


def test_conditions_mean_the_rows_they_say():
    matrix = np.array([[1, 5, 0], [2, np.nan, 1], [3, 7, 3], [np.nan, 8, np.nan]], dtype=np.float32)
    cases: list[tuple[dict[str, Condition], list[int]]] = [
        ({}, [0, 1, 2, 3]),
        ({"wind": 2}, [1]),
        ({"wind": (2, None)}, [1, 2]),
        ({"wind": (None, 2)}, [0, 1]),
        ({"wind": None}, [3]),
        ({"carrier": "B6"}, [1]),
        ({"carrier": ("UA", "B6")}, [0, 1]),
        ({"carrier": ("UA", None)}, [0, 3]),
        ({"carrier": "ZZ"}, []),
        ({"wind": (1, 2), "miles": 5}, [0]),
    ]
    for where, rows in cases:
        assert np.flatnonzero(matches(where, SCHEMA, matrix)).tolist() == rows, where


def test_a_row_is_shown_in_names_and_numbers():
    assert show(SCHEMA, np.array([np.nan, 7, 1], dtype=np.float32)) == {"wind": None, "miles": 7.0, "carrier": "B6"}
    assert show(SCHEMA, np.array([1, 7, 3], dtype=np.float32))["carrier"] == UNKNOWN
    assert show(SCHEMA, np.array([1, 7, np.nan], dtype=np.float32))["carrier"] is None
