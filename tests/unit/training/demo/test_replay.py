from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import Callable
from typing import Any

import httpx
import pyarrow as pa
import pytest

from tests.builders import make_schema
from training.demo import replay
from training.demo.replay import Outcome, Replay, days_of

HOUR = 3600.0
DAY = 86400.0
START = dt.datetime(2013, 4, 1, tzinfo=dt.UTC).timestamp()


def table(*hours: float, labels: list[Any] | None = None) -> pa.Table:
    n = len(hours)
    return pa.table(
        {
            "miles": [float(i) for i in range(n)],
            "wind": [None] * n,
            "carrier": ["UA"] * n,
            "sex": ["f"] * n,
            "at": [START + hour * HOUR for hour in hours],
            "late": labels or [i % 2 for i in range(n)],
            "unused": [0] * n,
        }
    )


class Service:
    """Answers like the gateway; keeps what it was sent."""

    def __init__(self, refuse: Callable[[str, int], httpx.Response | None] = lambda path, number: None) -> None:
        self.sent: list[tuple[str, Any]] = []
        self._refuse = refuse

    def __call__(self, request: httpx.Request) -> httpx.Response:
        content = json.loads(request.content)
        self.sent.append((request.url.path, content))
        if (refusal := self._refuse(request.url.path, len(self.sent))) is not None:
            return refusal
        if request.url.path == "/v1/labels":
            return httpx.Response(200, json={"accepted": len(content["labels"])})
        rows = [{"prediction": 1, "probability": row["miles"] / 100, "answered_by": "student"} for row in content["rows"]]
        return httpx.Response(200, json={"request_id": f"id-{content['rows'][0]['miles']:g}", "predictions": rows, "bundle": "1"})


def run(service: Service, source: pa.Table, *, delay: dt.timedelta = dt.timedelta(days=1)) -> tuple[Outcome, list[tuple[float, int]]]:
    """The outcome, and at each end of a day how many requests there had been."""
    ends: list[tuple[float, int]] = []

    async def after_day(end: float, _: Outcome) -> None:
        ends.append(((end - START) / DAY, len(service.sent)))

    sender = Replay("http://service", delay=delay, after_day=after_day, transport=httpx.MockTransport(service))
    return asyncio.run(sender.run(days_of(source, make_schema()))), ends


def test_rows_are_grouped_by_hour_in_order_with_their_labels() -> None:
    days = list(days_of(table(0, 0.5, 2, 24, 49.9), make_schema()))
    assert [(start - START) / DAY for start, _ in days] == [0, 1, 2]
    assert [[(hour.start - START) / HOUR for hour in hours] for _, hours in days] == [[0, 2], [24], [49]]
    first = days[0][1][0]
    assert first.labels == [0, 1]
    assert first.rows[1] == {"miles": 1.0, "wind": None, "carrier": "UA", "sex": "f", "at": START + 0.5 * HOUR}
    assert days[0][1][1].labels == [0]
    assert days[2][1][0].rows[0]["miles"] == 4.0


def test_what_is_answered_is_kept_for_the_journal_to_be_asked() -> None:
    outcome, _ = run(Service(), table(0, 0.5, 2))
    assert outcome.acknowledged == {"id-0": [0.0, 0.01], "id-2": [0.02]}
    assert (outcome.requests, outcome.rows_served, outcome.http_errors) == (2, 3, 0)
    assert len(outcome.latencies_ms) == 2


def test_a_number_is_kept_where_there_is_no_probability() -> None:
    answer = httpx.Response(200, json={"request_id": "a", "predictions": [{"prediction": 12.5}]})
    outcome, _ = run(Service(lambda path, number: answer if path == "/v1/predict" else None), table(0))
    assert outcome.acknowledged == {"a": [12.5]}


def test_labels_follow_after_their_delay_and_the_last_ones_at_the_end() -> None:
    service = Service()
    outcome, ends = run(service, table(0, 30, 54))
    kinds = [(path.rsplit("/", 1)[1], [entry["request_id"] for entry in content.get("labels", [])]) for path, content in service.sent]
    assert kinds == [("predict", []), ("predict", []), ("labels", ["id-0"]), ("predict", []), ("labels", ["id-1"]), ("labels", ["id-2"])]
    assert ends == [(1, 1), (2, 3), (3, 5), (3, 6)]
    assert outcome.labels_sent == 3


def test_no_label_is_sent_before_its_delay_is_over_within_an_hour_either() -> None:
    service = Service()
    run(service, table(22.9, 23.9), delay=dt.timedelta(minutes=30))
    labels = [[entry["request_id"] for entry in content["labels"]] for path, content in service.sent if path == "/v1/labels"]
    assert labels == [["id-0"], ["id-1"]]


def test_labels_name_request_and_row_and_unknown_ones_are_not_sent() -> None:
    service = Service()
    outcome, _ = run(service, table(0, 0.1, 0.2, labels=[1, None, 0]))
    assert service.sent[-1] == (
        "/v1/labels",
        {"labels": [{"request_id": "id-0", "row": 0, "label": 1}, {"request_id": "id-0", "row": 2, "label": 0}]},
    )
    assert outcome.labels_sent == 2


def test_many_labels_go_in_several_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "_LABELS_A_REQUEST", 2)
    service = Service()
    outcome, _ = run(service, table(0, 0.1, 0.2, 0.3, 0.4))
    assert [len(content["labels"]) for path, content in service.sent if path == "/v1/labels"] == [2, 2, 1]
    assert outcome.labels_sent == 5


def test_a_refusal_is_counted_told_in_words_and_does_not_end_the_replay() -> None:
    service = Service(lambda path, number: httpx.Response(503, text="later") if number == 1 else None)
    outcome, _ = run(service, table(0, 30))
    assert (outcome.http_errors, outcome.requests, outcome.rows_served) == (1, 2, 1)
    assert outcome.errors == ["/v1/predict: 503 later"]
    assert outcome.labels_sent == 1


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"predictions": []}', b'{"request_id": "a", "predictions": [{}]}'])
def test_an_answer_that_cannot_be_read_is_an_error_too(body: bytes) -> None:
    outcome, _ = run(Service(lambda path, number: httpx.Response(200, content=body) if number == 1 else None), table(0, 30))
    assert (outcome.http_errors, outcome.rows_served) == (1, 1)


def test_a_broken_connection_is_counted_and_only_the_first_errors_are_kept() -> None:
    def refuse(path: str, number: int) -> httpx.Response | None:
        raise httpx.ConnectError(f"refused {number}")

    outcome, _ = run(Service(refuse), table(*range(12)))
    assert outcome.http_errors == 12
    assert len(outcome.errors) == 10
    assert outcome.errors[0] == "/v1/predict: ConnectError: refused 1"
    assert outcome.acknowledged == {}


def test_labels_that_are_refused_are_not_counted_as_sent() -> None:
    outcome, _ = run(Service(lambda path, number: httpx.Response(422) if path == "/v1/labels" else None), table(0))
    assert (outcome.labels_sent, outcome.http_errors) == (0, 1)
