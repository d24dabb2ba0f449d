"""MLServer: a custom runtime, run by `mlserver start` on a folder with its two settings files.

Takes what callers of the Open Inference Protocol send: one input a column, or one FP32 input of rows that they have encoded.

python -m benchmarks.peers.mlserver_runtime BUNDLE PORT
"""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.peers.model import Model


class Scorer(MLModel):  # type: ignore[misc] # MLServer is untyped here
    """Loads the model once a worker, scores what comes."""

    async def load(self) -> bool:
        """Load the model that the settings name."""
        self._model = Model(self.settings.parameters.uri)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Score rows."""
        if payload.inputs[0].name == "matrix":
            matrix = self.decode(payload.inputs[0], default_codec=NumpyCodec)
        else:
            matrix = self._model.encode({column.name: column.data.root for column in payload.inputs})
        output = NumpyCodec.encode_output(name="probability", payload=self._model.scores(matrix))
        return InferenceResponse(model_name=self.name, outputs=[output])


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def write_settings(folder: Path, bundle: str, port: int) -> None:
    """The server's settings, and the model's."""
    server: dict[str, Any] = {"host": "127.0.0.1", "http_port": port, "grpc_port": free_port(), "metrics_port": free_port()}
    model = {"name": "student", "implementation": "benchmarks.peers.mlserver_runtime.Scorer", "parameters": {"uri": bundle}}
    (folder / "settings.json").write_text(json.dumps(server))
    (folder / "model-settings.json").write_text(json.dumps(model))


def main() -> None:
    bundle, port = sys.argv[1:]
    folder = Path(tempfile.gettempdir()) / "homeostat-peer-mlserver"
    folder.mkdir(exist_ok=True)
    write_settings(folder, str(Path(bundle).resolve()), int(port))
    command = str(Path(sys.executable).with_name("mlserver"))
    os.execve(command, [command, "start", str(folder)], os.environ | {"PYTHONPATH": str(Path.cwd())})


if __name__ == "__main__":
    main()
