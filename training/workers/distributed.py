"""Where members are fitted: in this process as long as the rows are few, by a group of Ray Train workers when they are many.

Either way `training.fitting` says what is fitted on which rows, and a run that was killed goes on from the steps it had
finished when it is started again under the same name. Imports Ray only when there are many rows.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from cluster import storage
from cluster.errors import DataError
from cluster.settings import absolute
from cluster.training_settings import Training
from training.fitting import Cuts, Fits, fit_all
from training.members import Crew, Member, Rows
from training.workers import steps


def fit_members(
    members: Sequence[Member],
    rows: Rows,
    cuts: Cuts,
    training: Training,
    storage_path: str,
    *,
    run: str,
    keep_every_s: float = steps.PARTIAL_EVERY_S,
) -> Fits:
    """Fit every member on each fold and on all rows.

    Up to `training.local_rows` rows are fitted here, on as many threads as the workers have together; more by
    `training.num_workers` workers, each with every so-many-th row, for which Ray must be running. The same rows, settings and
    number of workers give the same models.

    Parameters
    ----------
    rows
        In order of time; every label is known.
    cuts
        Those of `rows`.
    storage_path
        Where finished steps are kept until the end.
    run
        Names the run; a later try under the same name with the same rows and settings does not repeat finished steps.
    keep_every_s
        Seconds between two states of a step under way.

    Raises
    ------
    DataError
        When a label is unknown.
    Unavailable
        When the cluster has no place for the workers.
    HomeostatError
        When the workers failed more often than they are restarted; the cause is chained.
    """
    if len(rows.labelled()) != len(rows):
        raise DataError("rows without a label cannot be fitted; leave them out first")
    name = f"{run}-{steps.fingerprint(rows, [training.model_dump_json(), repr(list(members)), repr(cuts)])}"
    if len(rows) <= training.local_rows:
        return _fit_here(members, rows, cuts, training, f"{absolute(storage_path)}/{name}", keep_every_s)
    from training.workers import group  # Ray Train and Torch take seconds to import

    return group.fit_group(
        members, group.FromMemory.of(rows, cuts), len(cuts.folds), training, storage_path, run=name, keep_every_s=keep_every_s
    )


def _fit_here(members: Sequence[Member], rows: Rows, cuts: Cuts, training: Training, folder: str, keep_every_s: float) -> Fits:
    crew = Crew(use_gpu=training.use_gpu, seed=training.seed, threads=training.threads)
    pace = steps.Pace(time.monotonic, every_s=keep_every_s)

    def keep(name: str, made: steps.Made) -> None:
        if pace.is_due(name):
            steps.write(folder, name, made())

    fits = fit_all(members, rows, cuts, crew, done=steps.read(folder), keep=keep)
    if storage.is_local(folder):
        storage.remove_tree(folder)
    return fits
