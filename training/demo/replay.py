"""The replay: history sent over HTTP in the order it happened, hour by hour, its labels a day later.

It is a client like any other: it knows a URL and rows. What it was answered, it keeps, so that the report can ask
the journal for every acknowledged row.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import httpx
import msgspec
import numpy as np
import pyarrow as pa

from cluster.arrow import times_of
from cluster.schema import FeatureSchema, Scalar

_HOUR_S: Final = 3600.0
_DAY_S: Final = 86400.0
_CONNECTIONS: Final = 4
_LABELS_A_REQUEST: Final = 10_000
_TIMEOUT_S: Final = 30.0
T = TypeVar("T")


@dataclass
class Outcome:
    """What the client saw."""

    requests: int = 0
    rows_served: int = 0
    http_errors: int = 0
    errors: list[str] = field(default_factory=list)
    """The first few, in words."""
    labels_sent: int = 0
    latencies_ms: list[float] = field(default_factory=list)
    acknowledged: dict[str, list[float]] = field(default_factory=dict)
    """Probabilities (or numbers) answered, by request id."""


@dataclass(frozen=True)
class Hour:
    """Rows that happened within one hour."""

    start: float
    rows: list[dict[str, Scalar]]
    labels: list[Scalar]


class AnsweredRow(msgspec.Struct):
    """What is needed of one row of the service's answer."""

    prediction: Any
    probability: float | None = None


class Answer(msgspec.Struct):
    """What is needed of the service's answer."""

    request_id: str
    predictions: list[AnsweredRow]


Answered = tuple[Hour, str]


def days_of(table: pa.Table, schema: FeatureSchema) -> Iterator[tuple[float, list[Hour]]]:
    """A table, which must be in order of time, as days of hours; yields each day's start with its hours."""
    assert schema.time is not None
    times = times_of(table, schema.time)
    hours = np.floor(times / _HOUR_S).astype(np.int64)
    days = np.floor(times / _DAY_S).astype(np.int64)
    sent = table.select([*schema.names, *schema.side_columns])
    for day in np.unique(days):
        index = np.flatnonzero(days == day)
        part, first = sent.slice(index[0], len(index)).to_pylist(), int(index[0])
        labels = table.column(schema.label.name).slice(first, len(index)).to_pylist()
        for row, moment in zip(part, times[index], strict=True):
            row[schema.time] = float(moment)
        grouped = []
        for hour in np.unique(hours[index]):
            rows = np.flatnonzero(hours[index] == hour)
            low, high = int(rows[0]), int(rows[-1]) + 1
            grouped.append(Hour(float(hour) * _HOUR_S, part[low:high], labels[low:high]))
        yield float(day) * _DAY_S, grouped


class Replay:
    """Sends days to a service.

    Parameters
    ----------
    url
        The service's base URL.
    delay
        How long after its row a label is sent.
    after_day
        Awaited when a day and the labels due by then have been sent: here the loop acts while the clock stands still.
    transport
        What carries the requests; None for the network.
    """

    def __init__(
        self,
        url: str,
        *,
        delay: dt.timedelta,
        after_day: Callable[[float, Outcome], Awaitable[None]],
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._url = url
        self._transport = transport
        self._delay_s = delay.total_seconds()
        self._after_day = after_day
        self._waiting: list[Answered] = []
        self.outcome = Outcome()

    async def run(self, days: Iterator[tuple[float, list[Hour]]]) -> Outcome:
        """Send all days; labels still outstanding at the end are sent then."""
        limits = httpx.Limits(max_connections=_CONNECTIONS)
        async with httpx.AsyncClient(base_url=self._url, timeout=_TIMEOUT_S, limits=limits, transport=self._transport) as client:
            end = 0.0
            for start, hours in days:
                end = start + _DAY_S
                for i in range(0, len(hours), _CONNECTIONS):
                    self._waiting += [
                        a for a in await asyncio.gather(*(self._ask(client, hour) for hour in hours[i : i + _CONNECTIONS])) if a
                    ]
                await self._send_labels(client, until=end - self._delay_s)
                await self._after_day(end, self.outcome)
            await self._send_labels(client, until=float("inf"))
            await self._after_day(end, self.outcome)
        return self.outcome

    async def _ask(self, client: httpx.AsyncClient, hour: Hour) -> Answered | None:
        began = time.perf_counter()
        answer = await self._post(client, "/v1/predict", {"rows": hour.rows}, Answer)
        self.outcome.latencies_ms.append((time.perf_counter() - began) * 1000)
        self.outcome.requests += 1
        if answer is None:
            return None
        self.outcome.rows_served += len(answer.predictions)
        self.outcome.acknowledged[answer.request_id] = [
            row.prediction if row.probability is None else row.probability for row in answer.predictions
        ]
        return hour, answer.request_id

    async def _send_labels(self, client: httpx.AsyncClient, *, until: float) -> None:
        due = [answered for answered in self._waiting if answered[0].start + _HOUR_S <= until]
        self._waiting = [answered for answered in self._waiting if answered[0].start + _HOUR_S > until]
        labels = [
            {"request_id": request_id, "row": row, "label": label}
            for hour, request_id in due
            for row, label in enumerate(hour.labels)
            if label is not None
        ]
        for first in range(0, len(labels), _LABELS_A_REQUEST):
            part = labels[first : first + _LABELS_A_REQUEST]
            if await self._post(client, "/v1/labels", {"labels": part}, dict[str, Any]) is not None:
                self.outcome.labels_sent += len(part)

    async def _post(self, client: httpx.AsyncClient, path: str, content: Any, kind: type[T]) -> T | None:
        try:
            response = await client.post(path, content=msgspec.json.encode(content), headers={"Content-Type": "application/json"})
            if response.status_code == 200:
                return msgspec.json.decode(response.content, type=kind)
            problem = f"{path}: {response.status_code} {response.text[:300]}"
        except (httpx.HTTPError, msgspec.DecodeError) as error:
            problem = f"{path}: {type(error).__name__}: {error}"
        self.outcome.http_errors += 1
        self.outcome.errors = [*self.outcome.errors, problem][:10]
        return None
