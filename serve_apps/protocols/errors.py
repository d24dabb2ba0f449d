"""The one table from errors to HTTP statuses, and the one shape errors have on the wire."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from cluster import errors

STATUS: Final[dict[type[errors.HomeostatError], int]] = {
    errors.Unauthenticated: 401,
    errors.RouteNotFound: 404,
    errors.UnknownModel: 404,
    errors.NotServed: 404,
    errors.UnknownRequest: 404,
    errors.UnknownRow: 404,
    errors.MethodNotAllowed: 405,
    errors.BodyTooLarge: 413,
    errors.TooManyRows: 413,
    errors.UnsupportedMediaType: 415,
    errors.InvalidRows: 422,
    errors.InvalidLabels: 422,
    errors.NoRows: 422,
    errors.RequestError: 400,
    errors.CallerLeft: 499,
    errors.DeadlineExceeded: 504,
    errors.Unavailable: 503,
    errors.JournalError: 503,
    errors.NoChampion: 503,
}


class ErrorBody(msgspec.Struct, frozen=True):
    """What the caller reads."""

    type: str
    """Name of the error, from `cluster.errors`."""
    message: str
    details: list[dict[str, object]] = []


class ErrorAnswer(msgspec.Struct, frozen=True):
    """The documented shape of every error."""

    error: ErrorBody


def status_of(error: errors.HomeostatError) -> int:
    """HTTP status of an error: its own row of the table, else its nearest ancestor's, else 500."""
    return next((STATUS[cls] for cls in type(error).__mro__ if cls in STATUS), 500)


def headers_of(error: errors.HomeostatError) -> dict[str, str] | None:
    """The headers that HTTP asks for beside an error's status."""
    status = status_of(error)
    if status == 401:
        return {"WWW-Authenticate": "Bearer"}
    if status == 405:
        return {"Allow": ", ".join(str(method) for detail in error.details for method in _listed(detail.get("allowed")))}
    return {"Retry-After": str(_retry_after_s(error))} if status == 503 else None


def _retry_after_s(error: errors.HomeostatError) -> int:
    """Whole seconds: as the error says, or one."""
    hints = [hint for detail in error.details if isinstance(hint := detail.get("retry_after_s"), (int, float))]
    return max(1, math.ceil(max(hints, default=1)))


def _listed(found: object) -> list[object]:
    return found if isinstance(found, list) else []


def render(error: errors.HomeostatError, status: int) -> bytes:  # noqa: ARG001 - other protocols repeat the status in the body
    """The error as JSON."""
    body = ErrorBody(type=type(error).__name__, message=error.message, details=[dict(detail) for detail in error.details])
    return msgspec.json.encode(ErrorAnswer(body))


INTERNAL: Final = errors.InternalError("the service failed to answer; the failure has been logged, the same request may succeed later")
