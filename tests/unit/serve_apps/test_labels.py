from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import BadJson, BadLabel, BadRequestShape, NoRows, RequestError, TooManyRows, UnknownModel, UnknownRequest, UnknownRow
from cluster.records import LabelEntry, Labels
from cluster.schema import Label
from serve_apps.protocols.labels import decode_labels

BINARY = Label(name="late", classes=(0, 1))
REGRESSION = Label(name="delay", task="regression")


def rows_of(request_id: str) -> int:
    if request_id != "known":
        raise UnknownRequest(f"no prediction has the request id {request_id!r}")
    return 3


def decode(content: bytes, label: Label = BINARY) -> Labels:
    return decode_labels(content, model="late", label=label, rows_of=rows_of, max_labels=4)


def body(*labels: Any, **more: Any) -> bytes:
    return json.dumps({"labels": [{"request_id": "known", "row": 0, "label": 1} | label for label in labels], **more}).encode()


def test_labels_are_read_in_order_and_a_row_may_come_twice() -> None:
    labels = decode(body({"row": 2, "label": True}, {"row": 0, "label": 0}, {"row": 0, "label": 1}, model="late"))
    assert labels.entries == [
        LabelEntry(request_id="known", row=2, label=True),
        LabelEntry(request_id="known", row=0, label=0),
        LabelEntry(request_id="known", row=0, label=1),
    ]


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"{", BadJson, "the body is not JSON"),
        (b'{"labels": [{"request_id": "\xff"}]}', BadJson, "the body is not JSON"),
        (b"[" * 100_000, BadRequestShape, "the body does not fit"),
        (b'{"labels": {}}', BadRequestShape, 'the body does not fit {"labels": [{"request_id": "…", "row": 0, "label": …}, …]}'),
        (body({"row": "0"}), BadRequestShape, "Expected `int`, got `str`"),
        (body({"label": None}), BadRequestShape, "the body does not fit"),
        (body({"label": 10**30}), BadRequestShape, "the body does not fit"),
        (body({"weight": 2}), BadRequestShape, "unknown field `weight`"),
        (b'{"labels": []}', NoRows, "the request holds no labels"),
        (body(*[{}] * 5), TooManyRows, "the request holds 5 labels; at most 4 are taken at once"),
        (body({}, model="other"), UnknownModel, "model 'other' is not served here"),
        (body({}, {"request_id": "other"}), UnknownRequest, "no prediction has the request id 'other'"),
        (body({}, {"row": 3}), UnknownRow, "label 1: request known has rows 0 to 2, not 3"),
        (body({"row": -1}), UnknownRow, "label 0: request known has rows 0 to 2, not -1"),
        (body({}, {"label": 2}), BadLabel, "label 1: label 2 is none of the classes of 'late': 0, 1"),
        (body({"label": "yes"}), BadLabel, "label 0: label 'yes' is none of the classes of 'late': 0, 1"),
    ],
)
def test_labels_that_cannot_be_taken_are_refused(content: bytes, error: type[RequestError], message: str) -> None:
    with pytest.raises(error) as caught:
        decode(content)
    assert type(caught.value) is error
    assert message in caught.value.message


def test_a_bad_label_is_named_with_what_is_allowed() -> None:
    with pytest.raises(BadLabel) as caught:
        decode(body({}, {"label": "x"}))
    assert caught.value.details == ({"label": 1, "found": "x", "allowed": [0, 1]},)


@pytest.mark.parametrize("value", ["12", True])
def test_a_regression_label_must_be_a_number(value: Any) -> None:
    with pytest.raises(BadLabel, match="must be a finite number"):
        decode(body({"label": value}), REGRESSION)
    assert decode(body({"label": 12.5}), REGRESSION).entries[0].label == 12.5


anything = st.one_of(st.none(), st.booleans(), st.text(), st.integers(-(10**400), 10**400), st.floats(), st.lists(st.integers()))
entries = st.fixed_dictionaries({}, optional={"request_id": st.one_of(st.just("known"), anything), "row": anything, "label": anything})


@given(content=st.lists(entries).map(lambda labels: body(*labels)) | st.binary(), label=st.sampled_from([BINARY, REGRESSION]))
def test_whatever_is_sent_is_taken_or_refused_in_words(content: bytes, label: Label) -> None:
    try:
        labels = decode(content, label)
    except RequestError as error:
        json.loads(msgspec.json.encode([error.message, *error.details]))
        return
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(labels), type=Labels) == labels
