"""Subcommands of this room: init, train, promote, rollback and canary here; predict, card, reproduce and stage in files of their own."""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from cluster.errors import ConfigError, RegistryError
from cluster.ledger import Ledger
from cluster.registry import Registry
from cluster.settings import Settings, load
from training import card_command, lineage_commands, predict_command

if TYPE_CHECKING:
    import pyarrow as pa

console = Console(highlight=False)
_FEW_ROWS = 200


def add(commands: Any) -> None:
    """Add this room's subcommands."""
    init = commands.add_parser("init", help="look at a table and write a commented YAML that trains as it is")
    init.add_argument("table", help="path or URI of a Parquet or CSV file, or of a folder of Parquet files")
    init.add_argument("--label", required=True, metavar="COLUMN", help="what to predict")
    init.add_argument("--time", metavar="COLUMN", help="when a row happened")
    init.add_argument("--protect", nargs="+", default=[], metavar="COLUMN", help="columns that name groups of people")
    init.add_argument("--name", help="the model's name; left out: the table's")
    init.add_argument("--out", help="the file to write; left out: NAME.yaml")
    init.set_defaults(run=_init)
    train = commands.add_parser("train", help="train a version; the first one becomes champion")
    train.add_argument("config", help="the model's YAML file")
    train.set_defaults(run=_train)
    promote = commands.add_parser("promote", help="make a version champion")
    promote.add_argument("config", help="the model's YAML file")
    promote.add_argument("version")
    promote.add_argument("--reason", default="asked for at the command line")
    promote.set_defaults(run=_promote)
    rollback = commands.add_parser("rollback", help="make the champion before the present one champion again")
    rollback.add_argument("config", help="the model's YAML file")
    rollback.add_argument("--to", metavar="VERSION", help="go back to this version instead")
    rollback.add_argument("--reason", default="rolled back at the command line")
    rollback.set_defaults(run=_rollback)
    canary = commands.add_parser("canary", help="let a version answer a share of the requests, beside the champion")
    canary.add_argument("config", help="the model's YAML file")
    what = canary.add_mutually_exclusive_group(required=True)
    what.add_argument("--version", help="the challenger; it needs --share")
    what.add_argument("--off", action="store_true", help="the champion answers all requests again")
    canary.add_argument("--share", type=float, metavar="SHARE", help="of the requests, from 0 to 1; raising it moves no caller back")
    canary.add_argument("--reason", default="asked for at the command line")
    canary.set_defaults(run=_canary)
    predict_command.add(commands)
    card_command.add_card(commands)
    lineage_commands.add(commands)


def _init(arguments: argparse.Namespace) -> int:
    from training.data.starter import write_config

    out = Path(arguments.out or f"{arguments.name or Path(arguments.table).stem}.yaml")
    path = write_config(
        arguments.table,
        label=arguments.label,
        time=arguments.time,
        protect=arguments.protect,
        out=out,
        name=arguments.name,
        tell=partial(console.print, soft_wrap=True, markup=False),
    )
    console.print(f"wrote {path}; read it, then: homeostat train {path}")
    return 0


def _train(arguments: argparse.Namespace) -> int:
    settings = load(arguments.config)
    from training import pipeline
    from training.loop.steward import promote

    began = time.monotonic()
    registry = Registry(settings)
    rows = _rows(settings)
    run = f"{settings.model}-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}"
    with console.status("fitting the members, then the student"):
        made = pipeline.train(settings, rows, run=run, reason="asked for at the command line", seed=settings.training.seed)
    console.print(f"version {made.version} is registered after {time.monotonic() - began:.0f} s")
    console.print(f"its bundle: {made.uri}", soft_wrap=True)
    console.print(f"its card: {made.uri}/card.html", soft_wrap=True)
    _show_metrics(made.uri)
    _show_notes(made.uri)
    if registry.pointers().champion is None:
        ledger = Ledger(settings.places.ledger(settings.model), clock=time.time)
        promote(registry, ledger, made.version, by="homeostat train", reason="the first version")
        console.print(f"it is the champion now; serve it with: homeostat serve {arguments.config}")
    else:
        console.print(f"the champion stays; to replace it: homeostat promote {arguments.config} {made.version}")
    return 0


def _rows(settings: Settings) -> pa.Table | None:
    """The training frame; None when the table is too large for one process."""
    from training import pipeline
    from training.workers import pieces

    features, group = f"{len(settings.columns.features)} features", settings.training.group
    if group is not None and settings.columns.time is not None:
        console.print(
            f"training.group '{group}' does not part the rows, schema.time '{settings.columns.time}' does: a group may be on both sides of "
            "a split. To keep groups whole, leave schema.time out",
            soft_wrap=True,
            markup=False,
        )
    if pieces.is_large(settings):
        console.print(f"a large table, {features}: read as a stream (training.stream_rows)")
        return None
    with console.status("reading the table"):
        rows = pipeline.read_frame(settings)
    console.print(f"{rows.num_rows:,} labelled rows, {features}")
    if empty := [name for name in settings.columns.names if rows.num_rows and rows.column(name).null_count == rows.num_rows]:
        told = f"missing in all rows, so nothing is learned of it: {', '.join(empty)}; fill it, or take it out of schema.features"
        console.print(told, soft_wrap=True, markup=False)
    return rows


