"""The `homeostat` command. Rooms contribute subcommands by entry points of the group `homeostat.commands`:
each is a function that adds parsers and sets `run`, a function from parsed arguments to an exit code.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib.metadata
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cluster.environment import prepare
from cluster.errors import HomeostatError
from cluster.settings import Settings, absolute, load, resolve_root

if TYPE_CHECKING:
    from cluster.registry import Registry
    from cluster.runtime import LocalCluster

COMMANDS: Final = "homeostat.commands"
_PATIENCE_S: Final = 20
"""An actor that was started a moment ago is still importing."""
console = Console(highlight=False)
Subparsers = Any  # argparse keeps the type of its subparsers private


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 a named error, 2 wrong arguments."""
    prepare()
    parser = argparse.ArgumentParser(prog="homeostat", description="Keeps tabular models healthy in production, on Ray.")
    parser.add_argument("--version", action="version", version=importlib.metadata.version("homeostat"))
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_own(commands)
    for entry in sorted(importlib.metadata.entry_points(group=COMMANDS), key=lambda entry: entry.name):
        entry.load()(commands)
    arguments = parser.parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except HomeostatError as error:
        print(f"homeostat: {type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        return 130


def _add_own(commands: Subparsers) -> None:
    serve = commands.add_parser("serve", help="serve trained models, with monitor and steward, until Ctrl-C")
    serve.add_argument("config", nargs="+", help="the model's YAML file; several are served by one group of processes")
    serve.add_argument("--no-loop", action="store_true", help="only answer: no monitor, no steward")
    serve.add_argument("--reload", action="store_true", help="deploy again when a YAML file changes; for development")
    serve.add_argument("--detach", action="store_true", help="return when it is up; end it with: homeostat stop CONFIG")
    serve.set_defaults(run=_serve)
    stop = commands.add_parser("stop", help="stop the local cluster that serve or demo left running")
    stop.add_argument("config", nargs="?", help="the model's YAML file")
    stop.add_argument("--root", help="places.root, instead of a YAML file")
    stop.set_defaults(run=_stop)
    status = commands.add_parser("status", help="champion, versions, and what monitor and steward say")
    status.add_argument("config", help="the model's YAML file")
    status.add_argument("--quiet", action="store_true", help="print nothing; exit with 1 when there is no champion")
    status.set_defaults(run=_status)
    history = commands.add_parser("history", help="the ledger: who or what moved which pointer, on what evidence")
    history.add_argument("config", help="the model's YAML file")
    history.set_defaults(run=_history)


def _serve(arguments: argparse.Namespace) -> int:
    models = {path: load(path) for path in arguments.config}
    first = next(iter(models.values()))
    from cluster import runtime

    external = os.environ.get("RAY_ADDRESS")
    cluster = None
    if not external:
        with console.status("starting Ray with the fast HTTP path"):
            cluster = runtime.LocalCluster.start(first.places.root)
    try:
        runtime.connect(address=external or (cluster.address if cluster else None))
        from cluster import service

        with console.status("loading the champion"):
            url = service.up(models, loop=not arguments.no_loop)
        _show_service(list(models.values()), url, cluster, loop=not arguments.no_loop)
        if not arguments.detach:
            stop = _signalled()
            if arguments.reload:
                _redeploy_on_change(list(models), stop, loop=not arguments.no_loop)
            stop.wait()
            console.print("stopping")
            if external:
                service.down(list(models.values()))
    except BaseException:
        if cluster:
            cluster.stop()
        raise
    if cluster and not arguments.detach:
        cluster.stop()
    return 0


def _show_service(models: Sequence[Settings], url: str, cluster: LocalCluster | None, *, loop: bool) -> None:
    for settings in models:
        mount = url if len(models) == 1 else f"{url}/{settings.model}"
        console.print(f"[bold]{settings.model}[/bold] answers at {mount}/v1/predict")
        console.print(f"  documentation  {mount}/docs\n  champion       {mount}/v1/model")
        if cluster and loop:  # on a cluster of many hosts the monitor's may be any
            _show_metrics(settings)
    if models[0].serving.grpc_port is not None:
        console.print(f"  gRPC           {models[0].serving.host}:{models[0].serving.grpc_port} (Open Inference Protocol)")
    if cluster:
        console.print(f"  requests       http://127.0.0.1:{cluster.metrics_port}/metrics (counts and latencies, from Ray)")


def _show_metrics(settings: Settings) -> None:
    """Say where the metrics are, if the monitor could open its port."""
    from cluster.runtime import monitor_name

    if port := _ask(monitor_name(settings.model)).get("metrics_port"):
        console.print(f"  metrics        http://{settings.monitoring.metrics_host}:{port}/metrics")


def _ask(name: str) -> dict[str, Any]:
    """The status of an actor; if it does not answer, that is said and nothing is returned."""
    import ray

    from cluster.runtime import NAMESPACE

    try:
        status: dict[str, Any] = ray.get(ray.get_actor(name, namespace=NAMESPACE).status.remote(), timeout=_PATIENCE_S)
    except (ValueError, ray.exceptions.RayError) as error:
        console.print(f"{name}: does not answer ({type(error).__name__})")
        return {}
    return status


def _signalled() -> threading.Event:
    """An event that Ctrl-C and SIGTERM set."""
    stop = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stop.set())
    return stop


