"""The routes of other servers' protocols in the OpenAPI document: what they take and answer, with examples.

A function a protocol, each giving its paths and its schemas; wire formats are those of the modules of the same names.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from cluster.schema import FeatureSchema
from serve_apps.protocols.bulk import CSV
from serve_apps.protocols.oip_binary import DATATYPES
from serve_apps.protocols.oip_metadata import inputs_of
from serve_apps.protocols.openapi_parts import ASKED, PEERS, Node, content, operation, record, ref, text
from serve_apps.protocols.openapi_typed import example

OCTETS: Final = "application/octet-stream"
_OBJECT: Final[Node] = {"type": "object"}
_DETAILS: Final[Node] = {"type": "array", "items": _OBJECT}
_NUMBER: Final[Node] = {"type": "number"}
_INTEGERS: Final[Node] = {"type": "array", "items": {"type": "integer"}}
_ANY: Final[Node] = {"type": "array", "items": {}}
_ROWS: Final[Node] = {"type": "array", "items": {"anyOf": [ref("Row"), _ANY]}, "minItems": 1}
"""Objects, or lists of values by position."""


class Part(NamedTuple):
    """What a protocol adds to the document."""

    paths: Node
    schemas: Node


def open_inference(schema: FeatureSchema, *, model: str) -> Part:
    """The Open Inference Protocol, version 2."""
    tag, error, row = "Open Inference Protocol", "OipError", example(schema)
    tensors = [
        {"name": spec.name, "datatype": spec.datatype, "shape": [1], "data": [row[spec.name]]} for spec in inputs_of(schema).values()
    ]
    binary = content(text(format="binary", description="The JSON, then the tensors' bytes (binary tensor extension)."), OCTETS)
    infer = operation(
        "Score rows, a tensor a column",
        "oipInfer",
        tag=tag,
        body=content(ref("OipRequest"), row={"inputs": tensors}) | binary,
        answer=content(ref("OipAnswer")) | binary,
        error=error,
        failures=PEERS,
    )
    at = f"/v2/models/{model}"
    parameters = {"parameters": _OBJECT}
    named = {"name": text(), "datatype": text(enum=list(DATATYPES)), "shape": _INTEGERS}
    wanted = record({"name": text()} | parameters, optional=parameters, closed=True)
    request = {"inputs": {"type": "array", "items": ref("OipInput"), "minItems": 1}, "outputs": {"type": "array", "items": wanted}}
    tensor = named | parameters | {"data": _ANY}
    paths = {
        "/v2": _get("The server", "oipServer", tag, record({"name": text(), "version": text(), "extensions": _ANY})),
        "/v2/health/live": _get("Is the process alive", "oipLive", tag, _OBJECT),
        "/v2/health/ready": _get("Is a champion loaded", "oipReady", tag, _OBJECT),
        at: _get("The model's tensors", "oipModel", tag, ref("OipModel"), error),
        f"{at}/ready": _get("Is the model's champion loaded", "oipModelReady", tag, _OBJECT, error),
        f"{at}/config": _get("The model's configuration, in Triton's words", "oipConfig", tag, _OBJECT, error),
        f"{at}/infer": {"post": infer},
        "/v2/repository/index": {
            "post": operation("Models and their versions", "oipIndex", tag=tag, answer=content(_DETAILS), is_open=True)
        },
    }
    tensors_of_model = {"type": "array", "items": record(named)}
    schemas = {
        "OipRequest": record(
            request | {"id": text(), "model_name": text(enum=[model])} | parameters,
            optional=("outputs", "id", "model_name", *parameters),
            closed=True,
        ),
        "OipInput": record(tensor, optional=("data", *parameters), closed=True),
        "OipAnswer": record(
            {"model_name": text(), "model_version": text(), "id": text(), "parameters": record({"request_id": text()})}
            | {"outputs": {"type": "array", "items": record(tensor, optional=("data", *parameters))}}
        ),
        "OipModel": record({"name": text(), "versions": _ANY, "platform": text(), "inputs": tensors_of_model, "outputs": tensors_of_model}),
        error: record({"error": text()}),
    }
    return Part(paths, schemas)


def tf_serving(schema: FeatureSchema, *, model: str) -> Part:
    """TensorFlow Serving's REST API; the methods that the model's task has."""
    tag, error, task, row = "TensorFlow Serving", "TfError", schema.label.task, example(schema)
    at = f"/v1/models/{model}"
    scores = {"type": "array", "items": {"type": "array", "items": _NUMBER} if task == "multiclass" else _NUMBER}
    pair = {"type": "array", "items": {"anyOf": [text(), _NUMBER]}, "minItems": 2, "maxItems": 2, "description": "Class, probability"}
    examples = {"examples": [row]}

    def method(name: str, request: str, answer: Node, **shown: Any) -> Node:
        body = content(ref(request), **shown)
        answers = content(answer)
        return {"post": operation(f"Score rows: {name}", f"tf{name}", tag=tag, body=body, answer=answers, error=error, failures=PEERS)}

    columns = {name: [value] for name, value in row.items()}
    predicted = {"oneOf": [record({"predictions": scores}), record({"outputs": scores})]}
    paths = {
        at: _get("The version that answers", "tfStatus", tag, record({"model_version_status": _DETAILS}), error),
        f"{at}/metadata": _get("Inputs and outputs", "tfMetadata", tag, record({"model_spec": _OBJECT, "metadata": _OBJECT}), error),
        f"{at}:predict": method("Predict", "TfRequest", predicted, rows={"instances": [row]}, columns={"inputs": columns}),
    }
    if task != "regression":
        classified = record({"results": {"type": "array", "items": {"type": "array", "items": pair}}})
        paths[f"{at}:classify"] = method("Classify", "TfExamples", classified, rows=examples)
    if task != "multiclass":
        paths[f"{at}:regress"] = method("Regress", "TfExamples", record({"results": scores}), rows=examples)
    signature = {"signature_name": text()}
    schemas = {
        "TfRequest": {
            "oneOf": [
                record({"instances": _ROWS} | signature, optional=signature, closed=True),
                record({"inputs": {"anyOf": [_OBJECT, _ROWS]}} | signature, optional=signature, closed=True),
            ]
        },
        "TfExamples": record(
            {"examples": {"type": "array", "items": _OBJECT, "minItems": 1}, "context": _OBJECT} | signature,
            optional=("context", *signature),
            closed=True,
        ),
        error: record({"error": text(), "details": _DETAILS}, optional=["details"]),
    }
    return Part(paths, schemas)


def torchserve(schema: FeatureSchema, *, model: str) -> Part:
    """TorchServe's inference API."""
    tag, error, row = "TorchServe", "TorchError", example(schema)
    instances, answers = record({"instances": _ROWS}, closed=True), {"type": "array", "items": ref("Prediction")}
    predict = operation(
        "Score a row or rows",
        "torchPredict",
        tag=tag,
        body=content({"anyOf": [ref("Row"), _ROWS, instances]}, row=row, rows=[row], instances={"instances": [row]}),
        answer=content({"anyOf": [ref("Prediction"), answers, record({"predictions": answers})]}),
        error=error,
        failures=PEERS,
    )
    paths = {
        f"/predictions/{model}": {"post": predict},
        f"/models/{model}": _get("The model and who answers", "torchModel", tag, _DETAILS, error),
        "/ping": _get("Is the process alive", "torchPing", tag, record({"status": text()})),
    }
    shape = {"code": {"type": "integer"}, "type": text(), "message": text(), "details": _DETAILS}
    return Part(paths, {error: record(shape, optional=["details"])})


