"""The section of a model's YAML that says where spans go, and how many."""

from __future__ import annotations

from pydantic import Field

from cluster.schema import Section


class Tracing(Section):
    """Spans of requests, retrains and verdicts, for Phoenix or whatever else takes OpenTelemetry's."""

    endpoint: str | None = Field(default=None, pattern=r"^https?://")
    """Base address of a receiver of OTLP over HTTP, such as `http://127.0.0.1:6006`; null: off."""
    sample: float = Field(default=0.1, ge=0, le=1)
    """Share of the requests, chosen by chance, that get a span; every retrain and every verdict gets one."""
    project: str = Field(default="homeostat", min_length=1)
    """What Phoenix lists the spans under."""
    rows: bool = False
    """true: a span also shows the features of its request's first row, and what was answered for it; never protected columns."""
