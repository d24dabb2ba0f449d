"""The records that travel between rooms: frozen, JSON- and msgpack-compatible, free of behaviour.

Times are seconds since 1970 UTC as floats unless a name ends in `_ns`. `event` times are the rows' own time;
`received` times are the clock of the machine that wrote the record.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""An integer that the journal can hold; a decoder refuses larger ones."""
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
"""A part of a whole; a decoder refuses what is not one."""


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all records."""


class Prediction(Record, frozen=True, kw_only=True):
    """One answered request: n rows, column by column. What the journal keeps of it."""

    bundle: str
    """Version of the bundle that answered."""
    event_times: list[float]
    columns: dict[str, list[str | int | float | bool | None]]
    """Features and protected columns as they were sent."""
    scores: bytes
    """float32, row-major, shape (n, width): probability of the positive class, of each class, or the number."""
    by_ensemble: bytes
    """n bytes, 1 where the ensemble answered and 0 where the student did."""


class Audit(Record, frozen=True, kw_only=True):
    """What the ensemble says of rows that the student had answered: some of one request's, chosen by chance."""

    request_id: str
    """The prediction's."""
    rows: list[int]
    """Their places in the request."""
    scores: bytes
    """The ensemble's, float32, row-major, shape (len(rows), width)."""


class LabelEntry(Record, frozen=True, kw_only=True):
    """What one row turned out to be."""

    request_id: str
    row: int
    label: str | Int64 | float | bool


class Labels(Record, frozen=True, kw_only=True):
    """Labels that arrived together."""

    entries: list[LabelEntry]


class Verdict(Record, frozen=True, kw_only=True):
    """What the monitor says about one metric in one window."""

    model: str
    bundle: str
    kind: str
    """Tested within the alarm budget: `feature_drift`, `association`, `prediction_drift`, `performance`, `quality`, `cascade`. Told beside them:
    `performance_so_far`, `estimate`, `fairness`, `stability`, `correctness`, `attribution`, `explanation`, `data_quality`."""
    name: str
    """The feature, or the metric."""
    window_start: float
    window_end: float
    rows: int
    value: float | None
    """The statistic of this window, in `unit`."""
    expected: float | None
    """The same statistic on the reference."""
    unit: str
    e_value: float = 1.0
    """Evidence of this window against 'nothing has changed'; 1 is none."""
    evidence: float = 0.0
    """Evidence accumulated over windows; an alarm is raised at the budget's threshold."""
    alarm: bool = False
    message: str = ""
    lower: float | None = None
    """Bounds of `value`, or of what it is an estimate of; None where there are none."""
    upper: float | None = None


class RetrainRequest(Record, frozen=True, kw_only=True):
    """Why and on what a challenger is trained."""

    run: str
    """Identifies the run; `<model>-<now>` so that the same cause asks once."""
    reason: str
    now: float
    """Event time at which it was asked; no later row may be used."""
    since: float
    train_until: float
    """Rows before this are trained on; those from here to `now` are judged on."""
    seed: int


class Interval(Record, frozen=True, kw_only=True):
    """An estimate with its lower and upper bound."""

    estimate: float
    lower: float
    upper: float


class GateVerdict(Record, frozen=True, kw_only=True):
    """The judgement of a challenger against the champion on the same rows."""

    passed: bool
    reasons: list[str]
    """Each rule, with its figures; those that failed come first."""
    metric: str
    rows: int
    champion: float | None
    challenger: float | None
    improvement: Interval | None
    """Positive is better whatever the metric."""
    calibration_error: dict[str, float] = {}
    """Of champion and challenger."""


class Promotion(Record, frozen=True, kw_only=True):
    """A pointer that moved."""

    pointer: str
    """`champion` or `challenger`."""
    version: str | None
    previous: str | None
    by: str
    reason: str
    share: Share | None = None
    """Part of the requests that the new challenger answers; None for a champion."""


class Pointer(Record, frozen=True, kw_only=True):
    """Where a version's bundle is, and what it must hash to."""

    version: str
    uri: str
    digest: str


class Pointers(Record, frozen=True, kw_only=True):
    """What replicas watch: a copy of the registry's pointers."""

    model: str
    champion: Pointer | None = None
    challenger: Pointer | None = None
    challenger_share: Share = 0.0
    """Part of the requests that the challenger answers; 0 without one."""
