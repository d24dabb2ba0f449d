"""The Python client: rows in, predictions out, over HTTP; retries, and the errors of `cluster.errors`.

What is sent, judged and sent again is written once, as generators: they yield a call, and are told what came
of it. `HomeostatClient` and `AsyncHomeostatClient` only drive them.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Final, Generic, NamedTuple, Self, TypeVar

import httpx
import msgspec

from cluster import errors
from serve_apps.protocols.client_json import Accepted, Labels, Prediction, Predictions, Rows, decode_error, encode_labels, encode_rows
from serve_apps.retry import Retry

__all__ = ["AsyncHomeostatClient", "HomeostatClient", "Prediction", "Predictions", "Retry"]

T = TypeVar("T")
Transport = TypeVar("Transport", httpx.BaseTransport, httpx.AsyncBaseTransport)
_PASSING: Final = (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError)
_PASSING_STATUSES: Final = frozenset((502, 503, 504))

Outcome = httpx.Response | httpx.TransportError


class Call(NamedTuple):
    """A request to be sent."""

    method: str
    path: str
    content: bytes | None = None
    after_s: float = 0.0
    """How long to wait before."""


Steps = Generator[Call, Outcome, T]
"""Yields calls, is sent their outcomes, returns what a method answers."""


class _Conversations(Generic[Transport]):
    """What both clients share: their options, and what they say to the service."""

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        *,
        token: str | None = None,
        model: str | None = None,
        timeout_s: float = 10.0,
        routing_key: str | None = None,
        retry: Retry | None = None,
        transport: Transport | None = None,
    ) -> None:
        self._url, self._mount = base_url.rstrip("/"), f"/{model}/v1" if model else "/v1"
        said = {"Authorization": token and f"Bearer {token}", "X-Routing-Key": routing_key, "X-Request-Timeout": f"{timeout_s:g}"}
        headers = {"Content-Type": "application/json"} | {name: value for name, value in said.items() if value}
        self._options: dict[str, Any] = {"base_url": self._url, "headers": headers, "timeout": timeout_s, "transport": transport}
        self._retry = retry or Retry()

    def _ask(self, call: Call, shape: type[T]) -> Steps[T]:
        """Send until there is an answer, the failure is final, or `Retry` ends it."""
        began, attempt = self._retry.clock(), 1
        while not (isinstance(outcome := (yield call), httpx.Response) and outcome.is_success):
            error, is_passing = self._judge(outcome)
            pause_s = self._retry.pause_s(attempt, outcome.headers.get("retry-after", "") if isinstance(outcome, httpx.Response) else "")
            if not is_passing or pause_s is None or self._retry.clock() + pause_s - began > self._retry.total_s:
                raise error from (outcome if isinstance(outcome, httpx.TransportError) else None)
            call, attempt = call._replace(after_s=pause_s), attempt + 1
        try:
            return msgspec.json.decode(outcome.content, type=shape)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise errors.Unavailable(f"what listens at {self._url} gave no answer of ours: {error}") from error

    def _judge(self, outcome: Outcome) -> tuple[errors.HomeostatError, bool]:
        """The error that a failure stands for, and whether it may pass."""
        if not isinstance(outcome, httpx.Response):
            kind: type[errors.Unavailable] = errors.DeadlineExceeded if isinstance(outcome, httpx.TimeoutException) else errors.Unavailable
            return kind(f"no answer from {self._url}: {type(outcome).__name__}: {outcome}"), True
        status = outcome.status_code
        unknown = errors.RequestError if status < 500 else errors.Unavailable
        if told := decode_error(outcome.content, unknown=unknown):
            return told, status in _PASSING_STATUSES
        return unknown(f"what listens at {self._url} answered {status}: {outcome.text[:200]}"), status in {404, 500, *_PASSING_STATUSES}

    def _predict(self, rows: Rows) -> Steps[Predictions]:
        return self._ask(Call("POST", f"{self._mount}/predict", encode_rows(rows)), Predictions)

    def _label(self, request_id: str, labels: Labels) -> Steps[int]:
        answer = yield from self._ask(Call("POST", f"{self._mount}/labels", encode_labels(request_id, labels)), Accepted)
        return answer.accepted

    def _model(self) -> Steps[dict[str, Any]]:
        return self._ask(Call("GET", f"{self._mount}/model"), dict[str, Any])

    def _ready(self, after_s: float = 0.0) -> Steps[bool]:
        outcome = yield Call("GET", "/readyz", after_s=after_s)
        return isinstance(outcome, httpx.Response) and outcome.is_success

    def _wait_until_ready(self, timeout_s: float) -> Steps[None]:
        began = self._retry.clock()
        while not (yield from self._ready(after_s=0.1)):
            if self._retry.clock() - began >= timeout_s:
                raise errors.Unavailable(f"{self._url} is not ready after {timeout_s:g} s; does the service run there?")


class HomeostatClient(_Conversations[httpx.BaseTransport]):
    """Asks the service and waits for its answers; a context manager.

    Parameters
    ----------
    base_url
        Where the service listens.
    token
        The bearer token, where the service wants one.
    model
        The model to ask, where one service answers for several.
    timeout_s
        Longest that one attempt may take. The service is told, and begins no work that nobody waits for any more.
    routing_key
        While a challenger is on trial, requests of one key are answered by the same bundle.
    retry
        Asked again are failed connections, timeouts, 502, 503, 504, and a 404 or 500 that is not the service's own: the
        load balancer's, which knows no routes for a second or two after its start.
    transport
        In place of httpx's own.

    Raises
    ------
    RequestError
        By each method, as one of its children in `cluster.errors`: the request is wrong; `details` says where.
    Unavailable
        By each method, also as `Overloaded` or `DeadlineExceeded`: no answer within `retry`.
    ScoringFailed, InternalError
        By each method: the model, or the service, failed on these rows.

    Examples
    --------
    >>> body = b'{"request_id":"8a-0000-80","bundle":"7","predictions":[{"prediction":1,"answered_by":"student","probability":0.75}]}'
    >>> service = httpx.MockTransport(lambda request: httpx.Response(200, content=body))
    >>> with HomeostatClient("http://127.0.0.1:8000", transport=service) as client:
    ...     answer = client.predict([{"clinic": "river", "reminder": "none", "age": 34, "wait_days": None}])
    >>> answer.request_id, answer[0].prediction, answer[0].probability
    ('8a-0000-80', 1, 0.75)
    """

    _pause: Callable[[float], None] = staticmethod(time.sleep)

    @functools.cached_property
    def _http(self) -> httpx.Client:
        return httpx.Client(**self._options)

    def predict(self, rows: Rows) -> Predictions:
        """Score rows: a list of dicts, a pandas DataFrame, or a dict of columns; what is missing is None or NaN.

        Asking again may journal twice: an attempt whose answer was lost on the way may have been answered and
        journaled all the same, under a request id that nobody learns. No answer is wrong for it; the monitor counts
        those rows twice. Set `Retry(attempts=1)` where that is worse than an error.
        """
        return self._run(self._predict(rows))

    def label(self, request_id: str, labels: Labels) -> int:
        """Send what rows turned out to be, by row number or in the order of the rows; returns how many were taken.

        Safe to repeat: a row's later label replaces its earlier one.
        """
        return self._run(self._label(request_id, labels))

    def model(self) -> dict[str, Any]:
        """The champion that answers: bundle, label, columns, cascade, metrics."""
        return self._run(self._model())

    def ready(self) -> bool:
        """Whether champions of all models are loaded and answer; asked once."""
        return self._run(self._ready())

    def wait_until_ready(self, timeout_s: float = 60.0) -> None:
        """Return once the service is ready; `Unavailable` when it is not within the time."""
        self._run(self._wait_until_ready(timeout_s))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, steps: Steps[T]) -> T:
        try:
            call = next(steps)
            while True:
                self._pause(call.after_s)
                call = steps.send(self._send(call))
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]

    def _send(self, call: Call) -> Outcome:
        try:
            return self._http.request(call.method, call.path, content=call.content)
        except _PASSING as error:
            return error


class AsyncHomeostatClient(_Conversations[httpx.AsyncBaseTransport]):
    """`HomeostatClient` for asyncio: the same options, and each method awaited."""

    _pause: Callable[[float], Awaitable[None]] = staticmethod(asyncio.sleep)

    @functools.cached_property
    def _http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(**self._options)

    async def predict(self, rows: Rows) -> Predictions:
        """As `HomeostatClient.predict`."""
        return await self._run(self._predict(rows))

    async def label(self, request_id: str, labels: Labels) -> int:
        """As `HomeostatClient.label`."""
        return await self._run(self._label(request_id, labels))

    async def model(self) -> dict[str, Any]:
        """As `HomeostatClient.model`."""
        return await self._run(self._model())

    async def ready(self) -> bool:
        """As `HomeostatClient.ready`."""
        return await self._run(self._ready())

    async def wait_until_ready(self, timeout_s: float = 60.0) -> None:
        """As `HomeostatClient.wait_until_ready`."""
        await self._run(self._wait_until_ready(timeout_s))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _run(self, steps: Steps[T]) -> T:
        try:
            call = next(steps)
            while True:
                await self._pause(call.after_s)
                call = steps.send(await self._send(call))
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]

    async def _send(self, call: Call) -> Outcome:
        try:
            return await self._http.request(call.method, call.path, content=call.content)
        except _PASSING as error:
            return error
