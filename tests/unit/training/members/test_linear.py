from __future__ import annotations

import threading
from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from cluster.schema import Floats, Matrix
from tests.unit.training import tables
from training.members import Crew, inputs, linear
from training.members.linear import LinearModel


def design_of(model: LinearModel, matrix: Matrix) -> Floats:
    codes = np.eye(model.reads.table_rows)[inputs.codes(model.reads, matrix)].sum(axis=1)
    return np.hstack([inputs.numeric(model.reads, matrix).astype(np.float64), codes])


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_it_finds_the_optimum_that_scikit_learn_finds(task):
    (member,) = tables.members_of(task, ("linear",))
    rows = tables.rows_of(task)
    native = member.fit(rows, rows, Crew()).native
    X = design_of(msgspec.json.decode(native, type=LinearModel), rows.X)
    peer = LogisticRegression(C=1.0, tol=1e-8, max_iter=5000).fit(X, rows.y)
    expected = peer.predict_proba(X)[:, 1:] if task == "binary" else peer.predict_proba(X)
    np.testing.assert_allclose(member.score(native, rows.X), expected, atol=2e-3)


def test_ridge_finds_the_optimum_that_scikit_learn_finds():
    (member,) = tables.members_of("regression", ("linear",))
    rows = tables.rows_of("regression")
    native = member.fit(rows, rows, Crew()).native
    X = design_of(msgspec.json.decode(native, type=LinearModel), rows.X)
    expected = Ridge(alpha=1.0).fit(X, rows.y).predict(X)
    np.testing.assert_allclose(member.score(native, rows.X)[:, 0], expected, atol=0.02 * rows.y.std())


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_a_table_too_large_to_keep_is_fitted_block_by_block_to_the_same_scores(task, monkeypatch):
    (member,) = tables.members_of(task, ("linear",))
    rows = tables.rows_of(task, 150)
    whole = member.fit(rows, None, Crew())
    monkeypatch.setattr(inputs, "CHUNK", 60)
    in_blocks = member.fit(rows, None, Crew())
    monkeypatch.setattr(linear, "_MOST_KEPT", 0)
    assert member.fit(rows, None, Crew()) == in_blocks
    np.testing.assert_allclose(member.score(in_blocks.native, rows.X), member.score(whole.native, rows.X), rtol=1e-3, atol=1e-3)


def test_two_workers_find_what_one_finds():
    (member,) = tables.members_of("binary", ("linear",))
    rows = tables.rows_of("binary")
    alone = member.score(member.fit(rows, rows, Crew()).native, rows.X)
    crews, results = _crews(2), {}

    def work(rank):
        results[rank] = member.fit(rows[rank::2], rows, crews[rank]).native

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert results[0] == results[1]
    np.testing.assert_allclose(member.score(results[0], rows.X), alone, atol=1e-3)


def _crews(size: int) -> list[Crew]:
    """Crews of threads that add up their arrays at a barrier."""
    board: list[Floats] = [np.empty(0)] * size
    meet = threading.Barrier(size, timeout=20)

    def total_of(rank: int) -> Callable[[Floats], Floats]:
        def total(values: Floats) -> Floats:
            board[rank] = values
            meet.wait()
            result: Floats = np.sum(board, axis=0)
            meet.wait()
            return result

        return total

    return [Crew(rank=rank, size=size, total=total_of(rank)) for rank in range(size)]
