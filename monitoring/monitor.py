"""The monitoring actor (Ray shell): one named, detached actor a model around `MonitorCore`.

It reads the journal by itself; nobody sends it rows. Killed, it is started again by Ray and rebuilds itself.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from cluster import settings as settings_module
from cluster.records import Pointer
from cluster.registry import Registry
from cluster.runtime import NAMESPACE, monitor_name
from cluster.settings import Settings
from monitoring import courier, traces
from monitoring.core import MonitorCore
from monitoring.decided import DecisionReader
from monitoring.exporter import Exporter, Snapshot

if TYPE_CHECKING:
    from monitoring.dashboard.pages import Pages

_logger = logging.getLogger(__name__)

__all__ = ["Monitor", "MonitorCore", "start"]


class Monitor:
    """What the actor does: polls in a thread of its own, answers questions from the latest state.

    Parameters
    ----------
    settings
        `Settings.dump()`: plain types travel between versions.
    locate
        Where a version's bundle is; must survive pickling. None asks the registry.
    cache
        Folder for bundles fetched from object stores.
    """

    def __init__(self, settings: dict[str, Any], locate: Callable[[str], Pointer] | None = None, cache: str | None = None) -> None:
        self._settings = settings_module.parse(settings)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._errors = 0
        self._locate = locate or Registry(self._settings).locate
        self._cache = Path(cache) if cache else None
        self._core = MonitorCore(self._settings, locate=self._locate, cache=self._cache)
        self._traces = traces.of_verdicts(self._settings)
        self._courier = courier.of_alarms(self._settings, self._core.told)
        self._decisions = DecisionReader(self._settings)
        self._snapshot = self._look()
        chosen = self._settings.monitoring
        self._exporter = Exporter(self._figures, port=chosen.metrics_port, host=chosen.metrics_host)
        self._thread = threading.Thread(target=self._run, name="monitor", daemon=True)
        self._thread.start()

    def ready(self) -> bool:
        """True once the actor answers."""
        return True

    def status(self) -> dict[str, object]:
        """Counts and marks after the last look at the journal, see `MonitorCore.status`; and the port metrics are served on, or None."""
        return self._figures().status | {"pid": os.getpid(), "metrics_port": self._exporter.port}

    def page(self, path: str, query: dict[str, str]) -> tuple[int, str, bytes]:
        """What a browser gets for a path of the page: status, content type and body; see `monitoring.dashboard.pages`."""
        return self._pages.answer(path, query)

    def catch_up(self) -> dict[str, object]:
        """Process everything written to the journal before this call, judge what is over, and return the status."""
        self._poll()
        return self.status()

    def stop(self) -> None:
        """End the thread and the exporter; the actor still answers."""
        self._stop.set()
        self._thread.join()
        self._exporter.close()
        if self._courier is not None:
            self._courier.stop()

    @functools.cached_property
    def _pages(self) -> Pages:
        from monitoring.dashboard.pages import Pages  # it draws; nobody who never looks waits for that

        cache = self._cache or Path(self._settings.places.work(self._settings.model)) / "monitor"
        return Pages(self._settings, locate=self._locate, cache=cache, status=self.status)

    def _run(self) -> None:
        while not self._stop.wait(self._settings.monitoring.poll_s):
            try:
                self._poll()
            except Exception:  # the main loop: one bad look must not end the watch
                self._errors += 1
                _logger.exception("the monitor's look at the journal failed; it tries again in %g s", self._settings.monitoring.poll_s)

    def _poll(self) -> None:
        with self._lock:
            self._core.poll()
            self._snapshot = self._look()
            if self._traces is not None:
                self._traces.look(self._snapshot.status["looks"])
            if self._courier is not None:
                self._courier.offer(self._core.told)

    def _figures(self) -> Snapshot:
        """The latest look, and what has gone wrong since."""
        told: dict[str, object] = {} if self._courier is None else {"notifications_waiting": self._courier.waiting}
        return self._snapshot._replace(status=self._snapshot.status | {"errors": self._errors} | told)

    def _look(self) -> Snapshot:
        core, decided = self._core, self._decisions.read()
        standing = [] if decided.champion is None else core.standing(decided.champion)
        return Snapshot(core.status(), list(core.latest.values()), core.impossible, decided, standing)


def start(settings: Settings, *, locate: Callable[[str], Pointer] | None = None, cache: str | None = None) -> Any:
    """The model's monitoring actor: the one that runs, or a new one. Returns its handle."""
    actor = ray.remote(Monitor).options(
        name=monitor_name(settings.model),
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        max_restarts=-1,
        max_task_retries=-1,
        max_concurrency=4,
        num_cpus=0,
    )
    return actor.remote(settings.dump(), locate, cache)
