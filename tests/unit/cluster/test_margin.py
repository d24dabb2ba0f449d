from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cluster.margin import Sureness, disagree, is_hard, margin
from cluster.schema import Label, decide

shares = st.floats(0, 1, width=32)


@given(st.floats(0.01, 0.99), st.lists(shares, min_size=1))
def test_binary_margins_lie_between_0_and_1_and_grow_with_the_distance_from_the_threshold(threshold: float, p: list[float]) -> None:
    label = Label(name="y", classes=(0, 1), threshold=threshold)
    scores = np.sort(np.array(p, dtype=np.float32)).reshape(-1, 1)
    found = margin(label, scores)
    assert ((found >= 0) & (found <= 1)).all()
    above = scores[:, 0].astype(np.float64) >= threshold
    assert (np.diff(found[above]) >= 0).all()
    assert (np.diff(found[~above]) <= 0).all()


def test_the_margin_is_0_at_the_threshold_and_1_at_both_ends() -> None:
    label = Label(name="y", classes=(0, 1), threshold=0.2)
    np.testing.assert_allclose(margin(label, np.array([[0.2], [0.0], [1.0], [0.1], [0.6]])), [0, 1, 1, 0.5, 0.5])


def test_the_multiclass_margin_is_the_lead_of_the_first_over_the_second() -> None:
    label = Label(name="y", task="multiclass", classes=("a", "b", "c"))
    scores = np.array([[0.5, 0.2, 0.3], [0.1, 0.1, 0.8], [0.4, 0.4, 0.2]])
    np.testing.assert_allclose(margin(label, scores), [0.2, 0.7, 0.0])
    assert decide(label, scores) == ["a", "c", "a"]


def test_every_row_of_a_regression_is_as_sure_as_the_next() -> None:
    assert margin(Label(name="y", task="regression"), np.array([[3.0], [-1e6]])).tolist() == [1.0, 1.0]


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=5, unique=True), st.lists(st.floats(-100, 100, width=32), min_size=1))
def test_numbers_are_as_sure_as_their_bin_alone_and_in_a_block(edges: list[float], numbers: list[float]) -> None:
    label = Label(name="y", task="regression")
    sureness = Sureness(edges=sorted(edges), values=[i / 8 for i in range(len(edges) + 1)])
    scores = np.array(numbers, dtype=np.float32).reshape(-1, 1)
    together = margin(label, scores, sureness)
    assert together.tolist() == [margin(label, row.reshape(1, 1), sureness)[0] for row in scores]
    assert together.tolist() == [sum(edge <= number for edge in edges) / 8 for number in numbers]
    np.testing.assert_array_equal(is_hard(label, scores, 0.25, sureness), together < 0.25)


def test_two_answers_disagree_where_their_decisions_do() -> None:
    label = Label(name="y", classes=(0, 1), threshold=0.25)
    assert disagree(label, np.array([[0.1], [0.3], [0.3]]), np.array([[0.25], [0.9], [0.2]])).tolist() == [True, False, True]
    many = Label(name="y", task="multiclass", classes=("a", "b", "c"))
    student, ensemble = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]]), np.array([[0.4, 0.35, 0.25], [0.5, 0.1, 0.4]])
    assert disagree(many, student, ensemble).tolist() == [False, True]
    number = Label(name="y", task="regression")
    assert disagree(number, np.array([[1.0], [1.0]]), np.array([[1.25], [0.5]]), tolerance=0.25).tolist() == [False, True]
