"""`homeostat demo`: the whole loop on nine months of real flights, in minutes.

Trains on January to March, serves, replays April to December over HTTP in the order it happened, and lets the
loop act. The clock of the replay stands still while the loop works: a retrain takes a minute, a replayed day a second.
"""

from __future__ import annotations

import argparse
from typing import Any


def add(commands: Any) -> None:
    """Add the subcommand."""
    demo = commands.add_parser("demo", help="the whole loop on real flights, with a report")
    demo.add_argument("--config", default="configs/flights.yaml", help="the model's YAML file")
    demo.add_argument("--root", default="var/demo", help="where everything is kept; emptied first")
    demo.add_argument("--quick", action="store_true", help="replay April and May only")
    demo.add_argument("--keep", action="store_true", help="leave the service up at the end")
    demo.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from training.demo.story import tell

    return tell(arguments.config, root=arguments.root, quick=arguments.quick, keep=arguments.keep)