def mlflow(schema: FeatureSchema, *, mount: str) -> Part:
    """MLflow's scoring server."""
    tag, error, row = "MLflow", "MlflowError", example(schema)
    split = {"columns": list(row), "data": [list(row.values())]}
    answer = {"prediction": ref("Prediction/properties/prediction"), "probability": _NUMBER}
    optional = ["probability"] if schema.label.task == "regression" else []
    invoke = operation(
        "Score rows",
        "mlflowInvoke",
        tag=tag,
        body=content(ref("MlflowRequest"), split={"dataframe_split": split}, records={"dataframe_records": [row]}) | content(text(), CSV),
        answer=content(record({"predictions": {"type": "array", "items": record(answer, optional=optional)}})),
        error=error,
        failures=PEERS,
    )
    forms: Node = {
        "dataframe_split": record(
            {"columns": {"type": "array", "items": text()}, "data": _ANY, "index": _ANY}, optional=("columns", "index")
        ),
        "dataframe_records": _ROWS,
        "instances": _ROWS,
        "inputs": {"anyOf": [_OBJECT, _ROWS]},
    }
    params = {"params": {"type": "object", "maxProperties": 0, "nullable": True}}
    schemas = {
        "MlflowRequest": {
            "oneOf": [record({name: form} | params, optional=params, closed=True) for name, form in forms.items()],
        },
        error: record({"error_code": text(), "message": text(), "details": _DETAILS}, optional=["details"]),
    }
    paths = {
        f"{mount}/invocations": {"post": invoke},
        "/health": {"get": operation("Is the process alive", "mlflowHealth", tag=tag, answer=None, is_open=True)},
        "/version": {"get": operation("Of Homeostat", "mlflowVersion", tag=tag, answer=content(text(), "text/plain"), is_open=True)},
    }
    return Part(paths, schemas)


def _get(summary: str, name: str, tag: str, answer: Node, error: str | None = None) -> Node:
    """A route that is read: of the model when it has errors of its own, else of the service, and open."""
    asked = operation(
        summary, name, tag=tag, answer=content(answer), error=error or "Error", failures=ASKED if error else (), is_open=error is None
    )
    return {"get": asked}
