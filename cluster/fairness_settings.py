"""The section of a model's YAML that speaks of groups of people."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cluster.schema import Section, Task

Mitigation = Literal["none", "demographic_parity", "equalized_odds"]


class Fairness(Section):
    """How groups of the protected columns are compared, what gap is too wide, and whether training narrows it."""

    min_group_rows: int = Field(default=100, ge=10)
    """Smaller groups are counted and not judged."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """All comparisons that are judged hold together with this confidence."""
    max_selection_rate_difference: float | None = Field(default=None, ge=0, le=1)
    """Widest gap between two groups in how often the answer is positive; for multiclass, is any one class. null: reported, not judged."""
    max_tpr_difference: float | None = Field(default=None, ge=0, le=1)
    """Widest gap in the share of true positives that are found (equal opportunity). null: reported, not judged."""
    max_fpr_difference: float | None = Field(default=None, ge=0, le=1)
    """Widest gap in the share of true negatives that are answered positive. null: reported, not judged."""
    max_calibration_difference: float | None = Field(default=None, ge=0)
    """Widest gap in mean score minus true rate; for regression in mean error, in units of the label. null: reported, not judged."""
    mitigation: Mitigation = "none"
    """What the members are trained towards: `demographic_parity` evens selection rates out, `equalized_odds` both error rates,
    no further than the limits above where they are set. Binary only."""
    mitigation_weight: float = Field(default=0.5, gt=0, le=1)
    """Share of the gap, beside errors, in the trade-off by which the mitigation is chosen when no limit above is set or none can be kept."""
    mitigation_attributes: tuple[str, ...] = ()
    """Protected columns whose groups, crossed, are evened out. Empty: all of them."""

    @property
    def limits(self) -> dict[str, float]:
        """The limits that are set, by the name of the figure they bound."""
        known = {
            "selection_rate": self.max_selection_rate_difference,
            "tpr": self.max_tpr_difference,
            "fpr": self.max_fpr_difference,
            "calibration": self.max_calibration_difference,
        }
        return {name: limit for name, limit in known.items() if limit is not None}

    def misfit(self, task: Task, protected: tuple[str, ...]) -> str | None:
        """Why this section does not fit a schema, as a sentence; None when it does."""
        if self.mitigation != "none" and task != "binary":
            return (
                f"fairness.mitigation is '{self.mitigation}' and schema.label.task is {task}; it knows binary labels only: set it to none"
            )
        if self.mitigation != "none" and not protected:
            return f"fairness.mitigation is '{self.mitigation}' and schema.protected is empty; name the columns whose groups it should even out"
        if strange := [name for name in self.mitigation_attributes if name not in protected]:
            return f"fairness.mitigation_attributes names '{strange[0]}', which is not in schema.protected; allowed: {', '.join(protected) or 'none'}"
        rates = sorted(set(self.limits) - {"calibration"})
        if task == "regression" and rates:
            return f"fairness.max_{rates[0]}_difference is set and schema.label.task is regression; allowed: max_calibration_difference"
        return None
