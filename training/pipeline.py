"""The pipeline: load → part → search → fit → assemble → evaluate → bundle → card → register. One function a stage, in order.

This page is the table of contents of training; what a stage does lives in the module it names.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import onnx
import pyarrow as pa

from cluster import bundle as bundles
from cluster import storage
from cluster.errors import BundleError
from cluster.records import Pointer
from cluster.registry import Registry
from cluster.settings import Settings, parse
from monitoring import attributing, losses
from monitoring.profile import Profile, build_profile
from training import card, evaluation, lineage, preparation, snapshots
from training.assembly import Assembled, assemble
from training.card import figures
from training.composing import export, measure, trees
from training.composing.distill import NATIVE_NAME
from training.data import frame
from training.data.datasets import read_table
from training.data.reader import read_parquet
from training.explaining.lime_setup import lime_setup
from training.lineage import Lineage
from training.material import Material
from training.preparation import Prepared


class Run(NamedTuple):
    """What a training run is called, and why it is."""

    name: str
    reason: str
    seed: int


class Made(NamedTuple):
    """A sealed bundle in a folder."""

    folder: Path
    digest: str
    metrics: dict[str, dict[str, float]]
    """On held-out rows, by who answers."""
    lineage: Lineage


def read_frame(settings: Settings) -> pa.Table:
    """The source table as a training frame.

    Raises
    ------
    DataError
        When it cannot be read or lacks a column of the schema.
    """
    table = read_table(settings.data, time=settings.columns.time, cache=data_cache(settings), parquet=read_parquet)
    return frame.from_table(table, settings.columns, group=settings.training.group)


def data_cache(settings: Settings) -> Path:
    """Where named data sets are kept once fetched."""
    return storage.local_path(settings.places.root, need="the cache of data sets") / "data"


def train(settings: Settings, rows: pa.Table | None, *, run: str, reason: str, seed: int, unlabelled: pa.Table | None = None) -> Pointer:
    """Make a bundle and register it as the next version; returns where it is.

    Parameters
    ----------
    rows
        A training frame (`training.data.frame`); None: the source is read as a stream, for tables larger than memory.
    run
        Names the run; a run that was registered before is not trained again, and one that was killed goes on where it was.
    reason
        Why it is trained, for the lineage.
    unlabelled
        A frame of recent rows whose label has not come: the student learns from what the ensemble says of them.

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
    if settings.training.keep_rows:
        for kept in (rows, unlabelled):
            if kept is not None and kept.num_rows:
                snapshots.keep(settings.places.snapshots(settings.model), kept)
    folder = bundles.new_folder(storage.local_path(settings.places.work(settings.model), need="training"))
    try:
        make(settings, rows, Run(run, reason, seed), folder, unlabelled=unlabelled)
        return register(settings, folder)
    finally:
        storage.remove_tree(str(folder.parent))


def register(settings: Settings, folder: Path) -> Pointer:
    """Register a sealed bundle as the next version of the model; one whose run was registered before is left as it is.

    Raises
    ------
    BundleTampered, BundleError
        When it is not what was sealed, or of another model.
    """
    sealed = bundles.Bundle(folder)
    traced = msgspec.convert(sealed.json("lineage.json"), Lineage)
    then = parse(sealed.json("settings.json") | {"places": settings.dump()["places"]}, name=f"{folder}/settings.json")
    _need_same_model(settings, then, folder)
    return Registry(settings).register(
        folder,
        digest=hashlib.sha256((folder / bundles.MANIFEST).read_bytes()).hexdigest(),
        run=traced.run,
        metrics=_flat(sealed.json("metrics.json")["held_out"]),
        params=_params(then, traced),
        texts=_texts(folder),
    )


def _need_same_model(wanted: Settings, found: Settings, folder: Path) -> None:
    facts = [
        {"model": s.model, "label": s.columns.label.name, "task": s.columns.label.task, "features": ", ".join(s.columns.names)}
        for s in (wanted, found)
    ]
    for name, value in facts[0].items():
        if facts[1][name] != value:
            raise BundleError(f"the bundle in '{folder}' is of {name} '{facts[1][name]}'; these settings are of {name} '{value}'")


def make(settings: Settings, rows: pa.Table | None, run: Run, folder: Path, *, unlabelled: pa.Table | None = None) -> Made:
    """Fit, assemble, evaluate and seal a bundle in an empty folder; the same arguments on the same machine give the same bundle."""
    settings = settings.model_copy(update={"training": settings.training.model_copy(update={"seed": run.seed})})
    fitted = (
        preparation.from_frame(settings, rows, unlabelled, run.name) if rows is not None else preparation.from_stream(settings, run.name)
    )
    made = assemble(settings, fitted.material, fitted.taught, fitted.members, fitted.fits, fitted.recent)
    settings = lineage.resolve(settings, fitted.members, made.student.record)
    traced = lineage.trace(settings, fitted.origin, run=run.name, reason=run.reason)
    documents = evaluation.evaluate_all(settings, fitted.material, made, fitted.fits.final)
    documents |= _documents(settings, fitted, made, traced)
    _write(folder, fitted, made, documents)
    digest = _seal(folder, settings, fitted.material)
    return Made(folder, digest, documents["metrics"]["held_out"], traced)


