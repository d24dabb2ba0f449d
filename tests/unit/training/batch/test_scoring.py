"""The columns of predictions: what the service would answer, and why."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from cluster import bundle as bundles
from cluster.bundle import Bundle
from cluster.errors import BundleError
from cluster.intervals import Intervals
from cluster.schema import Label, decide
from tests.builders import MODEL, make_bundle, make_schema
from training.batch.scoring import Answers, Columns, answer, largest

MATRIX = np.array([[100, 1, 0], [2500, -3, 1], [np.nan, 0, 3], [50, 9, np.nan]], dtype=np.float32)


def make(folder: Path, **changes: Any) -> Bundle:
    return Bundle(folder, version="3", digest=make_bundle(folder, **changes))


def test_answers_are_the_services(tmp_path: Path) -> None:
    bundle = make(tmp_path / "b", threshold=0.5)
    answers = answer(bundle, MATRIX)
    assert np.array_equal(answers.scores, bundle.answer(MATRIX))
    sure = np.abs(bundle.student(MATRIX)[:, 0] - 0.5) / 0.5 >= 0.5
    assert answers.by_ensemble.tolist() == (~sure).tolist()
    assert 0 < answers.by_ensemble.sum() < len(MATRIX)


@pytest.mark.parametrize("classes", [(0, 1), ("no", "yes"), (False, True)])
def test_a_binary_prediction_is_a_class_in_its_own_type(tmp_path: Path, classes: tuple[Any, Any]) -> None:
    label = Label(name="late", classes=classes, threshold=0.4)
    bundle = make(tmp_path / "b", schema=make_schema(label=label))
    answers = answer(bundle, MATRIX)
    columns = Columns(bundle).of(MATRIX, answers)
    assert list(columns) == ["prediction", "probability", "answered_by", "bundle"] == Columns(bundle).names()
    assert columns["prediction"].to_pylist() == decide(label, answers.scores)
    assert columns["probability"].to_pylist() == answers.scores[:, 0].tolist()
    assert set(columns["bundle"].to_pylist()) == {"3"}
    assert columns["answered_by"].to_pylist() == ["ensemble" if hard else "student" for hard in answers.by_ensemble]


def test_many_classes_have_a_probability_each(tmp_path: Path) -> None:
    label = Label(name="late", task="multiclass", classes=("a", 2, "c"))
    bundle = make(tmp_path / "b", schema=make_schema(label=label))
    scores = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2]], dtype=np.float32)
    columns = Columns(bundle).of(MATRIX[:2], Answers(scores, np.array([True, False])))
    assert columns["prediction"].to_pylist() == ["2", "a"]  # of several types: all as text
    assert columns["probability"].to_pylist() == scores.max(axis=1).tolist()
    assert columns["probability_2"].to_pylist() == scores[:, 1].tolist()


@pytest.mark.parametrize("learned", [True, False])
def test_a_number_has_an_interval_where_one_was_learned(tmp_path: Path, learned: bool) -> None:
    schema = make_schema(label=Label(name="late", task="regression"))
    make_bundle(tmp_path / "b", schema=schema)
    if learned:
        intervals = Intervals(confidence=0.9, method="", edges=[0.5], half_widths=[1.0, 2.0], rows=9, coverage=0.9)
        (tmp_path / "b" / "intervals.json").write_bytes(msgspec.json.encode(intervals))
    bundles.seal(tmp_path / "b", model=MODEL, created="2026-01-01T00:00:00+00:00")
    bundle = Bundle(tmp_path / "b")
    answers = answer(bundle, MATRIX)
    columns = Columns(bundle).of(MATRIX, answers)
    assert columns["prediction"].to_pylist() == answers.scores[:, 0].tolist()
    assert ("lower" in columns) is learned
    if learned:
        assert columns["upper"].to_numpy() - columns["lower"].to_numpy() == pytest.approx([4, 4, 4, 2])


def test_the_largest_contributions_come_first_whatever_their_sign() -> None:
    places, values = largest(np.array([[0.1, -3.0, 2.0, 0.5]], dtype=np.float32), np.array([[0.5]], dtype=np.float32))
    assert (places.tolist(), values.tolist()) == ([[1, 2, 3]], [[-3.0, 2.0, 0.5]])


def test_contributions_to_the_answered_class_count() -> None:
    contributed = np.zeros((2, 2, 3), dtype=np.float32)
    contributed[0, 1, 2], contributed[1, 0, 0] = 5.0, -7.0
    places, values = largest(contributed, np.array([[0, 0, 1], [1, 0, 0]], dtype=np.float32))
    assert (places[:, 0].tolist(), values[:, 0].tolist()) == ([1, 0], [5.0, -7.0])


def test_reasons_need_trees(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"holds no 'members/xgboost\.ubj'.*leave --explain out"):
        Columns(make(tmp_path / "b"), explain=True)


def test_reasons_are_named_by_feature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_bundle(tmp_path / "b")
    (tmp_path / "b" / "members" / "xgboost.ubj").write_bytes(b"{trees")
    bundles.seal(tmp_path / "b", model=MODEL, created="2026-01-01T00:00:00+00:00")
    of_all = SimpleNamespace(contributions=lambda trees, matrix: np.tile(np.array([1, -2, 0.5], dtype=np.float32), (len(matrix), 1)))
    monkeypatch.setitem(sys.modules, "training.explaining.attributions", of_all)  # its own import costs a second
    bundle = Bundle(tmp_path / "b")
    columns = Columns(bundle, explain=True).of(MATRIX, answer(bundle, MATRIX))
    assert [columns[f"reason_{i}"][0].as_py() for i in (1, 2, 3)] == ["wind", "miles", "carrier"]
    assert [columns[f"reason_{i}_contribution"][0].as_py() for i in (1, 2, 3)] == [-2.0, 1.0, 0.5]
    assert pa.types.is_dictionary(columns["reason_1"].type)
