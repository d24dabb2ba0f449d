"""How good scores are: the metrics of a task, and the bins of a reliability diagram.

Rows without a label are dropped. Scores are (n, width) as everywhere; metrics are plain floats.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from sklearn import metrics

from cluster.errors import DataError, NotEnoughData
from cluster.records import Record
from cluster.schema import Floats, Label, Matrix, Task

BINS = 15
HIGHER_IS_BETTER: Mapping[str, bool] = MappingProxyType(
    {
        "roc_auc": True,
        "roc_auc_ovr": True,
        "accuracy": True,
        "r2": True,
        "log_loss": False,
        "brier": False,
        "ece": False,
        "rmse": False,
        "mae": False,
    }
)
"""Whether more of a metric is better. `base_rate` is a fact, not a merit."""
_FLOOR = 1e-7


class Bin(Record, frozen=True, kw_only=True):
    """Rows of similar scores."""

    rows: int
    mean_score: float
    """Mean probability given."""
    rate: float
    """Share of them that came true."""


def measure(label: Label, y: Floats, scores: Matrix | Floats) -> dict[str, float]:
    """Every metric of the task that these rows can tell; one that needs an absent class is left out.

    Raises
    ------
    NotEnoughData
        When no row has a label.

    Examples
    --------
    >>> label = Label(name="late", classes=(0, 1))
    >>> round(measure(label, np.array([0.0, 1.0, np.nan]), np.array([[0.2], [0.6], [0.9]]))["brier"], 6)
    0.1
    """
    y, p = _labelled(y, scores)
    found = {}
    for name, metric in _METRICS[label.task].items():
        try:
            found[name] = metric(label, y, p)
        except NotEnoughData:
            continue
    return found


def metric_value(label: Label, metric: str, y: Floats, scores: Matrix | Floats) -> float:
    """One metric by name.

    Raises
    ------
    DataError
        When the task has no such metric.
    NotEnoughData
        When no row has a label, or the metric needs a class that is absent.
    """
    known = _METRICS[label.task]
    if metric not in known:
        raise DataError(f"task {label.task} has no metric '{metric}'; allowed: {', '.join(known)}")
    return known[metric](label, *_labelled(y, scores))


def row_losses(label: Label, y: Floats, scores: Matrix | Floats) -> Floats:
    """Each row's loss, float64 of shape (n,): minus the log of the probability given to what happened, or the squared error.

    Parameters
    ----------
    y
        Every label known.
    """
    p = scores.astype(np.float64)
    if label.task == "regression":
        return np.asarray((p[:, 0] - y) ** 2)
    given = np.where(y == 1, p[:, 0], 1 - p[:, 0]) if label.task == "binary" else p[np.arange(len(y)), y.astype(np.intp)]
    return np.asarray(-np.log(np.clip(given, _FLOOR, 1)))


def reliability(label: Label, y: Floats, scores: Matrix | Floats, *, bins: int = BINS) -> list[Bin]:
    """Bins of equal numbers of rows, from the lowest scores up; for multiclass, of the class that was answered.

    Empty for regression.
    """
    if label.task == "regression":
        return []
    y, p = _labelled(y, scores)
    given, happened = (p[:, 0], y) if label.task == "binary" else (p.max(axis=1), (p.argmax(axis=1) == y).astype(np.float64))
    order = np.argsort(given, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return [Bin(rows=len(part), mean_score=float(given[part].mean()), rate=float(happened[part].mean())) for part in parts]


def _labelled(y: Floats, scores: Matrix | Floats) -> tuple[Floats, Floats]:
    known = ~np.isnan(y)
    if not known.any():
        raise NotEnoughData(f"none of {len(y)} rows has a label yet; nothing can be measured")
    return y[known], scores[known].astype(np.float64)


def _ece(label: Label, y: Floats, p: Floats) -> float:
    """Expected calibration error over bins of equal mass (Naeini et al. 2015, AAAI; equal mass after Nguyen & O'Connor 2015)."""
    parts = reliability(label, y, p)
    return float(sum(part.rows * abs(part.mean_score - part.rate) for part in parts) / len(y))


def _roc_auc(label: Label, y: Floats, p: Floats) -> float:
    _need_classes(label, y, 2, "roc_auc")
    return float(metrics.roc_auc_score(y, p[:, 0]))


def _roc_auc_ovr(label: Label, y: Floats, p: Floats) -> float:
    """Unweighted mean over classes of one against the rest."""
    _need_classes(label, y, p.shape[1], "roc_auc_ovr")
    return float(np.mean([metrics.roc_auc_score(y == k, p[:, k]) for k in range(p.shape[1])]))


def _need_classes(label: Label, y: Floats, count: int, metric: str) -> None:
    found = len(np.unique(y))
    if found < count:
        raise NotEnoughData(f"{metric} needs rows of all {count} classes of '{label.name}'; {len(y)} rows hold {found}")


def _log_loss(label: Label, y: Floats, p: Floats) -> float:
    return float(row_losses(label, y, p).mean())


def _brier(_label: Label, y: Floats, p: Floats) -> float:
    """Mean squared error of the probability (Brier 1950, in the one-class form)."""
    return float(((p[:, 0] - y) ** 2).mean())


def _accuracy(label: Label, y: Floats, p: Floats) -> float:
    decided = p[:, 0] >= label.threshold if label.task == "binary" else p.argmax(axis=1)
    return float((decided == y).mean())


def _base_rate(_label: Label, y: Floats, _p: Floats) -> float:
    return float(y.mean())


def _rmse(_label: Label, y: Floats, p: Floats) -> float:
    return float(np.sqrt(((p[:, 0] - y) ** 2).mean()))


def _mae(_label: Label, y: Floats, p: Floats) -> float:
    return float(np.abs(p[:, 0] - y).mean())


def _r2(label: Label, y: Floats, p: Floats) -> float:
    spread = float(((y - y.mean()) ** 2).sum())
    if spread == 0:
        raise NotEnoughData(f"r2 needs labels that differ; all {len(y)} values of '{label.name}' are equal")
    return 1 - float(((p[:, 0] - y) ** 2).sum()) / spread


_Metric = Callable[[Label, Floats, Floats], float]
_METRICS: Mapping[Task, Mapping[str, _Metric]] = {
    "binary": {
        "roc_auc": _roc_auc,
        "log_loss": _log_loss,
        "brier": _brier,
        "ece": _ece,
        "accuracy": _accuracy,
        "base_rate": _base_rate,
    },
    "multiclass": {"log_loss": _log_loss, "accuracy": _accuracy, "roc_auc_ovr": _roc_auc_ovr, "ece": _ece},
    "regression": {"rmse": _rmse, "mae": _mae, "r2": _r2},
}
