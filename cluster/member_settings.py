"""The sections of a model's YAML that speak of the members of its ensemble.

Defaults are meant for tables of 3,000 to 300,000 rows. Those of the boosted trees were searched on no table; the network's were first chosen
on samples of flights, letter, diamonds and magic, then held against one change at a time on seven other tables, of which none was shown to be
better (`benchmarks/network.py`). The trees share their reasoning: steps of 0.05 or less and many of them, stopped by the
validation loss, rather than few large ones; each tree sees a part of rows and columns.
"""

from __future__ import annotations

from typing import Final

from pydantic import Field, model_validator

from cluster.schema import Section

FAMILIES: Final = ("xgboost", "lightgbm", "catboost", "torch", "linear")
"""Every member, in the order in which they are fitted."""


class XGBoost(Section):
    """Gradient-boosted trees by XGBoost.

    Depth 6 and the penalty are the library's own; rows and columns are sampled, which small steps with early stopping can afford.
    """

    rounds: int = Field(default=1000, ge=1)
    """Most trees; fewer when the validation loss stops falling."""
    max_depth: int = Field(default=6, ge=1, le=16)
    """Levels of a tree."""
    learning_rate: float = Field(default=0.05, gt=0, le=1)
    """Share of each tree that counts."""
    min_child_weight: float = Field(default=5.0, ge=0)
    """Least weight of rows in a leaf; more resists noise."""
    subsample: float = Field(default=0.8, gt=0, le=1)
    """Share of the rows a tree sees."""
    colsample_bytree: float = Field(default=0.8, gt=0, le=1)
    """Share of the features a tree sees."""
    reg_lambda: float = Field(default=1.0, ge=0)
    """Strength of the L2 penalty on leaves."""
    early_stopping_rounds: int = Field(default=50, ge=1)
    """Trees without a better validation loss before it stops."""


class LightGBM(Section):
    """Gradient-boosted trees by LightGBM, grown leaf by leaf; needs the extra `lightgbm`."""

    rounds: int = Field(default=1000, ge=1)
    """Most trees; fewer when the validation loss stops falling."""
    num_leaves: int = Field(default=31, ge=2, le=4096)
    """Leaves of a tree."""
    learning_rate: float = Field(default=0.05, gt=0, le=1)
    """Share of each tree that counts."""
    min_child_samples: int = Field(default=20, ge=1)
    """Least rows in a leaf; more resists noise."""
    subsample: float = Field(default=0.8, gt=0, le=1)
    """Share of the rows a tree sees."""
    colsample_bytree: float = Field(default=0.8, gt=0, le=1)
    """Share of the features a tree sees."""
    reg_lambda: float = Field(default=1.0, ge=0)
    """Strength of the L2 penalty on leaves."""
    early_stopping_rounds: int = Field(default=50, ge=1)
    """Trees without a better validation loss before it stops."""


class CatBoost(Section):
    """Gradient-boosted symmetric trees by CatBoost; needs the extra `catboost`."""

    rounds: int = Field(default=1000, ge=1)
    """Most trees; fewer when the validation loss stops falling."""
    max_depth: int = Field(default=6, ge=1, le=12)
    """Levels of a tree; all nodes of a level ask the same question."""
    learning_rate: float = Field(default=0.08, gt=0, le=1)
    """Share of each tree that counts; symmetric trees are weaker learners, and larger steps do."""
    reg_lambda: float = Field(default=3.0, ge=0)
    """Strength of the L2 penalty on leaves."""
    subsample: float = Field(default=0.8, gt=0, le=1)
    """Share of the rows a tree sees."""
    early_stopping_rounds: int = Field(default=50, ge=1)
    """Trees without a better validation loss before it stops."""


class Torch(Section):
    """Several small networks that share most of their weights and are averaged."""

    epochs: int = Field(default=24, ge=1)
    """Most epochs; the one with the lowest validation loss is kept. A big table's epoch is a part of its rows."""
    patience: int = Field(default=4, ge=1)
    """Epochs without a better validation loss before it stops."""
    networks: int = Field(default=4, ge=1, le=64)
    """Networks that share weights."""
    hidden: tuple[int, ...] = (128, 128)
    """Widths of the hidden layers."""
    pieces: int = Field(default=16, ge=1, le=128)
    """Pieces of the piecewise linear reading of a number; they end at quantiles of the training rows."""
    batch_size: int = Field(default=256, ge=8)
    """Rows a step and worker; fewer for a small table."""
    learning_rate: float = Field(default=1e-2, gt=0)
    """Step size of AdamW; less where batches are smaller than `batch_size`."""
    weight_decay: float = Field(default=3e-4, ge=0)
    """Strength of the weight decay."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of hidden units silenced at each step; averaged weights and networks rarely need it."""


class Linear(Section):
    """Logistic or ridge regression: the baseline."""

    regularization: float = Field(default=1.0, gt=0)
    """Strength of the L2 penalty."""


class Members(Section):
    """The models of the ensemble; set one to null to leave it out, or to {} to add it with its defaults."""

    xgboost: XGBoost | None = XGBoost()
    lightgbm: LightGBM | None = None
    """Needs the extra `lightgbm`; set to {} to add it."""
    catboost: CatBoost | None = None
    """Needs the extra `catboost`; set to {} to add it."""
    torch: Torch | None = Torch()
    linear: Linear | None = Linear()

    @model_validator(mode="after")
    def _at_least_one(self) -> Members:
        if all(getattr(self, name) is None for name in FAMILIES):
            raise ValueError(f"at least one member is needed: {', '.join(FAMILIES[:-1])} or {FAMILIES[-1]}")
        return self
