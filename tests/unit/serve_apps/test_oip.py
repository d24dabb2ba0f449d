from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import BadRequestShape, BadTime, MissingColumn, NoRows, NotFinite, TooManyRows, UnknownColumn, WrongType
from cluster.schema import Feature, Label
from serve_apps.cascade import ENSEMBLE, STUDENT, UNANSWERED
from serve_apps.protocols import oip_grpc, oip_rest
from serve_apps.protocols import open_inference_pb2 as pb
from serve_apps.protocols.columns import ColumnsReader
from serve_apps.protocols.oip import InferRequest, OipCodec, Tensor, tensors_of
from serve_apps.protocols.plane import Answered
from serve_apps.protocols.rows import RowsCodec
from tests.builders import make_schema

NOW = 1.7e9
ALL_BINARY = {"prediction": True, "probability": True, "answered_by": True, "degraded": True}
FORMATS = {"BOOL": "?", "INT8": "b", "INT32": "i", "INT64": "q", "UINT8": "B", "UINT64": "Q", "FP16": "e", "FP32": "f", "FP64": "d"}
CONTENTS = {"BOOL": "bool", "INT32": "int", "INT64": "int64", "UINT8": "uint", "FP32": "fp32", "FP64": "fp64", "BYTES": "bytes"}


def codec_of(**changes: Any) -> OipCodec:
    return OipCodec(ColumnsReader(make_schema(**changes), model="late", max_rows=5))


CODEC = codec_of()


def tensor(name: str, datatype: str, values: Sequence[Any], shape: Sequence[int] | None = None) -> Tensor:
    return Tensor(name, datatype, tuple(shape or (len(values),)), list(values))


def tensors(*changed: Tensor, without: str = "") -> list[Tensor]:
    """A row as tensors that fit `make_schema`, some of them replaced or added."""
    row = [
        tensor("miles", "FP32", [200.0]),
        tensor("wind", "FP32", [3.5]),
        tensor("carrier", "BYTES", ["B6"]),
        tensor("sex", "BYTES", ["female"]),
        tensor("at", "BYTES", ["2013-01-01T05:00:00"]),
    ]
    return list(({t.name: t for t in row if t.name != without} | {t.name: t for t in changed}).values())


def take(
    found: Sequence[Tensor], outputs: Sequence[tuple[str, bool]] = (), codec: OipCodec = CODEC, timeout: object = None
) -> InferRequest:
    return codec.request(found, outputs, caller_id="", timeout=timeout, now=NOW)


def raw(t: Tensor) -> bytes:
    """A tensor's bytes, as clients write them."""
    if t.datatype == "BYTES":
        return b"".join(struct.pack("<I", len(v.encode())) + v.encode() for v in (str(v or "") for v in t.values))
    return b"".join(struct.pack("<" + FORMATS[t.datatype], float("nan") if v is None else v) for v in t.values)


def as_json(found: Sequence[Tensor], **more: Any) -> bytes:
    """The JSON of a request."""
    inputs = [{"name": t.name, "datatype": t.datatype, "shape": t.shape, "data": t.values} for t in found]
    return json.dumps({"inputs": inputs, **more}).encode()


def as_binary(found: Sequence[Tensor], **more: Any) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """A request with all tensors as bytes after the JSON, and its headers."""
    blobs = [raw(t) for t in found]
    inputs = [
        {"name": t.name, "datatype": t.datatype, "shape": t.shape, "parameters": {"binary_data_size": len(blob)}}
        for t, blob in zip(found, blobs, strict=True)
    ]
    head = json.dumps({"inputs": inputs, **more}).encode()
    return b"".join([head, *blobs]), [(b"inference-header-content-length", str(len(head)).encode())]


def as_message(found: Sequence[Tensor], *, typed: bool, **more: Any) -> pb.ModelInferRequest:
    """A message with raw or typed contents."""
    message = pb.ModelInferRequest(model_name="late", **more)
    for t in found:
        added = message.inputs.add(name=t.name, datatype=t.datatype, shape=t.shape)
        if typed:
            values = (
                [str(v or "").encode() for v in t.values] if t.datatype == "BYTES" else [float("nan") if v is None else v for v in t.values]
            )
            getattr(added.contents, CONTENTS[t.datatype] + "_contents").extend(values)
        else:
            message.raw_input_contents.append(raw(t))
    return message


def answered(scores: Sequence[Sequence[float]], by: Sequence[int] = (), **label: Any) -> Answered:
    return Answered(
        request_id="journal-7",
        model="late",
        bundle="12",
        label=Label(name="late", **({"classes": (0, 1)} | label)),
        scores=np.array(scores, dtype=np.float32),
        answered_by=np.array(by or [STUDENT] * len(scores), dtype=np.uint8),
    )


# One request, five ways


def column_of(values: st.SearchStrategy[Any], datatype: str) -> st.SearchStrategy[tuple[str, list[Any]]]:
    return st.tuples(st.just(datatype), st.lists(values, min_size=3, max_size=3))


