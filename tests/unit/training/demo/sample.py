"""A realistic report of a whole run, as the demo would write it."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import numpy as np

START = dt.datetime(2013, 4, 1, tzinfo=dt.UTC)
STATIC = [0.666, 0.684, 0.676, 0.697, 0.683, 0.646, 0.649, 0.694, 0.706]
LOOP = [0.666, 0.699, 0.702, 0.741, 0.705, 0.717, 0.655, 0.696, 0.690]
LATE = [0.256, 0.221, 0.310, 0.325, 0.236, 0.131, 0.159, 0.172, 0.298]
ROWS = [27_500, 28_100, 27_000, 28_300, 28_700, 27_000, 28_500, 26_900, 27_100]
FEATURES = [
    "temp",
    "dewp",
    "humid",
    "pressure",
    "pressure_change_3h",
    "visib",
    "wind_gust",
    "precip",
    "dest",
    "carrier",
    "departure_minute",
    "seats",
]


def at(day: int) -> str:
    """ISO time of a day of the run."""
    return (START + dt.timedelta(days=day)).strftime("%Y-%m-%dT%H:%M:%SZ")


def drift(*, seed: int = 0) -> list[dict[str, object]]:
    """One entry a day and metric; temperature and dew point move with the season."""
    rng = np.random.default_rng(seed)
    metrics = [("feature_drift", name) for name in FEATURES] + [
        ("prediction_drift", "score"),
        ("performance", "brier"),
        ("quality", "plane_year.missing"),
    ]
    entries = []
    evidence = dict.fromkeys(metrics, 0.0)
    for day in range(1, 276):
        for kind, name in metrics:
            lift = 1.0 if name not in {"temp", "dewp"} else 1.2 + 0.1 * math.sin(day / 40)
            evidence[kind, name] = (evidence[kind, name] + 0.05) * lift * float(rng.lognormal(-0.15, 0.5))
            alarm = evidence[kind, name] > 120
            value, expected = float(rng.uniform(0.05, 0.4)), 0.08
            entries.append(
                {
                    "at": at(day),
                    "bundle": "1",
                    "kind": kind,
                    "name": name,
                    "value": value,
                    "expected": expected,
                    "unit": "share of rows in other cells than on the reference",
                    "evidence": evidence[kind, name],
                    "alarm": alarm,
                }
            )
            if alarm:
                evidence[kind, name] = 0.0
    return entries


def sample() -> dict[str, Any]:
    """Nine months, two promotions, two refusals, one abandoned run."""
    months = [f"2013-{month:02d}" for month in range(4, 13)]
    moved = "changed since about 2013-04-24 00:00 UTC: temp: mean went from 37.8 to 61.2 (+1.90 standard deviations)"
    weak = "roc_auc is not shown to improve: champion 0.7011, challenger 0.6987 on 6,412 rows; the improvement is at least -0.0081 with 95% confidence (must exceed +0.0000)"
    strong = "roc_auc improves: champion 0.6614, challenger 0.6993 on 6,318 rows; the improvement is at least +0.0182 with 95% confidence (must exceed +0.0000)"
    calm = "schedule: 30 days since the last retrain"
    return {
        "model": "flights",
        "generated": "2026-11-22T19:20:00Z",
        "rows_served": 249_100,
        "requests": 5_230,
        "http_errors": 0,
        "acknowledged_not_in_journal": 0,
        "labels_joined": 245_012,
        "alarms": [
            {"at": at(30), "bundle": "1", "kind": "feature_drift", "name": "temp", "message": moved, "evidence": 190.2},
            {"at": at(30), "bundle": "1", "kind": "feature_drift", "name": "dewp", "message": moved, "evidence": 190.2},
            {
                "at": at(88),
                "bundle": "2",
                "kind": "performance",
                "name": "brier",
                "message": "changed since about 2013-06-20 00:00 UTC: brier of predictions went from 0.172 to 0.214",
                "evidence": 185.0,
            },
        ],
        "retrains": [
            {
                "at": at(30),
                "run": "flights-20130501T000000",
                "reason": f"alarm: {moved}",
                "version": "2",
                "rows": 81_200,
                "seconds": 34.2,
                "outcome": "promoted",
                "explanation": strong,
            },
            {
                "at": at(88),
                "run": "flights-20130628T000000",
                "reason": "alarm: changed since about 2013-06-20: brier went from 0.172 to 0.214",
                "version": "3",
                "rows": 82_950,
                "seconds": 35.0,
                "outcome": "promoted",
                "explanation": strong,
            },
            {
                "at": at(140),
                "run": "flights-20130819T000000",
                "reason": calm,
                "version": "4",
                "rows": 83_000,
                "seconds": 33.7,
                "outcome": "refused",
                "explanation": weak,
            },
            {
                "at": at(200),
                "run": "flights-20131018T000000",
                "reason": calm,
                "version": None,
                "rows": None,
                "seconds": None,
                "outcome": "abandoned",
                "explanation": "training failed 3 times",
            },
            {
                "at": at(245),
                "run": "flights-20131202T000000",
                "reason": calm,
                "version": "5",
                "rows": 82_400,
                "seconds": 36.1,
                "outcome": "refused",
                "explanation": weak,
            },
        ],
        "promotions": [
            {"at": None, "version": "1", "previous": None, "by": "homeostat train", "reason": "the first model"},
            {"at": at(30), "version": "2", "previous": "1", "by": "steward", "reason": strong},
            {"at": at(88), "version": "3", "previous": "2", "by": "steward", "reason": strong},
        ],
        "refusals": [
            {
                "at": at(day),
                "version": version,
                "reasons": [weak, "calibration error 0.0210 is within 0.0500"],
                "metric": "roc_auc",
                "champion": 0.7011,
                "challenger": 0.6987,
                "improvement": {"estimate": -0.0024, "lower": -0.0081, "upper": 0.0033},
            }
            for day, version in ((140, "4"), (245, "5"))
        ],
        "static_auc_by_month": dict(zip(months, STATIC, strict=True)),
        "loop_auc_by_month": dict(zip(months, LOOP, strict=True)),
        "rows_by_month": dict(zip(months, ROWS, strict=True)),
        "late_rate_by_month": dict(zip(months, LATE, strict=True)),
        "drift": drift(),
        "latency_ms": {"p50": 11.4, "p99": 48.9, "max": 1_310.0},
        "cascade": {"student_share": 0.713, "agreement": 0.9841},
        "wall_s": {"train": 41.0, "serve": 14.2, "replay": 341.5, "retrain": 171.0, "report": 3.1, "total": 399.8},
        "budget": {"one_false_alarm_in": "180d", "window": "1d"},
        "bundles": [
            {"version": "1", "trained_on_until": "2013-04-01T00:00:00Z", "metrics": {"roc_auc": 0.7012, "log_loss": 0.512, "brier": 0.168}},
            {"version": "2", "trained_on_until": "2013-05-01T00:00:00Z", "metrics": {"roc_auc": 0.7154, "log_loss": 0.498, "brier": 0.164}},
        ],
        "peak_memory_mib": 5_120,
    }
