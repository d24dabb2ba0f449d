"""What the benchmarks of serving share: a trained model, its configuration on free ports, and flights it has not seen."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import yaml

from benchmarks.bodies import Row, as_rows
from benchmarks.report import console
from cluster.bundle import verify
from cluster.errors import BundleError, Unavailable
from cluster.records import Pointer
from cluster.registry import read_pointers
from cluster.runtime import free_port
from cluster.settings import Settings, absolute, load
from training.data import datasets

HOMEOSTAT: Final = str(Path(sys.executable).with_name("homeostat"))
SECRET: Final = "HOMEOSTAT_BENCHMARK_SECRET"
NUM_ROWS: Final = 2048
NUM_BODIES: Final = 256


class Stage(NamedTuple):
    """What all contenders share."""

    settings: Settings
    config: Path
    bundle: Path
    rows: list[Row]
    headers: Mapping[str, str]
    logs: Path

    def blocks(self, size: int) -> list[list[Row]]:
        """Rows of requests, so many each; at most 256 of them, spread evenly."""
        return [self.rows[first : first + size] for first in range(0, NUM_ROWS, max(size, NUM_ROWS // NUM_BODIES))]

    @property
    def bodies(self) -> list[bytes]:
        """One-row requests."""
        return [as_rows(block) for block in self.blocks(1)]

    @property
    def secret(self) -> Mapping[str, str]:
        """The environment variable whose value the requests' token is."""
        return {SECRET: self.headers["Authorization"].removeprefix("Bearer ")}

    def forget(self) -> None:
        """Remove what an earlier run answered: a monitor would first read all of it."""
        for place in (self.settings.places.journal(self.settings.model), self.settings.places.verdicts(self.settings.model)):
            shutil.rmtree(place, ignore_errors=True)


def prepare_stage(root: Path) -> Stage:
    """A model trained under `root`, once made kept as long as this version can read it; rows from the week after its training data.

    Raises
    ------
    Unavailable
        When training fails.
    """
    config = write_config(root)
    settings = load(config)
    cache, seen = root / "data", Path("var/data")
    if not cache.exists() and seen.exists():
        shutil.copytree(seen, cache)
    champion = _champion(settings)
    if champion is None:
        console.print("training the flights model, once (a minute or two)")
        if subprocess.run([HOMEOSTAT, "train", str(config)], check=False).returncode:
            raise Unavailable("training failed; its message is above")
        champion = _champion(settings)
    if champion is None:
        raise Unavailable(f"training left no champion under '{root}'")
    headers = {"Authorization": f"Bearer {secrets.token_urlsafe()}"}
    stage = Stage(settings, config, Path(champion.uri), read_rows(settings, cache), headers, root / "log")
    stage.forget()
    return stage


def _champion(settings: Settings) -> Pointer | None:
    """The published champion; one of an older format is none."""
    published = read_pointers(settings.places.pointers(settings.model))
    if published is None or published.champion is None:
        return None
    try:
        verify(Path(published.champion.uri), digest=published.champion.digest)
    except BundleError as error:
        console.print(f"the model kept here cannot be used: {error}", soft_wrap=True, markup=False)
        shutil.rmtree(settings.places.root)
        return None
    return published.champion


def write_config(root: Path) -> Path:
    """configs/flights.yaml on free ports and under `root`, with a token and without retraining."""
    content = yaml.safe_load(Path("configs/flights.yaml").read_text())
    content["places"] = {"root": absolute(str(root)), "mlflow": f"sqlite:///{absolute(str(root))}/mlflow.db"}
    content.setdefault("serving", {}).update(port=free_port(), token_env=SECRET)
    content.setdefault("monitoring", {}).update(metrics_port=free_port())
    content.setdefault("loop", {}).update(enabled=False)
    root.mkdir(parents=True, exist_ok=True)
    path = root / "model.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def read_rows(settings: Settings, cache: Path) -> list[Row]:
    """Flights spread evenly over the week after the training data, without their time, so that they count as now."""
    table = pq.read_table(datasets.locate(settings.data.source, cache=cache))
    times = table.column("scheduled").to_numpy()
    first, last = np.searchsorted(times, [np.datetime64("2013-04-01"), np.datetime64("2013-04-08")])
    chosen = table.select([f.name for f in settings.columns.features]).take(np.linspace(first, last - 1, NUM_ROWS).astype(int))
    rows: list[Row] = chosen.to_pylist()
    return rows
