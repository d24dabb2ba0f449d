"""Subcommands that make a version again, and the pipeline's stages as commands of their own, for DVC and other runners of pipelines."""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from cluster.bundle import Bundle
from cluster.errors import ConfigError, DataError
from cluster.settings import load

console = Console(highlight=False)


def add(commands: Any) -> None:
    """Add these subcommands."""
    again = commands.add_parser("reproduce", help="train a version again from its own rows and settings, and compare every file")
    again.add_argument("config", help="the model's YAML file")
    again.add_argument("version")
    again.set_defaults(run=_reproduce)
    stage = commands.add_parser("stage", help="one stage of the pipeline, from files to files; see configs/dvc/dvc.yaml")
    stages = stage.add_subparsers(required=True, metavar="STAGE")
    rows = stages.add_parser("rows", help="read the source table and write the rows to train on")
    rows.add_argument("config", help="the model's YAML file")
    rows.add_argument("--out", required=True, metavar="FILE", help="a Parquet file")
    rows.set_defaults(run=_rows)
    bundle = stages.add_parser("bundle", help="fit, evaluate and seal a bundle")
    bundle.add_argument("config", help="the model's YAML file")
    bundle.add_argument("--rows", required=True, metavar="FILE", help="what the stage before wrote")
    bundle.add_argument("--out", required=True, metavar="FOLDER")
    bundle.add_argument("--metrics", metavar="FILE", help="write the held-out metrics here too")
    bundle.set_defaults(run=_bundle)
    register = stages.add_parser("register", help="register a sealed bundle as the next version")
    register.add_argument("config", help="the model's YAML file")
    register.add_argument("--bundle", required=True, metavar="FOLDER")
    register.add_argument("--out", required=True, metavar="FILE", help="where to write which version it became")
    register.set_defaults(run=_register)


def _reproduce(arguments: argparse.Namespace) -> int:
    settings = load(arguments.config)
    from training.reproduction import TOLERANCE, reproduce

    with console.status(f"training version {arguments.version} again"):
        found = reproduce(settings, arguments.version)
    console.print(f"rows from {found.rows_from}", soft_wrap=True)
    for change in found.changed:
        console.print(f"  {change}", soft_wrap=True, markup=False)
    console.print(f"{len(found.same_files)} files are the same to the bit, {len(found.different_files)} differ")
    for name in found.different_files:
        console.print(f"  {name}", markup=False)
    console.print(f"scores on the probe differ by at most {found.worst_difference:.3g}; {TOLERANCE:g} is allowed")
    if found.is_equal:
        console.print(f"version {found.version} is reproduced to the bit")
    elif found.is_close:
        console.print(f"version {found.version} is reproduced within the tolerance, not to the bit")
    else:
        console.print(f"version {found.version} is not reproduced")
    return 0 if found.is_close else 1


def _rows(arguments: argparse.Namespace) -> int:
    settings = load(arguments.config)
    from pyarrow import parquet

    from training import pipeline

    frame = pipeline.read_frame(settings)
    Path(arguments.out).parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(frame, arguments.out, compression="zstd")
    console.print(f"{frame.num_rows:,} labelled rows in {arguments.out}", soft_wrap=True)
    return 0


def _bundle(arguments: argparse.Namespace) -> int:
    settings = load(arguments.config)
    import pyarrow as pa
    from pyarrow import parquet

    from training import lineage, pipeline

    out = Path(arguments.out)
    if out.exists():
        raise ConfigError(f"'{out}' exists already; a bundle is never written over: remove it, or name another folder")
    try:
        rows = parquet.read_table(arguments.rows)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"'{arguments.rows}' is not what `homeostat stage rows` writes: {' '.join(str(error).split())}") from error
    (out / "members").mkdir(parents=True)
    run = pipeline.Run(f"{settings.model}-{lineage.hash_table(rows)[:12]}", "a stage of a pipeline", settings.training.seed)
    try:
        made = pipeline.make(settings, rows, run, out)
    except BaseException:
        shutil.rmtree(out)
        raise
    if arguments.metrics:
        Path(arguments.metrics).write_bytes(msgspec.json.format(msgspec.json.encode(made.metrics), indent=1))
    console.print(f"bundle {made.digest[:12]} in {out}", soft_wrap=True)
    return 0


def _register(arguments: argparse.Namespace) -> int:
    settings = load(arguments.config)
    from training import pipeline

    began = time.monotonic()
    pointer = pipeline.register(settings, Bundle(Path(arguments.bundle)).folder)
    Path(arguments.out).write_bytes(msgspec.json.format(msgspec.json.encode(pointer), indent=1))
    console.print(f"version {pointer.version} of {settings.model} is registered after {time.monotonic() - began:.0f} s")
    console.print(f"to let it answer: homeostat promote {arguments.config} {pointer.version}", soft_wrap=True)
    return 0
