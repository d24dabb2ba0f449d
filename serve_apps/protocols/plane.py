"""What all protocols share: rows on the way in, answers on the way out. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cluster.schema import Floats, Label, Matrix, Scalar


class DecodedRows(NamedTuple):
    """A request's rows, column by column, checked against the feature schema."""

    columns: dict[str, list[Scalar]]
    """Features and protected columns, as sent."""
    event_times: list[float]
    """Seconds since 1970 UTC."""


class Answered(NamedTuple):
    """What the data plane says of a request's rows; every protocol renders it in its own shape."""

    request_id: str
    """The place of the rows in the journal; labels refer to it."""
    model: str
    bundle: str
    """The version that answered."""
    label: Label
    """Frozen: its classes are known."""
    scores: Matrix
    """float32 of shape (n, width): a probability (binary), one a class (multiclass), or the number (regression)."""
    answered_by: npt.NDArray[np.uint8]
    """Who answered each row (`serve_apps.cascade`): STUDENT, ENSEMBLE or UNANSWERED; shape (n,)."""
    intervals: Floats | None = None
    """Regression: lower and upper end for each row, float64 of shape (n, 2); None for a bundle that promises none."""

    def counts(self) -> tuple[int, int, int]:
        """Rows answered by the student, by the ensemble, and by the student in the ensemble's place."""
        if len(self.answered_by) == 1:
            who = self.answered_by[0]
            return int(who == 0), int(who == 1), int(who == 2)
        student, ensemble, degraded = np.bincount(self.answered_by, minlength=3).tolist()
        return student, ensemble, degraded


Headers = Sequence[tuple[bytes, bytes]]
"""As ASGI has them: names in lower case."""


class Reply(NamedTuple):
    """An HTTP answer, whole."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = {}
