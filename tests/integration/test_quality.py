"""The peers of the quality benchmark on tables with a known law: real libraries, small fits."""

import functools
import itertools

import numpy as np
import pytest

from benchmarks.peers import plain_lightgbm, tuned_catboost, tuned_xgboost
from benchmarks.peers.tabular import Fitted, Table, search
from cluster.schema import Label, Task
from training.judging.evaluate import measure

PEERS = [plain_lightgbm, tuned_catboost, tuned_xgboost]
LABELS: dict[Task, Label] = {
    "binary": Label(name="y", classes=(0, 1)),
    "multiclass": Label(name="y", task="multiclass", classes=("a", "b", "c")),
    "regression": Label(name="y", task="regression"),
}


def rows(task: Task, n: int, *, seed: int):
    """A number, and a category whose codes say nothing by their order; a few of each are missing."""
    rng = np.random.default_rng(seed)
    code = rng.integers(0, 12, n)
    x = rng.normal(size=n)
    z = x + 2.0 * np.isin(code, [1, 4, 6, 11]) + 0.3 * rng.normal(size=n)
    y = {"binary": z > 0.6, "multiclass": np.digitize(z, [0, 1.2]), "regression": z}[task].astype(np.float64)
    X = np.column_stack([x, code]).astype(np.float32)
    X[rng.random(X.shape) < 0.02] = np.nan
    return X, y


@pytest.fixture(autouse=True)
def one_trial(monkeypatch: pytest.MonkeyPatch):
    """A clock that leaps ends a search after its first trial, which has all the time it needs."""
    for peer in PEERS:
        monkeypatch.setattr(peer, "THREADS", 1)
        monkeypatch.setattr(
            peer, "search", functools.partial(search, clock=itertools.count(step=1000).__next__), raising=peer is not PEERS[0]
        )


def fitted(peer, task: Task) -> Fitted:
    X, y = rows(task, 800, seed=0)
    choose = np.arange(len(y)) % 4 == 0
    model: Fitted = peer.fit(Table(task, X, y, choose, (1,), 3 if task == "multiclass" else 2), budget_s=120, seed=1)
    return model


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.__name__.rpartition(".")[2])
@pytest.mark.parametrize("task", LABELS)
def test_a_peer_learns_numbers_and_categories_and_scores_as_we_do(peer, task):
    model = fitted(peer, task)
    X, y = rows(task, 500, seed=9)
    scores = model.scores(X)
    found = measure(LABELS[task], y, scores)
    assert scores.shape == (500, 3 if task == "multiclass" else 1)
    assert scores.dtype == np.dtype("float32")
    better = {
        "binary": found.get("roc_auc", 0) > 0.95,
        "multiclass": found.get("accuracy", 0) > 0.75,
        "regression": found.get("r2", 0) > 0.85,
    }
    assert better[task], found
    single = np.asarray(model.single(X[:1])(), dtype=np.float32).ravel()
    assert single[-scores.shape[1] :] == pytest.approx(scores[0], abs=1e-5)  # CatBoost answers both classes of a binary label


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.__name__.rpartition(".")[2])
def test_the_same_seed_gives_the_same_model(peer):
    X, _ = rows("binary", 50, seed=9)
    first, second = (fitted(peer, "binary").scores(X) for _ in range(2))
    assert np.array_equal(first, second)
