import numpy as np
import pytest

from cluster.schema import Feature, FeatureSchema, Label
from monitoring.slices import MOST, parse, parse_all
from training.judging.slice_search import Bound

SCHEMA = FeatureSchema(
    features=(
        Feature(name="visib", type="number"),
        Feature(name="carrier", type="category", categories=("UA", "B6", "DL", "AA")),
    ),
    label=Label(name="late", classes=(0, 1)),
)
ROWS = np.array([[v, c] for v in (np.nan, -1.5, 0.0, 3.2, 9.0) for c in (np.nan, 0, 1, 2, 3, 4)], dtype=np.float32)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize(("low", "high"), [(-np.inf, 3.2), (0.0, np.inf), (-1.5, 3.2), (-np.inf, np.inf)])
def test_what_the_search_writes_of_a_number_is_read_back_as_the_same_rows(low, high, missing):
    bound = Bound(0, low, float(np.float32(high)), missing)
    found = parse(bound.text(SCHEMA.features[0]), SCHEMA)
    assert found is not None
    near = bound.holds(ROWS) != found.holds(ROWS)
    assert not near[ROWS[:, 0] != np.float32(3.2)].any()  # a cut is written with six digits


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize(("low", "high"), [(-np.inf, 0.5), (0.5, 2.5), (1.5, np.inf)])
def test_what_the_search_writes_of_a_category_is_read_back_as_the_same_rows(low, high, missing):
    bound = Bound(1, low, high, missing)
    found = parse(bound.text(SCHEMA.features[1]), SCHEMA)
    assert found is not None
    assert found.holds(ROWS).tolist() == bound.holds(ROWS).tolist()


def test_conditions_are_joined_by_and():
    found = parse("(visib > 1 or missing) and carrier in {UA, (missing)}", SCHEMA)
    assert found is not None
    assert found.holds(np.array([[2, 0], [np.nan, np.nan], [2, 1], [0, 0]], dtype=np.float32)).tolist() == [True, True, False, False]


@pytest.mark.parametrize("where", ["sex in {f}", "carrier in {UA, B6, and 3 more}", "visib is odd"])
def test_what_cannot_be_read_back_is_not_watched(where):
    assert parse(where, SCHEMA) is None
    assert [found.where for found in parse_all([where, *["visib > 1"] * 9], SCHEMA)] == ["visib > 1"] * MOST
