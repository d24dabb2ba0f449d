from __future__ import annotations

import json

import pytest

from cluster import errors
from serve_apps.protocols.errors import INTERNAL, STATUS, headers_of, render, status_of


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.Unauthenticated, 401),
        (errors.UnknownModel, 404),
        (errors.UnknownRequest, 404),
        (errors.UnknownRow, 404),
        (errors.MethodNotAllowed, 405),
        (errors.BodyTooLarge, 413),
        (errors.TooManyRows, 413),
        (errors.UnsupportedMediaType, 415),
        (errors.MissingColumn, 422),
        (errors.BadTime, 422),
        (errors.BadLabel, 422),
        (errors.NoRows, 422),
        (errors.BadJson, 400),
        (errors.BadRequestShape, 400),
        (errors.JournalCorrupt, 503),
        (errors.Unavailable, 503),
        (errors.Overloaded, 503),
        (errors.DeadlineExceeded, 504),
        (errors.ScoringFailed, 500),
        (errors.CallerLeft, 499),
        (errors.NotServed, 404),
        (errors.NoChampion, 503),
        (errors.BundleTampered, 500),
        (errors.HomeostatError, 500),
    ],
)
def test_an_error_has_its_own_status_or_its_nearest_ancestors(error: type[errors.HomeostatError], status: int) -> None:
    assert status_of(error("wrong")) == status


def test_every_error_of_the_caller_is_a_4xx_and_no_other_is() -> None:
    for error in STATUS:
        assert (400 <= STATUS[error] < 500) == issubclass(error, errors.RequestError)


def test_an_error_brings_the_headers_that_http_asks_for() -> None:
    assert headers_of(errors.Unauthenticated("no token")) == {"WWW-Authenticate": "Bearer"}
    assert headers_of(errors.MethodNotAllowed("not so", details=[{"allowed": ["GET", "POST"]}])) == {"Allow": "GET, POST"}
    assert headers_of(errors.JournalError("full")) == {"Retry-After": "1"}
    assert headers_of(errors.Overloaded("full", details=[{"retry_after_s": 2.2}])) == {"Retry-After": "3"}
    assert headers_of(errors.BadJson("not JSON")) is None


def test_an_error_is_rendered_in_the_documented_shape() -> None:
    error = errors.WrongType("row 0 is wrong", details=[{"row": 0, "found": float("inf")}])
    assert json.loads(render(error, 422)) == {
        "error": {"type": "WrongType", "message": "row 0 is wrong", "details": [{"row": 0, "found": None}]}
    }


def test_an_unforeseen_failure_has_the_same_shape_and_tells_nothing_of_the_inside() -> None:
    error = json.loads(render(INTERNAL, 500))["error"]
    assert (error["type"], error["details"]) == ("InternalError", [])
    assert "the same request may succeed later" in error["message"]
