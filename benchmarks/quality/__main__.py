"""Measure and report; see `benchmarks.quality`."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from benchmarks import report
from benchmarks.peers.tabular import Fitted, Table
from benchmarks.quality import judge, ours, tables
from benchmarks.quality.cases import CASES, QUICK_ROWS, SEED, Case, as_table, encoded
from benchmarks.quality.judge import Contender
from benchmarks.report import Line, Report, Target, console
from cluster.environment import prepare
from cluster.errors import HomeostatError
from cluster.schema import Floats, Label, Matrix
from cluster.settings import load
from training.data.datasets import read_table

PEERS: Final = {"tuned XGBoost": "tuned_xgboost", "tuned CatBoost": "tuned_catboost", "LightGBM, untuned": "plain_lightgbm"}
FOLDER: Final = report.FOLDER / "quality"
CACHE: Final = Path("var/data")
BUDGET_S: Final = 90.0
QUICK_BUDGET_S: Final = 10.0
COMPARED: Final = "one_row_us"
PACKAGES: Final = ("catboost", "lightgbm", "optuna", "torch")


class Found(NamedTuple):
    """What one data set gave."""

    lines: list[Line]
    targets: list[Target]


def run(case: Case, *, budget_s: float, quick: bool) -> Found:
    """Train everybody on one data set and judge them on its test rows."""
    settings = load(f"configs/{case.name}.yaml")
    whole = read_table(settings.data.model_copy(update={"since": None, "until": None}), time=settings.columns.time, cache=CACHE)
    split = case.split(whole).thinned(QUICK_ROWS) if quick else case.split(whole)
    learn, test = whole.take(split.learn), whole.take(split.test)
    console.print(f"{case.name}: {len(split.learn):,} rows to learn from, {len(split.test):,} to test on", soft_wrap=True)
    made = ours.train(case.name, learn, FOLDER / case.name, budget_s=budget_s)
    schema = made.bundle.schema
    matrix, y = encoded(schema, test)
    contenders = _ours(made, matrix, calls=_calls(quick=quick))
    given = as_table(schema, learn, split.choose)
    for who, module in PEERS.items():
        contenders.append(_peer(who, module, given, matrix, budget_s=max(budget_s, made.seconds), quick=quick))
    return _judged(case, schema.label, y, contenders, split.blocks)


def _ours(made: ours.Trained, matrix: Matrix, *, calls: int) -> list[Contender]:
    row = matrix[:1]
    found = []
    for who, score in made.parts.items():
        costs = {"one_row_us": judge.one_row_us(lambda score=score: score(row), calls=calls)}  # type: ignore[misc]
        if who == "ensemble":
            costs["train_s"] = made.seconds
        found.append(Contender(who, "ours" if who == "ensemble" else "variant", score(matrix), costs))
    return found


def _peer(who: str, module: str, given: Table, matrix: Matrix, *, budget_s: float, quick: bool) -> Contender:
    fit: Callable[..., Fitted] = importlib.import_module(f"benchmarks.peers.{module}").fit  # each only when its turn comes
    began = time.monotonic()
    fitted = fit(given, budget_s=budget_s, seed=SEED)
    seconds = time.monotonic() - began
    scores = fitted.scores(matrix)
    cost_us = judge.one_row_us(fitted.single(matrix[:1]), calls=_calls(quick=quick))
    return Contender(who, "peer", scores, {"train_s": seconds, "trials": fitted.trials, "one_row_us": cost_us})


def _calls(*, quick: bool) -> int:
    return 200 if quick else 2000


def _judged(case: Case, label: Label, y: Floats, contenders: list[Contender], blocks: Any) -> Found:
    lines = judge.lines(case.name, label, y, contenders)
    peer, scores = judge.best_peer(label, lines).who, {c.who: c.scores for c in contenders}
    interval = judge.gain(label, y, scores["ensemble"], scores[peer], blocks, rng=np.random.default_rng(SEED))
    targets = judge.targets(case.name, label, lines, peer, interval)
    console.print(tables.table(case.name, lines))
    for target in targets:
        console.print(tables.verdict(target), soft_wrap=True, markup=False)
    return Found(lines, targets)


def _context(options: argparse.Namespace) -> report.Context:
    made = report.context(quick=options.quick)
    versions = made.versions | {name: importlib.metadata.version(name) for name in PACKAGES}
    return msgspec.structs.replace(made, command=" ".join(["python -m benchmarks.quality", *sys.argv[1:]]), versions=versions)


def main() -> int:
    """Run the data sets one after the other, or render what the last run found."""
    prepare()
    parser = report.arguments("How good the models are, beside tuned peers.")
    parser.add_argument("--only", choices=[case.name for case in CASES], help="one data set")
    parser.add_argument("--budget", type=float, metavar="SECONDS", help=f"for each contender, {BUDGET_S:g} unless told")
    parser.add_argument("--markdown", action="store_true", help="print the last run as Markdown, and measure nothing")
    options = parser.parse_args()
    result = report.FOLDER / (f"quality-{options.only}.json" if options.only else "quality.json")
    if options.markdown:
        sys.stdout.write(tables.markdown(msgspec.json.decode(result.read_bytes(), type=Report)))
        return 0
    budget_s = options.budget or (QUICK_BUDGET_S if options.quick else BUDGET_S)
    context, found, failed = _context(options), {}, {}
    for case in CASES:
        if options.only in (None, case.name):
            try:
                found[case.name] = run(case, budget_s=budget_s, quick=options.quick)
            except HomeostatError as error:
                failed[case.name] = str(error)
                console.print(f"{case.name}: not measured: {error}", soft_wrap=True, markup=False)
    _write(result, context, budget_s, list(found.values()), failed)
    return 1 if failed else 0


def _write(path: Path, context: report.Context, budget_s: float, found: list[Found], failed: dict[str, str]) -> None:
    lines = [line for one in found for line in one.lines]
    made = Report(
        name="quality",
        context=context,
        setup={"budget_s": budget_s},
        lines=lines,
        compared=COMPARED,
        ratios=report.ratios(lines, of=COMPARED),
        targets=[target for one in found for target in one.targets],
        not_measured=failed,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(made), indent=1) + b"\n")
    console.print(f"written to {path}")


if __name__ == "__main__":
    sys.exit(main())
