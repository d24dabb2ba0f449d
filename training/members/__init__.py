"""The members of the ensemble: one file a model family, each fit -> native bytes -> ONNX.

A member sees rows and a crew, never Ray: the crew is one process by default, and inside
`training.distributed` one of several workers that each hold a share of the training rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import onnx

from cluster.errors import DataError
from cluster.schema import FeatureSchema, Floats, Matrix
from cluster.settings import Settings


@dataclass(frozen=True)
class Rows:
    """Encoded rows with their labels."""

    X: Matrix
    """float32 of shape (n, features); NaN is missing."""
    y: Floats
    """float64 of shape (n,): class index, or the number; NaN is unknown."""

    def __len__(self) -> int:
        return len(self.y)

    def labelled(self) -> Rows:
        """The rows whose label is known."""
        known = ~np.isnan(self.y)
        return self if known.all() else Rows(self.X[known], self.y[known])


def _alone(item: object) -> object:
    return item


def _sum_alone(values: Floats) -> Floats:
    return values


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


class Member(Protocol):
    """One model family."""

    @property
    def name(self) -> str:
        """Its name, in settings and records."""

    @property
    def native_name(self) -> str:
        """File of the native model in a bundle's `members/`."""

    def fit(self, train: Rows, valid: Rows, crew: Crew) -> bytes:
        """Fit on this worker's share of the training rows; returns the native model, the same on every worker.

        `valid` holds all validation rows on every worker. Every label is known.
        """

    def score(self, native: bytes, matrix: Matrix) -> Matrix:
        """Scores by the native model, float32 of shape (n, width)."""

    def to_onnx(self, native: bytes) -> onnx.ModelProto:
        """The same model as a graph: input "X" float32 (n, features), output "scores" float32 (n, width)."""


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
    if wanted.torch is not None:
        from training.members.torch import TorchMember

        members.append(TorchMember(wanted.torch, schema))
    if wanted.linear is not None:
        from training.members.linear import LinearMember

        members.append(LinearMember(wanted.linear, schema))
    return members
