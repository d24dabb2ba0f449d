"""The JSON of POST /v1/explain, and of its answer. Pure.

The rows are those of POST /v1/predict and are read by the same decoder, so the same mistake reads the same; here are the keys beside them.
"""

from __future__ import annotations

from typing import Annotated, Final, NamedTuple

import msgspec
import numpy as np

from cluster.errors import BadRequestShape, TooManyRows
from cluster.explaining.explainer import METHODS, SAMPLES, SEED, Because, Chosen, Explained, Method, output_of
from cluster.explaining.neighbourhood import MOST_SEED
from cluster.schema import FeatureSchema, Label, Scalar
from serve_apps.protocols.plane import DecodedRows
from serve_apps.protocols.rows import RowsCodec

MOST_ROWS: Final = 100
"""Rows that are explained at once: exact contributions of 218 trees cost some 2 ms a row."""
FEWEST_SAMPLES: Final = 100
MOST_SAMPLES: Final = 20_000
OPTIONS: Final = ("method", "samples", "seed", "top", "class")
_LIMES: Final = ("samples", "seed")


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    rows: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    columns: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    model: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    method: Method | None = None
    samples: Annotated[int, msgspec.Meta(ge=FEWEST_SAMPLES, le=MOST_SAMPLES)] | None = None
    seed: Annotated[int, msgspec.Meta(ge=0, le=MOST_SEED)] | None = None
    top: Annotated[int, msgspec.Meta(ge=1)] | None = None
    of_class: str | int | float | bool | None = msgspec.field(default=None, name="class")


_read = msgspec.json.Decoder(_Body).decode
_LIMITS: Final = (
    f"method: {', '.join(METHODS)}; samples: {FEWEST_SAMPLES} to {MOST_SAMPLES}; seed: 0 to {MOST_SEED}; top: 1 or more; class: a class"
)


class Request(NamedTuple):
    """Rows to explain, and how."""

    rows: DecodedRows
    method: Method | None
    samples: int
    seed: int
    top: int | None
    output: int | None
    """Place of the class that is asked about."""
    limes: tuple[str, ...]
    """Those of LIME's own keys that the body holds."""


