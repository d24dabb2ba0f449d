from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster import records
from cluster.records import GateVerdict, Interval, LabelEntry, Labels, Pointer, Pointers, Prediction, Promotion, RetrainRequest, Verdict

EXAMPLES: list[records.Record] = [
    Prediction(bundle="1", event_times=[1.5], columns={"miles": [None]}, scores=b"\0\0\0?", by_ensemble=b"\1"),
    Labels(entries=[LabelEntry(request_id="a", row=0, label=True), LabelEntry(request_id="a", row=1, label=2.5)]),
    Verdict(model="m", bundle="1", kind="quality", name="x", window_start=0, window_end=1, rows=9, value=None, expected=None, unit="share"),
    RetrainRequest(run="m-1", reason="alarm", now=3.0, since=0.0, train_until=2.0, seed=7),
    GateVerdict(
        passed=True,
        reasons=["better"],
        metric="roc_auc",
        rows=9,
        champion=0.7,
        challenger=0.8,
        improvement=Interval(estimate=0.1, lower=0, upper=0.2),
    ),
    Promotion(pointer="champion", version="2", previous=None, by="gate", reason="better"),
    Promotion(pointer="challenger", version="2", previous=None, by="me", reason="a trial", share=0.1),
    Pointers(model="m", champion=Pointer(version="1", uri="/x", digest="0f")),
    Pointers(model="m", challenger=Pointer(version="2", uri="/y", digest="1f"), challenger_share=0.25),
]


@pytest.mark.parametrize("record", EXAMPLES, ids=lambda record: type(record).__name__)
@pytest.mark.parametrize("form", [msgspec.json, msgspec.msgpack])
def test_records_survive_json_and_msgpack(record: records.Record, form: Any) -> None:
    assert form.decode(form.encode(record), type=type(record)) == record


@pytest.mark.parametrize("record", EXAMPLES, ids=lambda record: type(record).__name__)
def test_records_are_frozen_and_refuse_unknown_keys(record: records.Record) -> None:
    with pytest.raises(AttributeError):
        setattr(record, record.__struct_fields__[0], None)
    plain = msgspec.to_builtins(record) | {"more": 1}
    with pytest.raises(msgspec.ValidationError, match="unknown field `more`"):
        msgspec.convert(plain, type(record))


@given(st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.text(), st.floats(allow_nan=False)))
def test_a_label_keeps_its_type(label: str | float | bool) -> None:
    entry = LabelEntry(request_id="a", row=0, label=label)
    back = msgspec.msgpack.decode(msgspec.msgpack.encode(entry), type=LabelEntry).label
    assert (type(back), back) == (type(label), label)


def test_an_integer_the_journal_cannot_hold_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"request_id":"a","row":0,"label":9223372036854775808}', type=LabelEntry)


def test_pointers_and_promotions_from_before_there_were_shares_are_read() -> None:
    pointers = msgspec.json.decode(b'{"model":"m","champion":{"version":"1","uri":"/x","digest":"0f"},"challenger":null}', type=Pointers)
    assert pointers.challenger_share == 0.0
    moved = msgspec.json.decode(b'{"pointer":"champion","version":"2","previous":"1","by":"me","reason":"better"}', type=Promotion)
    assert moved.share is None


@pytest.mark.parametrize("share", [b"-0.1", b"1.01", b'"all"', b"null"])
def test_what_is_no_share_is_refused(share: bytes) -> None:
    with pytest.raises(msgspec.ValidationError, match="challenger_share"):
        msgspec.json.decode(b'{"model":"m","challenger_share":%b}' % share, type=Pointers)