def _redeploy_on_change(paths: Sequence[str], stop: threading.Event, *, loop: bool) -> None:
    """Deploy again whenever a file changes, until the event is set; a file that is wrong is told of, and what runs goes on."""
    import watchfiles

    from cluster import service

    for changes in watchfiles.watch(*paths, stop_event=stop, raise_interrupt=False):
        changed = ", ".join(sorted({path for _, path in changes}))
        try:
            service.up({path: load(path) for path in paths}, loop=loop)
            console.print(f"deployed again: {changed} changed", soft_wrap=True)
        except HomeostatError as error:
            console.print(f"{changed} changed, and is not deployed: {type(error).__name__}: {error}", soft_wrap=True, markup=False)


def _stop(arguments: argparse.Namespace) -> int:
    from cluster.runtime import LocalCluster

    root = absolute(arguments.root) if arguments.root else load(arguments.config).places.root if arguments.config else resolve_root()
    cluster = LocalCluster.find(root)
    if cluster is None:
        console.print(f"no local cluster of '{root}' is running", soft_wrap=True)
        return 0
    cluster.stop()
    console.print("stopped")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    settings = load(arguments.config)
    from cluster.registry import Registry, read_pointers

    published = read_pointers(settings.places.pointers(settings.model))
    if published is None or published.champion is None:
        if not arguments.quiet:
            console.print(f"{settings.model} has no champion; train one with: homeostat train {arguments.config}", soft_wrap=True)
        return 1
    if not arguments.quiet:
        _show_status(settings, Registry(settings))
    return 0


def _show_status(settings: Settings, registry: Registry) -> None:
    pointers = registry.pointers()
    champion = pointers.champion.version if pointers.champion else "none"
    trial = f"  challenger {pointers.challenger.version} ({pointers.challenger_share:.0%} of the requests)" if pointers.challenger else ""
    console.print(f"[bold]{settings.model}[/bold]  champion {champion}{trial}  versions {', '.join(registry.versions())}")
    from cluster.runtime import LocalCluster, connect

    if not (os.environ.get("RAY_ADDRESS") or LocalCluster.find(settings.places.root)):
        console.print("not being served on this machine")
        return
    from cluster.runtime import monitor_name, steward_name

    connect(root=settings.places.root)
    _show_replicas(settings)
    for name in (monitor_name(settings.model), steward_name(settings.model)):
        if facts := _ask(name):
            _show_facts(name, facts)


def _show_replicas(settings: Settings) -> None:
    """The deployments that answer, and their replicas."""
    from cluster import service

    table = Table("deployment", "status", "replicas")
    for name, facts in service.replicas(settings).items():
        counts = ", ".join(f"{count} {str(state).lower()}" for state, count in facts["replicas"].items() if count)
        table.add_row(name, facts["status"].rpartition(".")[2].lower(), counts or "none: started when a row needs it")
        if facts["message"]:
            table.add_row("", "", Text(facts["message"]))
    if table.row_count:
        console.print(table)


def _show_facts(name: str, facts: Mapping[str, object]) -> None:
    """A status for a person: what has no value is left out, and a time is a date."""
    table = Table(show_header=False)
    for key, value in facts.items():
        if value is not None and value != "":
            shown = _iso(float(str(value))) if key == "watermark" else str(value)
            table.add_row("last judged bundle" if key == "bundle" else key, Text(shown))
    console.print(f"[bold]{name}[/bold]", soft_wrap=True)
    console.print(table)


def _iso(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="seconds")


def _history(arguments: argparse.Namespace) -> int:
    settings = load(arguments.config)
    import time

    from cluster.ledger import Ledger

    for entry in Ledger(settings.places.ledger(settings.model), clock=time.time).entries():
        event = bytes(entry.event).decode()
        console.print(f"{entry.number:4}  {_iso(entry.written)}  {entry.kind:15} {event}", soft_wrap=True, markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
