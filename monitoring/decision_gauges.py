"""Metrics of alarms that stand, what they probably cost, and of retrains, under names and labels of Prometheus' conventions.

They are about the champion alone: an alarm about a version that no longer answers needs nobody. Labels are bounded: one bundle,
one loss, the outcomes that the ledger knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from monitoring.decided import Decided, Retrains
from monitoring.verdicts import WindowVerdicts

STANDING: Final = ("homeostat_alarms_standing", "Alarms about the champion that still stand, 28 windows from each; 0 is well.")
HARM: Final = (
    "homeostat_alarm_harm",
    "How much larger the loss probably is (Brier score or RMSE) where the newest standing alarm was raised than on the reference, with its "
    "bounds; above 0 is worse, absent where it cannot be known.",
)
BEGUN: Final = ("homeostat_retrains_begun", "Retrains that were begun, by the ledger.")
ENDED: Final = (
    "homeostat_retrains_ended",
    "Retrains that ended: promoted, refused by the gate, or abandoned because every attempt failed.",
)
LAST: Final = ("homeostat_retrain_last_duration_seconds", "From asking for it to its end, of the retrain that ended last.")


def decision_metrics(model: str, decided: Decided, standing: Sequence[WindowVerdicts]) -> Iterator[Metric]:
    """All of them.

    Parameters
    ----------
    standing
        Alarms about the champion, the newest first.
    """
    if decided.champion is not None:
        yield from _of_alarms(model, decided.champion, standing)
    if decided.retrains is not None:
        yield from _of_retrains(model, decided.retrains)


def _of_alarms(model: str, champion: str, standing: Sequence[WindowVerdicts]) -> Iterator[Metric]:
    number = GaugeMetricFamily(*STANDING, labels=["model", "bundle"])
    number.add_metric([model, champion], len(standing))
    yield number
    harm = GaugeMetricFamily(*HARM, labels=["model", "bundle", "metric", "source", "bound"])
    found = standing[0].harm if standing else None
    if found is not None and found.change is not None:
        change = found.change
        for bound, value in (("estimate", change.estimate), ("lower", change.lower), ("upper", change.upper)):
            harm.add_metric([model, champion, found.metric, found.source, bound], value)
    yield harm


def _of_retrains(model: str, found: Retrains) -> Iterator[Metric]:
    begun = CounterMetricFamily(*BEGUN, labels=["model"])
    begun.add_metric([model], found.begun)
    yield begun
    ended = CounterMetricFamily(*ENDED, labels=["model", "outcome"])
    for outcome, number in found.ended.items():
        ended.add_metric([model, outcome], number)
    yield ended
    last = GaugeMetricFamily(*LAST, labels=["model"])
    if found.last_s is not None:
        last.add_metric([model], found.last_s)
    yield last
