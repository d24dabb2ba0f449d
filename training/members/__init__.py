"""The members of the ensemble: one file a model family, each fit -> native bytes -> ONNX.

A member sees rows and a crew, never Ray: the crew is one process by default, and inside
`training.workers.distributed` one of several workers that each hold a share of the training rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt
import onnx

from cluster.errors import DataError
from cluster.schema import FeatureSchema, Floats, Matrix, Section
from cluster.settings import Settings

if TYPE_CHECKING:
    from optuna import Trial


@dataclass(frozen=True)
class Rows:
    """Encoded rows with their labels. The arrays may be memory-mapped files larger than memory: slices are views, copies are not free."""

    X: Matrix
    """float32 of shape (n, features); NaN is missing."""
    y: Floats
    """float64 of shape (n,): class index, or the number; NaN is unknown."""
    weight: Floats | None = None
    """float64 of shape (n,), how much each row counts; None: all the same."""

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: slice | npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> Rows:
        """Some of the rows; a slice copies nothing."""
        return Rows(self.X[index], self.y[index], None if self.weight is None else self.weight[index])

    def labelled(self) -> Rows:
        """The rows whose label is known."""
        known = ~np.isnan(self.y)
        return self if known.all() else self[known]


def _alone(item: object) -> object:
    return item


def _sum_alone(values: Floats) -> Floats:
    return values


def _forget(_state: Callable[[], bytes]) -> None:
    return


@dataclass(frozen=True)
class Crew:
    """The workers that fit one model together, as one of them sees it."""

    rank: int = 0
    size: int = 1
    use_gpu: bool = False
    seed: int = 7
    threads: int = 1
    """CPU threads this worker may use."""
    host: str = "127.0.0.1"
    """This worker's address, as the others reach it."""
    share: Callable[[object], object] = _alone
    """Rank 0's object, handed to all; every worker must call it."""
    total: Callable[[Floats], Floats] = _sum_alone
    """The sum over workers of float64 arrays of one shape; every worker must call it."""
    save: Callable[[Callable[[], bytes]], None] = _forget
    """Offers the state of a fit under way, to go on from after a worker died; every worker must call it at the same places.
    The state is only made when it is kept."""
    resume: bytes | None = None
    """What the same fit saved before a worker died."""


class Fit(NamedTuple):
    """A fitted member."""

    native: bytes
    effort: int
    """Rounds or epochs that went into it; 0 for a member that has none."""


class Member(Protocol):
    """One model family."""

    @property
    def name(self) -> str:
        """Its name, in settings and records."""

    @property
    def native_name(self) -> str:
        """File of the native model in a bundle's `members/`."""

    @property
    def settings(self) -> Section:
        """Its section of the YAML."""

    def fit(self, train: Rows, valid: Rows | None, crew: Crew, *, effort: int | None = None) -> Fit:
        """Fit on this worker's share of the training rows; returns the native model, the same on every worker.

        Every label is known. With `valid`, this worker's share of the validation rows, the effort is found by their loss over
        all workers and the best model is returned; without, exactly `effort` is spent, or the settings' most where it is None.
        """

    def effort_for(self, effort: int, growth: float) -> int:
        """What a fit deserves that has `growth` times the rows of the fit which found `effort`; at least 1 time."""

    def score(self, native: bytes, matrix: Matrix) -> Matrix:
        """Scores by the native model, float32 of shape (n, width)."""

    def to_onnx(self, native: bytes) -> onnx.ModelProto:
        """The same model as a graph: input "X" float32 (n, features), output "scores" float32 (n, width)."""

    def suggest(self, trial: Trial) -> Self:
        """The same member with settings that a search wants tried; itself when there is nothing to search."""


def build(settings: Settings, schema: FeatureSchema) -> list[Member]:
    """The members that the settings ask for, over a frozen schema.

    Raises
    ------
    DataError
        When the schema is not frozen.
    """
    if not schema.is_frozen:
        raise DataError("members need a frozen schema; freeze it over the training table first")
    wanted = settings.members
    members: list[Member] = []
    if wanted.xgboost is not None:
        from training.members.xgboost import XGBoostMember  # here, so that a member that is left out costs no import

        members.append(XGBoostMember(wanted.xgboost, schema))
    if wanted.lightgbm is not None:
        from training.members.lightgbm import LightGBMMember

        members.append(LightGBMMember(wanted.lightgbm, schema))
    if wanted.catboost is not None:
        from training.members.catboost import CatBoostMember

        members.append(CatBoostMember(wanted.catboost, schema))
    if wanted.torch is not None:
        from training.members.torch import TorchMember

        members.append(TorchMember(wanted.torch, schema))
    if wanted.linear is not None:
        from training.members.linear import LinearMember

        members.append(LinearMember(wanted.linear, schema))
    return members
