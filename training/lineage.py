"""Lineage: from what data, code, packages and seeds a bundle came. Pure."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa

from cluster.records import Record
from cluster.serving_settings import Serving
from cluster.settings import Settings
from cluster.training_settings import Search
from training.composing.distill import Distilled
from training.data.frame import TIME
from training.members import Member

PINS: Final = ("homeostat", "ray", "torch", "xgboost", "scikit-learn", "numpy", "pyarrow", "onnx", "onnxruntime", "onnxmltools", "mlflow")


class Lineage(Record, frozen=True, kw_only=True):
    """Where a bundle came from."""

    run: str
    reason: str
    data_source: str
    data_sha256: str
    """Of the frame's columns, values and order; a table that was streamed says how in `training.workers.stream`."""
    rows: int
    unlabelled_sha256: str | None = None
    """Of the rows without a label that the student learned from; null when there were none."""
    since: float | None
    until: float | None
    code_commit: str | None
    """Git commit of the running code; ends in `+` when files differ from it; null outside a checkout."""
    settings_sha256: str
    seed: int
    num_workers: int
    python: str
    machine: str
    pins: dict[str, str]


class Origin(NamedTuple):
    """The data of a run."""

    source: str
    data_sha256: str
    rows: int
    since: float | None
    until: float | None
    unlabelled_sha256: str | None = None


def origin(source: str, frame: pa.Table, unlabelled: pa.Table | None = None) -> Origin:
    """The data of a run whose frame is in memory."""
    times = frame.column(TIME).to_numpy() if TIME in frame.column_names else None
    return Origin(
        source=source,
        data_sha256=hash_table(frame),
        rows=frame.num_rows,
        since=float(times.min()) if times is not None else None,
        until=float(times.max()) if times is not None else None,
        unlabelled_sha256=hash_table(unlabelled) if unlabelled is not None and unlabelled.num_rows else None,
    )


def trace(settings: Settings, data: Origin, *, run: str, reason: str) -> Lineage:
    """Write down where a bundle comes from.

    Parameters
    ----------
    settings
        Resolved (`resolve`), with the run's seed.
    """
    return Lineage(
        run=run,
        reason=reason,
        data_source=data.source,
        data_sha256=data.data_sha256,
        unlabelled_sha256=data.unlabelled_sha256,
        rows=data.rows,
        since=data.since,
        until=data.until,
        code_commit=code_commit(),
        settings_sha256=hash_settings(settings),
        seed=settings.training.seed,
        num_workers=settings.training.num_workers,
        python=platform.python_version(),
        machine=platform.machine(),
        pins={name: importlib.metadata.version(name) for name in PINS},
    )


def resolve(settings: Settings, members: Sequence[Member], student: Distilled) -> Settings:
    """The settings with what was found in place of what was asked to be looked for.

    With them, a run finds nothing else: searches stop by the clock, and sizes of students are measured.
    """
    chosen = dict.fromkeys(type(settings.members).model_fields) | {member.name: member.settings for member in members}
    distillation = settings.distillation.model_copy(update={"sizes": tuple(student.sizes), "max_latency_share": None})
    training = settings.training.model_copy(update={"search": Search()})
    return settings.model_copy(
        update={"members": settings.members.model_copy(update=chosen), "distillation": distillation, "training": training}
    )


def portable(settings: Settings) -> dict[str, Any]:
    """Settings as `settings.json` of a bundle keeps them: all but the places of one machine."""
    return {name: value for name, value in settings.dump().items() if name != "places"}


def hash_settings(settings: Settings) -> str:
    """SHA-256 of the settings that can change a bundle: neither places nor how it is served, but for the cascade's promise."""
    served = {name: True for name in Serving.model_fields if name != "cascade"}
    return hashlib.sha256(settings.model_dump_json(exclude={"places": True, "serving": served}).encode()).hexdigest()


def hash_table(table: pa.Table) -> str:
    """SHA-256 over a table's column names, types and values, whatever its chunks and slices."""
    digest = hashlib.sha256()
    for name in table.column_names:
        column = table.column(name).combine_chunks()
        present = column.drop_null()  # what lies under a null, and in the padding of its bits, is anybody's guess
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, pa.schema([(name, column.type)])) as writer:
            writer.write_batch(pa.record_batch([present], names=[name]))
        digest.update(column.is_valid().to_numpy(zero_copy_only=False).tobytes())
        digest.update(sink.getvalue())
    return digest.hexdigest()


def code_commit() -> str | None:
    """Git's commit of this checkout, with `+` when it has changes; None when there is no git."""
    here = Path(__file__).resolve().parent.parent
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True, timeout=5
        ).stdout.strip()
        changes = subprocess.run(
            ["git", "status", "--porcelain", "-uno"], cwd=here, capture_output=True, text=True, check=True, timeout=5
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+" if changes.strip() else "")
