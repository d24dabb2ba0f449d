"""The pipeline: load → split → fit → blend → distil → evaluate → bundle → register. One function a stage, in order.

This page is the table of contents of training; what a stage does lives in the module it names.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import msgspec
import numpy as np
import onnx
import pyarrow as pa

from cluster import bundle as bundles
from cluster import storage
from cluster.bundle import CascadeRule
from cluster.encoder import Encoder
from cluster.errors import NotEnoughData
from cluster.freeze import freeze
from cluster.margin import is_hard
from cluster.records import Pointer
from cluster.registry import Registry
from cluster.runtime import connect
from cluster.schema import FeatureSchema, Floats, Matrix, encode_labels, score_width
from cluster.settings import Settings
from monitoring.profile import build_profile
from training import ensemble, evaluate, export, figures, frame, graphs, measure
from training.conformal import cascade_rule
from training.datasets import read_table
from training.distill import Student, distill
from training.ensemble import Blend
from training.lineage import Lineage, trace
from training.members import Member, Rows, build
from training.reader import read_parquet
from training.split import Indices, by_time, interleaved

_FEWEST_ROWS = 200
_PARITY_ROWS = 2000
_HELD_SHARE = 0.3


class Split(NamedTuple):
    """Encoded rows, parted by time: the latest validate, and a part of those is held out of every choice."""

    schema: FeatureSchema
    whole: Rows
    times: Floats | None
    train_index: Indices
    tune_index: Indices
    """Early stopping, weights, calibration and the choice of the student look at these."""
    held_index: Indices
    """The cascade's promise and the metrics come from these."""

    def rows(self, index: Indices) -> Rows:
        """The rows at these indices."""
        return Rows(self.whole.X[index], self.whole.y[index])

    @property
    def unseen(self) -> Indices:
        """Rows that no member was fitted on."""
        return np.concatenate([self.tune_index, self.held_index])


class Fitted(NamedTuple):
    """What was fitted: native models, their graphs, and what became of them."""

    native: dict[str, bytes]
    graphs: dict[str, onnx.ModelProto]
    parity: dict[str, float]
    blend: Blend
    ensemble: onnx.ModelProto
    rest: onnx.ModelProto | None
    """The ensemble when XGBoost scores its own trees; None when they have no part in it."""
    student: Student
    cascade: CascadeRule


def read_frame(settings: Settings) -> pa.Table:
    """The source table as a training frame.

    Raises
    ------
    DataError
        When it cannot be read or lacks a column of the schema.
    """
    table = read_table(settings.data, time=settings.columns.time, cache=data_cache(settings), parquet=read_parquet)
    return frame.from_table(table, settings.columns)


def data_cache(settings: Settings) -> Path:
    """Where named data sets are kept once fetched."""
    return storage.local_path(settings.places.root, need="the cache of data sets") / "data"


