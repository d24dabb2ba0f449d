"""Evidently's drift report of journal rows beside the rows that the champion was trained on; needs the extra `evidently`.

Evidently tests every window by itself: on dependent rows its verdicts are many (docs/how-to/page.md). It is for who knows its pages.
"""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
from pyarrow import parquet

from cluster import storage
from cluster.errors import ConfigError, DataError, NotEnoughData
from cluster.history import read_history
from cluster.records import Pointer
from cluster.settings import Settings
from monitoring.dashboard.figure import Span


class _Lineage(msgspec.Struct):
    """Of `lineage.json`, what is needed."""

    data_sha256: str


def write(settings: Settings, champion: Pointer, span: Span) -> bytes:
    """The report as one HTML file.

    Raises
    ------
    ConfigError
        Without the extra, naming it.
    DataError
        When the champion's training rows are not kept, or no row was answered in the span.
    """
    evidently = _package()
    names = list(settings.columns.names)
    now = read_history(settings.places.journal(settings.model), settings.columns, since=span.since, until=span.until)
    if not now.num_rows:
        raise NotEnoughData("no row was answered in this span; give another --since and --until")
    then = _reference(settings, champion).select(names)
    categories = [feature.name for feature in settings.columns.features if feature.type == "category"]
    columns = evidently.DataDefinition(numerical_columns=[name for name in names if name not in categories], categorical_columns=categories)
    current, reference = (evidently.Dataset.from_pandas(table.to_pandas(), data_definition=columns) for table in (now.select(names), then))
    report = evidently.Report([evidently.presets.DataDriftPreset()]).run(current, reference)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.html"
        report.save_html(str(path))
        return path.read_bytes()


def _package() -> Any:
    try:
        evidently = importlib.import_module("evidently")
        importlib.import_module("evidently.presets")
    except ImportError as error:
        raise ConfigError(
            f"--evidently needs the extra 'evidently' ({error}). Evidently runs with pandas 2, so give it an environment of its own: "
            "pip install 'homeostat[evidently]'"
        ) from error
    return evidently


def _reference(settings: Settings, champion: Pointer) -> pa.Table:
    """The rows that the champion was trained on, from the snapshot that its lineage names."""
    lineage = msgspec.json.decode(storage.read_bytes(f"{champion.uri}/lineage.json"), type=_Lineage)
    uri = f"{settings.places.snapshots(settings.model)}/{lineage.data_sha256}.parquet"
    if not storage.exists(uri):
        raise DataError(
            f"the rows that version {champion.version} was trained on are not kept in '{uri}'; a table that was streamed has none"
        )
    return parquet.read_table(pa.BufferReader(storage.read_bytes(uri)))
