"""Records that hold an alarm, for the tests of whoever tells of them."""

from __future__ import annotations

from monitoring.drift import Alarm
from monitoring.verdicts import WindowVerdicts
from tests.unit.monitoring.world import DAY


def alarm(day: int, *, sequence: int | None = None, bundle: str = "3") -> WindowVerdicts:
    """The alarm of a day counted from 1970: `miles` has changed two days before."""
    found = Alarm(
        blamed=["feature_drift:miles", "quality:wind.missing"],
        began=(day - 2) * DAY,
        evidence=123.4,
        threshold=100.0,
        message="changed since about then: miles, 12% of the rows are in other bins",
    )
    return WindowVerdicts(
        sequence=day if sequence is None else sequence,
        model="trips",
        bundle=bundle,
        look="drift",
        window_start=day * DAY,
        window_end=(day + 1) * DAY,
        rows=200,
        evidence=123.4,
        threshold=100.0,
        alarm=found,
    )
