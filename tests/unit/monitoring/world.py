"""A small world for the monitor's tests: a stream with dependent days, a sealed bundle, a journal writer."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import msgspec
import numpy as np

from cluster import bundle
from cluster.journal import Writer
from cluster.records import Audit, LabelEntry, Labels, Pointer, Prediction
from cluster.schema import Feature, FeatureSchema, Floats, Label, Matrix
from cluster.settings import Settings, parse
from monitoring.profile import Profile, build_profile

DAY = 86400.0
SCHEMA = FeatureSchema(
    features=(
        Feature(name="miles", type="number", range=(-50.0, 50.0)),
        Feature(name="wind", type="number"),
        Feature(name="carrier", type="category", categories=("UA", "B6", "DL", "AA")),
    ),
    label=Label(name="late", classes=(0, 1), positive=1, delay=dt.timedelta(days=1)),
    time="at",
)


class Stream:
    """Days of rows whose level wanders: an autoregression over days plus a weekday effect; truth stays as it is."""

    def __init__(self, rng: np.random.Generator, days: int, *, memory: float = 0.5, wander: float = 0.2, rows: int = 200) -> None:
        steps = rng.standard_normal((days + 20, 3))
        level = np.zeros_like(steps)
        for day in range(1, len(steps)):
            level[day] = memory * level[day - 1] + np.sqrt(1 - memory**2) * steps[day]
        week = rng.standard_normal((7, 3))[np.arange(days) % 7]
        centers = wander * (level[20:] + week)
        sizes = rng.integers(int(rows * 0.6), int(rows * 1.4), days)
        self.day = np.repeat(np.arange(days), sizes)
        raw = centers[self.day] + rng.standard_normal((len(self.day), 3))
        self.X: Matrix = np.column_stack([raw[:, 0], raw[:, 1], np.clip(np.floor(raw[:, 2] + 2), 0, 3)]).astype(np.float32)
        chance = 1 / (1 + np.exp(1 - raw[:, 0]))
        self.scores: Matrix = chance[:, None].astype(np.float32)
        self.y: Floats = (rng.random(len(chance)) < chance).astype(np.float64)
        self.times: Floats = self.day * DAY + rng.uniform(0, DAY - 1, len(self.day))

    def rows(self, day: int) -> slice:
        return slice(*np.searchsorted(self.day, [day, day + 1]).tolist())


def profile_of(stream: Stream, days: int) -> Profile:
    kept = stream.day < days
    return build_profile(SCHEMA, stream.X[kept], stream.scores[kept], stream.times[kept], stream.y[kept], window=dt.timedelta(days=1))


def seal(folder: Path, profile: Profile, *, version: str = "1", threshold: float = 0.0) -> Pointer:
    """A bundle whose graphs are never loaded; its cascade promises 2 %."""
    rule = bundle.CascadeRule(threshold=threshold, max_disagreement=0.02, confidence=0.95, student_share=1.0, disagreement=0.01)
    folder.mkdir(parents=True)
    for name in ("student.onnx", "ensemble.onnx", "encoding.onnx"):
        (folder / name).write_bytes(b"\x08not read by the monitor")
    (folder / "cascade.json").write_bytes(msgspec.json.encode(rule))
    for name in ("metrics.json", "lineage.json"):
        (folder / name).write_text("{}")
    (folder / "schema.json").write_text(SCHEMA.model_dump_json())
    (folder / "profile.json").write_bytes(msgspec.json.encode(profile))
    return Pointer(version=version, uri=str(folder), digest=bundle.seal(folder, model="trips", created="2026-01-01T00:00:00Z"))


def settings(root: Path, *, audit_share: float = 0.01, **monitoring: object) -> Settings:
    return parse(
        {
            "model": "trips",
            "data": {"source": "trips.parquet"},
            "schema": SCHEMA.model_dump(mode="json"),
            "monitoring": {"min_rows": 50, "metrics_port": 0, "one_false_alarm_in": "100d", **monitoring},
            "serving": {"cascade": {"audit_share": audit_share}},
            "places": {"root": str(root)},
        }
    )


def prediction(stream: Stream, rows: slice, *, version: str = "1") -> Prediction:
    categories = SCHEMA.features[2].categories or ()
    codes = stream.X[rows, 2]
    return Prediction(
        bundle=version,
        event_times=stream.times[rows].tolist(),
        columns={
            "miles": [None if np.isnan(v) else float(v) for v in stream.X[rows, 0]],
            "wind": stream.X[rows, 1].tolist(),
            "carrier": [categories[int(c)] for c in codes],
        },
        scores=stream.scores[rows].tobytes(),
        by_ensemble=bytes(len(codes)),
    )


def journal(writer: Writer, stream: Stream, days: range, *, version: str = "1", label: bool = True) -> int:
    """Write days to the journal in requests of up to 50 rows, labels a day later; returns how many labels."""
    waiting: list[Labels] = []
    labels = 0
    for day in days:
        for late in waiting:
            writer.append(late)
            labels += len(late.entries)
        waiting = []
        whole = stream.rows(day)
        for start in range(whole.start, whole.stop, 50):
            rows = slice(start, min(start + 50, whole.stop))
            request = writer.append(prediction(stream, rows, version=version))
            entries = [LabelEntry(request_id=request, row=i, label=int(v)) for i, v in enumerate(stream.y[rows])]
            waiting += [Labels(entries=entries)] if label else []
    return labels


def audit(request_id: str, stream: Stream, rows: slice, places: list[int], *, differ: int) -> Audit:
    """The ensemble says of rows of a request what the student did, but for the first `differ` of them, which it decides otherwise."""
    scores = stream.scores[rows][places].copy()
    scores[:differ] = np.where(scores[:differ] >= 0.5, 0.1, 0.9)
    return Audit(request_id=request_id, rows=places, scores=scores.tobytes())