numbers = st.one_of(
    column_of(st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False), "FP32"),
    column_of(st.none() | st.floats(-1e30, 1e30), "FP64"),
    column_of(st.integers(-(2**31), 2**31 - 1), "INT32"),
    column_of(st.integers(0, 255), "UINT8"),
)
categories = st.one_of(
    column_of(st.none() | st.text(min_size=1), "BYTES"),
    column_of(st.integers(-(2**63), 2**63 - 1), "INT64"),
    column_of(st.booleans(), "BOOL"),
)
times = st.one_of(
    column_of(st.none() | st.floats(-1e9, 1e9), "FP64"),
    column_of(st.integers(-(10**9), 10**9), "INT64"),
    column_of(st.none() | st.datetimes().map(lambda moment: moment.isoformat()), "BYTES"),
)


@given(
    st.fixed_dictionaries(
        {"miles": numbers, "wind": numbers, "carrier": categories, "sex": categories},
        optional={"at": times},
    ),
    st.booleans(),
)
def test_typed_rows_json_binary_and_both_kinds_of_message_are_the_same_rows(columns: Mapping[str, Any], upright: bool) -> None:
    rows = [{name: values[i] for name, (_, values) in columns.items()} for i in range(3)]
    expected = RowsCodec(make_schema(), model="late", max_rows=5).decode(json.dumps({"rows": rows}).encode(), now=NOW)
    found = [tensor(name, datatype, values, (3, 1) if upright else (3,)) for name, (datatype, values) in columns.items()]
    assert oip_rest.decode_infer(CODEC, as_json(found), (), now=NOW).rows == expected
    assert oip_rest.decode_infer(CODEC, *as_binary(found), now=NOW).rows == expected
    assert oip_grpc.decode_infer(CODEC, as_message(found, typed=False), now=NOW).rows == expected
    assert oip_grpc.decode_infer(CODEC, as_message(found, typed=True), now=NOW).rows == expected


# Columns


def test_every_column_is_an_input_of_its_own() -> None:
    rows = take(tensors()).rows
    assert rows.columns == {"miles": [200.0], "wind": [3.5], "carrier": ["B6"], "sex": ["female"]}
    assert rows.event_times == [1357016400.0]


def test_rows_without_a_time_happen_now() -> None:
    assert take(tensors(without="at")).rows.event_times == [NOW]
    assert take(tensors(tensor("at", "FP64", [None]))).rows.event_times == [NOW]


def test_categories_may_be_codes_and_flags() -> None:
    rows = take(tensors(tensor("carrier", "INT32", [7]), tensor("sex", "BOOL", [True]))).rows
    assert (rows.columns["carrier"], rows.columns["sex"]) == ([7], [True])


@pytest.mark.parametrize(
    ("name", "datatype", "allowed"),
    [
        ("miles", "BYTES", "INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64, FP16, FP32, FP64"),
        ("miles", "BOOL", "INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64, FP16, FP32, FP64"),
        ("carrier", "FP32", "BYTES, BOOL, INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64, FP64"),
        ("at", "FP32", "BYTES, FP64, INT64"),
    ],
)
def test_an_input_of_another_datatype_is_refused(name: str, datatype: str, allowed: str) -> None:
    with pytest.raises(WrongType) as caught:
        take(tensors(tensor(name, datatype, [1])))
    assert caught.value.message == f"input '{name}' is {datatype}; allowed: {allowed}"
    assert caught.value.details == ({"problem": "WrongType", "row": None, "column": name, "found": repr(datatype), "allowed": allowed},)


