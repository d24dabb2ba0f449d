"""The Open Inference Protocol, version 2 (KServe, Triton, MLServer): tensors to rows, and answers to tensors.

Every column is an input tensor of its own, or all of them are the columns of one. Two doors lead here,
`serve_apps.protocols.oip_rest` and `serve_apps.protocols.oip_grpc`; neither bytes nor messages are known here.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from cluster.errors import BadRequestShape, WrongType
from cluster.schema import Scalar, canonical, decide
from serve_apps.cascade import ENSEMBLE, UNANSWERED
from serve_apps.protocols.columns import ColumnsReader
from serve_apps.protocols.oip_binary import DATATYPES, TEXT
from serve_apps.protocols.oip_metadata import TensorSpec, inputs_of, outputs_of
from serve_apps.protocols.plane import Answered, DecodedRows
from serve_apps.protocols.rules import detail_of

Parameters = Mapping[str, Any]
_UNSUPPORTED: Final = ("shared_memory_region", "classification")
"""Parameters of tensors, of extensions not spoken here, that would change what the tensor is."""


class Tensor(NamedTuple):
    """A tensor, whichever way it came or goes."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: Sequence[Scalar]
    """Flat and row-major; None is missing."""


class InferRequest(NamedTuple):
    """A request, checked."""

    rows: DecodedRows
    id: str
    """The caller's; empty when there is none."""
    outputs: Mapping[str, bool]
    """The outputs to answer, in order, and whether each is wanted as bytes."""
    timeout_s: float | None
    """How long the caller waits, when the request says so."""


class OipCodec:
    """Reads requests for one model.

    Parameters
    ----------
    reader
        Checks columns against the model's schema.
    """

    def __init__(self, reader: ColumnsReader) -> None:
        self.reader: Final = reader
        self._inputs = inputs_of(reader.schema)
        self._outputs = outputs_of(reader.schema.label)

    def all_outputs(self, *, binary: bool) -> list[tuple[str, bool]]:
        """What is answered when a request names no outputs."""
        return [(name, binary) for name in self._outputs]

    def request(
        self, tensors: Sequence[Tensor], outputs: Sequence[tuple[str, bool]], *, caller_id: str, timeout: object, now: float
    ) -> InferRequest:
        """Check what a request holds.

        Parameters
        ----------
        outputs
            Names of wanted outputs, and whether as bytes.
        timeout
            The request's parameter of this name: None, or microseconds.
        now
            Event time of rows that bring none, seconds since 1970 UTC.

        Raises
        ------
        BadRequestShape
            When tensors are malformed or named twice, or there is no such output.
        NoRows, TooManyRows
        InvalidRows
            As `MissingColumn`, `UnknownColumn`, `WrongType`, `NotFinite` or `BadTime`.
        """
        _check_names("input", [tensor.name for tensor in tensors])
        _check_names("output", [name for name, _ in outputs])
        for name, _ in outputs:
            if name not in self._outputs:
                raise BadRequestShape(f"there is no output '{name}'; there is: {', '.join(self._outputs)}")
        rows = self.reader.read(self._columns(tensors), now=now)
        return InferRequest(rows, caller_id, dict(outputs), _timeout_s(timeout))

    def _columns(self, tensors: Sequence[Tensor]) -> dict[str, Sequence[Scalar]]:
        if len(tensors) == 1 and len(tensors[0].shape) == 2 and tensors[0].name not in self._inputs:
            tensors = list(self._cut(tensors[0]))
        return {tensor.name: self._column(tensor) for tensor in tensors}

    def _column(self, tensor: Tensor) -> Sequence[Scalar]:
        spec = self._inputs.get(tensor.name)
        if spec is None:
            return tensor.values  # the reader refuses the name
        if tensor.datatype not in spec.accepted:
            allowed = ", ".join(spec.accepted)
            detail = detail_of(WrongType, None, tensor.name, tensor.datatype, allowed)
            raise WrongType(f"input '{tensor.name}' is {tensor.datatype}; allowed: {allowed}", details=[detail])
        if len(tensor.shape) != 1 and tensor.shape[1:] != (1,):
            raise BadRequestShape(f"input '{tensor.name}' has shape {list(tensor.shape)}; allowed: [rows] or [rows, 1]")
        return tensor.values

    def _cut(self, tensor: Tensor) -> Iterable[Tensor]:
        """One tensor as columns by position: features, then protected columns; these are null when it has only features."""
        schema, (rows, width) = self.reader.schema, tensor.shape
        names = (*schema.names, *schema.side_columns)
        if width not in (len(schema.names), len(names)):
            allowed = f"one input a column, or one of all with shape [rows, {len(names)}]: {', '.join(names)}"
            raise BadRequestShape(f"input '{tensor.name}' is no column and has shape {list(tensor.shape)}; allowed: {allowed}")
        for j, name in enumerate(names[:width]):
            yield Tensor(name, tensor.datatype, (rows,), tensor.values[j::width])
        for name in names[width:]:
            yield Tensor(name, TEXT, (rows,), [None] * rows)


def count_elements(where: str, datatype: str, shape: Sequence[int], parameters: Parameters) -> int:
    """How many elements a request's tensor has, before its values are read.

    Parameters
    ----------
    where
        What an error calls the tensor.

    Raises
    ------
    BadRequestShape
        When the datatype is unknown, the shape is none, or its parameters ask for an extension.
    """
    refuse_extensions(where, parameters)
    if datatype not in DATATYPES:
        raise BadRequestShape(f"{where} has datatype '{datatype}'; allowed: {', '.join(DATATYPES)}")
    if not shape or min(shape) < 0:
        raise BadRequestShape(f"{where} has shape {list(shape)}; allowed: [rows] or [rows, 1]")
    return math.prod(shape)


def refuse_extensions(where: str, parameters: Parameters) -> None:
    """Raise `BadRequestShape` when a tensor's parameters ask for an extension that is not spoken here."""
    for name in _UNSUPPORTED:
        if name in parameters:
            raise BadRequestShape(f"{where} asks for '{name}', which is not supported; send and take the values themselves")


def tensors_of(answered: Answered, wanted: Iterable[str]) -> list[Tensor]:
    """The wanted outputs of an answer, in that order."""
    specs, rows = outputs_of(answered.label), len(answered.scores)
    return [Tensor(name, specs[name].datatype, (rows, *specs[name].shape[1:]), _values(specs[name], answered)) for name in wanted]


def _values(spec: TensorSpec, answered: Answered) -> Sequence[Scalar]:
    if spec.name == "prediction":
        found = decide(answered.label, answered.scores)
        return [canonical(c) for c in found] if spec.datatype == TEXT else found
    if spec.name == "answered_by":
        return ["ensemble" if by == ENSEMBLE else "student" for by in answered.answered_by.tolist()]
    if spec.name == "degraded":
        return [by == UNANSWERED for by in answered.answered_by.tolist()]
    return answered.scores.ravel().tolist()


def _check_names(kind: str, names: Sequence[str]) -> None:
    if len(set(names)) != len(names):
        twice = sorted(name for name, count in Counter(names).items() if count > 1)
        raise BadRequestShape(f"{kind} '{twice[0]}' is named twice")


def _timeout_s(timeout: object) -> float | None:
    if timeout is None or timeout == 0:
        return None
    if not isinstance(timeout, int) or isinstance(timeout, bool) or timeout < 0:
        raise BadRequestShape(f"parameter 'timeout' is {timeout!r}; allowed: a whole number of microseconds")
    return timeout / 1e6
