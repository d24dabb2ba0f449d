"""Verdicts and retrains as spans, made from the verdict log and the ledger, which say all there is to say.

A process that starts again sends the newest once more: a span's id follows from what it is of, and a receiver keeps the one
it has. What is said are figures over many rows; no row and no protected value of one is among them. Knows no OpenTelemetry.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from cluster import storage
from cluster.ledger import Attempt, Closed, Entry, Judged, Ledger, Trained
from cluster.records import Promotion, RetrainRequest
from cluster.settings import Settings
from cluster.tracing import Span, Tracer, attributes, open_tracer
from monitoring.verdicts import VerdictLog, WindowVerdicts

_NEWEST: Final = 1000
_T = TypeVar("_T")


class RecordTraces(Generic[_T]):
    """Sends spans of what a log has gained.

    Parameters
    ----------
    tracer
        Where they go.
    read
        All records, oldest first.
    name
        Tells one from the others.
    trace
        The spans of one.
    """

    def __init__(
        self, tracer: Tracer, read: Callable[[], Sequence[_T]], name: Callable[[_T], str], trace: Callable[[_T], list[Span]]
    ) -> None:
        self.tracer = tracer
        self._read = read
        self._name = name
        self._trace = trace
        self._mark: object = None
        self._sent: set[str] = set()

    def look(self, mark: object) -> None:
        """Send what has not been sent; nothing is read while `mark`, of the log, stays the same."""
        if mark == self._mark:
            return
        for record in self._read()[-_NEWEST:]:
            name = self._name(record)
            if name not in self._sent:
                self._sent.add(name)
                self.tracer.send(self._trace(record))
        self._mark = mark


def of_verdicts(settings: Settings) -> RecordTraces[WindowVerdicts] | None:
    """Spans of a model's verdicts; None when tracing is off.

    Raises
    ------
    ConfigError
        When a package that tracing needs is missing.
    """
    tracer = open_tracer(settings.tracing)
    if tracer is None:
        return None
    root = settings.places.verdicts(settings.model)
    folder = storage.local_path(root, need="the verdict log")

    def trace(record: WindowVerdicts) -> list[Span]:
        return [window(record, judged=(folder / record.file_name).stat().st_mtime)]  # the record itself knows event time only

    return RecordTraces(tracer, VerdictLog(root).read, lambda record: record.file_name, trace)


def of_retrains(settings: Settings) -> RecordTraces[Retrain] | None:
    """Spans of a model's retrains that have ended; None when tracing is off.

    Raises
    ------
    ConfigError
        When a package that tracing needs is missing.
    """
    tracer = open_tracer(settings.tracing)
    if tracer is None:
        return None
    book = Ledger(settings.places.ledger(settings.model), clock=lambda: math.nan)  # it is only read
    return RecordTraces(tracer, lambda: retrains(settings.model, book.entries()), lambda run: run.request.run, retrain)


def window(record: WindowVerdicts, *, judged: float) -> Span:
    """A look at a window: what was found, and whether it is an alarm.

    Parameters
    ----------
    judged
        When the look was written down, seconds since 1970.
    """
    alarm = record.alarm
    start, end = _iso(record.window_start), _iso(record.window_end)
    calm = "no alarm" if record.is_judged else "not judged: too few rows"
    found = attributes(
        given=f"{record.rows} rows from {start} to {end}",
        answered=alarm.message if alarm is not None else calm,
        metadata={
            "model": record.model,
            "bundle": record.bundle,
            "look": record.look,
            "window_start": start,
            "window_end": end,
            "rows": record.rows,
            "labelled": record.labelled,
            "alarm": alarm is not None,
            "blamed": [] if alarm is None else alarm.blamed,
            "began": None if alarm is None else _iso(alarm.began),
            "evidence": round(record.evidence, 3),
            "threshold": record.threshold,
            "metrics": len(record.verdicts),
        },
    )
    name = f"{record.look} verdict"
    return Span(f"verdict/{record.model}/{record.file_name}", name, "EVALUATOR", start=judged, end=judged, attributes=found)


class Retrain(NamedTuple):
    """A run that has ended, as the ledger tells it; times are of writing."""

    model: str
    request: RetrainRequest
    asked: float
    training: list[float]
    """When its attempts to train were begun."""
    trained: tuple[float, Trained] | None
    judging: list[float]
    """When its attempts to judge were begun."""
    judged: tuple[float, Judged] | None
    end: Closed
    ended: float

    @property
    def trace(self) -> str:
        """What its trace is of."""
        return f"retrain/{self.model}/{self.request.run}"


def retrains(model: str, entries: Iterable[Entry]) -> list[Retrain]:
    """The runs of a ledger that have ended, in order of their ends."""
    under_way: dict[str, Retrain] = {}
    ended: list[Retrain] = []
    for entry in entries:
        event, at = entry.read(), entry.written
        if isinstance(event, Promotion):
            continue
        run = under_way.get(event.run)
        if isinstance(event, RetrainRequest):
            end = Closed(run=event.run, outcome="under way", reason="", now=event.now)
            under_way.setdefault(event.run, Retrain(model, event, at, [], None, [], None, end, at))
        elif run is not None:
            under_way[event.run] = run = _after(run, event, at)
            if isinstance(event, Closed):
                ended.append(under_way.pop(event.run))
    return ended


def _after(run: Retrain, event: Attempt | Trained | Judged | Closed, at: float) -> Retrain:
    match event:
        case Attempt() if run.trained is None:
            return run._replace(training=[*run.training, at])
        case Attempt():
            return run._replace(judging=[*run.judging, at])
        case Trained():
            return run._replace(trained=(at, event))
        case Judged():
            return run._replace(judged=(at, event))
        case Closed():
            return run._replace(end=event, ended=at)


def retrain(run: Retrain) -> list[Span]:
    """The whole run, then those of its steps that were begun."""
    steps = [_whole(run)]
    if run.training:
        steps.append(_train(run, run.training[0]))
    if run.judging:
        steps.append(_judge(run, run.judging[0]))
    if run.judged is not None:
        ending = attributes(given=run.judged[1].verdict.reasons[0], answered=run.end.outcome, metadata={"run": run.request.run})
        steps.append(Span(run.trace, "conclude", "CHAIN", run.judged[0], run.ended, ending, part="conclude"))
    return steps


def _whole(run: Retrain) -> Span:
    request, end = run.request, run.end
    metadata = {
        "model": run.model,
        "run": request.run,
        "outcome": end.outcome,
        "version": run.trained and run.trained[1].version,
        "champion_before": run.judged and run.judged[1].champion,
        "attempts": len(run.training) + len(run.judging),
        "trained_from": _iso(request.since),
        "trained_until": _iso(request.train_until),
        "judged_until": _iso(request.now),
        "seed": request.seed,
    }
    found = attributes(given=request.reason, answered=f"{end.outcome}: {end.reason}", metadata=metadata)
    return Span(run.trace, "retrain", "CHAIN", run.asked, run.ended, found, error=_abandoned(run, in_step=True))


def _train(run: Retrain, begun: float) -> Span:
    at, made = run.trained or (run.ended, None)
    figures = {} if made is None else {"version": made.version, "rows": made.rows, "seconds": round(made.seconds, 3)}
    answered = "nothing" if made is None else f"version {made.version} of {made.rows} rows"
    metadata = {"model": run.model, "run": run.request.run, "attempts": len(run.training)} | figures
    found = attributes(
        given=f"rows from {_iso(run.request.since)} to {_iso(run.request.train_until)}", answered=answered, metadata=metadata
    )
    return Span(run.trace, "train", "CHAIN", begun, at, found, part="train", error=_abandoned(run, in_step=made is None))


def _judge(run: Retrain, begun: float) -> Span:
    at, judged = run.judged or (run.ended, None)
    metadata: dict[str, object] = {"model": run.model, "run": run.request.run, "attempts": len(run.judging)}
    if judged is not None:
        verdict = judged.verdict
        better = verdict.improvement
        metadata |= {
            "passed": verdict.passed,
            "metric": verdict.metric,
            "rows": verdict.rows,
            "champion": verdict.champion,
            "challenger": verdict.challenger,
            "improvement": None if better is None else [better.lower, better.estimate, better.upper],
        }
    answered = "nothing" if judged is None else "\n".join(judged.verdict.reasons)
    versions = "" if judged is None else f"champion {judged.champion} and challenger {judged.version} on "
    found = attributes(given=f"{versions}rows up to {_iso(run.request.now)}", answered=answered, metadata=metadata)
    return Span(run.trace, "judge", "EVALUATOR", begun, at, found, part="judge", error=_abandoned(run, in_step=judged is None))


def _abandoned(run: Retrain, *, in_step: bool) -> str | None:
    """What ended an abandoned run; a refusal is a decision and no error."""
    return run.end.reason if run.end.outcome == "abandoned" and in_step else None


def _iso(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat()
