"""The monitor of a running service, on and off.

*Off* means that the monitor's actor has been ended, which Ray then does not start again; everything else is the same, in the same
processes: gateways, ensemble, steward, and the journal, which is written in both. *On* means that it runs and has read what was journaled.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import yaml

from benchmarks.stage import Stage
from cluster import runtime, storage
from cluster import settings as settings_module
from cluster.errors import Unavailable

_CATCH_UP_S: Final = 300.0
_GONE_S: Final = 30.0
_COME_S: Final = 120.0


class Switch:
    """The monitor of a running service, on and off."""

    def __init__(self, stage: Stage) -> None:
        self._settings = stage.settings
        runtime.connect(root=stage.settings.places.root)

    def ready(self) -> None:
        """Wait until the service has started all its actors, the steward last: one that it starts later would be on while it should be off.

        Raises
        ------
        Unavailable
            When it does not come to that.
        """
        name = runtime.steward_name(self._settings.model)
        _wait(lambda: _find(name) is not None, _COME_S, f"the service has not started its steward within {_COME_S:.0f} s")

    def on(self) -> None:
        """Start it, and wait until it has read the journal."""
        import ray

        from monitoring import monitor

        ray.get(monitor.start(self._settings).catch_up.remote(), timeout=_CATCH_UP_S)

    def off(self) -> None:
        """End it if it runs, and let go of segments that are full: the next one would read them again."""
        import ray

        name = runtime.monitor_name(self._settings.model)
        if (actor := _find(name)) is not None:
            ray.kill(actor)
        _wait(lambda: _find(name) is None, _GONE_S, f"the monitor was still there {_GONE_S:.0f} s after it was ended")
        trim(storage.local_path(self._settings.places.journal(self._settings.model), need="the journal"))


def _find(name: str) -> Any:
    """An actor; None when there is none."""
    import ray

    try:
        return ray.get_actor(name, namespace=runtime.NAMESPACE)
    except ValueError:
        return None


def _wait(condition: Callable[[], bool], most_s: float, complaint: str) -> None:
    deadline = time.monotonic() + most_s
    while not condition():
        if time.monotonic() > deadline:
            raise Unavailable(complaint)
        time.sleep(0.05)


def trim(journal: Path) -> None:
    """Remove all segments but the newest of each writer."""
    newest = {path.stem.partition("-")[0]: path for path in sorted(journal.glob("*.seg"))}
    for path in journal.glob("*.seg"):
        if path not in newest.values():
            path.unlink()


def fixed(stage: Stage) -> Stage:
    """The same with as many replicas as there may be, from the first moment: none comes or goes between two turns."""
    content = yaml.safe_load(stage.config.read_text())
    for part in ("gateway", "ensemble"):
        content["serving"][part]["min_replicas"] = content["serving"][part]["max_replicas"]
    config = stage.config.with_name("switched.yaml")
    config.write_text(yaml.safe_dump(content, sort_keys=False))
    return stage._replace(config=config, settings=settings_module.load(config))
