"""The demo from beginning to end, and the timeline it prints."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from cluster import storage
from cluster.arrow import times_of
from cluster.bundle import Bundle
from cluster.errors import ConfigError
from cluster.ledger import Closed, Ledger
from cluster.records import RetrainRequest
from cluster.registry import Registry
from cluster.runtime import NAMESPACE, LocalCluster, connect, free_port, is_free, monitor_name, steward_name
from cluster.settings import Settings, absolute, load
from monitoring.verdicts import VerdictLog
from training import pipeline
from training.data.datasets import read_table
from training.demo.findings import collect
from training.demo.memory import Memory
from training.demo.replay import Outcome, Replay, days_of
from training.demo.report import render
from training.loop.steward import promote

console = Console(highlight=False)
_QUICK_DAYS = 61


def tell(config: str, *, root: str, quick: bool, keep: bool) -> int:
    """Run the demo; returns 0 when no request failed and nothing acknowledged is missing."""
    from cluster import service  # Serve takes seconds to import

    settings, path = _prepare(config, absolute(root))
    wall: dict[str, float] = {}
    began = time.monotonic()
    with _timed(wall, "start"):
        console.print("[bold]1[/bold]  starting Ray with the fast HTTP path")
        cluster = LocalCluster.start(settings.places.root)
    done = False
    try:
        connect(address=cluster.address)
        with _timed(wall, "train"):
            static = _train(settings)
        with _timed(wall, "serve"):
            url = service.up({str(path): settings})
            console.print(f"[bold]3[/bold]  serving at {url}")
        with _timed(wall, "replay"):
            memory = Memory(cluster.pid)
            outcome = _replay(settings, url, quick=quick, memory=memory)
        with _timed(wall, "report"):
            report = _report(settings, static, outcome, wall, began, memory)
        done = True
    finally:
        if not (keep and done):
            cluster.stop()
    _conclude(settings, report, url, keep=keep)
    return 0 if report["http_errors"] == 0 and report["acknowledged_not_in_journal"] == 0 else 1


def _prepare(config: str, root: str) -> tuple[Settings, Path]:
    """Settings of the demo's own: the model's YAML with its root, and ports that are free."""
    for name in ("HOMEOSTAT_ROOT", "MLFLOW_TRACKING_URI"):  # the demo has places of its own, and empties them
        os.environ.pop(name, None)
    if running := LocalCluster.find(root):
        raise ConfigError(f"the demo is running already (process {running.pid}); stop it with: homeostat stop --root {root}")
    for part in ("journal", "ledger", "verdicts", "pointers", "work", "artifacts", "mlflow.db", "model.yaml", "report.json", "report.html"):
        target = Path(root) / part
        target.unlink(missing_ok=True) if target.is_file() else storage.remove_tree(str(target))
    settings = load(config)
    content = settings.dump()
    content["places"] = {"root": root, "mlflow": None}
    if not is_free(settings.serving.port, settings.serving.host):
        content["serving"]["port"] = free_port()
    if settings.monitoring.metrics_port and not is_free(settings.monitoring.metrics_port):
        content["monitoring"]["metrics_port"] = free_port()
    path = Path(root) / "model.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return load(path), path


@contextmanager
def _timed(wall: dict[str, float], name: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    wall[name] = time.monotonic() - began


def _source(settings: Settings) -> pa.Table:
    """The whole history, the part before `data.until` included."""
    data = settings.data.model_copy(update={"until": None})
    return read_table(data, time=settings.columns.time, cache=pipeline.data_cache(settings))


def _train(settings: Settings) -> Bundle:
    with console.status("fetching the flights"):
        rows = pipeline.read_frame(settings)
    console.print(f"[bold]2[/bold]  training on {rows.num_rows:,} flights of January to March")
    registry = Registry(settings)
    with console.status("XGBoost, a network and a linear model; then blend, calibrate, distil"):
        made = pipeline.train(settings, rows, run=f"{settings.model}-first", reason="the demo's first version", seed=settings.training.seed)
    book = Ledger(settings.places.ledger(settings.model), clock=time.time)
    promote(registry, book, made.version, by="homeostat demo", reason="the first version")
    static = Bundle(Path(made.uri), version=made.version, digest=made.digest)
    for who in ("student", "ensemble"):
        measured = static.json("metrics.json")["held_out"][who]
        console.print(f"   {who:9} AUC {measured['roc_auc']:.3f} on held-out rows of March; calibration error {measured['ece']:.3f}")
    console.print(
        f"   the student answers {static.cascade.student_share:.0%} of rows alone, differing from the ensemble on {static.cascade.disagreement:.1%} of them"
    )
    return static


def _replay(settings: Settings, url: str, *, quick: bool, memory: Memory) -> Outcome:
    schema = settings.columns
    import ray

    assert schema.time is not None
    assert settings.data.until is not None
    table = _source(settings)
    times = times_of(table, schema.time)
    since = settings.data.until.replace(tzinfo=settings.data.until.tzinfo or dt.UTC).timestamp()
    until = since + _QUICK_DAYS * 86400 if quick else float("inf")
    future = table.filter(pa.array((times >= since) & (times < until)))
    days = list(days_of(future, schema))
    (Path(settings.places.root) / "request.json").write_text(json.dumps({"rows": days[0][1][0].rows[:2]}))
    console.print(
        f"[bold]4[/bold]  replaying {future.num_rows:,} flights of {len(days)} days over HTTP; labels come {settings.columns.label.delay.days} day later"
    )
    monitor, steward = (ray.get_actor(name(settings.model), namespace=NAMESPACE) for name in (monitor_name, steward_name))
    columns = (TextColumn("   {task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("days"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=len(days))
        timeline = Timeline(settings, progress)

        async def after_day(end: float, outcome: Outcome) -> None:
            await monitor.catch_up.remote()
            await steward.settle.remote()
            timeline.tell(end)
            memory.look()
            progress.update(task, advance=1, description=f"{dt.datetime.fromtimestamp(end, dt.UTC):%d %b}  {outcome.rows_served:>7,} rows")

        replay = Replay(url, delay=settings.columns.label.delay, after_day=after_day)
        return asyncio.run(replay.run(iter(days)))


class Timeline:
    """Prints what monitor and steward have written since it last looked."""

    def __init__(self, settings: Settings, progress: Progress) -> None:
        self._progress = progress
        self._verdicts = VerdictLog(settings.places.verdicts(settings.model))
        self._ledger = Ledger(settings.places.ledger(settings.model), clock=time.time)
        self._alarms = 0
        self._events = len(self._ledger.entries())

    def tell(self, end: float) -> None:
        """Print what is new at the end of a day."""
        day = f"{dt.datetime.fromtimestamp(end, dt.UTC):%d %b}"
        alarms = [record.alarm for record in self._verdicts.read() if record.alarm is not None]
        for alarm in alarms[self._alarms :]:
            self._print(day, "yellow", "alarm", alarm.message)
        self._alarms = len(alarms)
        events = self._ledger.events()
        for event in events[self._events :]:
            if isinstance(event, RetrainRequest):
                self._print(day, "cyan", "retrain", event.reason)
            elif isinstance(event, Closed):
                self._print(day, "green" if event.outcome == "promoted" else "magenta", event.outcome, event.reason)
        self._events = len(events)

    def _print(self, day: str, colour: str, what: str, text: str) -> None:
        line = Table.grid(padding=(0, 1))
        for width in (9, 9, None):
            line.add_column(width=width)
        line.add_row(f"   {day}", Text(what, style=colour), Text(text))
        self._progress.console.print(line)


def _report(settings: Settings, static: Bundle, outcome: Outcome, wall: dict[str, float], began: float, memory: Memory) -> dict[str, Any]:
    records = VerdictLog(settings.places.verdicts(settings.model)).read()
    report = collect(settings, static.schema, static, outcome, records, wall_s=wall)
    report["wall_s"]["retrain"] = round(sum(r["seconds"] or 0.0 for r in report["retrains"]), 1)
    report["wall_s"]["total"] = round(time.monotonic() - began, 1)
    report["peak_memory_mib"] = memory.peak_mib
    registry = Registry(settings)
    report["bundles"] = [_bundle_facts(Path(registry.locate(version).uri), version) for version in registry.versions()]
    root = Path(settings.places.root)
    (root / "report.json").write_text(json.dumps(report, indent=1))
    (root / "report.html").write_text(render(report), encoding="utf-8")
    return report


def _bundle_facts(folder: Path, version: str) -> dict[str, Any]:
    lineage, metrics = (json.loads((folder / name).read_text()) for name in ("lineage.json", "metrics.json"))
    until = dt.datetime.fromtimestamp(lineage["until"], dt.UTC).isoformat()
    return {"version": version, "trained_on_until": until, "metrics": metrics["held_out"]["ensemble"]}


def _conclude(settings: Settings, report: dict[str, Any], url: str, *, keep: bool) -> None:
    static, loop = report["static_auc_by_month"], report["loop_auc_by_month"]
    console.print(
        f"[bold]5[/bold]  {report['rows_served']:,} rows served, {report['http_errors']} errors, {report['acknowledged_not_in_journal']} acknowledged rows missing from the journal"
    )
    for month in loop:
        console.print(f"   {month}  AUC {static[month]:.3f} static, {loop[month]:.3f} with the loop")
    console.print(
        f"   {len(report['alarms'])} alarms, {len(report['retrains'])} retrains, {len(report['promotions']) - 1} promotions, {len(report['refusals'])} refusals"
    )
    console.print(f"   the report: {os.path.relpath(Path(settings.places.root) / 'report.html')} (for programs: report.json)")
    if keep:
        _show_curl(settings, url)


def _show_curl(settings: Settings, url: str) -> None:
    root = Path(os.path.relpath(settings.places.root))
    console.print(f"the service is up until: .venv/bin/homeostat stop --root {root}\n  open {url}/docs, or:")
    headers = "-H 'Content-Type: application/json'"
    console.print(f"  curl -s {url}/v1/predict {headers} -d @{root}/request.json", soft_wrap=True)
    console.print(f"  curl -s {url}/v1/model", soft_wrap=True)
    if settings.monitoring.metrics_port:
        console.print(f"  curl -s http://127.0.0.1:{settings.monitoring.metrics_port}/metrics", soft_wrap=True)
    for command in ("status", "history"):
        console.print(f"  .venv/bin/homeostat {command} {root}/model.yaml", soft_wrap=True)
