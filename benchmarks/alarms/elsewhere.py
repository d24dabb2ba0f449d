"""Peers that run in an environment of their own: what they are handed, and what they give back."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks import environments
from benchmarks.alarms.columns import Columns
from benchmarks.alarms.distances import FIGURES
from benchmarks.alarms.rules import DELTAS, Flags
from benchmarks.alarms.streams import Rows, World
from cluster.errors import Unavailable
from cluster.schema import Floats

ENVIRONMENT: Final = "drift"
Arrays = dict[str, npt.NDArray[Any]]


class Adwin(NamedTuple):
    """What ADWIN said."""

    cuts: Flags
    """bool (streams, windows after the reference, columns, deltas)."""
    cpu_s: float


class Evidently(NamedTuple):
    """What Evidently's report said, beside our own distances of the same windows."""

    off: float
    """The largest difference between them."""
    cpu_s: float
    rows: int


def adwin(means: Floats, *, reference: int, deltas: Sequence[float] = DELTAS) -> Adwin:
    """ADWIN on float64 (streams, windows, columns), of which the first `reference` windows teach.

    Raises
    ------
    Unavailable
        When it cannot be run.
    """
    given = {"means": means, "reference": np.array(reference), "deltas": np.array(deltas)}
    back = _run("drift_adwin", given)
    return Adwin(back["cuts"], float(back["seconds"]))


def evidently(world: World, reference: Sequence[Rows], windows: Sequence[Rows]) -> Evidently:
    """The report of each window.

    Raises
    ------
    Unavailable
        When it cannot be run.
    """
    back = _run(
        "drift_evidently",
        {
            "reference": np.concatenate([rows[0] for rows in reference]),
            "windows": np.concatenate([rows[0] for rows in windows]),
            "lengths": np.array([len(rows[2]) for rows in windows]),
            "categorical": np.array([feature.categories is not None for feature in world.schema.features]),
        },
    )
    own = Columns(world, reference).far(windows)[..., FIGURES.index("distance")]
    return Evidently(float(np.abs(back["distances"] - own).max()), float(back["seconds"]), sum(len(rows[2]) for rows in windows))


def _run(module: str, given: Mapping[str, npt.NDArray[Any]]) -> Arrays:
    python = environments.python(ENVIRONMENT)
    one_core = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    with tempfile.TemporaryDirectory() as folder:
        there, back = Path(folder, "in.npz"), Path(folder, "out.npz")
        np.savez(there, **given)  # type: ignore[arg-type]  # none is called allow_pickle
        command = [python, "-m", f"benchmarks.peers.{module}", str(there), str(back)]
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=os.environ | one_core)
        if ended.returncode:
            raise Unavailable(f"{module} failed: {' '.join(ended.stderr.strip().splitlines()[-2:])}")
        with np.load(back) as found:
            return dict(found)
