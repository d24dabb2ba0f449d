from __future__ import annotations

import pytest
from pydantic import ValidationError

from cluster.fairness_settings import Fairness


def test_without_limits_nothing_is_judged():
    assert Fairness().limits == {}


def test_limits_are_named_after_the_figure_they_bound_and_zero_is_a_limit():
    section = Fairness(max_selection_rate_difference=0.1, max_fpr_difference=0.0, max_calibration_difference=0.02)
    assert section.limits == {"selection_rate": 0.1, "fpr": 0.0, "calibration": 0.02}


def test_a_rate_cannot_be_further_apart_than_one():
    with pytest.raises(ValidationError, match="max_tpr_difference"):
        Fairness(max_tpr_difference=1.5)


def test_a_mitigation_that_is_not_known_is_refused():
    with pytest.raises(ValidationError, match="demographic_parity"):
        Fairness.model_validate({"mitigation": "magic"})


def test_a_section_that_fits_has_nothing_to_say():
    section = Fairness(mitigation="equalized_odds", mitigation_attributes=("sex",), max_tpr_difference=0.1)
    assert section.misfit("binary", ("sex", "race")) is None
    assert Fairness(max_calibration_difference=3.0).misfit("regression", ()) is None


@pytest.mark.parametrize(
    ("section", "task", "protected", "says"),
    [
        (Fairness(mitigation="equalized_odds"), "multiclass", ("sex",), "label.task is multiclass; it knows binary labels only"),
        (Fairness(mitigation="demographic_parity"), "binary", (), "schema.protected is empty"),
        (Fairness(mitigation_attributes=("age",)), "binary", ("sex",), "names 'age', which is not in schema.protected; allowed: sex"),
        (Fairness(max_tpr_difference=0.1), "regression", ("sex",), "max_tpr_difference is set and schema.label.task is regression"),
    ],
)
def test_a_section_that_does_not_fit_the_schema_says_why(section, task, protected, says):
    assert says in section.misfit(task, protected)
