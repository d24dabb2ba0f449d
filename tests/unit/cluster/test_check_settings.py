from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from cluster.check_settings import KINDS, Check, Monotonic, check_names, problems
from cluster.errors import ConfigError
from cluster.schema import Feature, Label
from cluster.settings import parse
from tests.builders import make_schema

ROOT = Path(__file__).parents[3]
ONE: TypeAdapter[Any] = TypeAdapter(Check)


def check(**fields: Any) -> Any:
    return ONE.validate_python({"name": "mine"} | fields)


def refused(*checks: Any, schema=None) -> str:
    with pytest.raises(ValueError, match="check") as caught:
        check_names(checks, schema or make_schema())
    return str(caught.value)


MULTICLASS = make_schema(label=Label(name="size", task="multiclass", classes=("S", "M", "L")))
REGRESSION = make_schema(label=Label(name="price", task="regression"))


def test_the_kind_says_which_section_is_read():
    found = check(kind="monotonic", feature="miles", direction="up", tolerance=0.01)
    assert isinstance(found, Monotonic)
    assert (found.share, found.min_rows, found.tolerance, found.step, found.where) == (1.0, 50, 0.01, None, {})
    assert {name: ONE.json_schema()["discriminator"]["mapping"][name].rpartition("/")[2] for name in KINDS} == {
        name: section.__name__ for name, section in KINDS.items()
    }


def test_an_unknown_kind_is_refused_with_those_there_are():
    with pytest.raises(ValidationError, match="'invariance', 'monotonic', 'range', 'row'"):
        check(kind="fuzzing")


@pytest.mark.parametrize("fields", [{}, {"score": (0, 1), "decision": 1}])
@pytest.mark.parametrize("kind", [{"kind": "range"}, {"kind": "row", "row": {"miles": 1}}])
def test_an_answer_is_expected_either_as_score_or_as_decision(kind, fields):
    with pytest.raises(ValidationError, match="needs either `score: \\[low, high\\]` or `decision: class`"):
        check(**kind, **fields)


def test_a_score_upside_down_is_refused():
    with pytest.raises(ValidationError, match=r"score \[0.9, 0.1\] is upside down"):
        check(kind="range", score=(0.9, 0.1))


def test_checks_that_fit_are_taken():
    checks = (
        check(name="a", kind="invariance", features=("carrier", "wind"), where={"miles": [None, 500], "carrier": ["UA", None]}),
        check(name="b", kind="monotonic", feature="wind", direction="up", where={"carrier": "B6", "wind": 3}),
        check(name="c", kind="range", where={"miles": None}, decision="1"),
        check(name="d", kind="row", row={"carrier": "9E", "miles": None}, score=(0, 0.5)),
    )
    check_names(checks, make_schema())


def test_a_name_that_is_no_feature_is_refused_with_those_there_are():
    assert refused(check(kind="invariance", features=("mile",))) == "check 'mine': 'mile' is no feature; allowed: miles, wind, carrier"


def test_a_protected_column_that_the_model_does_not_read_cannot_be_varied():
    told = "check 'mine': 'sex' is no feature: the model does not read it, so changing it changes nothing; allowed: miles, wind, carrier"
    assert refused(check(kind="invariance", features=("sex",))) == told


def test_every_fault_of_every_check_is_told_at_once():
    told = refused(
        check(kind="monotonic", feature="carrier", direction="up"),
        check(name="other", kind="row", row={"wnd": 1, "carrier": "ZZ"}, decision=2),
    )
    assert "'carrier' is a category and cannot be raised; allowed: miles, wind" in told
    assert "check 'other': 'wnd' is no feature" in told
    assert "'carrier' is never [ZZ]; allowed: UA, B6, 9E" in told
    assert "2 is no class of 'late'; allowed: 0, 1" in told


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ({"carrier": ["UA", "ZZ"]}, "'carrier' is never [ZZ]; allowed: UA, B6, 9E"),
        ({"carrier": []}, "'carrier' is never []; allowed: UA, B6, 9E"),
        ({"miles": "far"}, "'miles' is a number; allowed: a number, [low, high] or null; found 'far'"),
        ({"miles": True}, "'miles' is a number"),
        ({"miles": [500, 100]}, "'miles' needs [low, high], low first, null where a side is open; found [500, 100]"),
        ({"miles": [1, 2, 3]}, "'miles' needs [low, high]"),
        ({"miles": [None, None]}, "'miles' needs [low, high]"),
    ],
)
def test_a_condition_that_no_row_can_meet_is_refused(where, told):
    assert told in refused(check(kind="range", where=where, decision=1))


