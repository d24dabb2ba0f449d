"""What a bundle takes and answers as an MLflow model: its declared signature, from the feature schema alone.

Inputs are named and left untyped: MLflow would refuse an int64 column where a double is declared, and the bundle checks for
itself. Outputs are typed, so that `mlflow.pyfunc.spark_udf` knows what to return.
"""

from __future__ import annotations

from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import AnyType

from cluster.schema import FeatureSchema, Label


def signature_of(schema: FeatureSchema) -> ModelSignature:
    """The signature of a frozen schema: its features in, prediction and probability (none for regression) out."""
    inputs = [ColSpec(AnyType(), name=name, required=False) for name in schema.names]
    outputs = [ColSpec(_prediction_type(schema.label), name="prediction")]
    if schema.label.task != "regression":
        outputs.append(ColSpec(DataType.double, name="probability"))
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs))


def is_text(label: Label) -> bool:
    """Whether predictions are text: classes of text, or of several kinds."""
    return len({type(name) for name in label.classes or ()}) > 1 or any(isinstance(name, str) for name in label.classes or ())


def _prediction_type(label: Label) -> DataType:
    if label.task == "regression":
        return DataType.double
    if is_text(label):
        return DataType.string
    return DataType.boolean if all(isinstance(name, bool) for name in label.classes or ()) else DataType.long
