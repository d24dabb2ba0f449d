"""LitServe: a LitAPI that loads the model once a worker and scores the decoded body, run by its LitServer.

python -m benchmarks.peers.litserve_api BUNDLE PORT
"""

from __future__ import annotations

import sys
from typing import Any

import litserve

from benchmarks.peers.model import Model


class ScorerAPI(litserve.LitAPI):  # type: ignore[misc] # LitServe is untyped here
    """Body and answer are JSON as they are: decoding and encoding are LitServe's own."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self._folder = folder

    def setup(self, device: str) -> None:  # noqa: ARG002
        """Load the model."""
        self._model = Model(self._folder)

    def predict(self, body: dict[str, Any]) -> dict[str, Any]:
        """Score the rows of a request."""
        return self._model(body)


def main() -> None:
    folder, port = sys.argv[1:]
    litserve.LitServer(ScorerAPI(folder), accelerator="cpu").run(host="127.0.0.1", port=int(port), generate_client_file=False)


if __name__ == "__main__":
    main()
