from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cluster.bundle import TREES, Bundle
from cluster.errors import BundleError, NotServed, ScoringFailed
from cluster.explaining import neighbourhood, rules
from cluster.explaining.contributions import read_booster
from cluster.explaining.explainer import Asked, Chosen, Explained, Explainer, Method, output_of
from cluster.schema import FeatureSchema, Label, Matrix, Task
from tests.builders import make_schema
from tests.unit.cluster.explaining.bundles import LABELS, make_explained, margins_of, rows_of

each_task = pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])


def schema_of(task: Task) -> FeatureSchema:
    return make_schema(label=LABELS[task])


def explain(bundle: Bundle, matrix: Matrix, method: Method, *, output: int | None = None) -> Explained:
    asked = Asked(Chosen(method, "the test says so"), "ensemble", bundle.ensemble, samples=600, output=output)
    return Explainer(bundle).explain(matrix, asked)


def holds(condition: rules.Condition, schema: FeatureSchema, row: Matrix) -> bool:
    place = schema.names.index(condition.feature)
    return rules.meets(condition, schema.features[place], float(row[place]))


@each_task
def test_exact_contributions_add_up_to_the_margin_of_the_explained_class(task: Task, tmp_path: Path) -> None:
    schema = schema_of(task)
    make_explained(tmp_path, schema)
    X = rows_of(schema, 20, seed=5).X
    found, margins = explain(Bundle(tmp_path), X, "shap"), margins_of(schema, X)
    assert found.explains == "xgboost"
    assert (
        found.unit
        == {"binary": "log odds of the class", "multiclass": "margin of the class before the softmax", "regression": "late"}[task]
    )
    assert [b.output for b in found.rows] == {"binary": [1] * 20, "multiclass": margins.argmax(axis=1).tolist(), "regression": [0] * 20}[
        task
    ]
    for because, row in zip(found.rows, margins, strict=True):
        assert because.contributions is not None
        assert because.base is not None
        assert because.score == pytest.approx(row[because.output if task == "multiclass" else 0], abs=1e-4)
        assert because.base + because.contributions.sum() == pytest.approx(because.score, abs=1e-9)
        assert because.fidelity is None


def test_the_other_class_of_two_is_the_same_turned_round(tmp_path: Path) -> None:
    make_explained(tmp_path)
    bundle, X = Bundle(tmp_path), rows_of(make_schema(), 3, seed=5).X
    methods: tuple[tuple[Method, float], ...] = (("shap", 0.0), ("lime", 1.0))
    for method, whole in methods:
        one, other = explain(bundle, X, method, output=1), explain(bundle, X, method, output=0)
        for late, early in zip(one.rows, other.rows, strict=True):
            assert late.contributions is not None
            assert early.contributions is not None
            assert early.contributions == pytest.approx(-late.contributions, abs=1e-9)
            assert early.score == pytest.approx(whole - late.score, abs=1e-6)


@each_task
def test_lime_explains_the_scorer_it_is_given_and_says_how_faithfully(task: Task, tmp_path: Path) -> None:
    schema = schema_of(task)
    make_explained(tmp_path, schema)
    bundle, X = Bundle(tmp_path), rows_of(schema, 4, seed=5).X
    X[0, 1] = np.nan
    found, scores = explain(bundle, X, "lime"), bundle.ensemble(X)
    assert (found.explains, found.unit) == ("ensemble", "late" if task == "regression" else "probability of the class")
    for because, row in zip(found.rows, scores, strict=True):
        assert because.score == pytest.approx(float(row[because.output if task == "multiclass" else 0]), rel=1e-5)
        assert because.fidelity is not None
        assert 0 < because.fidelity < 1
    assert found.rows[0].conditions[1] == "wind is missing"
    assert found.rows[0].conditions[2].startswith("carrier=")


def test_made_up_rows_are_scored_once_for_all_requests_of_the_same_samples_and_seed(tmp_path: Path) -> None:
    make_explained(tmp_path)
    bundle, X, calls = Bundle(tmp_path), rows_of(make_schema(), 3, seed=5).X, list[int]()

    def scorer(rows: Matrix) -> Matrix:
        calls.append(len(rows))
        return bundle.ensemble(rows)

    explainer, asked = Explainer(bundle), Asked(Chosen("lime", ""), "ensemble", scorer, samples=200)
    first, again = (explainer.explain(X, asked) for _ in range(2))
    assert calls == [199, 3, 3]
    assert [b.score for b in first.rows] == [b.score for b in again.rows]
    explainer.explain(X, asked._replace(seed=8))
    explainer.explain(X, asked._replace(who="student", scorer=bundle.student))
    assert calls == [199, 3, 3, 199, 3]
    student = explainer.explain(X, asked._replace(who="student", scorer=bundle.student))
    assert [b.score for b in student.rows] == pytest.approx(bundle.student(X)[:, 0].tolist(), rel=1e-5)


