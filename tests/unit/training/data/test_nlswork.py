from tests.unit.training.archives import of_women
from training.data import nlswork


def test_interviews_are_in_order_of_years_and_codes_are_names():
    table = nlswork.build(of_women())
    assert [when.isoformat() for when in table["surveyed"].to_pylist()] == ["1968-01-01T00:00:00+00:00"] + ["1970-01-01T00:00:00+00:00"] * 2
    assert (table["idcode"].to_pylist(), table["race"].to_pylist()) == ([7, 5, 7], ["black", "white", "black"])
    assert (table["ind_code"].to_pylist(), table["union"].to_pylist()) == ([None, "6", "4"], [1, 0, None])


def test_interviews_hold_no_year_and_no_year_of_birth():
    assert {"year", "birth_yr", "rownames"} & set(nlswork.build(of_women()).column_names) == set()
