"""A bundle's folder with every file that a figure or a card may quote, made of the record types; the figures are invented."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from cluster.bundle import CascadeRule
from cluster.intervals import Intervals
from cluster.records import Interval
from cluster.schema import Feature, FeatureSchema, Label, Task
from monitoring.fairness import Attribute, Comparison, FairnessReport, Group
from tests.builders import make_costs
from tests.unit.training.tables import rows_of
from training.composing.calibration import Calibration
from training.composing.distill import Distilled, Try
from training.composing.ensemble import Blend
from training.explaining.explanation import explain
from training.explaining.lime_setup import lime_setup
from training.judging.checks import Checks, Outcome
from training.judging.edge_cases import EdgeCases
from training.judging.evaluate import Bin
from training.judging.memorisation import Columns, Suspect
from training.judging.slices import Slice, Slices
from training.judging.stability import Disturbance, Part, Spread, Stress
from training.lineage import Lineage
from training.members import Rows

NAMES: dict[Task, tuple[str, ...]] = {
    "binary": ("roc_auc", "log_loss", "brier", "ece", "accuracy", "base_rate"),
    "multiclass": ("log_loss", "accuracy", "roc_auc_ovr", "ece"),
    "regression": ("rmse", "mae", "r2"),
}
WHO = ("ensemble", "student", "xgboost", "torch", "linear")


def schema_for(task: Task) -> FeatureSchema:
    """Wind, carrier, miles and seconds, with what a card shows of columns."""
    return FeatureSchema(
        features=(
            Feature(name="wind", type="number", range=(0, 87.5), description="gusts an hour before, in knots"),
            Feature(name="carrier", type="category", categories=tuple("ABCDE"), description="airline | operator"),
            Feature(name="miles", type="number"),
            Feature(name="seconds", type="number"),
        ),
        label=Label(
            name="late", task=task, classes={"binary": (0, 1), "multiclass": ("early", "on_time", "late"), "regression": None}[task]
        ),
        time="at",
        protected=("sex", "race"),
    )


def make_evidence(folder: Path, task: Task = "binary", *, leave_out: tuple[str, ...] = ()) -> Path:
    """Write the files, but for those left out by their path; returns the folder."""
    for path, document in documents(task).items():
        if path not in leave_out:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1))
    return folder


@functools.cache
def documents(task: Task) -> dict[str, Any]:
    """Every file by its path in the bundle."""
    schema, rng = schema_for(task), np.random.default_rng(4)
    found: dict[str, Any] = {
        "schema.json": schema.model_dump(mode="json"),
        "settings.json": {"model": "flights", "card": {"purpose": "Tells the desk which flights to watch.", "contact": "ops@example.org"}},
        "blend.json": _blend(task),
        "distillation.json": _distilled(),
        "costs.json": make_costs(),
        "cascade.json": CascadeRule(
            threshold=0.135,
            max_disagreement=0.02,
            confidence=0.95,
            student_share=0.8123,
            disagreement=0.0112,
            rows=4321,
            upper_bound=0.0151,
            tolerance=3.25 if task == "regression" else None,
        ),
        "lineage.json": _lineage(),
        "metrics.json": _metrics(task, rng),
        "evaluation/slices.json": _slices(),
        "evaluation/stability.json": _stability(task),
        "evaluation/checks.json": _checks(),
        "evaluation/columns.json": _columns(),
        "evaluation/fairness.json": _fairness(task),
        "evaluation/mitigation.json": {
            "constraint": "demographic_parity",
            "attribute": "sex",
            "rows": 30000,
            "groups": {"male": [-0.9, 1.1]},
            "neutral": [-1.0, 1.0],
            "gap_before": 0.1432,
            "gap": 0.0321,
            "cost_before": 0.2034,
            "cost": 0.2081,
        },
        "evaluation/explanation.json": _explanation(task, schema),
        "explanation/lime.json": lime_setup(schema, rows_of(task, 200).X),
    }
    if task == "regression":
        found["intervals.json"] = Intervals(
            confidence=0.9, method="split conformal", edges=[101.5, 187.25], half_widths=[11.5, 19.75, 36.5], rows=1234, coverage=0.9087
        )
    else:
        found["evaluation/calibration.json"] = {
            who: [Bin(rows=267, mean_score=s, rate=min(1, s * shift)) for s in np.linspace(0.03, 0.83, 15).tolist()]
            for who, shift in (("ensemble", 1.04), ("student", 0.93))
        }
    return found


def _metrics(task: Task, rng: np.random.Generator) -> dict[str, Any]:
    base = {"roc_auc": 0.7214, "log_loss": 0.4837, "brier": 0.1541, "ece": 0.0123, "accuracy": 0.7876, "base_rate": 0.2345}
    base |= {"roc_auc_ovr": 0.8123, "rmse": 12.34, "mae": 8.765, "r2": 0.8765}

    def figures() -> dict[str, dict[str, float]]:
        return {who: {n: round(base[n] * (1 + 0.01 * rng.normal()), 6) for n in NAMES[task]} for who in WHO}

    held_out = figures()
    return {
        "held_out": held_out,
        "intervals": {who: {n: (0.987 * v, 1.013 * v) for n, v in values.items() if n != "base_rate"} for who, values in held_out.items()},
        "interval_confidence": 0.95,
        "forward": figures(),
        "parity": {"xgboost": 1.19e-07, "torch": 2.4e-07, "ensemble": 1.8e-07},
        "rows": {"train": 198765, "tune": 41234, "held_out": 17654, "fitted": 239999},
        "something_new": [1, 2, 3],
    }


def _blend(task: Task) -> Blend:
    weights = {"xgboost": 0.6123, "torch": 0.3254, "linear": 0.0623}
    return Blend(
        weights=weights,
        calibration=Calibration()
        if task == "regression"
        else Calibration(kind="platt" if task == "binary" else "temperature", a=1.13, b=1.13, c=0.07),
        calibration_losses={} if task == "regression" else {"none": 0.4871, "platt": 0.4838, "isotonic": 0.4842},
        loss=0.4837,
        member_losses={"xgboost": 0.4861, "torch": 0.4918, "linear": 0.5123},
        fell_back=False,
        learned_weights=weights,
        rows=41234,
        crossed_loss=0.4841,
    )


def _distilled() -> Distilled:
    return Distilled(
        taught_by="both",
        rounds=120,
        max_depth=6,
        calibration=Calibration(),
        soft_loss=0.4899,
        hard_loss=0.4921,
        teacher_loss=0.4837,
        gain_metric="roc_auc",
        gain_kept=0.9912,
        unlabelled_rows=5120,
        sizes=[60, 120],
        tries=[
            Try(taught_by="ensemble", rounds=60, loss=0.4931, gain_kept=0.9312),
            Try(taught_by="both", rounds=120, loss=0.4897, gain_kept=0.9912),
        ],
        verdict="keeps 99.1% of the ensemble's gain over the linear baseline in roc_auc; 99% was asked for",
    )


def _lineage() -> Lineage:
    return Lineage(
        run="flights-20130401T000000",
        reason="asked for at the command line",
        data_source="flights",
        data_sha256="9f2c" * 16,
        rows=257653,
        since=1357016400.0,
        until=1364687940.0,
        code_commit="0123456789abcdef0123456789abcdef01234567+",
        settings_sha256="4b1d" * 16,
        seed=7,
        num_workers=2,
        python="3.11.9",
        machine="x86_64",
        pins={"homeostat": "0.1.0", "xgboost": "3.2.0"},
    )


def _slices() -> Slices:
    inside = Interval(estimate=0.1521, lower=0.1132, upper=0.1911)
    return Slices(
        rows=58888,
        loss="log_loss",
        metric="roc_auc",
        tested=43,
        found=[
            Slice(
                where="carrier in {E, D} and wind <= 3.2",
                features=("carrier", "wind"),
                source="tree",
                rows=1822,
                share=0.0619,
                loss=0.6312,
                rest_loss=0.4791,
                expected_loss=0.6021,
                excess=inside,
                p_value=0.00012,
                metric=0.6634,
                rest_metric=0.7245,
            )
        ],
        message="1 of 43 slices is worse than the rest",
    )


def _stability(task: Task) -> dict[str, Any]:
    metric = NAMES[task][0]

    def disturbed(kind: Any, size: float, change: float, feature: str | None = None) -> Disturbance:
        return Disturbance(
            kind=kind,
            size=size,
            feature=feature,
            rows=2000,
            score_change=change,
            flipped=None if task == "regression" else 0.0412,
            before={metric: 0.7214},
            after={metric: 0.6891},
            worst_feature=None if feature else "wind",
            worst_change=None if feature else 0.0311,
        )

    def spread(kind: Any, message: str, **more: Any) -> Spread:
        parts = [Part(name=f"{kind} {i + 1}", rows=1000 + i, value=0.7 + i / 80) for i in range(3)]
        return Spread(kind=kind, metric=metric, parts=parts, mean=0.7125, sd=0.0125, worst=0.7, message=message, **more)

    return {
        "stress": Stress(
            rows=2000,
            feature_rows=500,
            metric=metric,
            disturbances=[
                disturbed("noise", 0.1, 0.0213),
                disturbed("missing", 0.1, 0.0387),
                disturbed("feature_missing", 1.0, 0.0551, "wind"),
            ],
        ),
        "time": spread("time", "the metric moves by 0.0125 from piece to piece"),
        "groups": None,
        "seeds": spread("seeds", "of seeds alone 0.0125"),
    }


def _checks() -> Checks:
    return Checks(
        outcomes=[
            Outcome(name="more wind", kind="monotonic", passed=True, rows=1877, share=1.0, needed=0.99, message="holds on every row"),
            Outcome(
                name="carriers alike",
                kind="invariance",
                passed=False,
                rows=1877,
                share=0.9512,
                needed=0.98,
                message="95.12 % of 1,877 rows",
            ),
            Outcome(name="rare", kind="range", passed=None, rows=3, share=None, needed=1.0, message="3 rows matched; 50 are needed"),
        ],
        edge_cases=EdgeCases(passed=True, rows=19, failed=[], largest_difference=1.2e-07, message="19 rows were scored, all finite"),
    )


def _columns() -> Columns:
    return Columns(
        rows=239999,
        days=90,
        suspects=[Suspect(feature="seconds", reason="counter", evidence="rises with time in 99.8 % of neighbouring rows")],
        metric="roc_auc",
        with_suspects=0.6761,
        without_suspects=0.6883,
        gain=0.0122,
        message="1 column tells the date; without it later rows are ranked better by 0.0122",
    )


def _fairness(task: Task) -> FairnessReport:
    names = {
        "binary": ("selection_rate", "tpr", "fpr", "base_rate", "accuracy", "mean_score", "calibration"),
        "multiclass": ("tpr[late]", "accuracy", "calibration"),
        "regression": ("mean_prediction", "mae", "calibration"),
    }[task]

    def group(name: str, rows: int, shift: float, *, judged: bool = True) -> Group:
        figures = {n: Interval(estimate=v, lower=v - 0.021, upper=v + 0.021) for i, n in enumerate(names) for v in [0.11 * (i + 1) + shift]}
        return Group(
            name=name,
            rows=rows,
            labelled=rows,
            judged=judged,
            figures=figures,
            ece=None if task == "regression" else 0.0234,
            ece_by_chance=0.0311,
        )

    def pair(metric: str, estimate: float) -> Comparison:
        gap = Interval(estimate=estimate, lower=estimate - 0.03, upper=estimate + 0.03)
        return Comparison(
            metric=metric, group="female", other="male", difference=gap, ratio=Interval(estimate=0.87, lower=0.81, upper=0.93)
        )

    return FairnessReport(
        task=task,
        confidence=0.95,
        level=0.9917,
        pairs=6,
        min_group_rows=100,
        overall=group("overall", 58888, 0.0),
        attributes=[
            Attribute(
                name="sex",
                groups=[group("male", 30123, 0.013), group("female", 28712, -0.011), group("(small groups)", 53, 0.0, judged=False)],
                small={"(missing)": 53},
                comparisons=[pair(names[0], -0.0541), pair(names[1], 0.0123)],
            )
        ],
        refused={"race": "212 groups, and at most 50 are looked at"},
    )


def _explanation(task: Task, schema: FeatureSchema) -> Any:
    rows = rows_of(task, 400, seed=9)

    def scorer(matrix: np.ndarray) -> np.ndarray:
        z = 1.5 * np.nan_to_num(matrix[:, 0]) + 0.6 * (np.nan_to_num(matrix[:, 1], nan=2.5) - 2.5)
        p = 1 / (1 + np.exp(-z))
        columns = {"binary": [p], "multiclass": [(1 - p) / 2, (1 - p) / 2, p], "regression": [200 + 30 * z]}[task]
        return np.column_stack(columns).astype(np.float32)

    return explain(schema, scorer, Rows(rows.X, rows.y), rng=np.random.default_rng(2))
