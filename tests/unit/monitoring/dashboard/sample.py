"""Facts by hand: a model whose wind has moved, as the page gets them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cluster.records import Pointer, Pointers, Verdict
from cluster.settings import Settings, parse
from monitoring.dashboard.bundles import BundleFacts
from monitoring.dashboard.facts import Facts, JournalFiles
from monitoring.dashboard.traffic import Line, Traffic
from monitoring.drift import Alarm
from monitoring.verdicts import LookKind, WindowVerdicts
from tests.unit.monitoring import world
from tests.unit.monitoring.world import DAY, Stream, profile_of

NOW = 1_800_000_000.0
PROFILE = profile_of(Stream(np.random.default_rng(11), 30), 30)
CHAMPION = BundleFacts(version="1", created="2026-01-01T00:00:00Z", label="late", task="binary", profile=PROFILE)


def settings(root: Path = Path("/nowhere"), **serving: Any) -> Settings:
    plain = world.settings(root).dump()
    plain["serving"] |= {"access_log": "all"} | serving
    return parse(plain)


def verdict(kind: str = "feature_drift", name: str = "wind", *, day: int = 30, **more: Any) -> Verdict:
    fields: dict[str, Any] = {"value": 0.2, "expected": 0.1, "unit": "share of rows in other cells than on the reference", "evidence": 5.0}
    return Verdict(
        model="trips", bundle="1", kind=kind, name=name, window_start=day * DAY, window_end=(day + 1) * DAY, rows=200, **(fields | more)
    )


def record(day: int, verdicts: list[Verdict] | None = None, *, look: LookKind = "drift", bundle: str = "1", **more: Any) -> WindowVerdicts:
    return WindowVerdicts(
        sequence=day,
        model="trips",
        bundle=bundle,
        look=look,
        window_start=day * DAY,
        window_end=(day + 1) * DAY,
        rows=200,
        threshold=100.0,
        verdicts=[verdict(day=day)] if verdicts is None else verdicts,
        **more,
    )


def alarm(day: int, *blamed: str, began: int | None = None, **more: Any) -> WindowVerdicts:
    keys = list(blamed or ("feature_drift:wind",))
    start = (day if began is None else began) * DAY
    told = Alarm(blamed=keys, began=start, evidence=150.0, threshold=100.0, message="changed since about then: wind: mean went from 1 to 2")
    verdicts = [verdict(*key.split(":"), day=day, alarm=True) for key in keys]
    return record(day, verdicts, alarm=told, evidence=150.0, **more)


def traffic(answered: int = 100, failed: int = 0, *, seconds: float = 0.004) -> Traffic:
    """Within the last hour."""
    made = Traffic()
    made.take([Line(time=NOW - 600, status=200, seconds=seconds, bundle="1")] * answered)
    made.take([Line(time=NOW - 600, status=503, seconds=1.0)] * failed)
    return made


def facts(**changes: Any) -> Facts:
    """A model that is well, but for the changes."""
    pointer = Pointer(version="1", uri="", digest="")
    fields: dict[str, Any] = {
        "settings": settings(),
        "now": NOW,
        "records": [record(day, evidence=5.0) for day in range(30, 35)],
        "pointers": Pointers(model="trips", champion=pointer),
        "bundles": {"1": CHAMPION},
        "traffic": traffic(),
        "journal": JournalFiles(2, 5000, NOW - 60),
        "status": {"rows": 1000, "journal_lag_bytes": 0},
    }
    return Facts(**(fields | changes))
