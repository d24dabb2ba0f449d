"""Rows explained in a second: our LIME beside the `lime` package, on the same made-up rows, and our SHAP beside the `shap` package.

The model is a bundle of the real pipeline (boosted trees, a network and a linear model) over a made-up table, trained once and kept. The
package is given a predictor in Python for a row at a time: the members in their own packages, loaded once, blended and calibrated. As
variants it is given our ensemble's graph, which answers a row faster than any predictor we know, and the same with all made-up rows in one
call, so that the table shows what is due to calling and what to the rest. "known" are further rows of the same samples and seed, whose made-up
rows the service has already scored. Explanations are compared too: the largest difference of a contribution from ours stands beside the rate, and
must stay within a tolerance. The shap package asks XGBoost by default, as we do; only its own algorithm is a second opinion.

python -m benchmarks.explain [--quick]
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import torch

from benchmarks import report
from benchmarks.report import Line, Report, Role, Target, console
from cluster.bundle import TREES, Bundle, new_folder
from cluster.errors import BundleError
from cluster.explaining import lime
from cluster.explaining.contributions import contributions, read_booster
from cluster.explaining.explainer import SAMPLES
from cluster.explaining.neighbourhood import LimeSetup, read_setup
from cluster.schema import Floats, Matrix
from cluster.settings import Settings, parse
from training import pipeline
from training.composing import ensemble, graphs
from training.data import frame
from training.explaining.lime_setup import lime_explainer, lime_row, lime_scorer
from training.members import inputs, network
from training.members.torch import TorchModel

ROWS: Final = 6000
NUMBERS: Final = 20
CATEGORIES: Final = {"carrier": 12, "origin": 3, "dest": 60, "weekday": 7}
SEED: Final = 20261126
WANTED: Final = 20.0
COMPARED: Final = "rows/s"
DIFFERENCE: Final = "1e9 × difference"
TOLERANCES: Final = {"LIME": 1e-6, "SHAP": 1e-5}
"""Largest difference of a contribution: of a probability for LIME, of a margin, whose sums are of 32 bits, for SHAP."""


def settings_of(root: Path) -> Settings:
    """A model of 24 features."""
    features = [{"name": f"f{i}", "type": "number"} for i in range(NUMBERS)] + [{"name": n, "type": "category"} for n in CATEGORIES]
    return parse(
        {
            "model": "explained",
            "data": {"source": "-"},
            "schema": {"features": features, "label": {"name": "y", "task": "binary"}},
            "members": {"xgboost": {"rounds": 218, "max_depth": 6}, "torch": {"epochs": 2}, "linear": {}},
            "distillation": {"sizes": [60]},
            "places": {"root": str(root)},
        }
    )


def table(rows: int, seed: int) -> pa.Table:
    """Rows with gaps, whose label goes by products of features, so that no linear model is exact."""
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=(rows, NUMBERS))
    columns: dict[str, pa.Array] = {
        f"f{i}": pa.array(np.where(rng.random(rows) < 0.03, np.nan, numbers[:, i]), from_pandas=True) for i in range(NUMBERS)
    }
    codes = {name: rng.integers(0, count, rows) for name, count in CATEGORIES.items()}
    columns |= {name: pa.array([f"{name}{code}" for code in codes[name]]) for name in CATEGORIES}
    z = numbers[:, 0] * numbers[:, 1] + np.abs(numbers[:, 2]) - 1 + 0.4 * (codes["carrier"] % 4 - 1.5) + 0.5 * numbers[:, 3]
    columns["y"] = pa.array((rng.random(rows) < 1 / (1 + np.exp(-2 * z))).astype(np.int64))
    return pa.table(columns)


def prepare(root: Path) -> Bundle:
    """The bundle, trained under `root` once and kept as long as this version can read it."""
    for folder in sorted(root.glob("*/bundle")):
        try:
            return Bundle(folder, version="1")
        except BundleError as error:
            console.print(f"the model kept here cannot be used: {error}", soft_wrap=True, markup=False)
    console.print("training the model, once (a minute or two)")
    settings = settings_of(root)
    made = pipeline.make(
        settings, frame.from_table(table(ROWS, SEED), settings.columns), pipeline.Run("explain", "a benchmark", SEED), new_folder(root)
    )
    return Bundle(made.folder, version="1")


class Timed(NamedTuple):
    """What one way of explaining took for some rows, and what it said."""

    seconds: float
    contributions: Floats
    """(n, features)."""


def lime_ours(setup: LimeSetup, scorer: lime.Scorer, rows: Matrix, samples: int, known: lime.Around | None = None) -> Timed:
    """All made-up rows of all rows in one call."""
    began = time.perf_counter()
    around = known or lime.surround(setup, scorer, samples=samples, seed=SEED)
    found = lime.explain(setup, around, rows, scorer, lambda scores: [1] * len(scores))
    return Timed(time.perf_counter() - began, np.array([local.contributions for local in found]))


def lime_packaged(setup: LimeSetup, scorer: lime.Scorer, rows: Matrix, samples: int) -> Timed:
    """The package, with an explainer for each row, so that each draws from the same seed. Making explainers is not in its time."""
    features, seconds = len(setup.features), 0.0
    slopes, score = np.zeros((len(rows), features)), lime_scorer(setup, scorer)
    for i, row in enumerate(rows):
        explainer, asked = lime_explainer(setup, seed=SEED), lime_row(setup, row)
        began = time.perf_counter()
        found = explainer.explain_instance(asked, score, num_features=features, num_samples=samples)
        seconds += time.perf_counter() - began
        for place, slope in found.local_exp[1]:
            slopes[i, place] = slope
    return Timed(seconds, slopes)


def one_by_one(scorer: lime.Scorer) -> lime.Scorer:
    """A predictor in Python that scores a row at a time."""
    return lambda rows: np.concatenate([scorer(rows[i : i + 1]) for i in range(len(rows))])


def members(bundle: Bundle) -> lime.Scorer:
    """The ensemble in its members' own packages, each loaded once."""
    label, blend = bundle.schema.label, msgspec.convert(bundle.json("blend.json"), ensemble.Blend)
    booster = read_booster(bundle.folder / TREES)
    fitted = msgspec.json.decode((bundle.folder / "members/torch.json").read_bytes(), type=TorchModel)
    module = network.Network(fitted.reads, network.Shape(fitted.networks, fitted.hidden, 1)).eval()
    module.load_state_dict({name: torch.from_numpy(inputs.unpack(array)) for name, array in fitted.weights.items()})

    def score(rows: Matrix) -> Matrix:
        with torch.inference_mode():
            margins = module(torch.from_numpy(rows)).mean(dim=1).numpy()
        scores = {"xgboost": booster.inplace_predict(rows)[:, None], "torch": graphs.apply_link(label, margins)}
        return ensemble.apply(label, blend, scores)

    return score


