"""The probe: a few encoded rows with the scores that a bundle gave them when it was built.

A replica that loads the bundle must get them again. It then runs a sound runtime on sound hardware.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from cluster.costs import Part
from cluster.errors import BundleError
from cluster.schema import Matrix
from cluster.scorer import worst

NAME: Final = "probe.arrow"
ROWS: Final = 64
"""Most rows of a probe."""
TOLERANCE: Final = 1e-3
"""Wider than `cluster.scorer.TOLERANCE`: other processors add up in other orders, and a logit of a probability near 1
magnifies that. A wrong runtime is off by far more."""
_PARTS: Final[tuple[Part, ...]] = ("student", "ensemble")


class Probe(NamedTuple):
    """Rows and what they must score."""

    matrix: Matrix
    """Encoded rows, float32 of shape (n, features)."""
    expected: dict[Part, Matrix]
    """Scores by part, float32 of shape (n, width)."""

    def check(self, part: Part, scores: Matrix, *, by: str = "") -> None:
        """Compare what a part scores now; `by` says how, where there is more than one way.

        Raises
        ------
        BundleError
            Naming part, row and difference.
        """
        row, difference = worst(scores, self.expected[part])
        if difference > TOLERANCE:
            raise BundleError(
                f"the {part}{by} scores row {row} of its probe {difference:.3g} away from the day it was built; {TOLERANCE:g} is allowed. "
                "This host's runtime or hardware computes something else; compare its package versions with lineage.json",
                details=[{"part": part, "row": row, "difference": difference}],
            )


def write(folder: Path, probe: Probe) -> None:
    """Put the probe into a bundle's folder, as one Arrow table."""
    table = pa.table({"X": _column(probe.matrix)} | {part: _column(probe.expected[part]) for part in _PARTS})
    with pa.OSFile(str(folder / NAME), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def read(folder: Path, *, features: int) -> Probe:
    """The probe of a bundle's folder.

    Raises
    ------
    BundleError
        When the file is no probe of this many features.
    """
    try:
        with pa.OSFile(str(folder / NAME)) as file:
            table = pa.ipc.open_file(file).read_all()
        found = Probe(_matrix(table["X"]), {part: _matrix(table[part]) for part in _PARTS})
    except (pa.ArrowException, KeyError, AttributeError) as error:
        raise BundleError(f"the bundle in '{folder}' was sealed with a wrong {NAME}: {error}") from error
    if found.matrix.shape[1] != features:
        raise BundleError(
            f"the bundle in '{folder}' was sealed with a {NAME} of {found.matrix.shape[1]} features; its schema has {features}"
        )
    return found


def _column(matrix: Matrix) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), matrix.shape[1])


def _matrix(column: pa.ChunkedArray) -> Matrix:
    values = np.from_dlpack(column.combine_chunks().values)  # to_numpy would import pandas: 30 MB and 0.3 s
    return np.array(values, dtype=np.float32).reshape(-1, column.type.list_size)