@pytest.mark.parametrize(
    ("found", "error", "message"),
    [
        (tensors(without="wind"), MissingColumn, "column 'wind' is absent"),
        (tensors(tensor("gust", "FP32", [1.0])), UnknownColumn, "there is a column 'gust', which the schema lacks"),
        (tensors(tensor("miles", "FP64", [1e39])), NotFinite, "row 0, column 'miles': the number is infinite or too large"),
        (tensors(tensor("carrier", "UINT64", [2**64 - 1])), NotFinite, "row 0, column 'carrier': the number is infinite or too large"),
        (tensors(tensor("at", "BYTES", ["yesterday"])), BadTime, "row 0, column 'at': 'yesterday' is not a time"),
        (tensors(tensor("miles", "FP32", [1.0, 2.0])), BadRequestShape, "columns differ in length: 'miles' has 2 values, 'wind' has 1"),
        (
            tensors(tensor("miles", "FP32", [1.0, 2.0], (1, 2))),
            BadRequestShape,
            "input 'miles' has shape [1, 2]; allowed: [rows] or [rows, 1]",
        ),
        ([*tensors(), tensor("miles", "FP32", [1.0])], BadRequestShape, "input 'miles' is named twice"),
        ([Tensor(t.name, t.datatype, (0,), []) for t in tensors()], NoRows, "the request holds no rows"),
        ([Tensor(t.name, t.datatype, (6,), [*t.values] * 6) for t in tensors()], TooManyRows, "the request holds 6 rows"),
    ],
)
def test_what_does_not_fit_the_schema_is_refused(found: list[Tensor], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        take(found)
    assert message in str(caught.value)


# One tensor of all columns

NUMBERS_ONLY = codec_of(features=(Feature(name="miles", type="number"), Feature(name="wind", type="number")), protected=("sex",), time=None)


def test_one_tensor_may_hold_all_columns_by_position() -> None:
    rows = take([tensor("x", "FP32", [1.0, 2.0, 3.0, None], (2, 2))], codec=NUMBERS_ONLY).rows
    assert rows.columns == {"miles": [1.0, 3.0], "wind": [2.0, None], "sex": [None, None]}


def test_one_tensor_may_hold_protected_columns_after_the_features() -> None:
    rows = take([tensor("x", "INT64", [1, 2, 0, 3, 4, 1], (2, 3))], codec=NUMBERS_ONLY).rows
    assert rows.columns == {"miles": [1.0, 3.0], "wind": [2.0, 4.0], "sex": [0, 1]}


def test_one_tensor_of_another_width_is_refused() -> None:
    with pytest.raises(BadRequestShape) as caught:
        take([tensor("x", "FP32", [1.0] * 4, (1, 4))], codec=NUMBERS_ONLY)
    allowed = "one input a column, or one of all with shape [rows, 3]: miles, wind, sex"
    assert caught.value.message == f"input 'x' is no column and has shape [1, 4]; allowed: {allowed}"


def test_one_tensor_of_floats_is_refused_where_a_column_is_a_category() -> None:
    with pytest.raises(WrongType, match="input 'carrier' is FP32; allowed: BYTES"):
        take([tensor("x", "FP32", [1.0, 2.0, 3.0], (1, 3))])


# Outputs


def test_all_outputs_are_answered_unless_some_are_named() -> None:
    assert dict(CODEC.all_outputs(binary=True)) == ALL_BINARY
    assert take(tensors(), [("degraded", True), ("prediction", False)]).outputs == {"degraded": True, "prediction": False}


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ([("score", False)], "there is no output 'score'; there is: prediction, probability, answered_by, degraded"),
        ([("prediction", False), ("prediction", True)], "output 'prediction' is named twice"),
    ],
)
def test_an_unknown_output_is_refused(outputs: list[tuple[str, bool]], message: str) -> None:
    with pytest.raises(BadRequestShape) as caught:
        take(tensors(), outputs)
    assert caught.value.message == message


def test_a_binary_answer_is_a_class_its_probability_and_who_gave_it() -> None:
    found = tensors_of(answered([[0.75], [0.25], [0.5]], [ENSEMBLE, STUDENT, UNANSWERED]), ALL_BINARY)
    assert found == [
        Tensor("prediction", "INT64", (3,), [1, 0, 1]),
        Tensor("probability", "FP32", (3,), [0.75, 0.25, 0.5]),
        Tensor("answered_by", "BYTES", (3,), ["ensemble", "student", "student"]),
        Tensor("degraded", "BOOL", (3,), [False, False, True]),
    ]


def test_a_multiclass_answer_holds_the_probability_of_each_class() -> None:
    given_ = answered([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125]], task="multiclass", classes=("a", "b", "c"))
    assert tensors_of(given_, ["probabilities", "prediction"]) == [
        Tensor("probabilities", "FP32", (2, 3), [0.5, 0.25, 0.25, 0.125, 0.75, 0.125]),
        Tensor("prediction", "BYTES", (2,), ["a", "b"]),
    ]


@pytest.mark.parametrize(
    ("label", "datatype", "values"),
    [
        ({"classes": (False, True)}, "BOOL", [True]),
        ({"classes": ("no", "yes")}, "BYTES", ["yes"]),
        ({"classes": (0, "other")}, "BYTES", ["other"]),
        ({"task": "regression", "classes": None}, "FP32", [0.75]),
    ],
)
def test_a_prediction_keeps_the_type_of_its_classes(label: dict[str, Any], datatype: str, values: list[Any]) -> None:
    assert tensors_of(answered([[0.75]], **label), ["prediction"]) == [Tensor("prediction", datatype, (1,), values)]


# How long the caller waits


def test_a_timeout_is_read_in_microseconds() -> None:
    assert take(tensors(), timeout=250_000).timeout_s == 0.25
    assert take(tensors(), timeout=0).timeout_s is None
    assert take(tensors()).timeout_s is None


@pytest.mark.parametrize("timeout", [-1, 0.5, "1", True])
def test_a_timeout_that_is_no_number_of_microseconds_is_refused(timeout: object) -> None:
    with pytest.raises(BadRequestShape, match="allowed: a whole number of microseconds"):
        take(tensors(), timeout=timeout)
