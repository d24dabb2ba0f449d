"""`homeostat report`: the page of a span of time as one HTML file, and the same rows for Evidently and as a profile. Needs no service."""

from __future__ import annotations

import argparse
import datetime as dt
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from cluster import storage
from cluster.errors import ConfigError, NoChampion
from cluster.settings import Settings, load
from monitoring.dashboard.figure import Span

if TYPE_CHECKING:
    from cluster.records import Pointer
    from monitoring.dashboard.facts import Facts

console = Console(highlight=False)


def add(commands: Any) -> None:
    """Add the subcommand."""
    report = commands.add_parser("report", help="write the state of a model as one HTML file, for a span of time")
    report.add_argument("config", help="the model's YAML file")
    report.add_argument("--since", metavar="TIME", help="first moment, as 2013-05-01 or 2013-05-01T06:00; left out: all that is kept")
    report.add_argument("--until", metavar="TIME", help="last moment, not included; left out: now")
    report.add_argument("--output", metavar="FILE", help="the HTML file; left out: MODEL-report.html")
    report.add_argument("--profile", metavar="FILE", help="also write a mergeable profile of the span's rows, as JSON")
    report.add_argument("--evidently", metavar="FILE", help="also write Evidently's drift report of the span's rows, as HTML")
    report.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    settings = load(arguments.config)
    span = Span(*(moment(text, usual) for text, usual in ((arguments.since, Span().since), (arguments.until, Span().until))))
    if span.since >= span.until:
        raise ConfigError(f"--since {arguments.since} is not before --until {arguments.until}")
    facts = _facts(settings)
    written: dict[str, Callable[[], bytes]] = {arguments.output or f"{settings.model}-report.html": partial(_html, facts, span)}
    if arguments.profile:
        written[arguments.profile] = partial(_profile, settings, span)
    if arguments.evidently:
        written[arguments.evidently] = partial(_evidently, settings, facts, span)
    _write(written)
    return 0


def moment(text: str | None, usual: float) -> float:
    """A time of the command line, UTC where it names no zone; the usual one when there is none.

    Raises
    ------
    ConfigError
        When it is no time.

    Examples
    --------
    >>> moment("2013-05-01", 0.0), moment(None, 0.0)
    (1367366400.0, 0.0)
    """
    if text is None:
        return usual
    try:
        at = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"'{text}' is no time; write for example 2013-05-01 or 2013-05-01T06:00") from error
    return (at if at.tzinfo else at.replace(tzinfo=dt.UTC)).timestamp()


def _write(written: dict[str, Callable[[], bytes]]) -> None:
    for path, content in written.items():
        storage.write_atomic(str(Path(path).absolute()), content())
        console.print(f"wrote {path}", soft_wrap=True, markup=False)


def _facts(settings: Settings) -> Facts:
    from monitoring.dashboard.facts import FactsReader

    def locate(version: str) -> Pointer:
        from cluster.registry import Registry  # MLflow: only for bundles that no pointer names

        return Registry(settings).locate(version)

    cache = Path(settings.places.work(settings.model)) / "monitor"
    return FactsReader(settings, locate=locate, cache=cache, whole_log=True).read(now=time.time())


def _html(facts: Facts, span: Span) -> bytes:
    from monitoring.dashboard import render
    from monitoring.dashboard.views import build

    return render.report(build(facts, span, live=False), now=facts.now, span=span).encode()


def _profile(settings: Settings, span: Span) -> bytes:
    from cluster.history import read_history
    from monitoring.dashboard import column_profile

    rows = read_history(settings.places.journal(settings.model), settings.columns, since=span.since, until=span.until)
    return column_profile.encode(column_profile.of(rows, settings.columns, model=settings.model))


def _evidently(settings: Settings, facts: Facts, span: Span) -> bytes:
    from monitoring.dashboard import evidently_report

    if facts.pointers is None or facts.pointers.champion is None:
        raise NoChampion(f"model '{settings.model}' has no champion, so there is no reference to compare with; train one first")
    return evidently_report.write(settings, facts.pointers.champion, span)
