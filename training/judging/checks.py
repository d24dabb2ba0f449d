"""What the checks of a settings file say to the gate. `monitoring.checks` runs them: on held-out rows here, on live rows in the monitor."""

from __future__ import annotations

from monitoring.checks import MOST_ROWS, Checks, Outcome, run
from training.judging.rules import Rule

__all__ = ["MOST_ROWS", "Checks", "Outcome", "rules", "run"]


def rules(result: Checks) -> list[Rule]:
    """What the checks say to the gate: a failed one keeps the challenger out; one that was not judged lets it pass and says so."""
    judged = [Rule(outcome.passed is not False, f"check '{outcome.name}' {outcome.message}") for outcome in result.outcomes]
    return [*judged, Rule(result.edge_cases.passed, result.edge_cases.message)]
