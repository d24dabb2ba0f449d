"""Figures of a training run, for MLflow."""

from __future__ import annotations

from matplotlib.figure import Figure

from cluster.schema import Floats, Label, Matrix
from training.ensemble import Blend
from training.evaluate import reliability


def draw(label: Label, y: Floats, scores: Matrix, blend: Blend) -> dict[str, Figure]:
    """Figures by name: the members' weights, and calibration or residuals on held-out rows."""
    made = {"weights": _weights(blend)}
    if label.task == "regression":
        return made | {"residuals": _residuals(label, y, scores)}
    return made | {"calibration": _calibration(label, y, scores)}


def _weights(blend: Blend) -> Figure:
    figure = Figure(figsize=(5, 2.5), layout="constrained")
    axes = figure.subplots()
    axes.barh(list(blend.weights), list(blend.weights.values()), color="#3b6ea8")
    axes.set(title="Weight of each member", xlim=(0, 1))
    return figure


def _calibration(label: Label, y: Floats, scores: Matrix) -> Figure:
    bins = reliability(label, y, scores)
    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#999999", linestyle="--", label="perfect")
    axes.plot([b.mean_score for b in bins], [b.rate for b in bins], marker="o", color="#3b6ea8", label="ensemble")
    axes.set(title="Calibration on held-out rows", xlabel="predicted probability", ylabel="observed rate")
    axes.legend()
    return figure


def _residuals(label: Label, y: Floats, scores: Matrix) -> Figure:
    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.scatter(scores[:2000, 0], y[:2000] - scores[:2000, 0], s=4, color="#3b6ea8")
    axes.axhline(0, color="#999999", linestyle="--")
    axes.set(title="Residuals on held-out rows", xlabel=f"predicted {label.name}", ylabel="observed less predicted")
    return figure
