"""Requests as spans: which are kept, and what is said of one. Knows no OpenTelemetry; `cluster.tracing` sends.

A service without tracing has none of this: `gateway_of` and `model_of` then give the plain classes. With it, a request costs
a random number, and one that is chosen some looks at the clock; spans are made by the thread beside the gateway.
"""

from __future__ import annotations

import random
import time
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Final, NamedTuple, TypeVar

from cluster.bundle import Bundle
from cluster.schema import Matrix, Scalar
from cluster.settings import Settings
from cluster.tracing import Span, Tracer, attributes, open_tracer
from serve_apps.cascade import AskEnsemble
from serve_apps.gateway import Gateway
from serve_apps.http import Call
from serve_apps.meter import Event, Swap, answered_by
from serve_apps.placement import Placement
from serve_apps.protocols.plane import Answered, DecodedRows
from serve_apps.served import Decode, ServedModel, View

_MOST_KEPT: Final = 1024
"""Requests between two turns of the thread that makes spans of them; further ones get none."""
_SLICE: Final = 32
"""Spans that are made at once, so that the thread lets the loop go on."""
_MOST_SEEN: Final = 4096
_REFUSED: Final = 400
_T = TypeVar("_T")
Row = dict[str, Scalar]


class Step(NamedTuple):
    """A part of answering a request."""

    name: str
    """`student` or `ensemble`."""
    start: float
    end: float


class Seen(NamedTuple):
    """What is known of an answer beside what was metered."""

    steps: tuple[Step, ...] = ()
    row: Row | None = None
    """Its first row, where rows are shown; no protected column is in it."""


class Kept(NamedTuple):
    """A request that gets a span."""

    event: Event
    identity: str
    """Its request id; of one without answers, a number drawn for it."""
    body_bytes: int
    seen: Seen
    scores: list[float] | None
    """What was answered for the first row, where rows are shown."""


_steps: ContextVar[list[Step] | None] = ContextVar("steps", default=None)
"""Of the request that is being answered, if it was chosen."""


class TracedModel(ServedModel):
    """A model that chooses some of its answers, and remembers how it came to them until it is asked.

    Parameters
    ----------
    settings, placement, ask_elsewhere
        As of `ServedModel`.
    rng
        Chooses.
    """

    def __init__(
        self, settings: Settings, placement: Placement, ask_elsewhere: AskEnsemble | None = None, rng: random.Random | None = None
    ) -> None:
        super().__init__(settings, placement, ask_elsewhere)
        self._rng = rng or random.Random()  # noqa: S311
        self._tracing = settings.tracing
        self._seen: dict[str, Seen] = {}

    def chooses(self) -> bool:
        """Whether a request gets a span."""
        return self._rng.random() < self._tracing.sample

    def take(self, request_id: str) -> Seen | None:
        """What is known of an answer, once; None of one that was not chosen."""
        return self._seen.pop(request_id, None)

    async def answer(self, call: Call, decode: Decode[_T]) -> tuple[Answered, _T]:
        """As `ServedModel.answer`."""
        if not self.chooses():
            return await super().answer(call, decode)
        steps: list[Step] = []
        first: list[Row] = []

        def decoding(view: View, now: float) -> tuple[DecodedRows, _T]:
            rows, more = decode(view, now)
            schema = view.bundle.schema
            first.append({name: rows.columns[name][0] for name in schema.names if name not in schema.protected})
            return rows, more

        token = _steps.set(steps)
        try:
            answered, more = await super().answer(call, decoding if self._tracing.rows else decode)
        finally:
            _steps.reset(token)
        if len(self._seen) >= _MOST_SEEN:
            self._seen.clear()  # of answers that could not be rendered
        self._seen[answered.request_id] = Seen(tuple(steps), first[0] if first else None)
        return answered, more

    def _score(self, bundle: Bundle, rows: DecodedRows) -> tuple[Matrix, Matrix]:
        with _timed("student"):
            return super()._score(bundle, rows)

    async def _ask_here(self, bundle: Bundle, matrix: Matrix, budget_s: float) -> Matrix:
        with _timed("ensemble"):
            return await super()._ask_here(bundle, matrix, budget_s)

    async def _ask_for(self, call: Call, bundle: Bundle, matrix: Matrix, budget_s: float) -> Matrix:
        with _timed("ensemble"):
            return await super()._ask_for(call, bundle, matrix, budget_s)


def _timed(name: str) -> AbstractContextManager[None]:
    """Notes a step of the request that is being answered, if it was chosen."""
    steps = _steps.get()
    return nullcontext() if steps is None else _noting(name, steps)


