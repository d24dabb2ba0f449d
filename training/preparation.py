"""From data to fitted members: encode and part, search settings, mitigate, fit. One way for frames in memory, one for streams.

What comes out is the same either way, so that all that follows need not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from cluster.encoder import Encoder
from cluster.errors import ConfigError
from cluster.runtime import connect
from cluster.schema import FeatureSchema, Matrix
from cluster.settings import Settings
from training import lineage, material, search
from training.data.split import stopping_fold
from training.fitting import Fits, Fold
from training.judging import mitigation
from training.judging.mitigation import Mitigation
from training.lineage import Origin
from training.material import Material
from training.members import Crew, Member, Rows, build


class Prepared(NamedTuple):
    """Fitted members, and all that is known of where they came from."""

    material: Material
    taught: Rows
    """The rows that members were fitted on: the material's, or what mitigation made of them."""
    members: Sequence[Member]
    fits: Fits
    recent: Matrix
    """Rows whose label has not come, float32 (n, features)."""
    found: search.Found | None
    mitigation: Mitigation | None
    origin: Origin


def from_frame(settings: Settings, frame: pa.Table, unlabelled: pa.Table | None, run: str) -> Prepared:
    """Fit on a training frame.

    Raises
    ------
    NotEnoughData, DataError
        When the rows do not suffice or do not fit.
    """
    from training.workers import distributed  # Ray Train and Torch take seconds to import

    parted = material.from_frame(settings, frame)
    members, found = _search(settings, parted.schema, parted.rows, parted.cuts.stopping)
    chosen, taught = _mitigate(settings, parted)
    if len(taught) > settings.training.local_rows:
        connect(root=settings.places.root)
    fits = distributed.fit_members(members, taught, parted.cuts, settings.training, _place(settings), run=run)
    recent = _encoded(parted.schema, unlabelled)
    return Prepared(parted, taught, members, fits, recent, found, chosen, lineage.origin(settings.data.source, frame, unlabelled))


def from_stream(settings: Settings, run: str) -> Prepared:
    """Fit on the source as a stream; everything but the members sees samples of it.

    Raises
    ------
    ConfigError
        When the settings ask for what needs all rows in memory.
    NotEnoughData, DataError
        When the rows do not suffice or do not fit.
    """
    from training.workers import stream

    if settings.fairness.mitigation != "none":
        raise ConfigError(
            "fairness.mitigation needs all rows in memory, and the source is read as a stream; set it to none, or raise training.stream_rows"
        )
    connect(root=settings.places.root)
    kept: list[tuple[list[Member], search.Found | None]] = []

    def choose(schema: FeatureSchema, sample: Rows) -> Sequence[Member]:
        material.check_varies(schema.label, sample.y)
        kept.append(_search(settings, schema, sample, stopping_fold(len(sample), settings.training.validation_share)))
        return kept[-1][0]

    streamed = stream.fit_stream(settings, choose, _place(settings), run=run, held_share=material.HELD_SHARE)
    parted = material.from_stream(streamed, settings.training.validation_share)
    members, found = kept[-1]
    origin = Origin(settings.data.source, streamed.data_sha256, sum(streamed.counts.values()), streamed.since, streamed.until)
    return Prepared(parted, parted.rows, members, streamed.fits, _encoded(parted.schema, None), found, None, origin)


def _place(settings: Settings) -> str:
    return f"{settings.places.work(settings.model)}/ray"


def _search(settings: Settings, schema: FeatureSchema, rows: Rows, fold: Fold) -> tuple[list[Member], search.Found | None]:
    members, chosen = build(settings, schema), settings.training
    if chosen.search.budget_s <= 0:
        return members, None
    crew = Crew(seed=chosen.seed, threads=chosen.threads, use_gpu=chosen.use_gpu)
    return search.search(members, schema.label, rows, fold, crew, chosen.search)


def _mitigate(settings: Settings, parted: Material) -> tuple[Mitigation | None, Rows]:
    if settings.fairness.mitigation == "none":
        return None, parted.rows
    label, fairness = parted.schema.label, settings.fairness
    choice = mitigation.choose(label, parted.rows, parted.groups, fairness, seed=settings.training.seed)
    return choice, mitigation.apply(choice, label, parted.rows, parted.groups, fairness)


def _encoded(schema: FeatureSchema, unlabelled: pa.Table | None) -> Matrix:
    if unlabelled is None or unlabelled.num_rows == 0:
        return np.empty((0, len(schema.features)), dtype=np.float32)
    return Encoder(schema).table(unlabelled)