def test_a_value_of_a_row_is_a_single_one():
    with pytest.raises(ValidationError, match="row"):
        check(kind="row", row={"miles": [1, 2]}, decision=1)
    assert "'miles' is a number; allowed: a number or null; found 'far'" in refused(check(kind="row", row={"miles": "far"}, decision=1))


def test_two_checks_of_one_name_are_refused():
    one = check(kind="range", decision=1)
    assert refused(one, one) == "two checks are named 'mine'; give each a name of its own"


def test_probabilities_outside_0_and_1_are_refused():
    assert "score [1.5, 2.0] is never met" in refused(check(kind="range", score=(1.5, 2)))
    assert problems((check(kind="range", score=(1.5, 2)),), REGRESSION) == []


def test_multiclass_must_say_of_which_class():
    told = "check 'mine': 'size' is multiclass: say `of: class`, the class whose score is meant; allowed: S, M, L"
    assert refused(check(kind="monotonic", feature="miles", direction="up"), schema=MULTICLASS) == told
    assert refused(check(kind="range", score=(0, 1)), schema=MULTICLASS) == told
    assert (
        refused(check(kind="range", score=(0, 1), of="XL"), schema=MULTICLASS)
        == "check 'mine': 'XL' is no class of 'size'; allowed: S, M, L"
    )
    check_names((check(kind="range", score=(0, 1), of="S"), check(name="b", kind="range", decision="M")), MULTICLASS)


def test_of_is_for_multiclass_only():
    assert "`of` is for multiclass; 'late' is binary" in refused(check(kind="range", score=(0, 1), of=1))


def test_regression_has_no_decision():
    told = "check 'mine': 'price' is a number and nothing is decided; use `score: [low, high]`"
    assert refused(check(kind="range", decision=1), schema=REGRESSION) == told


def test_an_open_schema_is_asked_only_what_it_knows():
    features = (Feature(name="carrier", type="category"),)
    open_ = make_schema(features=features, label=Label(name="late"), protected=())
    check_names((check(kind="range", where={"carrier": "anything"}, decision="perhaps"),), open_)


def test_a_category_too_rare_in_this_table_is_no_fault_of_the_file():
    rare = (check(kind="range", where={"carrier": "OO"}, decision=1),)
    assert problems(rare, make_schema(), categories=False) == []
    assert len(problems(rare, make_schema())) == 1


def test_the_checks_of_the_manual_fit_the_flights():
    page = (ROOT / "docs/how-to/checks.md").read_text()
    block = page.split("```yaml\n")[1].split("```")[0]
    content = yaml.safe_load((ROOT / "configs/flights.yaml").read_text()) | yaml.safe_load(block)
    assert [check.kind for check in parse(content).checks] == ["monotonic", "invariance", "range", "row"]


def test_a_fault_is_told_with_the_file_and_what_is_allowed():
    content = yaml.safe_load((ROOT / "configs/flights.yaml").read_text())
    content["checks"] = [{"name": "mine", "kind": "row", "row": {"origin": "LAX"}, "decision": 0}]
    with pytest.raises(ConfigError, match=r"flights.yaml: .*check 'mine': 'origin' is never \[LAX\]; allowed: EWR, JFK, LGA"):
        parse(content, name="flights.yaml")


def test_an_unknown_key_of_a_check_is_refused_with_those_its_kind_has():
    content = yaml.safe_load((ROOT / "configs/flights.yaml").read_text())
    content["checks"] = [{"name": "mine", "kind": "monotonic", "feature": "visib", "direction": "down", "stepp": 1}]
    allowed = "direction, feature, kind, min_rows, name, of, share, step, tolerance, where"
    with pytest.raises(ConfigError, match=f"unknown key 'checks.0.monotonic.stepp'; allowed here: {allowed}"):
        parse(content)
