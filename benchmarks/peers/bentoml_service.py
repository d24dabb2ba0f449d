"""BentoML: a service class with one API, run by `bentoml serve`.

python -m benchmarks.peers.bentoml_service BUNDLE PORT
"""

import os
import sys
from pathlib import Path
from typing import Any

import bentoml

from benchmarks.peers.model import Model


@bentoml.service
class Scorer:
    """Loads the model once, scores what comes."""

    def __init__(self) -> None:
        self._model = Model(os.environ["BUNDLE"])

    @bentoml.api  # type: ignore[untyped-decorator] # BentoML is untyped here
    def predict(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Score rows."""
        return self._model({"rows": rows})


def main() -> None:
    folder, port = sys.argv[1:]
    environment = os.environ | {"BUNDLE": folder, "BENTOML_DO_NOT_TRACK": "True"}
    command = [str(Path(sys.executable).with_name("bentoml")), "serve", "benchmarks.peers.bentoml_service:Scorer"]
    os.execve(command[0], [*command, "--host", "127.0.0.1", "--port", port], environment)


if __name__ == "__main__":
    main()
