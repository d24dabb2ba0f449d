"""Homeostat's side: `homeostat train` itself, on a file that holds nothing but the rows to learn from.

The configuration is `configs/NAME.yaml` as it is, but for the file, a place of its own and the time to search for settings.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from benchmarks.stage import HOMEOSTAT
from cluster.bundle import Bundle
from cluster.errors import Unavailable
from cluster.registry import read_pointers
from cluster.schema import Matrix
from cluster.scorer import Graph
from cluster.settings import absolute, load

SEARCH_SHARE = 0.5
"""Of the budget, for the search; the rest is for the folds, the final fits, the student and what is written down."""


class Trained(NamedTuple):
    """A version that Homeostat made."""

    bundle: Bundle
    seconds: float
    """Of the whole command, the start of Ray included."""

    @property
    def parts(self) -> dict[str, Callable[[Matrix], Matrix]]:
        """All that scores, by name: what a caller gets, ensemble and student alone, and each member."""
        members = sorted(self.bundle.folder.glob("members/*.onnx"))
        alone: dict[str, Callable[[Matrix], Matrix]] = {
            "served": self.bundle.answer,
            "ensemble": self.bundle.ensemble,
            "student": self.bundle.student,
        }
        return alone | {f"member {path.stem}": Graph(path) for path in members}


def train(name: str, rows: pa.Table, root: Path, *, budget_s: float) -> Trained:
    """Train under `root`, which is emptied first.

    Raises
    ------
    Unavailable
        When the command fails; its messages are in train.log.
    """
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    pq.write_table(rows, root / "learn.parquet")
    config, log = write_config(name, root, budget_s=budget_s), root / "train.log"
    began = time.monotonic()
    with log.open("wb") as file:
        ended = subprocess.run([HOMEOSTAT, "train", str(config)], stdout=file, stderr=subprocess.STDOUT, check=False)
    seconds = time.monotonic() - began
    settings = load(config)
    published = read_pointers(settings.places.pointers(settings.model))
    if ended.returncode or published is None or published.champion is None:
        raise Unavailable(f"homeostat train failed on {name}; see {log}")
    return Trained(Bundle(Path(published.champion.uri), digest=published.champion.digest), seconds)


def write_config(name: str, root: Path, *, budget_s: float) -> Path:
    """The configuration of one run."""
    content = yaml.safe_load(Path(f"configs/{name}.yaml").read_text())
    content["data"] = {"source": absolute(str(root / "learn.parquet"))}
    content["places"] = {"root": absolute(str(root)), "mlflow": f"sqlite:///{absolute(str(root))}/mlflow.db"}
    content.setdefault("training", {})["search"] = {"budget_s": round(SEARCH_SHARE * budget_s, 1)}
    path = root / "model.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path
