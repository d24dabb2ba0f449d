"""The sections of a model's YAML that speak of training it."""

from __future__ import annotations

import datetime as dt
from typing import Literal

from pydantic import Field, model_validator

from cluster.schema import Period, Section


class XGBoost(Section):
    """Gradient-boosted trees."""

    rounds: int = Field(default=300, ge=1)
    """Most trees; fewer when the validation loss stops falling."""
    max_depth: int = Field(default=6, ge=1, le=16)
    """Levels of a tree."""
    learning_rate: float = Field(default=0.08, gt=0, le=1)
    """Share of each tree that counts."""
    min_child_weight: float = Field(default=10.0, ge=0)
    """Least weight of rows in a leaf; more resists noise."""
    subsample: float = Field(default=0.8, gt=0, le=1)
    """Share of the rows a tree sees."""
    colsample_bytree: float = Field(default=0.6, gt=0, le=1)
    """Share of the features a tree sees."""
    reg_lambda: float = Field(default=2.0, ge=0)
    """Strength of the L2 penalty on leaves."""
    early_stopping_rounds: int = Field(default=25, ge=1)
    """Trees without a better validation loss before it stops."""


class Torch(Section):
    """A network with categorical embeddings."""

    epochs: int = Field(default=6, ge=1)
    """Most epochs; the one with the lowest validation loss is kept."""
    hidden: tuple[int, ...] = (128, 64)
    """Widths of the hidden layers."""
    batch_size: int = Field(default=512, ge=8)
    """Rows a step and worker."""
    learning_rate: float = Field(default=2e-3, gt=0)
    """Step size of AdamW."""
    weight_decay: float = Field(default=1e-4, ge=0)
    """Strength of the weight decay."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of hidden units silenced at each step."""


class Linear(Section):
    """Logistic or ridge regression: the baseline."""

    regularization: float = Field(default=1.0, gt=0)
    """Strength of the L2 penalty."""


class Members(Section):
    """The models of the ensemble; set one to null to leave it out."""

    xgboost: XGBoost | None = XGBoost()
    torch: Torch | None = Torch()
    linear: Linear | None = Linear()

    @model_validator(mode="after")
    def _at_least_one(self) -> Members:
        if self.xgboost is None and self.torch is None and self.linear is None:
            raise ValueError("at least one member is needed: xgboost, torch or linear")
        return self


class Training(Section):
    """How members are fitted."""

    num_workers: int = Field(default=1, ge=1)
    """Ray Train workers; the rows are split between them."""
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


class Distillation(Section):
    """The student: a small model that learns from the ensemble."""

    rounds: int = Field(default=60, ge=1)
    """Most trees."""
    max_depth: int = Field(default=5, ge=1, le=12)
    """Levels of a tree."""
    learning_rate: float = Field(default=0.15, gt=0, le=1)
    """Share of each tree that counts."""


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
