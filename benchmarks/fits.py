"""One fit in a process of its own, for `benchmarks.training`: prints its seconds and its loss as JSON.

python -m benchmarks.fits CASE WORK ROUNDS, where WORK is the folder that the benchmark has filled.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from cluster.environment import prepare
from cluster.schema import FeatureSchema, Floats, Matrix
from cluster.settings import Settings, parse

SEED: Final = 20261125
PARAMETERS: Final = ("max_depth", "learning_rate", "min_child_weight", "subsample", "colsample_bytree", "reg_lambda")
TREES: Final = ("xgboost",)
ALL: Final = ("xgboost", "torch", "linear")


class Found(NamedTuple):
    """What came of a fit."""

    loss: float
    """Log loss on the validation rows."""
    rows: int


def settings(work: Path, *, rounds: int, members: tuple[str, ...] = TREES, **training: Any) -> Settings:
    """Settings over the schema that lies in the folder; trees are never stopped early."""
    chosen: dict[str, Mapping[str, int] | None] = {name: {} if name in members else None for name in ALL}
    chosen["xgboost"] = {"rounds": rounds, "early_stopping_rounds": rounds}
    return parse(
        {
            "model": "bench",
            "data": {"source": str(work / "table")},
            "schema": json.loads((work / "schema.json").read_text()),
            "members": chosen,
            "training": {"seed": SEED, "folds": 1, **training},
            "places": {"root": str(work / "root")},
        }
    )


def in_memory(work: Path) -> tuple[Matrix, Floats, int]:
    """The rows that the benchmark wrote, read into memory, and where validation begins."""
    X, y = np.load(work / "X.npy"), np.load(work / "y.npy")
    return X, y, int(0.8 * len(y))


def fit_plain(work: Path, threads: int, rounds: int) -> Found:
    """XGBoost called directly with the parameters that our member has: once with validation, and once on all rows."""
    import xgboost

    from training.composing import trees

    chosen = settings(work, rounds=rounds)
    assert chosen.members.xgboost is not None
    ours = chosen.members.xgboost.model_dump(include=set(PARAMETERS))
    parameters = trees.task_parameters(chosen.columns.label, seed=SEED, threads=threads) | ours | {"seed_per_iteration": True}
    X, y, cut = in_memory(work)
    train = xgboost.QuantileDMatrix(X[:cut], y[:cut], nthread=threads)
    valid = xgboost.QuantileDMatrix(X[cut:], y[cut:], ref=train, nthread=threads)
    booster = xgboost.train(parameters, train, rounds, evals=[(valid, "valid")], verbose_eval=False)
    del train, valid
    xgboost.train(parameters, xgboost.QuantileDMatrix(X, y, nthread=threads), rounds)
    return Found(log_loss(y[cut:], booster.inplace_predict(X[cut:])), len(y))


def fit_ours(work: Path, rounds: int, members: tuple[str, ...] = TREES, **training: Any) -> Found:
    """Our members on the same rows, wherever the settings say."""
    from training.data.split import stopping_fold
    from training.fitting import Cuts, Fold
    from training.members import Rows, build
    from training.workers.distributed import fit_members

    chosen = settings(work, rounds=rounds, members=members, **training)
    made = build(chosen, chosen.columns)
    X, y, cut = in_memory(work)
    if chosen.training.local_rows < len(y):
        from cluster.runtime import connect

        connect()
    cuts = Cuts(stopping_fold(cut, chosen.training.validation_share), [Fold(cut, len(y))])
    fits = fit_members(made, Rows(X, y), cuts, chosen.training, str(work / "steps"), run="bench")
    return Found(log_loss(y[cut:], made[0].score(fits.folds[0][made[0].name], X[cut:])[:, 0]), len(y))


def fit_streamed(work: Path, rounds: int, **training: Any) -> Found:
    """Our trees on a folder of Parquet files, read as a stream."""
    from cluster.runtime import connect
    from training.members import Member, Rows, build
    from training.workers.stream import fit_stream

    chosen = settings(work, rounds=rounds, **training)
    made: list[Member] = []

    def members(schema: FeatureSchema, _sample: Rows) -> list[Member]:
        made.extend(build(chosen, schema))
        return made

    connect()
    found = fit_stream(chosen, members, str(work / "steps"), run="bench")
    scores = made[0].score(found.fits.folds[0][made[0].name], found.tune.rows.X)
    return Found(log_loss(found.tune.rows.y, scores[:, 0]), sum(found.counts.values()))


def log_loss(y: Floats, scores: Any) -> float:
    """Mean negative log-likelihood of 0/1 labels."""
    p = np.clip(np.asarray(scores, dtype=np.float64), 1e-7, 1 - 1e-7)
    return float(-np.mean(np.where(y > 0.5, np.log(p), np.log1p(-p))))


def cases(work: Path, threads: int, rounds: int) -> dict[str, Callable[[], Found]]:
    """What can be measured, by name; all have the same threads together."""
    each = max(1, threads // 2)
    return {
        "plain": lambda: fit_plain(work, threads, rounds),
        "one process": lambda: fit_ours(work, rounds, local_rows=2**40, cpus_per_worker=threads),
        "all members": lambda: fit_ours(work, rounds, ALL, local_rows=2**40, cpus_per_worker=threads),
        "one worker": lambda: fit_ours(work, rounds, local_rows=0, cpus_per_worker=threads),
        "two workers": lambda: fit_ours(work, rounds, local_rows=0, cpus_per_worker=each, num_workers=2),
        "stream, one worker": lambda: fit_streamed(work, rounds, cpus_per_worker=threads),
        "stream, two workers": lambda: fit_streamed(work, rounds, cpus_per_worker=each, num_workers=2),
    }


def main() -> int:
    """Run one case."""
    began = time.monotonic()
    case, work, rounds = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    found = cases(work, os.cpu_count() or 1, rounds)[case]()
    sys.stdout.write(json.dumps({"seconds": time.monotonic() - began, "log loss": found.loss, "rows": found.rows}) + "\n")
    return 0


if __name__ == "__main__":
    prepare()
    sys.exit(main())
