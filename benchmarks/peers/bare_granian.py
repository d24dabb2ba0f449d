"""The application of `bare_asgi` under granian, a server in Rust, with one worker: the other limit.

python -m benchmarks.peers.bare_granian BUNDLE PORT
"""

from __future__ import annotations

import os
import sys

from granian import Granian
from granian.constants import Interfaces

from benchmarks.peers.bare_asgi import Application


def build() -> Application:
    """The application, made in granian's worker."""
    return Application(os.environ["BUNDLE"])


def main() -> None:
    os.environ["BUNDLE"], port = sys.argv[1:]
    target = "benchmarks.peers.bare_granian:build"
    Granian(target, factory=True, address="127.0.0.1", port=int(port), interface=Interfaces.ASGINL, log_access=False).serve()


if __name__ == "__main__":
    main()
