"""A small service that is watched: a bundle with a real profile, its settings, and traffic over HTTP, days of it in seconds."""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import xgboost

from cluster import bundle, storage
from cluster.records import Pointer, Pointers
from cluster.schema import FeatureSchema, Floats, Label, Matrix
from cluster.settings import Settings, parse
from monitoring import attributing
from monitoring.profile import build_profile
from tests import builders
from training.composing import trees
from training.explaining import lime_setup

DAY = 86400.0
FIRST_DAY = 15_706  # 1 January 2013
_ROWS = 150
_ROWS_A_REQUEST = 50
_LABELS_AFTER = 2


def schema() -> FeatureSchema:
    """That of the builders, with labels a day late."""
    return builders.make_schema(label=Label(name="late", classes=(0, 1), positive=1, delay=dt.timedelta(days=1)))


class Day:
    """The rows of one day; `miles` further than usual by `shift`."""

    def __init__(self, number: int, rng: np.random.Generator, *, shift: float = 0.0) -> None:
        far = np.clip(rng.normal(300 + shift, 120, _ROWS), 0, 5000)
        self.X: Matrix = np.column_stack([far, rng.normal(3, 1, _ROWS), rng.integers(0, 3, _ROWS)]).astype(np.float32)
        self.times: Floats = np.sort((FIRST_DAY + number) * DAY + rng.uniform(0, DAY - 1, _ROWS))
        self.scores: Matrix = builders.expected_scores(builders.STUDENT_WEIGHTS, self.X).astype(np.float32)
        self.sex = rng.choice(["female", "male"], _ROWS)
        self.y: Floats = (rng.random(_ROWS) < self.scores[:, 0]).astype(np.float64)

    def rows(self) -> list[dict[str, Any]]:
        """As callers send them."""
        names = schema().features[2].categories or ()
        times = [dt.datetime.fromtimestamp(at, dt.UTC).isoformat() for at in self.times]
        return [
            builders.make_row(miles=float(far), wind=float(wind), carrier=names[int(code)], sex=str(sex), at=at)
            for (far, wind, code), sex, at in zip(self.X, self.sex, times, strict=True)
        ]


def publish(root: Path, reference: Iterable[Day], *, version: str, threshold: float = 0.2) -> Pointer:
    """Seal a bundle whose profile has seen the reference, and make it champion."""
    days = list(reference)
    folder = root / "bundles" / version
    builders.make_bundle(folder, schema=schema(), threshold=threshold)
    X, scores, times, y = (np.concatenate([getattr(day, name) for day in days]) for name in ("X", "scores", "times", "y"))
    profile = build_profile(schema(), X, scores, times, y, window=dt.timedelta(days=1))
    (folder / "profile.json").write_bytes(msgspec.json.encode(profile))
    _explain(folder, X, times, y)
    pointer = Pointer(version=version, uri=str(folder), digest=bundle.seal(folder, model=builders.MODEL, created=builders.CREATED))
    promote(root, pointer)
    return pointer


def _explain(folder: Path, X: Matrix, times: Floats, y: Floats) -> None:  # noqa: N803 - the field's name
    """What the monitor needs to say on which features answers rest, and how far to trust that: trees, their attributions, LIME's statistics."""
    parameters = trees.task_parameters(schema().label, seed=1, threads=1) | {"max_depth": 3}
    booster = xgboost.train(parameters, xgboost.QuantileDMatrix(X, y), 10)
    found = attributing.build(schema(), booster, X, times, whose="student", window_s=DAY, rng=np.random.default_rng(0))
    (folder / attributing.STUDENT).write_bytes(trees.save(booster))
    for name, content in ((attributing.NAME, found), (lime_setup.NAME, lime_setup.lime_setup(schema(), X))):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(msgspec.json.encode(content))


def promote(root: Path, pointer: Pointer) -> None:
    """Make a bundle that there is champion."""
    pointers = Pointers(model=builders.MODEL, champion=pointer)
    storage.write_atomic(builders.make_settings(root).places.pointers(builders.MODEL), msgspec.json.encode(pointers))


def make_settings(root: Path, *, http_port: int, metrics_port: int, webhook: str) -> Settings:
    """Everything is audited, the ensemble has processes of its own, groups and a check are watched, and each alarm is told."""
    ensemble = {"placement": "deployment"}
    plain = builders.make_settings(root, port=http_port, poll_s=0.1, ensemble=ensemble, cascade={"audit_share": 1.0}).dump()
    watch = {"min_rows": 50, "one_false_alarm_in": "100d", "poll_s": 0.1, "metrics_port": metrics_port, "webhook": {"url": webhook}}
    duties = {
        "fairness": {"min_group_rows": 20, "max_selection_rate_difference": 0.9},
        "checks": [{"name": "far is late", "kind": "monotonic", "feature": "miles", "direction": "up", "min_rows": 20}],
    }
    return parse(plain | duties | {"schema": schema().model_dump(mode="json"), "monitoring": watch})


class Caller:
    """Sends days, and two days later their labels."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=60)
        self._awaited: deque[list[dict[str, Any]]] = deque()

    def send(self, day: Day) -> None:
        """The labels that are due, then the rows of this day."""
        if len(self._awaited) == _LABELS_AFTER:
            self._client.post("/v1/labels", json={"labels": self._awaited.popleft()}).raise_for_status()
        rows, labels = day.rows(), list[dict[str, Any]]()
        for start in range(0, len(rows), _ROWS_A_REQUEST):
            answer = self._client.post("/v1/predict", json={"rows": rows[start : start + _ROWS_A_REQUEST]}).raise_for_status().json()
            labels += [
                {"request_id": answer["request_id"], "row": i, "label": int(day.y[start + i])} for i in range(len(answer["predictions"]))
            ]
        self._awaited.append(labels)

    def ask(self, *, timeout_s: float | None = None, **row: Any) -> httpx.Response:
        """One row, whatever becomes of it."""
        headers = {} if timeout_s is None else {"X-Request-Timeout": str(timeout_s)}
        return self._client.post("/v1/predict", json={"rows": [builders.make_row(**row)]}, headers=headers)

    def close(self) -> None:
        """Hang up."""
        self._client.close()
