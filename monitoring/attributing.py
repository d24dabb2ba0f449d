"""What a bundle's trees rest on, learned from the reference and kept in the bundle as explanation/attributions.json.

The trees are those of the XGBoost member, or of the student where the ensemble has no use for one. Contributions are exact
(`cluster.explaining.contributions`), which costs time by rows and trees, so both sides look at few rows: a block's and a window's are
drawn by lot. Rows that the trees were fitted on are among the reference's: what is compared is how large contributions are,
and not whether they are right. What the figures mean is said in `monitoring.attribution`. Pure, but for reading a bundle's file.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from cluster.bundle import TREES
from cluster.errors import BundleError, NotEnoughData
from cluster.explaining.contributions import contributions
from cluster.records import Record
from cluster.schema import FeatureSchema, Floats, Matrix
from monitoring.attribution import FEWEST_BLOCKS, AttributionReference, learn

if TYPE_CHECKING:
    import xgboost

NAME: Final = "explanation/attributions.json"
STUDENT: Final = "members/student.ubj"
Whose = Literal["xgboost", "student"]
FILES: Final[dict[Whose, str]] = {"xgboost": TREES, "student": STUDENT}
"""Where whose trees are in a bundle."""
_UNITS: Final = {"binary": "log odds", "multiclass": "margin, averaged over classes", "regression": "units of the label"}
_ROWS: Final = (30, 200)
"""Of a block or a window: fewer say nothing, more cost too much."""
_WINDOW_WORK: Final = 30_000
_REFERENCE_WORK: Final = 900_000
"""Rows times trees: about as many seconds on one core as there are 150,000 in it, at depth 6."""
_MOST_BLOCKS: Final = 120
_USUAL_BLOCKS: Final = 40
Labels = npt.NDArray[np.int64]


class Attributions(Record, frozen=True, kw_only=True):
    """The file."""

    whose: Whose
    """The trees that are explained."""
    unit: str
    rows: int
    """Of a window, at most so many are explained."""
    reference: AttributionReference


def build(
    schema: FeatureSchema,
    booster: xgboost.Booster,
    X: Matrix,  # noqa: N803 - the field's name
    times: Floats | None,
    *,
    whose: Whose,
    window_s: float,
    rng: np.random.Generator,
    threads: int = 1,
) -> Attributions | None:
    """Learn it from a reference; None where the reference is too short.

    Parameters
    ----------
    X
        Encoded, float32 (n, features).
    times
        float64 (n,), seconds since 1970; None takes the rows in their order.
    window_s
        Length of the monitor's window, seconds.
    rng
        Draws the rows of each block.
    """
    blocks = _blocks(len(X), times, window_s)[-_MOST_BLOCKS:]
    trees = len(booster.get_dump())
    rows = _affordable(_REFERENCE_WORK, trees * max(len(blocks), 1))
    drawn = [np.sort(rng.choice(block, min(rows, len(block)), replace=False)) for block in blocks]
    labels: Labels = np.repeat(np.arange(len(drawn)), [len(block) for block in drawn])
    if not len(labels):
        return None
    try:
        reference = learn(schema.names, sizes(booster, X[np.concatenate(drawn)], threads=threads), labels)
    except NotEnoughData:
        return None
    return Attributions(whose=whose, unit=_UNITS[schema.label.task], rows=_affordable(_WINDOW_WORK, trees), reference=reference)


def read(folder: Path) -> Attributions:
    """The file of a bundle's folder.

    Raises
    ------
    BundleError
        When it is there in another form, or not there.
    """
    try:
        return msgspec.json.decode((folder / NAME).read_bytes(), type=Attributions)
    except (OSError, msgspec.MsgspecError) as error:
        raise BundleError(f"{NAME} of the bundle in '{folder}' cannot be read: {error}") from error


def sizes(booster: xgboost.Booster, matrix: Matrix, *, threads: int = 1) -> Floats:
    """Size of each feature's contribution to each encoded row's margin, averaged over classes: float64 (n, features)."""
    return np.asarray(np.abs(contributions(booster, matrix, threads=threads).values.astype(np.float64)).mean(axis=2))


def _affordable(work: int, trees: int) -> int:
    return int(np.clip(work // max(trees, 1), *_ROWS))


def _blocks(n: int, times: Floats | None, window_s: float) -> list[npt.NDArray[np.intp]]:
    """Rows by window in order of time; runs of rows where windows are too few, as the profile's blocks are."""
    order = np.arange(n) if times is None else np.argsort(times, kind="stable")
    if times is not None:
        starts = np.flatnonzero(np.diff(np.floor(times[order] / window_s))) + 1
        blocks = [block for block in np.split(order, starts) if len(block) >= _ROWS[0]]
        if len(blocks) >= FEWEST_BLOCKS:
            return blocks
    return list(np.array_split(order, min(_USUAL_BLOCKS, n // _ROWS[0]))) if n >= _ROWS[0] else []
