"""The subcommand `card`: writes the model card of a registered version from its bundle."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console

from cluster import bundle, storage
from cluster.registry import Registry
from cluster.settings import load

console = Console(highlight=False)


def add_card(commands: Any) -> None:
    """Add the subcommand."""
    card = commands.add_parser("card", help="write the model card of a version, from its bundle alone")
    card.add_argument("config", help="the model's YAML file")
    card.add_argument("--version", help="left out: the champion")
    card.add_argument("--out", metavar="FOLDER", help="where card.md, card.html and their figures go; left out: MODEL-VERSION-card")
    card.set_defaults(run=_card)


def _card(arguments: argparse.Namespace) -> int:
    settings = load(arguments.config)
    from training import card  # draws: matplotlib takes a second

    registry = Registry(settings)
    pointer = registry.locate(arguments.version) if arguments.version else registry.champion()
    cache = storage.local_path(settings.places.work(settings.model), need="the copy of a bundle")
    folder = storage.fetch_folder(pointer.uri, cache)
    bundle.verify(folder, digest=pointer.digest)  # a card of an altered bundle would vouch for the alteration
    page = card.write(folder, Path(arguments.out or f"{settings.model}-{pointer.version}-card"))
    console.print(f"version {pointer.version} of {settings.model}: {page}", soft_wrap=True)
    return 0