@each_task
def test_the_surrogates_rule_is_met_by_the_row_and_carries_its_fidelity(task: Task, tmp_path: Path) -> None:
    schema = schema_of(task)
    make_explained(tmp_path, schema)
    X = rows_of(schema, 50, seed=6).X
    surrogate = rules.read_surrogate(tmp_path)
    found = explain(Bundle(tmp_path), X, "surrogate")
    for because, row in zip(found.rows, X, strict=True):
        met = [rule for rule in surrogate.rules if all(holds(condition, schema, row) for condition in rule.conditions)]
        assert met == [because.rule]
        assert because.rule is not None
        assert list(because.conditions) == [rules.describe(c) for c in because.rule.conditions]
        assert because.fidelity == surrogate.r2
    assert found.agreement == surrogate.agreement
    if task == "multiclass":
        assert {because.output for because in found.rows} == {0, 1, 2}


# Which method


def test_the_trees_are_explained_exactly_where_they_are_most_of_the_ensemble(tmp_path: Path) -> None:
    make_explained(tmp_path, weight=0.61)
    explainer = Explainer(Bundle(tmp_path))
    assert explainer.methods == ("shap", "lime", "surrogate")
    assert explainer.choose(None) == ("shap", "exact, and the trees are 61% of the ensemble")
    assert explainer.choose("lime") == ("lime", "asked for")


@pytest.mark.parametrize(
    ("leave_out", "weight", "method", "why"),
    [
        ((), 0.2, "lime", "only 20% of the ensemble"),
        ((), None, "shap", "the trees belong to the ensemble"),
        ((TREES,), 1.0, "lime", "there are no trees"),
        ((TREES, neighbourhood.NAME), 1.0, "surrogate", "holds nothing better"),
    ],
)
def test_else_the_next_best_is_taken_and_the_reason_told(leave_out, weight, method, why, tmp_path: Path) -> None:
    make_explained(tmp_path, leave_out=leave_out, weight=weight)
    chosen = Explainer(Bundle(tmp_path)).choose(None)
    assert chosen.method == method
    assert why in chosen.why


def test_what_a_bundle_cannot_do_is_refused_with_what_it_can(tmp_path: Path) -> None:
    make_explained(tmp_path / "a", leave_out=[TREES])
    with pytest.raises(NotServed, match=r"holds no 'members/xgboost\.ubj'; it can do: lime, surrogate") as refused:
        Explainer(Bundle(tmp_path / "a", version="3")).choose("shap")
    assert refused.value.details == ({"found": "shap", "allowed": ["lime", "surrogate"]},)
    make_explained(tmp_path / "b", leave_out=[TREES, neighbourhood.NAME, rules.NAME])
    with pytest.raises(NotServed, match=r"version 4 cannot be explained: it holds none of .* train it anew"):
        Explainer(Bundle(tmp_path / "b", version="4")).choose(None)


# What goes wrong


def test_scores_that_are_not_finite_are_a_failure_of_the_model(tmp_path: Path) -> None:
    make_explained(tmp_path)
    asked = Asked(Chosen("lime", ""), "student", lambda m: np.full((len(m), 1), np.nan, dtype=np.float32), samples=200)
    with pytest.raises(ScoringFailed, match="not finite"):
        Explainer(Bundle(tmp_path)).explain(rows_of(make_schema(), 2).X, asked)


def test_files_of_another_form_are_named(tmp_path: Path) -> None:
    make_explained(tmp_path)
    (tmp_path / TREES).write_bytes(b"{}")
    with pytest.raises(BundleError, match=r"xgboost\.ubj' is not a model that XGBoost can read"):
        read_booster(tmp_path / TREES)
    (tmp_path / rules.NAME).write_bytes(b'{"surrogate": {}}')
    with pytest.raises(BundleError, match=r"explanation\.json in .* cannot be read"):
        rules.read_surrogate(tmp_path)
    with pytest.raises(BundleError, match=r"has no evaluation/explanation\.json"):
        rules.read_surrogate(tmp_path / "elsewhere")


def test_rules_of_another_schema_are_refused(tmp_path: Path) -> None:
    make_explained(tmp_path)
    surrogate = rules.read_surrogate(tmp_path)
    other = make_schema(features=make_schema().features[1:2])
    with pytest.raises(BundleError, match="not of this bundle's schema"):
        rules.rule_of(surrogate, other, np.zeros(1, dtype=np.float32))


def test_classes_are_found_by_what_they_are_called() -> None:
    assert [output_of(LABELS["binary"], value) for value in (0, "1", 1.0, 2)] == [0, 1, 1, None]
    assert output_of(LABELS["multiclass"], "c") == 2
    assert output_of(Label(name="price", task="regression"), "c") is None
