"""The model that is watched, of 20 features, and the flights that it has answered: as files, which every contender reads."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from benchmarks.report import console
from cluster.bundle import MANIFEST, Bundle, new_folder
from cluster.errors import BundleError, Unavailable
from cluster.margin import is_hard
from cluster.records import Pointer
from cluster.settings import Settings, absolute, parse
from training import pipeline
from training.data import frame
from training.data.datasets import read_table

LEFT_OUT: Final = ("engines", "engine_type", "pressure_change_3h", "visib_change_3h")
"""Of the 24 features of configs/flights.yaml; 15 numbers and 5 categories remain."""
WINDOWS: Final = 2
DAY_S: Final = 86_400.0
FIRST_DAY: Final = 20_000
"""The windows' own time lies in the past, as a journal's does: days since 1970."""
TIME, SCORE, BY_ENSEMBLE = "event_time", "score", "by_ensemble"
SEED: Final = 20261126
_LEARNED_UNTIL: Final = np.datetime64("2013-04-01")
_DATA: Final = Path("var/data")
_MADE: Final = "bundle.txt"


def settings_of(places: Path) -> Settings:
    """configs/flights.yaml with 20 features and small members, and its places where the caller says."""
    content = yaml.safe_load(Path("configs/flights.yaml").read_text())
    features = content["schema"]["features"]
    content["schema"]["features"] = [feature for feature in features if feature["name"] not in LEFT_OUT]
    content["members"] = {"xgboost": {"rounds": 60, "max_depth": 4, "learning_rate": 0.15}, "linear": {}}
    content["distillation"] = {"sizes": [60]}
    content["places"] = {"root": absolute(str(places))}
    return parse(content)


def pointer_of(folder: Path) -> Pointer:
    """Where a bundle is, as the registry would say it."""
    digest = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    return Pointer(version="1", uri=absolute(str(folder)), digest=digest)


def flights(settings: Settings) -> tuple[pa.Table, pa.Table]:
    """January to March, and what came later.

    Raises
    ------
    DataError
        When the table cannot be had.
    """
    source = settings.data.model_copy(update={"until": None})
    table = read_table(source, time=settings.columns.time, cache=_DATA)
    cut = int(np.searchsorted(table.column(settings.columns.time).to_numpy(), _LEARNED_UNTIL))
    return table.slice(0, cut), table.slice(cut)


def bundle_of(root: Path, settings: Settings, learned: pa.Table) -> Bundle:
    """The bundle, trained under `root` once and kept as long as this version can read it."""
    for folder in sorted(root.glob("*/bundle")):
        try:
            return Bundle(folder, version="1")
        except BundleError as error:
            console.print(f"the model kept here cannot be used: {error}", soft_wrap=True, markup=False)
    console.print("training the model, once (some minutes)")
    rows = frame.from_table(learned, settings.columns)
    made = pipeline.make(settings, rows, pipeline.Run("watched", "a benchmark", SEED), new_folder(root))
    return Bundle(made.folder, version="1")


def answered(bundle: Bundle, later: pa.Table, *, window_rows: int) -> pa.Table:
    """Rows drawn with repetition from later ones, spread over windows of a day in order of time, with what the bundle answers them."""
    rng, rows = np.random.default_rng(SEED), WINDOWS * window_rows
    drawn = later.select(list(bundle.schema.names)).take(rng.integers(0, later.num_rows, rows))
    matrix = bundle.encoder.table(drawn)
    hard = is_hard(bundle.schema.label, bundle.student(matrix), bundle.cascade.threshold, bundle.cascade.sureness)
    times = np.sort(rng.uniform(0, DAY_S, (WINDOWS, window_rows)), axis=1) + DAY_S * (FIRST_DAY + np.arange(WINDOWS))[:, None]
    columns = {TIME: times.ravel(), SCORE: bundle.answer(matrix)[:, 0], BY_ENSEMBLE: hard.astype(np.uint8)}
    for name, values in columns.items():
        drawn = drawn.append_column(name, pa.array(values))
    return drawn


def write(root: Path, *, window_rows: int) -> None:
    """Prepare all that contenders read under `root`."""
    settings = settings_of(root / "training")
    learned, later = flights(settings)
    bundle = bundle_of(root, settings, learned)
    pq.write_table(learned.select(list(bundle.schema.names)), root / "reference.parquet")
    pq.write_table(answered(bundle, later, window_rows=window_rows), root / "rows.parquet")
    (root / _MADE).write_text(str(bundle.folder))


def prepare(root: Path, *, window_rows: int) -> Path:
    """`write` in a process of its own, whose threads wait as those of `homeostat train` do; returns the folder of the bundle.

    Raises
    ------
    Unavailable
        When it fails.
    """
    command = [sys.executable, "-m", "benchmarks.monitoring.watched", str(root), str(window_rows)]
    if subprocess.run(command, check=False).returncode:
        raise Unavailable("the model that is to be watched cannot be made; the message is above")
    return Path((root / _MADE).read_text())


if __name__ == "__main__":
    write(Path(sys.argv[1]), window_rows=int(sys.argv[2]))
