import pytest

from cluster.errors import DataError
from tests.unit.training.archives import of_diamonds, of_women
from training.data import diamonds


def test_diamonds_are_priced_in_logarithms_and_a_size_of_zero_is_missing():
    table = diamonds.build(of_diamonds())
    assert table["log_price"].to_pylist() == pytest.approx([5.786897, 8.517193])
    assert table["length_mm"].to_pylist() == [3.95, None]
    assert "rownames" not in table.column_names


def test_an_archive_without_diamonds_says_so():
    with pytest.raises(DataError, match=r"the archive lacks _data/ggplot2/diamonds\.pkl\.compress"):
        diamonds.build(of_women())
