"""Explanations over real HTTP, with the ensemble in a deployment of its own; and contributions beside the shap package, whose import takes seconds."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml

from cluster import service
from cluster.bundle import TREES, Bundle
from cluster.explaining.contributions import contributions, read_booster
from cluster.journal import scan
from cluster.runtime import LocalCluster
from cluster.schema import Task
from cluster.settings import Settings
from tests import builders
from tests.unit.cluster.explaining.bundles import LABELS, make_explained, margins_of, rows_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its own colour maps are made in a way that matplotlib will drop
    import shap

ROWS = [builders.make_row(), builders.make_row(miles=None, carrier="ZZ")]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, http_port: int) -> Settings:
    """A model whose first version can be explained by every method."""
    root = tmp_path_factory.mktemp("explained")
    folder = root / "bundles" / "1"
    builders.publish(root, folder, version="1", digest=make_explained(folder))
    return builders.make_settings(root, port=http_port, poll_s=0.1, ensemble={"placement": "deployment"})


@pytest.fixture(scope="module")
def url(settings: Settings, ray_cluster: LocalCluster) -> Iterator[str]:
    """The base URL of its service."""
    path = Path(settings.places.root) / "model.yaml"
    path.write_text(yaml.safe_dump(settings.dump()))
    yield service.up({str(path): settings}, loop=False)
    service.down([settings])


def explained(url: str, **body: Any) -> Any:
    answer = httpx.post(f"{url}/v1/explain", json={"rows": ROWS} | body, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_every_method_answers_where_the_ensemble_is_elsewhere_and_nothing_is_journaled(url: str, settings: Settings) -> None:
    bundle = Bundle(Path(settings.places.root) / "bundles" / "1")
    matrix = bundle.encoder.columns({name: [row[name] for row in ROWS] for name in bundle.schema.names})
    exact, near, rule = (explained(url, method=method) for method in ("shap", "lime", "surrogate"))

    assert [found["explains"]["part"] for found in (exact, near, rule)] == ["xgboost", "student", "ensemble"]
    assert [row["score"] for row in exact["explanations"]] == pytest.approx(margins_of(bundle.schema, matrix)[:, 0].tolist(), abs=1e-4)
    for row in exact["explanations"]:
        assert row["base"] + sum(part["contribution"] for part in row["contributions"]) == pytest.approx(row["score"])
    assert [row["score"] for row in near["explanations"]] == pytest.approx(bundle.student(matrix)[:, 0].tolist(), rel=1e-5)
    assert all(row["rule"]["conditions"] for row in rule["explanations"])
    assert explained(url)["method"] == "shap"
    assert list(scan(settings.places.journal(settings.model))) == []


def test_a_mistake_is_told_as_for_predictions_and_the_next_request_is_answered(url: str) -> None:
    body = json.dumps({"rows": [builders.make_row(miles="far")]})
    explanation, prediction = (
        httpx.post(f"{url}{path}", content=body, headers={"Content-Type": "application/json"}) for path in ("/v1/explain", "/v1/predict")
    )
    assert (explanation.status_code, explanation.json()) == (422, prediction.json())
    late = httpx.post(f"{url}/v1/explain", json={"rows": ROWS}, headers={"X-Request-Timeout": "1e-9"})
    assert (late.status_code, late.json()["error"]["type"]) == (504, "DeadlineExceeded")
    assert len(explained(url, top=1)["explanations"][0]["contributions"]) == 1


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("algorithm", ["as it comes", "its own"])
def test_contributions_equal_those_of_the_shap_package(task: Task, algorithm: str, tmp_path: Path) -> None:
    """As it comes, the package asks XGBoost too; its own algorithm is an independent one."""
    schema = builders.make_schema(label=LABELS[task])
    make_explained(tmp_path, schema)
    booster, matrix = read_booster(tmp_path / TREES), rows_of(schema, 40, seed=1).X
    explainer = shap.TreeExplainer(booster)
    if algorithm == "its own":
        explainer.model.model_type = "internal"
    found = contributions(booster, matrix)
    expected = np.asarray(explainer.shap_values(matrix, check_additivity=False)).reshape(found.values.shape)
    near = 1e-4 * max(1.0, float(np.abs(expected).max()))
    assert found.values == pytest.approx(expected, abs=near)
    rest = margins_of(schema, matrix) - expected.sum(axis=1)  # the package's own expected value does not always make up the margin
    assert found.base == pytest.approx(rest, abs=near)
