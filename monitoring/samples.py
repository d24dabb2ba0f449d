"""A few rows of each window, kept as encoded, for whatever needs the model itself. Pure.

Which rows are kept is decided by their marks (`monitoring.marks`), so it depends on neither the order of reading nor the size
of the pieces: a uniform sample without replacement that a rebuilt monitor draws again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from cluster.schema import Matrix
from monitoring.marks import Marks

MOST_ROWS: Final = 200
"""Of a window."""


@dataclass(frozen=True)
class Sample:
    """The rows with the smallest marks, in order of their marks.

    Attributes
    ----------
    marks
        uint64 of shape (n,).
    matrix
        Encoded rows, float32 of shape (n, features).
    scores
        What was answered, float32 of shape (n, width).
    """

    marks: Marks
    matrix: Matrix
    scores: Matrix

    @classmethod
    def of(cls, marks: Marks, matrix: Matrix, scores: Matrix, *, most: int = MOST_ROWS) -> Sample:
        """Draw from rows."""
        chosen = smallest(marks, most=most)
        return cls(marks[chosen], matrix[chosen], scores[chosen])

    def with_(self, other: Sample, *, most: int = MOST_ROWS) -> Sample:
        """The sample of the rows of both."""
        return Sample.of(
            np.concatenate([self.marks, other.marks]),
            np.concatenate([self.matrix, other.matrix]),
            np.concatenate([self.scores, other.scores]),
            most=most,
        )


def smallest(marks: Marks, *, most: int = MOST_ROWS) -> npt.NDArray[np.intp]:
    """Which rows a sample holds, in order of their marks."""
    few = np.argpartition(marks, most)[:most] if len(marks) > most else np.arange(len(marks))
    return few[np.argsort(marks[few])]
