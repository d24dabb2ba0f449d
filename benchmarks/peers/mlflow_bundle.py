"""`mlflow models serve` on the model that the registry holds: the bundle as a pyfunc, which checks it and answers with the ensemble.

python -m benchmarks.peers.mlflow_bundle BUNDLE PORT
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.peers.mlflow_models import serve


def main() -> None:
    bundle, port = sys.argv[1:]
    serve(str(Path(bundle).resolve().parents[1]), port)  # MODEL/artifacts/bundle


if __name__ == "__main__":
    main()
