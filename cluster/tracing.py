"""Sends spans to Phoenix: the only module that knows OpenTelemetry, which it imports once tracing is turned on and not before.

What a span says is up to those who make it (`serve_apps.traces`, `monitoring.traces`), in the words of OpenInference. Its id
follows from what it is of, so that a span sent again is the same span. Sending never waits and never fails: a span that
cannot be sent is dropped, and counted.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, Protocol

import msgspec

from cluster.errors import ConfigError
from cluster.tracing_settings import Tracing

logger = logging.getLogger("homeostat.tracing")
LONGEST_TEXT: Final = 2000
"""Characters of one text in a span."""
_MOST_WAITING: Final = 2048
_BATCH: Final = 256
_TIMEOUT_S: Final = 5.0
_PATH: Final = "/v1/traces"
_TOO_MANY: Final = "they come faster than they can be sent"
Kind = Literal["CHAIN", "EVALUATOR"]
"""Those of OpenInference's kinds that fit: steps, and judgements."""


class Span(NamedTuple):
    """One thing that was done, from its start to its end."""

    trace: str
    """What the whole trace is of, such as a run; spans of one trace share it."""
    name: str
    kind: Kind
    start: float
    """Seconds since 1970."""
    end: float
    attributes: Mapping[str, str | int]
    part: str = ""
    """Which part of the trace it is; empty for the root, of which all others are children."""
    error: str | None = None
    """What went wrong; None when nothing did."""


class Exporter(Protocol):
    """What OpenTelemetry calls a span exporter."""

    def export(self, spans: Sequence[Any]) -> Any:
        """Send; returns whether it succeeded, as an enumeration whose name says so."""

    def shutdown(self) -> None:
        """End."""


def attributes(
    *, given: str | Mapping[str, object], answered: str | Mapping[str, object], metadata: Mapping[str, object]
) -> dict[str, str | int]:
    """What went in, what came out and what else is known, as OpenInference names them; texts are cut to `LONGEST_TEXT`.

    >>> attributes(given="one row", answered={"status": 200}, metadata={})["output.value"]
    '{"status":200}'
    """
    found: dict[str, str | int] = {"metadata": _json(metadata)}
    for name, value in (("input", given), ("output", answered)):
        is_text = isinstance(value, str)
        found[f"{name}.value"] = cut(value) if isinstance(value, str) else _json(value)
        found[f"{name}.mime_type"] = "text/plain" if is_text else "application/json"
    return found


def cut(text: str) -> str:
    """The beginning of a long text."""
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"


def _json(content: Mapping[str, object]) -> str:
    """JSON that stays JSON: its texts are cut, never the whole."""
    return msgspec.json.encode({name: cut(value) if isinstance(value, str) else value for name, value in content.items()}).decode()


def trace_id(trace: str) -> int:
    """The 128 bits that a trace is known by."""
    return int.from_bytes(hashlib.sha256(trace.encode()).digest()[:16], "big")


def span_id(trace: str, part: str) -> int:
    """The 64 bits that a span is known by."""
    return int.from_bytes(hashlib.sha256(f"{trace}\0{part}".encode()).digest()[:8], "big")