class Part(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one feature has to do with a row's score."""

    feature: str
    value: Scalar
    """As it was sent."""
    contribution: float
    condition: str = ""
    """LIME: what of the value counts."""


class RuleAnswer(msgspec.Struct, frozen=True):
    """The surrogate's rule that a row meets."""

    conditions: list[str]
    """All hold."""
    share: float
    """Of the rows that the rule was found among."""


class RowExplanation(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why one row is scored as it is."""

    score: float
    of_class: str | int | float | bool | None = msgspec.field(default=None, name="class")
    base: float | None = None
    contributions: list[Part] | None = None
    """The largest first; with the base and the rest they add up to the score: exactly for shap, nearly for LIME."""
    rest: float | None = None
    """The sum of those that `top` left out."""
    rule: RuleAnswer | None = None
    fidelity: float | None = None
    agreement: float | None = None


class Explains(msgspec.Struct, frozen=True):
    """What was explained."""

    part: str
    """`xgboost`, `ensemble` or `student`."""
    unit: str
    """Of scores, bases and contributions."""
    note: str


class ExplainAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer of POST /v1/explain."""

    model: str
    bundle: str
    method: Method
    why: str
    explains: Explains
    explanations: list[RowExplanation]
    samples: int | None = None
    seed: int | None = None


def decode(body: bytes, codec: RowsCodec, *, now: float) -> Request:
    """Read a request.

    Parameters
    ----------
    codec
        Reads the rows as POST /v1/predict does.
    now
        Event time of rows that bring none, seconds since 1970 UTC.

    Raises
    ------
    BadJson, BadRequestShape, UnknownModel, NoRows, TooManyRows
    InvalidRows
        See `RowsCodec.decode`.
    """
    try:
        found = _read(body)
    except msgspec.ValidationError as error:
        raise BadRequestShape(
            f"the body does not fit: {error}. It holds rows or columns as POST /v1/predict takes them, and may hold {_LIMITS}"
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        codec.decode(body, now=now)  # raises what the same body raises there
        raise BadRequestShape(f"the body does not fit: {error}") from error
    rows = codec.decode(_without_options(found), now=now)
    if len(rows.event_times) > MOST_ROWS:
        raise TooManyRows(f"the request holds {len(rows.event_times)} rows; at most {MOST_ROWS} are explained at once. Split it")
    limes = tuple(name for name in _LIMES if getattr(found, name) is not None)
    samples, seed = (default if given is None else given for given, default in ((found.samples, SAMPLES), (found.seed, SEED)))
    return Request(rows, found.method, samples, seed, found.top, _output(codec.reader.schema.label, found.of_class), limes)


def check(request: Request, chosen: Chosen) -> None:
    """Refuse keys that the method has no use for: whoever sends them expects something of them.

    Raises
    ------
    BadRequestShape
    """
    if chosen.method != "lime" and request.limes:
        raise BadRequestShape(
            f"'{request.limes[0]}' says how LIME draws, and the method is '{chosen.method}' ({chosen.why}); leave it out, or send \"method\": \"lime\""
        )
    if chosen.method == "surrogate" and request.top is not None:
        raise BadRequestShape("'top' says how many contributions are told, and a rule of the surrogate has none; leave it out")


def encode(request: Request, chosen: Chosen, explained: Explained, schema: FeatureSchema, *, model: str, bundle: str) -> bytes:
    """Write the answer."""
    drawn = chosen.method == "lime"
    answer = ExplainAnswer(
        model=model,
        bundle=bundle,
        method=chosen.method,
        why=chosen.why,
        explains=Explains(explained.explains, explained.unit, explained.note),
        explanations=[_row(request, schema, explained, i, because) for i, because in enumerate(explained.rows)],
        samples=request.samples if drawn else None,
        seed=request.seed if drawn else None,
    )
    return msgspec.json.encode(answer)


def _row(request: Request, schema: FeatureSchema, explained: Explained, i: int, because: Because) -> RowExplanation:
    of_class = None if schema.label.classes is None else schema.label.classes[because.output]
    if because.contributions is None or because.base is None:
        rule = None if because.rule is None else RuleAnswer(list(because.conditions), because.rule.share)
        return RowExplanation(because.score, of_class, rule=rule, fidelity=because.fidelity, agreement=explained.agreement)
    order = np.argsort(-np.abs(because.contributions), kind="stable")
    told, left = order[: request.top], order[len(order) if request.top is None else request.top :]
    return RowExplanation(
        because.score,
        of_class,
        because.base,
        [_part(request.rows, schema.names[j], i, j, because) for j in told.tolist()],
        rest=float(because.contributions[left].sum()) if len(left) else None,
        fidelity=because.fidelity,
    )


def _part(rows: DecodedRows, name: str, i: int, j: int, because: Because) -> Part:
    assert because.contributions is not None
    condition = because.conditions[j] if because.conditions else ""
    return Part(name, rows.columns[name][i], float(because.contributions[j]), condition)


def _without_options(found: _Body) -> bytes:
    """The body as POST /v1/predict would get it."""
    parts = ((name, getattr(found, name)) for name in ("rows", "columns", "model"))
    return b"{" + b",".join(b'"%s":%s' % (name.encode(), bytes(raw)) for name, raw in parts if raw is not msgspec.UNSET) + b"}"


def _output(label: Label, of_class: str | int | float | bool | None) -> int | None:
    if of_class is None:
        return None
    place = output_of(label, of_class)
    if place is None:
        allowed = list(label.classes or ())
        message = f"'class' is {of_class!r}; " + (
            f"the classes of '{label.name}' are: {', '.join(map(repr, allowed))}" if allowed else f"'{label.name}' is a number and has none"
        )
        raise BadRequestShape(message, details=[{"found": of_class, "allowed": allowed}])
    return place