@contextmanager
def _noting(name: str, steps: list[Step]) -> Iterator[None]:
    start = time.time()
    try:
        yield
    finally:
        steps.append(Step(name, start, time.time()))


class TracedGateway(Gateway):
    """A gateway that keeps the requests that were chosen, and sends spans of them.

    Parameters
    ----------
    models
        At least one.
    tracers
        Where spans go, by model; the requests of others get none.
    """

    def __init__(self, models: Iterable[ServedModel], tracers: Mapping[str, Tracer]) -> None:
        super().__init__(models)
        self._tracers = tracers
        self._kept: deque[Kept] = deque()

    def note(self, route: str, call: Call, model: str, answered: Answered | None, status: int) -> Event:
        """Meter a request, and keep it if it was chosen."""
        event = super().note(route, call, model, answered, status)
        served = self.models.get(model, self.only if status >= _REFUSED else None)
        if isinstance(served, TracedModel) and call.method == "POST":
            if answered is not None:
                self._keep(event, answered.request_id, call, served.take(answered.request_id), answered)
            elif served.chooses():
                self._keep(event._replace(model=served.name), uuid.uuid4().hex, call, Seen(), None)
        return event

    def _keep(self, event: Event, identity: str, call: Call, seen: Seen | None, answered: Answered | None) -> None:
        if seen is None:
            return
        if len(self._kept) >= _MOST_KEPT:
            self._tracers[event.model].drop()
            return
        scores = None if seen.row is None or answered is None else answered.scores[0].tolist()
        self._kept.append(Kept(event, identity, len(call.body), seen, scores))

    def export(self, events: Sequence[Event], swaps: Sequence[Swap]) -> None:  # noqa: ARG002
        """Send the spans of some that were kept; called by the follower, at least once for as many events."""
        for _ in range(min(_SLICE, len(self._kept))):
            kept = self._kept.popleft()
            self._tracers[kept.event.model].send(spans_of(kept))

    def close(self) -> None:
        """Send what is left, and end."""
        for tracer in self._tracers.values():
            tracer.close()


def spans_of(kept: Kept) -> list[Span]:
    """The request, then the steps of answering it."""
    trace = f"request/{kept.event.model}/{kept.identity}"
    return [_whole(trace, kept), *(_part(trace, step, kept.event) for step in kept.seen.steps)]


def _whole(trace: str, kept: Kept) -> Span:
    event = kept.event
    given: dict[str, object] = {"bytes": kept.body_bytes}
    answered: dict[str, object] = {"status": event.status}
    metadata: dict[str, object] = {"model": event.model, "route": event.route, "status": event.status}
    if event.bundle:
        counts = {"student": event.student, "ensemble": event.ensemble, "degraded": event.degraded}
        rows = sum(counts.values())
        given["rows"] = rows
        answered = dict(counts)
        metadata |= {"bundle": event.bundle, "request_id": kept.identity, "answered_by": answered_by(event), "rows": rows} | counts
    if kept.seen.row is not None:
        given["first_row"], answered["first_scores"] = kept.seen.row, kept.scores
    found = attributes(given=given, answered=answered, metadata=metadata)
    http: dict[str, str | int] = {"http.request.method": event.method, "http.route": event.route, "http.response.status_code": event.status}
    error = f"refused with {event.status}" if event.status >= _REFUSED else None
    name = f"{event.method} {event.route}".strip()
    return Span(trace, name, "CHAIN", event.time, event.time + event.seconds, found | http, error=error)


def _part(trace: str, step: Step, event: Event) -> Span:
    hard = event.ensemble + event.degraded
    rows = hard if step.name == "ensemble" else hard + event.student
    error = "it did not answer in time; the student's answer stands" if step.name == "ensemble" and event.degraded else None
    metadata: dict[str, object] = {"model": event.model, "bundle": event.bundle, "rows": rows}
    found = attributes(given={"rows": rows}, answered={"rows": 0 if error else rows}, metadata=metadata)
    return Span(trace, step.name, "CHAIN", step.start, step.end, found, part=step.name, error=error)


def model_of(settings: Settings) -> type[ServedModel]:
    """The class that serves a model."""
    return TracedModel if settings.tracing.endpoint is not None else ServedModel


def gateway_of(models: Sequence[ServedModel]) -> Gateway:
    """The gateway of some models.

    Raises
    ------
    ConfigError
        When tracing is on for one of them and a package is missing.
    """
    opened = {model.name: open_tracer(model.settings.tracing) for model in models}
    tracers = {name: tracer for name, tracer in opened.items() if tracer is not None}
    return TracedGateway(models, tracers) if tracers else Gateway(models)
