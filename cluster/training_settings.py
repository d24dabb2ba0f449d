"""The sections of a model's YAML that speak of training it."""

from __future__ import annotations

import datetime as dt
from typing import Literal

from pydantic import Field, field_validator

from cluster.schema import Period, Section


class Search(Section):
    """How long better settings of the members are looked for."""

    budget_s: float = Field(default=0, ge=0)
    """Seconds; 0 keeps the settings above. A search that found nothing better keeps them too."""
    trials: int | None = Field(default=None, ge=1)
    """Stop after this many trials; with it and a budget that suffices, the search gives the same twice."""


class Training(Section):
    """How members are fitted."""

    num_workers: int = Field(default=1, ge=1)
    """Ray Train workers; the rows are split between them."""
    min_workers: int | None = Field(default=None, ge=1)
    """When nodes are lost, go on with as few workers as this; the models then differ in rounding. null: wait for all of them."""
    cpus_per_worker: float = Field(default=1.0, gt=0)
    """CPUs reserved a worker."""
    use_gpu: bool = False
    """One GPU a worker."""
    seed: int = 7
    """Equal data, settings and seed give an equal model."""
    validation_share: float = Field(default=0.2, gt=0.02, lt=0.6)
    """Share of the rows, the latest ones where there is a time, kept for blending, calibration and the cascade."""
    min_category_count: int = Field(default=20, ge=1)
    """Categories seen less often are treated as unknown."""
    folds: int = Field(default=2, ge=1, le=10)
    """The validation rows are cut into this many pieces in order of time; each is predicted by members fitted on all rows before it."""
    local_rows: int = Field(default=1_000_000, ge=0)
    """Up to this many rows are fitted in one process, on the CPUs of all workers; more by Ray Train on `num_workers`."""
    stream_rows: int = Field(default=5_000_000, ge=1)
    """More rows than this of a Parquet source are never in one process: Ray Data streams them to the workers' disks."""
    group: str | None = None
    """A column of rows that belong together, such as a person: without a time, a group is never on both sides of a split. With one the
    rows are split by time alone, and a group may be on both sides."""
    keep_rows: bool = True
    """Keep the rows of every training run under `places.root`, in a file named by their hash, so that `homeostat reproduce` can make
    the version again; a table that was streamed is not kept."""
    interval_confidence: float = Field(default=0.9, gt=0.5, lt=0.995)
    """Regression: share of rows whose truth should fall inside the interval that is answered."""
    search: Search = Search()
    """Settings of the members, looked for before they are fitted."""

    @property
    def threads(self) -> int:
        """CPU threads of whatever is fitted in one process: all that the workers would have."""
        return max(1, int(self.num_workers * self.cpus_per_worker))


class Distillation(Section):
    """The student: a small model that learns from the ensemble."""

    sizes: tuple[int, ...] = (60, 120, 250, 500)
    """Numbers of trees that are tried; the smallest that surely keeps `keep_gain` ships, of those fast enough."""
    max_depth: int = Field(default=6, ge=1, le=12)
    """Levels of a tree."""
    learning_rate: float = Field(default=0.1, gt=0, le=1)
    """Share of each tree that counts."""
    min_child_weight: float = Field(default=5.0, ge=0)
    """Least weight of rows in a leaf; more resists noise."""
    keep_gain: float = Field(default=0.99, gt=0, le=1)
    """Share of the ensemble's gain over the linear baseline that the student should keep."""
    max_latency_share: float | None = Field(default=0.1, gt=0)
    """For one row it may take at most this share of the ensemble's time; a larger size that takes longer is not tried. null: any time."""

    @field_validator("sizes")
    @classmethod
    def _some(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if not sizes or min(sizes) < 1:
            raise ValueError("at least one number of trees is needed, and each must be 1 or more")
        return sizes


class Gate(Section):
    """When a challenger may replace the champion."""

    metric: Literal["roc_auc", "log_loss", "brier", "accuracy", "rmse"] | None = None
    """Compared on the same rows. Left out: roc_auc (binary), log_loss (multiclass), rmse (regression)."""
    holdout: Period = dt.timedelta(days=7)
    """The latest labelled rows of this length are kept from training and judged on."""
    min_rows: int = Field(default=500, ge=20)
    """Fewer labelled rows than this, and the challenger is refused."""
    confidence: float = Field(default=0.9, gt=0.5, lt=1)
    """The improvement's lower bound (block bootstrap) must hold with this confidence."""
    min_improvement: float = Field(default=0.0)
    """The lower bound must exceed this, in units of the metric."""
    max_calibration_error: float = Field(default=0.1, gt=0, le=1)
    """A challenger whose expected calibration error is above both this and the champion's is refused."""
