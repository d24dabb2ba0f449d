import numpy as np
import pytest

from cluster.encoder import Encoder
from cluster.schema import Feature, FeatureSchema, Label
from monitoring import behaviour, stability
from monitoring.agreement import Audits
from monitoring.said import Live
from monitoring.sketches import Column

SCHEMA = FeatureSchema(
    features=(
        Feature(name="miles", type="number", range=(0.0, 10.0)),
        Feature(name="wind", type="number"),
        Feature(name="carrier", type="category", categories=("UA", "B6")),
    ),
    label=Label(name="late", classes=(0, 1)),
)
COLUMNS = [
    Column(name="miles", type="number", edges=[0.0], scale=2.0),
    Column(name="wind", type="number", edges=[0.0], scale=1.0),
    Column(name="carrier", type="category", categories=["UA", "B6"]),
]
ROWS = np.array([[1.0, 5.0, 0], [9.95, 5.0, 1], [np.nan, 5.0, np.nan], [4.95, 5.0, 0]], dtype=np.float32)


class Rule:
    """Answers by miles and carrier alone."""

    def __init__(self, version: str, *, per_mile: float = 0.1, of_carrier: float = 0.0) -> None:
        self.version, self.schema, self.encoder = version, SCHEMA, Encoder(SCHEMA)
        self._per_mile, self._of_carrier = per_mile, of_carrier

    def answer(self, matrix):
        filled = np.nan_to_num(matrix)
        return (self._per_mile * filled[:, :1] + self._of_carrier * filled[:, 2:]).astype(np.float32)


def test_a_small_change_of_each_number_moves_scores_by_what_the_model_makes_of_it():
    found = stability.sensitivity(SCHEMA, COLUMNS, ROWS, Rule("1").answer, rng=np.random.default_rng(0))
    # a tenth of a deviation of 2 is 0.2 miles, 0.02 of the score; near its range's end it may move by less, missing not at all
    assert 0.02 * 2 / 4 <= found.change <= 0.02 * 3 / 4 + 1e-6
    assert found.worst == "miles"
    assert found.rows == 4


def test_a_number_stays_within_its_range_and_what_is_missing_stays_missing():
    seen = []

    def scorer(matrix):
        seen.append(matrix.copy())
        return np.zeros((len(matrix), 1), dtype=np.float32)

    for seed in range(20):
        stability.sensitivity(SCHEMA, COLUMNS, ROWS, scorer, rng=np.random.default_rng(seed))
    every = np.concatenate(seen)
    assert np.nanmax(every[:, 0]) == 10.0
    assert all(np.isnan(matrix[2, [0, 2]]).all() for matrix in seen)
    assert set(every[~np.isnan(every[:, 2]), 2].tolist()) == {0.0, 1.0}


def test_a_category_that_decides_is_named_as_the_worst():
    found = stability.sensitivity(SCHEMA, COLUMNS, ROWS, Rule("1", of_carrier=0.4).answer, rng=np.random.default_rng(0))
    assert found.worst == "carrier"
    assert found.worst_change == pytest.approx(0.4 * 3 / 4)  # one row has no carrier


def test_rows_that_another_bundle_decides_otherwise_are_counted_by_its_own_encoding():
    turned = SCHEMA.model_copy(
        update={"features": (SCHEMA.features[2].model_copy(update={"categories": ("B6", "UA")}), *SCHEMA.features[:2])}
    )
    columns = stability.columns_of(SCHEMA, ROWS)
    assert columns["carrier"] == ["UA", "B6", None, "UA"]
    matrix = Encoder(turned).columns(columns)
    assert matrix[:, 0].tolist()[:2] == [1.0, 0.0]
    assert stability.flips(SCHEMA.label, np.array([[0.4], [0.6]]), np.array([[0.6], [0.7]])) == Audits(rows=2, differ=1)


def test_flips_are_added_up_over_windows_against_the_bundle_before():
    live = Live()
    for _ in range(3):
        found, live = behaviour.try_out(
            Rule("2"), COLUMNS, ROWS, live, before=Rule("1", per_mile=0.2), tolerance=0.0, demanded=(), rng=np.random.default_rng(0)
        )
    flips = next(figure for figure in found if figure.name == "flips")
    assert flips.value == 1 / 4  # 4.95 miles: 0.495 against 0.99
    assert live.counts["flips|1"] == Audits(rows=12, differ=3)
    assert flips.lower is not None
    assert flips.upper is not None
    assert flips.lower < 0.25 < flips.upper
