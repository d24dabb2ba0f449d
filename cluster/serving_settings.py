"""The sections of a model's YAML that speak of answering with it."""

from __future__ import annotations

import datetime as dt
from typing import Literal, Self

from pydantic import Field, model_validator

from cluster.schema import Duration, Section


class Scaling(Section):
    """Replicas of a deployment."""

    min_replicas: int = Field(default=1, ge=0)
    """Kept when idle."""
    max_replicas: int = Field(default=2, ge=1)
    """Autoscaling stops here."""
    upscale_delay: Duration = dt.timedelta(seconds=5)
    """How long the load must be above its target before replicas are added."""
    downscale_delay: Duration = dt.timedelta(minutes=2)
    """How long it must be below before replicas are taken away."""
    cpus: float = Field(default=0.5, ge=0)
    """CPUs reserved a replica."""
    gpus: float = Field(default=0.0, ge=0)
    """GPUs reserved a replica."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas {self.min_replicas} is above max_replicas {self.max_replicas}")
        return self


class Gateway(Scaling):
    """The processes that answer requests."""

    min_replicas: int = Field(default=1, ge=1)
    """Kept when idle; a gateway that is not there answers nobody."""
    target_load: float = Field(default=0.6, gt=0, le=1)
    """Share of a core that a replica may be busy before another is started."""


class Ensemble(Scaling):
    """Who scores the rows that the student is not sure of."""

    placement: Literal["auto", "in_process", "deployment"] = "auto"
    """`deployment`: processes of its own; `in_process`: the gateway itself; `auto`: by what the bundle costs, measured when it was built."""
    min_replicas: int = Field(default=1, ge=0)
    """Kept when idle; 0 lets it go when no row needs it, and the next such row waits for its start or is answered by the student."""
    target_ongoing_requests: float = Field(default=16, gt=0)
    """Requests in flight a replica that autoscaling aims at."""
    max_batch_rows: int = Field(default=1024, ge=1)
    """Most rows that are scored together."""


class Cascade(Section):
    """Which rows the student answers alone."""

    max_disagreement: float = Field(default=0.02, gt=0, lt=1)
    """At most this share of the rows the student answers may differ from the ensemble's decision."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """The promise holds with this probability, on rows like those held out of training; drift breaks it."""
    tolerance: float = Field(default=0.1, gt=0)
    """Regression: answers differ when further apart than this share of the label's standard deviation."""
    audit_share: float = Field(default=0.01, ge=0, le=1)
    """Share of the rows the student answers, chosen by chance, that the ensemble scores as well once the answer has left. The monitor holds
    the promise against them. 0: none, and the promise is not watched."""


class Serving(Section):
    """The HTTP service."""

    host: str = "127.0.0.1"
    """Where it listens; 0.0.0.0 for all interfaces."""
    port: int = Field(default=8000, ge=1, le=65535)
    """HTTP."""
    grpc_port: int | None = Field(default=None, ge=1, le=65535)
    """gRPC (Open Inference Protocol); null: off."""
    gateway: Gateway = Gateway()
    ensemble: Ensemble = Ensemble()
    cascade: Cascade = Cascade()
    max_rows: int = Field(default=10_000, ge=1)
    """Most rows in one request."""
    max_body_bytes: int = Field(default=8 * 1024 * 1024, ge=1024)
    """Largest request body."""
    token_env: str | None = None
    """Name of an environment variable; when set, requests must carry its value as a bearer token; health and documentation stay open."""
    timeout_s: float = Field(default=10.0, gt=0, le=3600)
    """What a request may take when it carries no `X-Request-Timeout` header; work that cannot be done by then is not begun."""
    ensemble_timeout_s: float = Field(default=2.0, gt=0)
    """Longest wait for the ensemble, within the request's own time."""
    without_ensemble: Literal["degrade", "refuse"] = "degrade"
    """When the ensemble does not answer in time: `degrade` lets the student answer, and says so; `refuse` answers 503."""
    access_log: Literal["off", "errors", "all"] = "errors"
    """Which requests are written to `log/access` under `places.root`, as lines of JSON without values of features."""
    poll_s: float = Field(default=0.5, gt=0)
    """Seconds between looks at the champion pointer."""
