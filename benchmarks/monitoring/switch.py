"""The monitor of a running service, on and off.

*Off* means that the monitor's actor has been ended, which Ray then does not start again; everything else is the same, in the same
processes: gateways, ensemble, steward, and the journal, which is written in both. *On* means that it runs and has read what was journaled.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

import yaml

from benchmarks.stage import Stage
from cluster import runtime, storage
from cluster import settings as settings_module
from cluster.errors import Unavailable

_CATCH_UP_S: Final = 300.0
_GONE_S: Final = 30.0


class Switch:
    """The monitor of a running service, on and off."""

    def __init__(self, stage: Stage) -> None:
        self._settings = stage.settings
        runtime.connect(root=stage.settings.places.root)

    def on(self) -> None:
        """Start it, and wait until it has read the journal."""
        import ray

        from monitoring import monitor

        ray.get(monitor.start(self._settings).catch_up.remote(), timeout=_CATCH_UP_S)

    def off(self) -> None:
        """End it if it runs, and let go of segments that are full: the next one would read them again."""
        import ray

        if (actor := self._actor()) is not None:
            ray.kill(actor)
        deadline = time.monotonic() + _GONE_S
        while self._actor() is not None:
            if time.monotonic() > deadline:
                raise Unavailable(f"the monitor was still there {_GONE_S:.0f} s after it was ended")
            time.sleep(0.05)
        trim(storage.local_path(self._settings.places.journal(self._settings.model), need="the journal"))

    def _actor(self) -> Any:
        """None when there is none."""
        import ray

        try:
            return ray.get_actor(runtime.monitor_name(self._settings.model), namespace=runtime.NAMESPACE)
        except ValueError:
            return None


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
