"""The closed loop as pure decisions: what the ledger says has happened, and what should happen next.

The steward's memory is the ledger. `recall` folds its events into a state, `next_step` says what to do in it;
so a steward that was killed continues where the ledger ends.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Sequence
from typing import Final, NamedTuple

from cluster.ledger import Attempt, Closed, Event, Judged, Trained
from cluster.records import GateVerdict, Promotion, RetrainRequest
from cluster.settings import Settings
from monitoring.verdicts import WindowVerdicts

_DAY_S: Final = 86400.0


class Step(enum.Enum):
    """What the steward does next."""

    REST = "rest"
    TRAIN = "train"
    JUDGE = "judge"
    CONCLUDE = "conclude"
    ABANDON = "abandon"


class Run(NamedTuple):
    """The retrain that is under way."""

    request: RetrainRequest
    attempts: int = 0
    version: str | None = None
    verdict: GateVerdict | None = None


class State(NamedTuple):
    """What the ledger says."""

    length: int = 0
    """Entries read; a decision is only written if nobody wrote since."""
    run: Run | None = None
    champions: tuple[str, ...] = ()
    """Versions that have been champion, oldest first, the present one last."""
    last_move: float | None = None
    """Event time at which the last retrain that has ended was asked for; the cooldown counts from it."""


def recall(events: Sequence[Event]) -> State:
    """Fold the ledger's events, oldest first."""
    state = State()
    for event in events:
        state = _after(state, event)
    return state._replace(length=len(events))


def _after(state: State, event: Event) -> State:  # one line an event
    run = state.run
    match event:
        case Promotion(pointer="champion", version=str(version)):
            return state._replace(champions=(*state.champions, version))
        case Promotion():
            return state
        case RetrainRequest():
            return state._replace(run=run or Run(event))
        case _ if run is None or event.run != run.request.run:
            return state  # said too late, of a run that was closed meanwhile
        case Attempt():
            return state._replace(run=run._replace(attempts=event.number))
        case Trained():
            return state._replace(run=run._replace(version=event.version, attempts=0))
        case Judged():
            return state._replace(run=run._replace(verdict=event.verdict))
        case Closed():
            return state._replace(run=None, last_move=event.now)


def next_step(state: State, *, max_attempts: int) -> Step:
    """What comes next; `REST` when no retrain is under way."""
    run = state.run
    if run is None:
        return Step.REST
    if run.verdict is not None:
        return Step.CONCLUDE
    if run.attempts >= max_attempts:
        return Step.ABANDON
    return Step.TRAIN if run.version is None else Step.JUDGE


def consider(settings: Settings, state: State, records: Sequence[WindowVerdicts]) -> RetrainRequest | None:
    """Should a retrain begin?

    Its `now` is the end of the latest window judged, so the same verdicts always ask for the same retrain.

    Parameters
    ----------
    records
        All that the monitor has said.
    """
    loop = settings.loop
    if state.run is not None or not loop.enabled or not records:
        return None
    now = max(record.window_end for record in records)
    began = state.last_move if state.last_move is not None else min(record.window_start for record in records)
    if state.last_move is not None and now - began < loop.cooldown.total_seconds():
        return None
    reason = _reason(settings, state, records, now - began)
    if reason is None:
        return None
    return RetrainRequest(
        run=f"{settings.model}-{dt.datetime.fromtimestamp(now, dt.UTC):%Y%m%dT%H%M%S}",
        reason=reason,
        now=now,
        since=now - loop.train_window.total_seconds(),
        train_until=now - settings.gate.holdout.total_seconds(),
        seed=settings.training.seed,
    )


def _reason(settings: Settings, state: State, records: Sequence[WindowVerdicts], quiet_s: float) -> str | None:
    champion = state.champions[-1] if state.champions else None
    fresh = [r for r in records if r.bundle == champion and (state.last_move is None or r.window_end > state.last_move)]
    alarms = [record.alarm for record in fresh if record.alarm is not None]
    if settings.loop.on_alarm and alarms:
        return f"alarm: {alarms[-1].message}"
    if settings.loop.every is not None and quiet_s >= settings.loop.every.total_seconds():
        began = "the first window" if state.last_move is None else "the last retrain"
        return f"schedule: {quiet_s / _DAY_S:.0f} days since {began}"
    return None


def rollback_target(state: State, wanted: str | None) -> str | None:
    """The version to go back to: the one wanted, else the champion before the present one; None when there is none."""
    if wanted is not None:
        return wanted
    present = state.champions[-1] if state.champions else None
    return next((version for version in reversed(state.champions[:-1]) if version != present), None)
