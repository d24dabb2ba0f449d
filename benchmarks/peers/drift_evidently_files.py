"""Evidently's drift report with its default preset, as its documentation teaches it: what one window after another costs.

Prints the rows of all windows and the processor seconds as JSON. Reading the files is not in its time.

python -m benchmarks.peers.drift_evidently_files REFERENCE.parquet ROWS.parquet WINDOWS CATEGORY...
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence

import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset


def main(arguments: Sequence[str]) -> None:
    """Report on every window."""
    reference, rows = pd.read_parquet(arguments[0]), pd.read_parquet(arguments[1])
    windows, categories = int(arguments[2]), list(arguments[3:])
    names, size = list(reference.columns), len(rows) // windows
    columns = DataDefinition(numerical_columns=[name for name in names if name not in categories], categorical_columns=categories)
    then, report = Dataset.from_pandas(reference, data_definition=columns), Report([DataDriftPreset()])
    began = time.process_time()
    for window in range(windows):
        now = rows[names].iloc[window * size : (window + 1) * size]
        report.run(Dataset.from_pandas(now, data_definition=columns), then).dict()
    print(json.dumps({"rows": windows * size, "cpu_s": time.process_time() - began, "judged": windows}))


if __name__ == "__main__":
    main(sys.argv[1:])
