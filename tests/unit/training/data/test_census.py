import pytest

from cluster.errors import DataError
from tests.unit.training.archives import PERSON, of_census
from training.data import census


def test_census_values_are_stripped_and_question_marks_are_missing():
    row = census.build(of_census()).to_pylist()[0]
    assert (row["age"], row["class_of_worker"], row["citizenship"]) == (58, "Private", "Foreign born- Not a citizen of U S")
    assert (row["previous_state"], row["hispanic_origin"], row["birth_country_mother"]) == (None, None, None)


def test_census_years_follow_each_other_and_the_label_is_above_50000():
    table = census.build(of_census())
    assert (table["year"].to_pylist(), table["over_50k"].to_pylist()) == ([94, 95], [0, 1])


def test_census_weights_are_dropped():
    assert {"instance_weight", "income"} & set(census.build(of_census()).column_names) == set()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (PERSON.format(year=94, income="much"), r"hold the incomes \['much'\]; known are - 50000\., 50000\+\."),
        ("1, 2, 3\n", "a census file cannot be read: .*Expected 42 columns"),
        (PERSON.format(year="then", income="50000+."), "a census file cannot be read"),
    ],
)
def test_a_census_file_of_another_form_is_refused(line, message):
    with pytest.raises(DataError, match=message):
        census.build(of_census(test=line))