def _show_metrics(uri: str) -> None:
    import msgspec
    from rich.table import Table

    from cluster import storage

    metrics = msgspec.json.decode(storage.read_bytes(f"{uri}/metrics.json"))
    measured: dict[str, dict[str, float]] = metrics["held_out"]
    rows = metrics["rows"]["held_out"]
    names = list(next(iter(measured.values())))
    table = Table(title=f"on {rows:,} held-out rows", title_justify="left")
    for heading in ("", *names):
        table.add_column(heading, justify="right" if heading else "left")
    for who, values in measured.items():
        table.add_row(who, *(f"{values[name]:.4f}" if name in values else "" for name in names))
    console.print(table)
    if rows < _FEW_ROWS:
        console.print(
            f"{rows} rows tell little: the card gives intervals. More rows, or a larger training.validation_share, would tell more"
        )


def _show_notes(uri: str) -> None:
    """What of a version's evaluation a person should not have to look for; its card has the rest."""
    import msgspec

    from cluster import storage

    def read(name: str) -> Any:
        return msgspec.json.decode(storage.read_bytes(f"{uri}/{name}.json"))

    console.print(f"the student {read('distillation')['verdict']}", soft_wrap=True, markup=False)
    costs = read("costs")
    alone, asked = (1e6 * costs[part]["seconds"][0] for part in ("student", "ensemble"))
    console.print(
        f"for one row it takes {alone:.3g} µs, the ensemble {asked:.3g} µs ({alone / asked:.0%}; a tenth is aimed at)", soft_wrap=True
    )
    cascade = read("cascade")
    if cascade["student_share"] == 0:
        console.print("the ensemble answers every row: no threshold keeps the cascade's promise (serving.cascade)")
    else:
        console.print(f"the student answers {cascade['student_share']:.1%} of rows alone, the ensemble the rest")
    suspects = [suspect["feature"] for suspect in read("evaluation/columns")["suspects"]]
    if suspects:
        console.print(f"columns that only tell the date: {', '.join(suspects)}; the card says what they do", soft_wrap=True, markup=False)
    for outcome in read("evaluation/checks")["outcomes"]:
        if outcome["passed"] is not True:
            console.print(f"check '{outcome['name']}' {outcome['message']}", soft_wrap=True, markup=False)


def _promote(arguments: argparse.Namespace) -> int:
    settings = load(arguments.config)
    from training.loop.steward import promote

    ledger = Ledger(settings.places.ledger(settings.model), clock=time.time)
    promote(Registry(settings), ledger, arguments.version, by="homeostat promote", reason=arguments.reason)
    console.print(f"version {arguments.version} is champion of {settings.model}; replicas follow within {2 * settings.serving.poll_s:g} s")
    return 0


def _rollback(arguments: argparse.Namespace) -> int:
    settings = load(arguments.config)
    from training.loop.loop import recall, rollback_target
    from training.loop.steward import promote

    ledger = Ledger(settings.places.ledger(settings.model), clock=time.time)
    target = rollback_target(recall(ledger.events()), arguments.to)
    if target is None:
        raise RegistryError(f"model '{settings.model}' has had one champion only; there is none to go back to")
    promote(Registry(settings), ledger, target, by="homeostat rollback", reason=arguments.reason)
    console.print(f"version {target} is champion of {settings.model} again; replicas follow within {2 * settings.serving.poll_s:g} s")
    return 0


def _canary(arguments: argparse.Namespace) -> int:
    if arguments.off != (arguments.share is None):
        raise ConfigError("--version takes a --share of the requests, such as 0.1; --off takes none")
    settings = load(arguments.config)
    from training.loop import trial

    registry, by = Registry(settings), "homeostat canary"
    ledger = Ledger(settings.places.ledger(settings.model), clock=time.time)
    within = f"replicas follow within {2 * settings.serving.poll_s:g} s"
    if arguments.off:
        ended = trial.end(registry, ledger, by=by, reason=arguments.reason)
        console.print(
            f"version {ended} is challenger of {settings.model} no more; {within}" if ended else f"{settings.model} has no challenger"
        )
        return 0
    trial.begin(registry, ledger, arguments.version, share=arguments.share, by=by, reason=arguments.reason)
    console.print(f"version {arguments.version} answers {100 * arguments.share:g} % of the requests for {settings.model}; {within}")
    console.print(f"to keep it:  homeostat promote {arguments.config} {arguments.version}", soft_wrap=True)
    console.print(f"to end it:   homeostat canary {arguments.config} --off", soft_wrap=True)
    return 0
