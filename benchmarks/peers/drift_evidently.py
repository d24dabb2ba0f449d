"""Evidently's default drift preset, window after window; `python -m benchmarks.peers.drift_evidently IN.npz OUT.npz`.

`reference` is float32 (rows, columns), `windows` float32 (rows, columns) of windows whose `lengths` are int64; `categorical` is bool (columns,).
Gives back `distances`, float64 (windows, columns), as its report has them, and the processor seconds that the reports took.
"""

from __future__ import annotations

import sys
import time
import warnings

import numpy as np
import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset


def _dataset(matrix: np.ndarray, categorical: np.ndarray) -> Dataset:
    names = [f"c{j}" for j in range(matrix.shape[1])]
    frame = pd.DataFrame({name: matrix[:, j].astype(np.float64) for j, name in enumerate(names)})
    for name, is_category in zip(names, categorical, strict=True):
        if is_category:
            frame[name] = frame[name].astype("Int64").astype("string").astype(object).where(frame[name].notna(), None)
    numbers, kinds = ([name for name, is_category in zip(names, categorical, strict=True) if is_category == want] for want in (False, True))
    return Dataset.from_pandas(frame, data_definition=DataDefinition(numerical_columns=numbers, categorical_columns=kinds))


def _distances(report: object, columns: int) -> list[float]:
    found = {}
    for metric in report.dict()["metrics"]:  # type: ignore[attr-defined]
        column = metric["config"].get("column")
        if column is not None:
            found[column] = float(metric["value"])
    return [found[f"c{j}"] for j in range(columns)]


def main() -> None:
    """Read, report, write."""
    warnings.simplefilter("ignore")
    given = np.load(sys.argv[1])
    categorical, windows = given["categorical"], np.split(given["windows"], np.cumsum(given["lengths"])[:-1])
    reference = _dataset(given["reference"], categorical)
    began = time.process_time()
    found = [_distances(Report([DataDriftPreset()]).run(_dataset(window, categorical), reference), len(categorical)) for window in windows]
    np.savez(sys.argv[2], distances=np.array(found), seconds=time.process_time() - began)


if __name__ == "__main__":
    main()