def _documents(settings: Settings, fitted: Prepared, made: Assembled, traced: Lineage) -> dict[str, Any]:
    """The JSON files that say how the bundle was made, by name without their ending."""
    profile = _profile(settings, fitted.material, made)
    documents: dict[str, Any] = {
        "schema": fitted.material.schema.model_dump(mode="json"),
        "settings": lineage.portable(settings),
        "cascade": made.cascade,
        "profile": profile,
        "lineage": traced,
        "blend": made.blend,
        "distillation": made.student.record,
        "efforts": fitted.fits.efforts,
        "explanation/lime": lime_setup(fitted.material.schema, fitted.material.rows.X),
    }
    optional = {
        "intervals": made.intervals,
        "search": fitted.found,
        "evaluation/mitigation": fitted.mitigation,
        attributing.NAME.removesuffix(".json"): _attributions(settings, fitted, made),
        losses.NAME.removesuffix(".json"): _losses(profile, fitted.material, made),
    }
    return documents | {name: document for name, document in optional.items() if document is not None}


def _losses(profile: Profile, material: Material, made: Assembled) -> losses.Losses | None:
    """What rows cost by the cells of the profile, of rows that whoever scored them had not seen."""
    later = evaluation.unseen(material, made)
    return losses.learn(profile, material.schema.label, later.rows.X, later.answers, later.rows.y)


def _profile(settings: Settings, material: Material, made: Assembled) -> Profile:
    """Over all rows; scores only of those that whoever scored them had not seen, mixed by the cascade as they are served."""
    later = evaluation.unseen(material, made)
    start = material.folds[0].train
    X = np.concatenate([material.rows.X[:start], later.rows.X])
    scores = np.full((len(X), later.answers.shape[1]), np.nan, dtype=np.float32)
    scores[start:] = later.answers
    times = None if material.times is None or later.times is None else np.concatenate([material.times[:start], later.times])
    y = np.concatenate([material.rows.y[:start], later.rows.y])
    return build_profile(material.schema, X, scores, times, y, window=settings.monitoring.window)


def _attributions(settings: Settings, fitted: Prepared, made: Assembled) -> attributing.Attributions | None:
    """What the trees' answers rest on, over all rows: of the XGBoost member, or of the student where the ensemble has no use for one."""
    material, is_used = fitted.material, made.blend.weights.get("xgboost", 0.0) > 0
    native = fitted.fits.final.get("xgboost") if is_used else None
    times = None if material.times is None or material.held_times is None else np.concatenate([material.times, material.held_times])
    return attributing.build(
        material.schema,
        trees.load(made.student.native if native is None else native),
        np.concatenate([material.rows.X, material.held.X]),
        times,
        whose="student" if native is None else "xgboost",
        window_s=settings.monitoring.window.total_seconds(),
        rng=np.random.default_rng(settings.training.seed),
        threads=settings.training.threads,
    )


def _write(folder: Path, fitted: Prepared, made: Assembled, documents: Mapping[str, Any]) -> None:
    """Put every file of the bundle but measurements, figures and card into its folder."""
    onnx.save(made.ensemble, str(folder / "ensemble.onnx"))
    if made.rest is not None:
        onnx.save(made.rest, str(folder / bundles.REST))
    onnx.save(made.student.graph, str(folder / "student.onnx"))
    onnx.save(export.encoding_graph(fitted.material.schema), str(folder / "encoding.onnx"))
    for member in fitted.members:
        (folder / "members" / member.native_name).write_bytes(fitted.fits.final[member.name])
        onnx.save(made.graphs[member.name], str(folder / "members" / f"{member.name}.onnx"))
    (folder / "members" / NATIVE_NAME).write_bytes(made.student.native)
    for name, document in documents.items():
        path = folder / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1))


def _seal(folder: Path, settings: Settings, material: Material) -> str:
    """Measure, draw, write the card, seal, and load once as a replica would; returns the digest."""
    measure.equip(folder, material.held.X)
    figures.write(folder)
    card.write(folder)
    digest = bundles.seal(folder, model=settings.model, created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"))
    sealed = bundles.Bundle(folder, digest=digest)
    sealed.warm()
    sealed.check_probe()
    return digest


def _flat(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {f"{who}.{name}": value for who, measured in metrics.items() for name, value in measured.items()}


def _texts(folder: Path) -> dict[str, str]:
    """What MLflow's pages show of a bundle, by the name of the file."""
    return {f"figures/{name}.svg": content.decode() for name, content in figures.read(folder).items()} | {
        card.PAGE: (folder / card.PAGE).read_text(encoding="utf-8")
    }


def _params(settings: Settings, traced: Lineage) -> dict[str, object]:
    fields = ("run", "reason", "data_source", "data_sha256", "rows", "code_commit", "settings_sha256", "seed", "num_workers", "python")
    return {name: getattr(traced, name) for name in fields} | {"members": ", ".join(settings.members.model_dump(exclude_none=True))}
