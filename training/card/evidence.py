"""What a sealed bundle's folder says about its model: every stored file that a figure or a card may quote, read once.

A file that is absent was not measured. One that this version cannot read is named, not guessed at: a card must not
show half of it. Knows nothing of how any of it looks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import msgspec
from pydantic import ValidationError

from cluster.bundle import CascadeRule
from cluster.costs import Costs
from cluster.errors import BundleError
from cluster.intervals import Intervals
from cluster.records import Record
from cluster.schema import FeatureSchema
from monitoring.fairness import FairnessReport
from training.composing.distill import Distilled
from training.composing.ensemble import Blend
from training.explaining import lime_setup
from training.explaining.explanation import Explanation
from training.judging.checks import Checks
from training.judging.evaluate import Bin
from training.judging.memorisation import Columns
from training.judging.slices import Slices
from training.judging.stability import Spread, Stress
from training.lineage import Lineage

T = TypeVar("T")
Part = Literal[
    "settings",
    "blend",
    "distillation",
    "cascade",
    "lineage",
    "metrics",
    "calibration",
    "intervals",
    "fairness",
    "mitigation",
    "slices",
    "stability",
    "checks",
    "columns",
    "explanation",
    "costs",
]
FILES: Final[dict[Part, str]] = {
    "settings": "settings.json",
    "blend": "blend.json",
    "distillation": "distillation.json",
    "cascade": "cascade.json",
    "lineage": "lineage.json",
    "metrics": "metrics.json",
    "calibration": "evaluation/calibration.json",
    "intervals": "intervals.json",
    "fairness": "evaluation/fairness.json",
    "mitigation": "evaluation/mitigation.json",
    "slices": "evaluation/slices.json",
    "stability": "evaluation/stability.json",
    "checks": "evaluation/checks.json",
    "columns": "evaluation/columns.json",
    "explanation": "evaluation/explanation.json",
    "costs": "costs.json",
}
"""Where each part is kept."""
SCHEMA: Final = "schema.json"
LIME: Final = lime_setup.NAME
Figures = dict[str, dict[str, float]]
"""Metrics by who answers."""


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """`metrics.json`. Keys that it does not know are passed over: the file has many readers and grows."""

    held_out: Figures = {}
    """On rows that no choice has seen."""
    intervals: dict[str, dict[str, tuple[float, float]]] = {}
    """Of the held-out figures."""
    interval_confidence: float | None = None
    """Of those intervals."""
    forward: Figures = {}
    """Out of fold: on rows later than all that the members were fitted on."""
    parity: dict[str, float] = {}
    """Largest difference of exported and native scores."""
    rows: dict[str, int] = {}


class Mitigation(msgspec.Struct, frozen=True, kw_only=True):
    """What a card says of `evaluation/mitigation.json` (`training.judging.mitigation`, whose import costs seconds)."""

    constraint: str
    attribute: str
    rows: int
    gap_before: float
    gap: float
    cost_before: float
    cost: float


class Stability(Record, frozen=True, kw_only=True):
    """`evaluation/stability.json`."""

    stress: Stress | None = None
    time: Spread | None = None
    """Over the pieces of the validation rows."""
    groups: Spread | None = None
    seeds: Spread | None = None


@dataclass(frozen=True)
class Evidence:
    """What was found. A part that is None is absent, or listed in `unreadable`."""

    schema: FeatureSchema
    settings: dict[str, Any] | None
    blend: Blend | None
    distillation: Distilled | None
    cascade: CascadeRule | None
    lineage: Lineage | None
    metrics: Metrics | None
    calibration: dict[str, list[Bin]] | None
    intervals: Intervals | None
    fairness: FairnessReport | None
    mitigation: Mitigation | None
    slices: Slices | None
    stability: Stability | None
    checks: Checks | None
    columns: Columns | None
    explanation: Explanation | None
    costs: Costs | None
    unreadable: dict[Part, str]
    """Why a file that is there could not be read."""
    has_lime: bool
    """Whether single rows can be explained by LIME."""

    @property
    def model(self) -> str:
        """The model's name; the label's where the settings were not kept."""
        return str((self.settings or {}).get("model") or self.schema.label.name)

    @property
    def confidence(self) -> float | None:
        """Of the intervals of the metrics."""
        return self.metrics.interval_confidence if self.metrics else None


def read(folder: Path) -> Evidence:
    """All that a bundle's folder says.

    Raises
    ------
    BundleError
        When there is no schema, without which no figure has a meaning.
    """
    try:
        schema = FeatureSchema.model_validate_json((folder / SCHEMA).read_bytes())
    except (OSError, ValidationError) as error:
        raise BundleError(f"'{folder}' is no bundle that a card can be made of: {SCHEMA} is missing or cannot be read ({error})") from error
    unreadable: dict[Part, str] = {}

    def load(part: Part, kind: type[T]) -> T | None:
        path = folder / FILES[part]
        if not path.is_file():
            return None
        try:
            return msgspec.json.decode(path.read_bytes(), type=kind)
        except msgspec.MsgspecError as error:
            unreadable[part] = str(error)
            return None

    return Evidence(
        schema=schema,
        settings=load("settings", dict[str, Any]),
        blend=load("blend", Blend),
        distillation=load("distillation", Distilled),
        cascade=load("cascade", CascadeRule),
        lineage=load("lineage", Lineage),
        metrics=load("metrics", Metrics),
        calibration=load("calibration", dict[str, list[Bin]]),
        intervals=load("intervals", Intervals),
        fairness=load("fairness", FairnessReport),
        mitigation=load("mitigation", Mitigation),
        slices=load("slices", Slices),
        stability=load("stability", Stability),
        checks=load("checks", Checks),
        columns=load("columns", Columns),
        explanation=load("explanation", Explanation),
        costs=load("costs", Costs),
        unreadable=unreadable,
        has_lime=(folder / LIME).is_file(),
    )
