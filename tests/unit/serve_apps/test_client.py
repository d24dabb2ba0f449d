from __future__ import annotations

import asyncio
import datetime as dt
import json
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import httpx
import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster import errors
from serve_apps.client import AsyncHomeostatClient, HomeostatClient, Prediction, Predictions, Retry
from serve_apps.protocols.client_json import encode_labels, encode_rows
from serve_apps.protocols.errors import INTERNAL, headers_of, render, status_of
from serve_apps.protocols.plane import Answered
from serve_apps.protocols.rows import RowsCodec
from tests.builders import make_schema

SCHEMA = make_schema()
ANSWER = RowsCodec(SCHEMA, model="late", max_rows=5).encode(
    Answered("8a-0000-80", "late", "7", SCHEMA.label, np.array([[0.75], [0.25]], dtype=np.float32), np.array([0, 1], dtype=np.uint8))
)
HAPROXY_404 = httpx.Response(404, text="<html><body><h1>404 Not Found</h1></body></html>")
Script = list[httpx.Response | Exception]


class Clock:
    """Time that passes only in pauses."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def pause(self, seconds: float) -> None:
        self.now += seconds
        if seconds:
            self.pauses.append(seconds)

    async def pause_async(self, seconds: float) -> None:
        self.pause(seconds)


class Service:
    """Answers by a script, the last line for ever, and remembers what it was asked."""

    def __init__(self, *script: httpx.Response | Exception) -> None:
        self.script = list(script)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        line = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(line, Exception):
            raise line
        return httpx.Response(line.status_code, headers=line.headers, content=line.content)


def ok(content: Any = None) -> httpx.Response:
    return httpx.Response(200, content=ANSWER if content is None else json.dumps(content).encode())


def refusal(error: errors.HomeostatError) -> httpx.Response:
    return httpx.Response(status_of(error), content=render(error, status_of(error)), headers=headers_of(error))


Talk = Callable[[Any], Any]


def talk_sync(service: Service, clock: Clock, options: dict[str, Any], talk: Talk) -> Any:
    with HomeostatClient("http://service", transport=httpx.MockTransport(service), **options) as client:
        client._pause = clock.pause
        return talk(client)


def talk_async(service: Service, clock: Clock, options: dict[str, Any], talk: Talk) -> Any:
    async def run() -> Any:
        async with AsyncHomeostatClient("http://service", transport=httpx.MockTransport(service), **options) as client:
            client._pause = clock.pause_async
            return await talk(client)

    return asyncio.run(run())


@pytest.fixture(params=[talk_sync, talk_async], ids=["sync", "async"])
def driver(request: pytest.FixtureRequest) -> Any:
    return request.param


class Conversation:
    """One client of either kind, one scripted service, one clock."""

    def __init__(self, driver: Any, *script: httpx.Response | Exception, **options: Any) -> None:
        self.service, self.clock = Service(*script), Clock()
        retry = options.pop("retry", {})
        self.options = options | {"retry": Retry(rng=lambda: 0.5, clock=lambda: self.clock.now, **retry)}
        self.driver = driver

    def __call__(self, talk: Talk) -> Any:
        return self.driver(self.service, self.clock, self.options, talk)

    @property
    def request(self) -> httpx.Request:
        (request,) = self.service.requests
        return request


def predict(client: Any) -> Any:
    return client.predict([{"miles": 200.0}])


# What is sent


def test_rows_are_posted_and_the_answer_is_a_sequence_of_predictions(driver: Any) -> None:
    talk = Conversation(driver, ok())
    answer = talk(lambda client: client.predict([{"miles": 200.0, "carrier": "B6"}, {"miles": None, "carrier": "UA"}]))
    assert (answer.request_id, answer.bundle, len(answer)) == ("8a-0000-80", "7", 2)
    assert list(answer) == [Prediction(1, "student", 0.75), Prediction(0, "ensemble", 0.25)]
    assert answer[1].answered_by == "ensemble"
    assert (talk.request.method, str(talk.request.url)) == ("POST", "http://service/v1/predict")
    assert json.loads(talk.request.content) == {"rows": [{"miles": 200.0, "carrier": "B6"}, {"miles": None, "carrier": "UA"}]}


def test_options_become_headers_and_the_model_a_part_of_the_path(driver: Any) -> None:
    talk = Conversation(driver, ok(), token="t0ken", model="late", timeout_s=2.5, routing_key="customer 7")
    talk(predict)
    assert str(talk.request.url) == "http://service/late/v1/predict"
    assert talk.request.headers["authorization"] == "Bearer t0ken"
    assert talk.request.headers["x-request-timeout"] == "2.5"
    assert talk.request.headers["x-routing-key"] == "customer 7"
    assert talk.request.headers["content-type"] == "application/json"
    assert talk.request.extensions["timeout"]["read"] == 2.5


def test_options_left_out_are_not_sent(driver: Any) -> None:
    talk = Conversation(driver, ok())
    talk(predict)
    assert {"authorization", "x-routing-key"}.isdisjoint(talk.request.headers)


def test_labels_are_sent_by_row_or_in_order(driver: Any) -> None:
    talk = Conversation(driver, ok({"accepted": 2}))
    assert talk(lambda client: client.label("8a-0000-80", {0: 1, 3: np.int64(0)})) == 2
    assert json.loads(talk.request.content)["labels"] == [
        {"request_id": "8a-0000-80", "row": 0, "label": 1},
        {"request_id": "8a-0000-80", "row": 3, "label": 0},
    ]
    assert json.loads(encode_labels("a", ["late", "on time"]))["labels"][1] == {"request_id": "a", "row": 1, "label": "on time"}


def test_the_model_and_its_readiness_are_asked_for(driver: Any) -> None:
    assert Conversation(driver, ok({"bundle": "7"}))(lambda client: client.model()) == {"bundle": "7"}
    assert Conversation(driver, ok({"status": "ready"}))(lambda client: client.ready()) is True
    for failure in (refusal(errors.NoChampion("none yet")), httpx.ConnectError("refused"), HAPROXY_404):
        talk = Conversation(driver, failure, model="late")
        assert talk(lambda client: client.ready()) is False
        assert str(talk.request.url) == "http://service/readyz"  # one for all models
        assert talk.clock.pauses == []


# Values


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (math.nan, None),
        (np.float64("nan"), None),
        (np.float32("nan"), None),
        (pd.NA, None),
        (pd.NaT, None),
        (np.datetime64("NaT"), None),
        ("nan", "nan"),
        ("NaT", "NaT"),
        (np.float32(0.5), 0.5),
        (np.int16(7), 7),
        (np.bool_(True), True),
        (np.str_("UA"), "UA"),
        (Decimal("1.25"), 1.25),
        (dt.datetime(2026, 1, 1, 8, tzinfo=dt.UTC), "2026-01-01T08:00:00+00:00"),
        (dt.date(2026, 1, 1), "2026-01-01"),
        (pd.Timestamp("2026-01-01 08:00:00.5", tz="UTC"), "2026-01-01T08:00:00.500000+00:00"),
        (np.datetime64("2026-01-01T08:00:00", "ns"), "2026-01-01T08:00:00.000000000"),
    ],
)
def test_a_value_is_sent_as_json_has_it(value: Any, sent: Any) -> None:
    expected = json.loads(json.dumps(sent))
    decoded = msgspec.json.decode(encode_rows([{"x": value}]))
    assert decoded == {"rows": [{"x": expected}]}
    assert type(decoded["rows"][0]["x"]) is type(sent)


@pytest.mark.parametrize(
    ("value", "error"),
    [(math.inf, errors.NotFinite), (np.float32("-inf"), errors.NotFinite), ([1], errors.WrongType), (1j, errors.WrongType)],
)
def test_a_value_that_json_cannot_hold_is_refused_before_it_is_sent(value: Any, error: type[errors.RequestError]) -> None:
    with pytest.raises(error, match="column 'miles'") as caught:
        encode_rows([{"miles": value}])
    assert caught.value.details[0]["column"] == "miles"


@pytest.mark.parametrize("value", ["UA", 3.5, None])
def test_a_single_row_in_place_of_columns_is_refused(value: Any) -> None:
    with pytest.raises(errors.BadRequestShape, match=r"column 'x' holds .*, not a list of values; send one row as \[row\]"):
        encode_rows({"x": value})


def test_columns_and_a_data_frame_are_sent_by_column() -> None:
    frame = pd.DataFrame(
        {
            "miles": [200.0, None],
            "age": pd.Series([34, None], dtype="Int64"),
            "carrier": pd.Categorical(["UA", None]),
            "at": pd.to_datetime(["2026-01-01", "NaT"], utc=True),
        }
    )
    assert json.loads(encode_rows(frame)) == {
        "columns": {"miles": [200.0, None], "age": [34, None], "carrier": ["UA", None], "at": ["2026-01-01T00:00:00+00:00", None]}
    }
    assert json.loads(encode_rows({"miles": np.array([1, 2])})) == {"columns": {"miles": [1, 2]}}


@given(
    st.lists(
        st.dictionaries(
            st.text(),
            st.none() | st.booleans() | st.text() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_infinity=False, allow_nan=False),
        )
    )
)
def test_what_json_has_arrives_unchanged(rows: list[dict[str, Any]]) -> None:
    assert json.loads(encode_rows(rows)) == {"rows": rows}


def test_predictions_become_a_frame_with_the_index_of_the_rows() -> None:
    binary = Predictions("a", "7", [Prediction(1, "student", 0.75), Prediction(0, "student", 0.5, degraded=True)])
    frame = binary.to_pandas(pd.Index(["x", "y"]))
    assert frame.to_dict("index") == {
        "x": {"prediction": 1, "answered_by": "student", "probability": 0.75, "degraded": False},
        "y": {"prediction": 0, "answered_by": "student", "probability": 0.5, "degraded": True},
    }
    multiclass = Predictions("a", "7", [Prediction("b", "student", 0.75, {"a": 0.25, "b": 0.75})])
    assert multiclass.to_pandas()[["probabilities.a", "probabilities.b"]].to_numpy().tolist() == [[0.25, 0.75]]
    assert list(Predictions("a", "7", [Prediction(2.5, "student")]).to_pandas()) == ["prediction", "answered_by", "degraded"]


# Failures


@pytest.mark.parametrize(
    "error",
    [
        errors.MissingColumn("row 0 lacks column 'wind'", details=[{"row": 0, "column": "wind"}]),
        errors.UnknownModel("not here"),
        errors.Unauthenticated("no token"),
        errors.TooManyRows("split it"),
    ],
)
def test_a_refusal_is_raised_at_once_as_the_error_that_the_service_raised(driver: Any, error: errors.RequestError) -> None:
    talk = Conversation(driver, refusal(error))
    with pytest.raises(type(error), match=error.message) as caught:
        talk(predict)
    assert caught.value.details == error.details
    assert len(talk.service.requests) == 1


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (httpx.Response(418, content=b'{"error":{"type":"Teapot","message":"short and stout"}}'), errors.RequestError, "short and stout"),
        (httpx.Response(400, content=b'{"error":{"type":"annotations","message":"no class"}}'), errors.RequestError, "no class"),
        (refusal(INTERNAL), errors.InternalError, "the service failed to answer"),
        (refusal(errors.ScoringFailed("these rows")), errors.ScoringFailed, "these rows"),
        (httpx.Response(403, text="forbidden by a proxy"), errors.RequestError, "http://service answered 403: forbidden by a proxy"),
        (httpx.Response(302, text=""), errors.RequestError, "http://service answered 302"),
        (ok({"hello": "world"}), errors.Unavailable, "http://service gave no answer of ours"),
        (httpx.Response(200, text="<html>"), errors.Unavailable, "http://service gave no answer of ours"),
    ],
)
def test_what_is_not_ours_is_said_plainly_and_not_asked_again(driver: Any, answer: httpx.Response, error: Any, message: str) -> None:
    talk = Conversation(driver, answer)
    with pytest.raises(error, match=message) as caught:
        talk(predict)
    assert type(caught.value) is error
    assert len(talk.service.requests) == 1


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ConnectError("refused"),
        httpx.ReadError("reset"),
        httpx.RemoteProtocolError("disconnected"),
        httpx.ConnectTimeout("slow"),
        httpx.Response(502, text="bad gateway"),
        httpx.Response(503, text="no server is available"),
        refusal(errors.DeadlineExceeded("too late")),
        HAPROXY_404,
    ],
    ids=str,
)
def test_a_passing_failure_is_asked_again_with_growing_pauses(driver: Any, failure: httpx.Response | Exception) -> None:
    talk = Conversation(driver, failure, failure, failure, ok())
    assert talk(predict).request_id == "8a-0000-80"
    assert talk.clock.pauses == pytest.approx([0.05, 0.1, 0.2])
    assert len({request.content for request in talk.service.requests}) == 1


def test_a_500_of_the_load_balancer_is_asked_again_and_one_of_the_service_itself_is_final(driver: Any) -> None:
    talk = Conversation(driver, httpx.Response(500, text="Internal Server Error"), refusal(errors.ScoringFailed("these rows")))
    with pytest.raises(errors.ScoringFailed, match="these rows"):
        talk(predict)
    assert len(talk.service.requests) == 2


def test_a_404_of_the_service_itself_is_final_and_one_of_the_load_balancer_is_not(driver: Any) -> None:
    talk = Conversation(driver, HAPROXY_404, refusal(errors.RouteNotFound("there is no '/v2'")))
    with pytest.raises(errors.RouteNotFound):
        talk(predict)
    assert len(talk.service.requests) == 2


def test_a_pause_is_added_to_what_retry_after_asks_for(driver: Any) -> None:
    talk = Conversation(
        driver, refusal(errors.Overloaded("too much")), httpx.Response(503, headers={"Retry-After": "Fri, 01 Jan 2027"}), ok()
    )
    talk(predict)
    assert talk.clock.pauses == pytest.approx([1.05, 0.1])


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (refusal(errors.Overloaded("too much")), errors.Overloaded),
        (httpx.ConnectError("refused"), errors.Unavailable),
        (httpx.ReadTimeout("slow"), errors.DeadlineExceeded),
        (httpx.Response(502, text="bad gateway"), errors.Unavailable),
        (HAPROXY_404, errors.RequestError),
    ],
)
def test_the_last_failure_is_raised_once_the_attempts_are_used_up(driver: Any, failure: Any, error: type[Exception]) -> None:
    talk = Conversation(driver, failure, retry={"attempts": 3})
    with pytest.raises(error) as caught:
        talk(predict)
    assert type(caught.value) is error
    assert (len(talk.service.requests), len(talk.clock.pauses)) == (3, 2)


def test_no_attempt_begins_after_the_total_time(driver: Any) -> None:
    talk = Conversation(driver, refusal(errors.Overloaded("too much")), retry={"total_s": 4.0})
    with pytest.raises(errors.Overloaded):
        talk(predict)
    assert talk.clock.pauses == pytest.approx([1.05, 1.1, 1.2])


def test_the_default_policy_outlasts_a_restart_of_the_load_balancer() -> None:
    pauses = [Retry(rng=lambda: 0.5).pause_s(attempt) for attempt in range(1, 21)]
    assert sum(pause or 0.0 for pause in pauses) > 6.0
    assert pauses[-1] is None


def test_waiting_until_ready_asks_until_it_is(driver: Any) -> None:
    talk = Conversation(driver, httpx.ConnectError("refused"), HAPROXY_404, ok({"status": "ready"}))
    talk(lambda client: client.wait_until_ready())
    assert [request.url.path for request in talk.service.requests] == ["/readyz"] * 3


def test_waiting_until_ready_ends_with_the_time_given(driver: Any) -> None:
    talk = Conversation(driver, httpx.ConnectError("refused"))
    with pytest.raises(errors.Unavailable, match="http://service is not ready after 2 s"):
        talk(lambda client: client.wait_until_ready(timeout_s=2))
    assert talk.clock.now == pytest.approx(2.0, abs=0.2)


def test_an_address_without_a_scheme_is_an_error_at_once() -> None:
    with pytest.raises(httpx.UnsupportedProtocol), HomeostatClient("service:8000") as client:
        client.predict([{"miles": 1.0}])
