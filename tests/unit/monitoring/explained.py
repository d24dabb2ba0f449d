"""A sealed bundle of real trees that can be explained, and that knows what its answers rested on."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from cluster import bundle
from cluster.bundle import Bundle
from cluster.records import Pointer
from cluster.schema import FeatureSchema, Floats, Matrix
from monitoring import attributing
from monitoring.attributing import Attributions
from monitoring.profile import Profile
from monitoring.sketches import Column
from tests.builders import CREATED, MODEL, make_schema
from tests.unit.cluster.explaining.bundles import booster_of, make_explained, rows_of
from tests.unit.monitoring.world import SCHEMA, Stream

DAY = 86400.0
COLUMNS = [
    Column(name="miles", type="number", scale=100.0),
    Column(name="wind", type="number", scale=100.0),
    Column(name="carrier", type="category"),
]


def days(count: int, *, rows: int = 120, seed: int = 3) -> tuple[Matrix, Floats]:
    """Rows of so many days, and their times."""
    rng = np.random.default_rng(seed)
    return rows_of(make_schema(), count * rows, seed=seed).X, np.repeat(np.arange(count), rows) * DAY + rng.uniform(
        0, DAY - 1, count * rows
    )


def learned(schema: FeatureSchema | None = None, *, count: int = 40, rounds: int = 20) -> Attributions | None:
    """From so many days."""
    schema = schema or make_schema()
    X, times = days(count)
    rng = np.random.default_rng(0)
    return attributing.build(schema, booster_of(schema, rounds=rounds), X, times, whose="xgboost", window_s=DAY, rng=rng)


def loaded(folder: Path, *, attributions: bytes | None = None, leave_out: tuple[str, ...] = ()) -> Bundle:
    """Sealed anew with its attributions."""
    make_explained(folder, leave_out=leave_out)
    content = msgspec.json.encode(learned()) if attributions is None else attributions
    if attributing.NAME not in leave_out:
        (folder / attributing.NAME).parent.mkdir(exist_ok=True)
        (folder / attributing.NAME).write_bytes(content)
    return Bundle(folder, digest=bundle.seal(folder, model=MODEL, created=CREATED))


def seal(folder: Path, profile: Profile, stream: Stream, days: int, *, version: str) -> Pointer:
    """One that a monitor of `world` can judge: its profile and its attributions have seen so many days of a stream."""
    make_explained(folder, SCHEMA)
    kept = stream.day < days
    rng = np.random.default_rng(0)
    booster = booster_of(SCHEMA, rounds=20)
    found = attributing.build(SCHEMA, booster, stream.X[kept], stream.times[kept], whose="xgboost", window_s=DAY, rng=rng)
    (folder / attributing.NAME).write_bytes(msgspec.json.encode(found))
    (folder / "profile.json").write_bytes(msgspec.json.encode(profile))
    return Pointer(version=version, uri=str(folder), digest=bundle.seal(folder, model="trips", created=CREATED))