def shap_ours(booster: Any, rows: Matrix) -> Timed:
    """XGBoost's own contributions."""
    began = time.perf_counter()
    found = contributions(booster, rows).values[:, :, 0]
    return Timed(time.perf_counter() - began, found.astype(np.float64))


def shap_packaged(explainer: Any, rows: Matrix) -> Timed:
    """The package; making the explainer and checking sums are not in its time."""
    began = time.perf_counter()
    found = explainer.shap_values(rows, check_additivity=False)
    return Timed(time.perf_counter() - began, np.asarray(found, dtype=np.float64))


def best(run: Callable[[], Timed], repeats: int) -> Timed:
    """The quickest of some runs."""
    return min((run() for _ in range(repeats)), key=lambda timed: timed.seconds)


def lines_of(case: str, rows: int, runs: Sequence[tuple[str, Role, Callable[[], Timed], int]]) -> list[Line]:
    """A line a run: who, role, what, and how often; differences are from the first."""
    made: list[Line] = []
    first: Floats | None = None
    for who, role, run, repeats in runs:
        timed = best(run, repeats)
        first = timed.contributions if first is None else first
        difference = float(np.abs(timed.contributions - first).max())
        figures = {COMPARED: rows / timed.seconds, "ms a row": 1e3 * timed.seconds / rows, DIFFERENCE: 1e9 * difference}
        made.append(Line(who=who, role=role, case=case, figures=figures))
    return made


