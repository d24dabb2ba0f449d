import pytest

from cluster.errors import DataError
from tests.unit.training.archives import LETTERS, of_letters
from training.data import letter


def test_letters_get_their_sixteen_names():
    table = letter.build(LETTERS)
    assert table["letter"].to_pylist() == ["Z", "P"]
    assert [table[name][0].as_py() for name in letter.FEATURES] == [2, 4, 4, 3, 2, 7, 8, 2, 9, 11, 7, 7, 1, 8, 5, 6]


def test_a_file_of_letters_of_another_form_is_refused():
    with pytest.raises(DataError, match="the file of letters cannot be read"):
        letter.build(of_letters("1,2,Z"))