def train(settings: Settings, rows: pa.Table, *, run: str, reason: str, seed: int) -> Pointer:
    """Fit, distil, evaluate, bundle and register one version; returns where it is.

    Parameters
    ----------
    rows
        A training frame (`training.frame`).
    run
        Names the run; a run that was registered before is not trained again.
    reason
        Why it is trained, for the lineage.

    Raises
    ------
    NotEnoughData, DataError
        When the rows do not suffice or do not fit.
    ParityError
        When an exported graph scores differently from the model it came from.
    """
    registry = Registry(settings)
    if known := registry.find(run):
        return known
    connect(root=settings.places.root)
    settings = settings.model_copy(update={"training": settings.training.model_copy(update={"seed": seed})})
    split = _split(settings, rows)
    members = build(settings, split.schema)
    fitted = _fit(settings, split, members)
    metrics = _evaluate(split, fitted)
    lineage = trace(settings, rows, run=run, reason=reason, seed=seed)
    work = storage.local_path(settings.places.work(settings.model), need="training")
    folder = bundles.new_folder(work)
    try:
        _write(folder, settings, split, members, fitted, metrics, lineage)
        measure.equip(folder, split.whole.X[split.unseen])
        digest = bundles.seal(folder, model=settings.model, created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"))
        sealed = bundles.Bundle(folder, digest=digest)
        sealed.warm()
        sealed.check_probe()
        return registry.register(
            folder,
            digest=digest,
            run=run,
            metrics=_flat(metrics),
            params=_params(settings, lineage),
            figures=_figures(split, fitted),
            example=rows.select(split.schema.names).slice(0, 5).to_pandas(),
        )
    finally:
        storage.remove_tree(str(folder.parent))


def _split(settings: Settings, rows: pa.Table) -> Split:
    if rows.num_rows < _FEWEST_ROWS:
        raise NotEnoughData(f"{rows.num_rows} labelled rows are too few to train on; at least {_FEWEST_ROWS} are needed")
    schema = freeze(settings.columns, rows, min_count=settings.training.min_category_count)
    whole = Rows(Encoder(schema).table(rows), encode_labels(schema.label, rows.column(schema.label.name)))
    times = rows.column(frame.TIME).to_numpy() if frame.TIME in rows.column_names else None
    rng = np.random.default_rng(settings.training.seed)
    first, last = by_time(times, settings.training.validation_share, rng=rng, rows=len(whole))
    tune, held = interleaved(last, _HELD_SHARE)
    return Split(schema, whole, times, first, tune, held)


def _fit(settings: Settings, split: Split, members: list[Member]) -> Fitted:
    from training import distributed  # Ray Train and Torch take seconds to import

    label, train_rows, valid, held = split.schema.label, *map(split.rows, (split.train_index, split.tune_index, split.held_index))
    native = distributed.fit_members(members, train_rows, valid, settings.training, f"{settings.places.work(settings.model)}/ray")
    made = {member.name: member.to_onnx(native[member.name]) for member in members}
    probe = valid.X[:_PARITY_ROWS]
    parity = {m.name: export.check_parity(m.name, m.score(native[m.name], probe), made[m.name], probe) for m in members}
    scores = {name: graphs.run(graph, valid.X) for name, graph in made.items()}
    blend = ensemble.learn(label, valid.y, scores)
    whole = export.compose_ensemble(made, blend.weights, blend.calibration, label)
    has_trees = blend.weights.get("xgboost", 0) > 0
    rest = export.compose_ensemble(made, blend.weights, blend.calibration, label, given="xgboost") if has_trees else None
    teacher = graphs.run(whole, valid.X)
    parity["ensemble"] = export.check_parity("ensemble", ensemble.apply(label, blend, scores), whole, valid.X)
    student = distill(
        label, train_rows, graphs.run(whole, train_rows.X), valid, teacher, settings.distillation, seed=settings.training.seed
    )
    spread = float(np.std(train_rows.y)) if label.task == "regression" else None
    parity["student"] = export.check_parity("student", student.score(label, probe), student.graph, probe)
    alone, asked = graphs.run(student.graph, held.X), graphs.run(whole, held.X)
    rule = cascade_rule(label, alone, asked, settings.serving.cascade, label_std=spread)
    return Fitted(native, made, parity, blend, whole, rest, student, rule)


def _evaluate(split: Split, fitted: Fitted) -> dict[str, dict[str, float]]:
    """Metrics on the held-out rows, by who answers."""
    label, held = split.schema.label, split.rows(split.held_index)
    scored: dict[str, Matrix] = {name: graphs.run(graph, held.X) for name, graph in fitted.graphs.items()}
    scored |= {"ensemble": graphs.run(fitted.ensemble, held.X), "student": graphs.run(fitted.student.graph, held.X)}
    return {name: evaluate.measure(label, held.y, scores) for name, scores in scored.items()}


def _write(
    folder: Path, settings: Settings, split: Split, members: list[Member], fitted: Fitted, metrics: Mapping[str, Any], lineage: Lineage
) -> None:
    """Put every file of the bundle into its folder."""
    onnx.save(fitted.ensemble, str(folder / "ensemble.onnx"))
    if fitted.rest is not None:
        onnx.save(fitted.rest, str(folder / bundles.REST))
    onnx.save(fitted.student.graph, str(folder / "student.onnx"))
    onnx.save(export.encoding_graph(split.schema), str(folder / "encoding.onnx"))
    for member in members:
        (folder / "members" / member.native_name).write_bytes(fitted.native[member.name])
        onnx.save(fitted.graphs[member.name], str(folder / "members" / f"{member.name}.onnx"))
    (folder / "members" / "student.ubj").write_bytes(fitted.student.native)
    scores = np.full((len(split.whole), score_width(split.schema.label)), np.nan, dtype=np.float32)
    scores[split.unseen] = _answers(split, fitted)
    profile = build_profile(split.schema, split.whole.X, scores, split.times, split.whole.y, window=settings.monitoring.window)
    documents = {
        "schema": split.schema.model_dump(mode="json"),
        "cascade": fitted.cascade,
        "profile": profile,
        "metrics": {"held_out": metrics, "parity": fitted.parity, "rows": _counts(split)},
        "lineage": lineage,
        "blend": fitted.blend,
        "distillation": fitted.student.record,
    }
    for name, document in documents.items():
        (folder / f"{name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1))


def _answers(split: Split, fitted: Fitted) -> Matrix:
    """What a caller would be told about the unseen rows: the profile must show the mixture that is served."""
    matrix = split.whole.X[split.unseen]
    scores = graphs.run(fitted.student.graph, matrix)
    hard = is_hard(split.schema.label, scores, fitted.cascade.threshold)
    if hard.any():
        scores[hard] = graphs.run(fitted.ensemble, matrix[hard])
    return scores


def _counts(split: Split) -> dict[str, int]:
    return {"train": len(split.train_index), "tune": len(split.tune_index), "held_out": len(split.held_index)}


def _flat(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {f"{who}.{name}": value for who, measured in metrics.items() for name, value in measured.items()}


def _params(settings: Settings, lineage: Lineage) -> dict[str, object]:
    fields = ("run", "reason", "data_source", "data_sha256", "rows", "code_commit", "settings_sha256", "seed", "num_workers", "python")
    return {name: getattr(lineage, name) for name in fields} | {"members": ", ".join(settings.members.model_dump(exclude_none=True))}


def _figures(split: Split, fitted: Fitted) -> dict[str, Any]:
    matplotlib.use("Agg")
    held = split.rows(split.held_index)
    return figures.draw(split.schema.label, held.y, graphs.run(fitted.ensemble, held.X), fitted.blend)
