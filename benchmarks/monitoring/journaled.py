"""Rows on their way into a journal: as requests of a size, a piece at a time, with a late row behind each window that says it is over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow as pa

from benchmarks.monitoring.watched import BY_ENSEMBLE, DAY_S, FIRST_DAY, SCORE, TIME, WINDOWS
from cluster.records import Prediction
from cluster.schema import Floats

POLL_ROWS: Final = 30_000
"""Rows between two looks at the journal, in whole entries."""
_WARM_ROWS: Final = 1000
_AFTER_LATENESS_S: Final = 3 * 3600.0


def entries(rows: pa.Table, size: int) -> Iterator[Prediction]:
    """Requests of so many rows, as a gateway journals them; the last one may be smaller."""
    names = [name for name in rows.column_names if name not in (TIME, SCORE, BY_ENSEMBLE)]
    times, scores = rows.column(TIME).to_pylist(), rows.column(SCORE).to_numpy().astype(np.float32)
    by_ensemble, columns = rows.column(BY_ENSEMBLE).to_numpy().astype(np.uint8), {name: rows.column(name).to_pylist() for name in names}
    for first in range(0, len(times), size):
        part = slice(first, first + size)
        yield Prediction(
            bundle="1",
            event_times=times[part],
            columns={name: values[part] for name, values in columns.items()},
            scores=scores[part].tobytes(),
            by_ensemble=by_ensemble[part].tobytes(),
        )


def at(rows: pa.Table, times: Floats) -> pa.Table:
    """The same rows at other times."""
    return rows.set_column(rows.column_names.index(TIME), TIME, pa.array(times))


def closing(rows: pa.Table, window: int) -> pa.Table:
    """One row, late enough in the next window that this one is over."""
    return at(rows.slice(0, 1), np.array([DAY_S * (FIRST_DAY + window + 1) + _AFTER_LATENESS_S]))


def pieces(rows: pa.Table) -> list[tuple[pa.Table, bool]]:
    """What is journaled between two looks, and whether it ends a window."""
    size, made = rows.num_rows // WINDOWS, list[tuple[pa.Table, bool]]()
    for window in range(WINDOWS):
        whole = rows.slice(window * size, size)
        made += [(whole.slice(first, POLL_ROWS), False) for first in range(0, size, POLL_ROWS)]
        made.append((closing(whole, window), True))
    return made


def before(rows: pa.Table) -> list[pa.Table]:
    """A small window before the first, whole, and the row that ends it."""
    few = at(rows.slice(0, _WARM_ROWS), DAY_S * (FIRST_DAY - 1) + np.arange(float(min(_WARM_ROWS, rows.num_rows))))
    return [few, closing(rows, -1)]