class Tracer:
    """Hands spans to an exporter, in a thread of its own.

    Parameters
    ----------
    settings
        With an endpoint.
    exporter
        Another than the one for OTLP over HTTP.

    Raises
    ------
    ConfigError
        When the packages that tracing needs are not installed.
    """

    def __init__(self, settings: Tracing, *, exporter: Exporter | None = None) -> None:
        self._endpoint = settings.endpoint
        self._exporter = exporter or _exporter(settings)
        self._maker = _Maker(settings.project)
        self._waiting: deque[Span] = deque()
        self._changed = threading.Condition()
        self._is_closing = False
        self._is_told = False
        self.sent = 0
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="homeostat-tracing", daemon=True)
        self._thread.start()

    def send(self, spans: Iterable[Span]) -> None:
        """Queue spans; those for which there is no room are dropped."""
        with self._changed:
            for span in spans:
                if len(self._waiting) < _MOST_WAITING and not self._is_closing:
                    self._waiting.append(span)
                else:
                    self._drop(1, _TOO_MANY)
            self._changed.notify()

    def drop(self) -> None:
        """Count a span for which there was no room before it came here."""
        with self._changed:
            self._drop(1, _TOO_MANY)

    def close(self, *, timeout_s: float = _TIMEOUT_S) -> None:
        """Send what waits, for at most so long, and end."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join(timeout_s)
        self._exporter.shutdown()

    def _run(self) -> None:
        while batch := self._take():
            try:
                is_sent = self._exporter.export([self._maker.make(span) for span in batch]).name == "SUCCESS"
            except Exception:  # the thread's main loop: an exporter reports its failures, this is a fault of ours
                logger.exception("making or sending spans failed")
                is_sent = False
            with self._changed:
                if is_sent:
                    self.sent += len(batch)
                    self._is_told = False
                else:
                    self._drop(len(batch), "it does not take them")

    def _take(self) -> list[Span]:
        """Wait for spans; empty when there will be none."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closing)
            return [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]

    def _drop(self, count: int, why: str) -> None:
        """Count; told once, until spans get through again."""
        self.dropped += count
        if not self._is_told:
            self._is_told = True
            logger.warning(
                "spans do not reach %s: %s; they are dropped (%d so far), and nothing waits for them", self._endpoint, why, self.dropped
            )


def open_tracer(settings: Tracing) -> Tracer | None:
    """Where spans go; None when tracing is off.

    Raises
    ------
    ConfigError
        When the packages that tracing needs are not installed.
    """
    return None if settings.endpoint is None else Tracer(settings)


def check(settings: Tracing) -> None:
    """Raise `ConfigError` when tracing is on and cannot work for want of a package."""
    if settings.endpoint is not None:
        _exporter(settings).shutdown()


def _exporter(settings: Tracing) -> Exporter:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise ConfigError(
            f"tracing.endpoint is set, and what sends spans is not installed ({error}); "
            "install it with: pip install 'homeostat[phoenix]', or leave tracing.endpoint out"
        ) from error
    assert settings.endpoint is not None
    logging.getLogger("opentelemetry.exporter.otlp").setLevel(logging.CRITICAL)  # `Tracer` tells, once
    exporter: Exporter = OTLPSpanExporter(endpoint=settings.endpoint.rstrip("/").removesuffix(_PATH) + _PATH, timeout=_TIMEOUT_S)
    return exporter


class _Maker:
    """Makes OpenTelemetry's spans of ours. Only one thread may call it: it tells the SDK the id of each span just before it begins."""

    def __init__(self, project: str) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON

        resource = Resource.create({"service.name": "homeostat", "openinference.project.name": project})
        self._ids = _GivenIds()
        provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        self._tracer = provider.get_tracer("homeostat")

    def make(self, span: Span) -> Any:
        """The span, ended."""
        from opentelemetry.trace import Status, StatusCode

        self._ids.trace, self._ids.span = trace_id(span.trace), span_id(span.trace, span.part)
        made = self._tracer.start_span(
            span.name,
            context=_child_of(span) if span.part else _nothing(),
            attributes={"openinference.span.kind": span.kind, **span.attributes},
            start_time=_ns(span.start),
        )
        made.set_status(Status(StatusCode.OK) if span.error is None else Status(StatusCode.ERROR, cut(span.error)))
        made.end(_ns(span.end))
        return made


class _GivenIds:
    """What the SDK calls an id generator, with ids that are given."""

    trace = 0
    span = 0

    def generate_trace_id(self) -> int:
        return self.trace

    def generate_span_id(self) -> int:
        return self.span

    def is_trace_id_random(self) -> bool:
        return False


def _child_of(span: Span) -> Any:
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    flags = TraceFlags(TraceFlags.SAMPLED)
    parent = SpanContext(trace_id(span.trace), span_id(span.trace, ""), is_remote=False, trace_flags=flags)
    return set_span_in_context(NonRecordingSpan(parent), _nothing())


def _nothing() -> Any:
    """A context of no span, whatever this thread's own may be."""
    from opentelemetry.context import Context

    return Context()


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
