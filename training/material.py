"""What a training run works with: encoded rows, parted into those that teach and those that judge. Pure.

Small tables come whole, from a frame; of a table larger than memory the same parts are samples (`training.workers.stream`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cluster.encoder import Encoder
from cluster.errors import NotEnoughData
from cluster.freeze import freeze
from cluster.schema import FeatureSchema, Floats, Label, encode_labels
from cluster.settings import Settings
from training.data import frame as frames
from training.data.split import Indices, part, stopping_fold
from training.fitting import Cuts, Fold
from training.members import Rows

if TYPE_CHECKING:
    from training.workers.stream import Streamed

FEWEST_ROWS: Final = 200
HELD_SHARE: Final = 0.3
"""Of the validation rows: held out of every fit and choice."""
Groups = Mapping[str, npt.NDArray[np.str_]]
"""Protected attributes by name, each of shape (n,)."""


class Material(NamedTuple):
    """Rows of one training run."""

    schema: FeatureSchema
    """Frozen."""
    rows: Rows
    """All that may teach, in order of time (without times: in an order drawn by lot)."""
    cuts: Cuts
    """In `rows`: the pieces of its folds are the validation rows."""
    held: Rows
    """What is promised is measured on these; nothing was fitted on them or chosen by them."""
    times: Floats | None
    """Of `rows`."""
    held_times: Floats | None
    groups: Groups
    """Of `rows`."""
    held_groups: Groups
    belongs: npt.NDArray[np.str_] | None
    """Of `rows`: which belong together (`training.group`)."""
    counts: dict[str, int]
    """Rows by what they were used for."""

    @property
    def folds(self) -> list[Fold]:
        """Those that judge."""
        return self.cuts.folds

    @property
    def validation(self) -> slice:
        """Of `rows`: those that out-of-fold scores exist for."""
        return slice(self.folds[0].train, self.folds[-1].until)


def from_frame(settings: Settings, frame: pa.Table) -> Material:
    """Encode a training frame and part it.

    Raises
    ------
    NotEnoughData, DataError
        When the rows do not suffice or do not fit.
    """
    if frame.num_rows < FEWEST_ROWS:
        raise NotEnoughData(f"{frame.num_rows} labelled rows are too few to train on; at least {FEWEST_ROWS} are needed")
    chosen = settings.training
    schema = freeze(settings.columns, frame, min_count=chosen.min_category_count)
    whole = Rows(Encoder(schema).table(frame), encode_labels(schema.label, frame.column(schema.label.name)))
    check_varies(schema.label, whole.y)
    times = frame.column(frames.TIME).to_numpy() if frames.TIME in frame.column_names else None
    belongs = _belongs(frame, chosen.group)
    parts = part(
        times,
        share=chosen.validation_share,
        held_share=HELD_SHARE,
        folds=chosen.folds,
        rng=np.random.default_rng(chosen.seed),
        rows=len(whole),
        groups=belongs,
    )
    groups = {name: frames.strings(frame, name) for name in schema.protected}
    return Material(
        schema=schema,
        rows=whole[parts.fit],
        cuts=parts.cuts,
        held=whole[parts.held],
        times=_taken(times, parts.fit),
        held_times=_taken(times, parts.held),
        groups={name: values[parts.fit] for name, values in groups.items()},
        held_groups={name: values[parts.held] for name, values in groups.items()},
        belongs=None if belongs is None else belongs[parts.fit],
        counts={
            "train": parts.cuts.folds[0].train,
            "tune": parts.cuts.folds[-1].until - parts.cuts.folds[0].train,
            "held_out": len(parts.held),
            "fitted": len(parts.fit),
        },
    )


def check_varies(label: Label, y: Floats) -> None:
    """Refuse a number to predict that is the same in all rows, float64 of shape (n,).

    Raises
    ------
    NotEnoughData
        Naming the label and its only value.
    """
    if label.task == "regression" and len(y) and y.min() == y.max():
        raise NotEnoughData(
            f"label '{label.name}' is {y[0]:.15g} in all {len(y):,} rows looked at; at least two different values are needed"
        )


def from_stream(streamed: Streamed, stopping_share: float) -> Material:
    """The samples of a table that was read as a stream, in the same parts; `stopping_share` of the training rows stopped fits."""
    sample, tune, held = streamed.sample, streamed.tune, streamed.held
    whole = pa.concat_tables([sample.frame, tune.frame])
    fold = Fold(len(sample.rows), len(sample.rows) + len(tune.rows))
    protected = streamed.schema.protected
    return Material(
        schema=streamed.schema,
        rows=Rows(np.concatenate([sample.rows.X, tune.rows.X]), np.concatenate([sample.rows.y, tune.rows.y])),
        cuts=Cuts(stopping_fold(fold.train, stopping_share), [fold]),
        held=held.rows,
        times=None if sample.times is None or tune.times is None else np.concatenate([sample.times, tune.times]),
        held_times=held.times,
        groups={name: frames.strings(whole, name) for name in protected},
        held_groups={name: frames.strings(held.frame, name) for name in protected},
        belongs=None,
        counts=streamed.counts | {"fitted": streamed.counts["train"] + streamed.counts["tune"], "sampled": fold.until + len(held.rows)},
    )


def _taken(values: Floats | None, index: Indices) -> Floats | None:
    return None if values is None else values[index]


def _belongs(frame: pa.Table, group: str | None) -> npt.NDArray[np.str_] | None:
    """The group of each row; a row whose group is not known is a group of its own."""
    if group is None or group not in frame.column_names:
        return None
    names = frames.strings(frame, group)
    alone = np.char.add("row ", np.arange(len(names)).astype(np.str_))
    return np.where(names == "", alone, names)
