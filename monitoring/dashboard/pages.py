"""Answers what a browser asks of the page: the page, its live part and its files. Knows no HTTP server and no Ray.

What it holds is a cache; a new one, of a monitor that was killed, answers the same.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from cluster.records import Pointer
from cluster.settings import Settings
from monitoring.dashboard import render
from monitoring.dashboard.facts import Facts, FactsReader
from monitoring.dashboard.render import HERE, Choice
from monitoring.dashboard.views import build, span_of_days

Answer = tuple[int, str, bytes]
"""Status, content type and body."""
HTML: Final = "text/html; charset=utf-8"
_FILES: Final = {"page.css": "text/css; charset=utf-8", "page.js": "text/javascript; charset=utf-8", "icon.svg": "image/svg+xml"}
_PATH: Final = re.compile(r"(.*/ui)(?:/([^/]+))?")
_SPANS: Final = {"7": "7 days", "30": "30 days", "90": "90 days", "all": "all that is kept"}
_USUAL: Final = "30"
_NEW_S: Final = 1.0
"""Facts are read at most this often, however many look."""


class Pages:
    """The page of one model.

    Parameters
    ----------
    settings
        The model's.
    locate
        Where a version's bundle is.
    cache
        Folder for bundles that lie in an object store.
    status
        What the monitor says of itself.
    clock
        Seconds since 1970 UTC.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        locate: Callable[[str], Pointer],
        cache: Path,
        status: Callable[[], Mapping[str, object]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._reader = FactsReader(settings, locate=locate, cache=cache)
        self._status = status
        self._clock = clock
        self._facts: Facts | None = None
        self._lock = threading.Lock()

    def answer(self, path: str, query: Mapping[str, str]) -> Answer:
        """What lies at a path that ends with `/ui` or below it; `days` of the query says how much history: 7, 30, 90 or all."""
        found = _PATH.fullmatch(path)
        mount, part = (found[1], found[2]) if found else ("", path)
        if part in _FILES:
            return 200, _FILES[part], (HERE / part).read_bytes()
        if part not in (None, "live"):
            return 404, "text/plain; charset=utf-8", f"the page has no '{part}'; there is: live, {', '.join(_FILES)}".encode()
        chosen = query.get("days", _USUAL)
        chosen = chosen if chosen in _SPANS else _USUAL
        with self._lock:
            facts = self._read()
            views = build(facts, span_of_days(facts, None if chosen == "all" else int(chosen)))
        if part == "live":
            return 200, HTML, render.parts(views).encode()
        choices = [Choice(name, f"?days={days}", days == chosen) for days, name in _SPANS.items()]
        return 200, HTML, render.page(views, mount=mount, choices=choices, query=f"?days={chosen}", now=facts.now).encode()

    def _read(self) -> Facts:
        now = self._clock()
        if self._facts is None or not 0 <= now - self._facts.now < _NEW_S:
            self._facts = self._reader.read(now=now, status=self._status())
        return self._facts