def measure_lime(bundle: Bundle, rows: Matrix, samples: int, repeats: int) -> list[Line]:
    """LIME of all these rows together."""
    setup, scorer, own = read_setup(bundle.folder), bundle.ensemble, one_by_one(members(bundle))
    known = lime.surround(setup, scorer, samples=samples, seed=SEED)
    runs: list[tuple[str, Role, Callable[[], Timed], int]] = [
        ("Homeostat, one call", "ours", lambda: lime_ours(setup, scorer, rows, samples), repeats),
        ("Homeostat, known", "variant", lambda: lime_ours(setup, scorer, rows, samples, known), repeats),
        ("lime, a row a call", "peer", lambda: lime_packaged(setup, own, rows, samples), 1),
        ("lime, a row a call of our graph", "variant", lambda: lime_packaged(setup, one_by_one(scorer), rows, samples), 1),
        ("lime, one call of our graph", "variant", lambda: lime_packaged(setup, scorer, rows, samples), 1),
    ]
    return lines_of(f"LIME, {len(rows)} × {samples:,}", len(rows), runs)


def measure_shap(bundle: Bundle, rows: Matrix, repeats: int) -> list[Line]:
    """Exact contributions of the trees."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own colour maps are made in a way that matplotlib will drop
        import shap
    booster = read_booster(bundle.folder / TREES)
    plain, own = shap.TreeExplainer(booster), shap.TreeExplainer(booster)
    own.model.model_type = "internal"  # its own algorithm: by default it asks XGBoost, as we do
    runs: list[tuple[str, Role, Callable[[], Timed], int]] = [
        ("Homeostat", "ours", lambda: shap_ours(booster, rows), repeats),
        ("shap", "peer", lambda: shap_packaged(plain, rows), repeats),
        ("shap, its own algorithm", "variant", lambda: shap_packaged(own, rows), 1),
    ]
    return lines_of(f"SHAP, {len(rows)}", len(rows), runs)


def targets(lines: Sequence[Line]) -> list[Target]:
    """What issue 5 promises: how many times faster than the package with a predictor for each row, and that all say the same."""
    found = []
    for case in dict.fromkeys(line.case for line in lines):
        others = [line for line in lines if line.case == case]
        if case.startswith("LIME"):
            rate = {line.role: line.figures[COMPARED] for line in others}
            found.append(Target(what=f"{case}, times the lime package", bound="at least", wanted=WANTED, found=rate["ours"] / rate["peer"]))
        difference = max(line.figures[DIFFERENCE] for line in others)
        wanted = 1e9 * TOLERANCES[case.partition(",")[0]]
        found.append(Target(what=f"{case}, largest {DIFFERENCE}", bound="at most", wanted=wanted, found=difference))
    return found


def main() -> int:
    """Measure and report."""
    options = report.arguments("Rows explained in a second, beside the lime and shap packages.").parse_args()
    made = report.context(quick=options.quick)
    bundle = prepare(report.FOLDER / "explain")
    rows = bundle.encoder.table(table(64, SEED + 1))
    samples, many, repeats = (1000, 2, 2) if options.quick else (SAMPLES, 10, 5)
    lines = [line for count in (1, many) for line in measure_lime(bundle, rows[:count], samples, repeats)]
    lines += [line for count in (1, len(rows)) for line in measure_shap(bundle, rows[:count], repeats)]
    found = Report(
        name="explain",
        context=made,
        setup={"features": len(bundle.schema.features), "samples": samples, "training_rows": ROWS},
        lines=lines,
        compared=COMPARED,
        ratios=report.ratios(lines, of=COMPARED),
        targets=targets(lines),
    )
    report.publish(found, title="rows explained in a second, and the largest difference of a contribution from ours")
    return 0


if __name__ == "__main__":
    sys.exit(main())
