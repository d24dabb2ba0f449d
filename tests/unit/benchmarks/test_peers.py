from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers.model import Model
from tests.builders import STUDENT_WEIGHTS, expected_scores, make_bundle, make_row


@pytest.fixture
def model(tmp_path: Path) -> Model:
    make_bundle(tmp_path)
    return Model(str(tmp_path))


def test_rows_and_columns_get_the_student_s_answer(model: Model):
    rows = [make_row(miles=200.0, wind=None, carrier="B6"), make_row(miles=10, wind=1.5, carrier="unheard of")]
    expected = expected_scores(STUDENT_WEIGHTS, [[200, np.nan, 1], [10, 1.5, 3]])[:, 0]
    answered = model({"rows": rows})["predictions"]
    assert [prediction["probability"] for prediction in answered] == pytest.approx(expected, rel=1e-6)
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    assert model.scores(model.encode(columns))[:, 0] == pytest.approx(expected, rel=1e-6)
