"""The subcommand `homeostat predict`: finds the bundle, says what is done meanwhile, and how to go on after Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console

from cluster import storage
from cluster.errors import ConfigError
from cluster.settings import Places, Settings, absolute, load

if TYPE_CHECKING:
    from cluster.records import Pointer
    from training.batch.job import Execute, Work
    from training.batch.outputs import Done, Job, Summary
    from training.batch.units import Unit

SMALL_BYTES: Final = 64 << 20
"""Less than this is scored in this process: Ray with its workers needs some ten seconds to begin (docs/how-to/batch.md)."""
console = Console(highlight=False)


def add(commands: Any) -> None:
    """Add the subcommand."""
    predict = commands.add_parser("predict", help="score a table, file by file, into Parquet; goes on where an earlier run stopped")
    predict.add_argument("config", help="the model's YAML file")
    predict.add_argument("--input", required=True, metavar="URI", help="a Parquet or CSV file, or a folder of Parquet files")
    predict.add_argument("--output", required=True, metavar="URI", help="a folder of its own for the result")
    predict.add_argument("--version", help="score by this version; left out: by the champion")
    predict.add_argument("--explain", action="store_true", help="name the three features that moved each score most")
    predict.add_argument("--keep", nargs="+", default=[], metavar="COLUMN", help="columns of the input to repeat in the output")
    predict.add_argument(
        "--workers", type=int, metavar="N", help="workers of one core each; 0: this process alone; left out: by the input's size"
    )
    predict.set_defaults(run=_predict)


def _predict(arguments: argparse.Namespace) -> int:
    began = time.time()
    settings = load(arguments.config)
    source, target = absolute(arguments.input), absolute(arguments.output)
    _check(source, target, arguments.workers)
    from training.batch.job import UnitScorer, Work, plan, run
    from training.batch.outputs import Output

    pointer = locate(settings, arguments.version)
    root = settings.places.root
    work = Work(bundle=pointer, output=target, cache=f"{root if storage.is_local(root) else absolute(Places().root)}/bundles")
    with console.status("looking at the table"):
        bundle = work.load()
        job = plan(bundle, pointer.digest, source, keep=list(dict.fromkeys(arguments.keep)), explain=arguments.explain)
    workers = _workers(job, arguments.workers)
    execute: Execute = partial(map, UnitScorer(job, work, clock=time.time, cpu_clock=time.process_time, bundle=bundle))  # in this process
    if workers != 0:
        execute = partial(_on_cluster, job, work, workers, root)
    was_done = Output(target).summary() is not None
    try:
        with _progress(job.units) as tell:
            summary = run(job, target, execute, began=began, clock=time.time, tell=tell)
    except KeyboardInterrupt:
        console.print("stopped; what is done is kept. To go on, give the same command again")
        raise
    _show(summary, target, was_done=was_done)
    return 0


def _check(source: str, target: str, workers: int | None) -> None:
    if workers is not None and workers < 0:
        raise ConfigError(f"--workers {workers}: give the number of workers, or 0 for this process alone")
    if f"{target}/".startswith(f"{source}/") or f"{source}/".startswith(f"{target}/"):
        raise ConfigError(f"--input '{source}' and --output '{target}' lie one within the other; give the output a folder of its own")


def locate(settings: Settings, version: str | None) -> Pointer:
    """The bundle to score by: the champion, or the version that was asked for.

    Raises
    ------
    UnknownVersion, NoChampion, RegistryError
    """
    from cluster.registry import Registry, read_pointers

    published = read_pointers(settings.places.pointers(settings.model))
    champion = published.champion if published else None
    if champion is not None and version in (None, champion.version):
        return champion  # as replicas find it: MLflow's import alone takes seconds
    registry = Registry(settings)
    return registry.champion() if version is None else registry.locate(version)


def _workers(job: Job, asked: int | None) -> int | None:
    """0: this process alone; None: as many as the cluster has cores."""
    if asked is not None:
        return asked
    return 0 if job.input.size < SMALL_BYTES and "RAY_ADDRESS" not in os.environ else None


def _on_cluster(job: Job, work: Work, workers: int | None, root: str, units: Sequence[Unit]) -> Iterator[Done]:
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # before Ray is imported: it warns on screen of each pool it makes
    from cluster.runtime import connect
    from training.batch import pool

    own = "RAY_ADDRESS" not in os.environ
    with console.status("starting the workers"):
        connect(root=root)
    cores = os.cpu_count() or 1 if own else pool.cluster_cpus()  # a cluster of ours announces more than there are
    yield from pool.score(job, work, units, workers=workers or cores)


@contextlib.contextmanager
def _progress(units: Sequence[Unit]) -> Iterator[Callable[[Done], None]]:
    """A bar of rows, on a terminal; a function to be told of every unit that is done."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    sizes = [piece.rows for unit in units for piece in unit.pieces]
    speed = TextColumn("{task.fields[speed]:,.0f} rows/s")
    columns = (TextColumn("rows"), BarColumn(), MofNCompleteColumn(), speed, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=None if -1 in sizes else sum(sizes), speed=0.0)

        def tell(done: Done) -> None:
            progress.update(task, advance=done.rows)
            progress.update(task, speed=progress.tasks[0].speed or 0.0)

        yield tell


def _show(summary: Summary, target: str, *, was_done: bool) -> None:
    head = "all was done already, by an earlier run: " if was_done else "" if summary.rows else "the input has no rows: "
    console.print(
        f"{head}{summary.scored:,} rows scored by version {summary.version} of {summary.model} in {summary.seconds:.1f} s: {target}",
        soft_wrap=True,
    )
    if summary.rejected:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in summary.rejected_by_reason.items())
        console.print(f"{summary.rejected:,} rows did not fit ({reasons}); they are in {target}/rejects", soft_wrap=True)
    for what, counts in (("an unknown category", summary.unknown_categories), ("a number out of range", summary.out_of_range)):
        if counts:
            console.print(f"rows with {what}: {', '.join(f'{count:,} in {name}' for name, count in counts.items())}", soft_wrap=True)
