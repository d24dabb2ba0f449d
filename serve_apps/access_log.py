"""Who was answered what, and how fast: lines of JSON, written off the hot path, without values of features."""

from __future__ import annotations

import logging
import logging.handlers
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from cluster import storage
from cluster.settings import Settings
from serve_apps.meter import Event, Swap

_BYTES: Final = 32 * 1024 * 1024
_FILES: Final = 4
_MOST_FILES: Final = 32
"""Of one host, those of replicas that have ended included; the oldest go when a replica starts."""
_ERROR: Final = 400


class AccessLog:
    """Writes each model's file, `log/access/MODEL/PROCESS.jsonl` under `places.root`; four of 32 MiB are kept a process,
    and the newest 32 of a host.

    Parameters
    ----------
    models
        Settings by name.
    """

    def __init__(self, models: Mapping[str, Settings]) -> None:
        self._least = {name: _least(settings) for name, settings in models.items()}
        self._files = {name: _open(settings) for name, settings in models.items() if self._least[name] is not None}

    def __call__(self, events: Sequence[Event], swaps: Sequence[Swap]) -> None:  # noqa: ARG002
        """Write the requests that are asked for."""
        for event in events:
            least = self._least.get(event.model)
            if least is not None and event.status >= least:
                line = msgspec.json.encode(event._asdict()).decode()
                self._files[event.model].emit(logging.makeLogRecord({"msg": line}))


def _least(settings: Settings) -> int | None:
    """The lowest status that is written; None when none is."""
    return {"off": None, "errors": _ERROR, "all": 0}[settings.serving.access_log]


def _open(settings: Settings) -> logging.Handler:
    folder = storage.local_path(settings.places.access_log(settings.model), need="the access log")
    folder.mkdir(parents=True, exist_ok=True)
    host = os.uname().nodename
    for old in sorted(folder.glob(f"{host}-*.jsonl*"), key=lambda path: path.stat().st_mtime)[:-_MOST_FILES]:
        old.unlink(missing_ok=True)
    path = Path(folder) / f"{host}-{os.getpid()}.jsonl"
    return logging.handlers.RotatingFileHandler(path, maxBytes=_BYTES, backupCount=_FILES - 1, delay=True)
