import lzma
import pickle
import pickletools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.errors import DataError
from training.data.stored_frame import columns_of


def stored(value: object) -> bytes:
    return lzma.compress(pickle.dumps(value, protocol=5), preset=0)


def frame_of(**columns: Sequence[Any]) -> pd.DataFrame:
    text = {name for name, values in columns.items() if isinstance(values[0], (str, type(None)))}
    return pd.DataFrame({name: pd.Series(values, dtype=object if name in text else None) for name, values in columns.items()}).rename(
        columns=str
    )


def plain(frame: pd.DataFrame) -> pd.DataFrame:
    frame.columns = pd.Index(list(frame.columns), dtype=object)
    return frame


def test_numbers_text_and_missing_values_are_read_in_the_order_of_columns():
    frame = plain(frame_of(a=[1, 2, 3], who=["x", None, "z"], b=[0.5, np.nan, 2.5], c=[4, 5, 6], say=["p", "q", "p"]))
    assert columns_of(stored(frame)).to_pydict() == {
        "a": [1, 2, 3],
        "who": ["x", None, "z"],
        "b": [0.5, None, 2.5],
        "c": [4, 5, 6],
        "say": ["p", "q", "p"],
    }


@given(
    st.lists(
        st.tuples(st.integers(-(2**62), 2**62), st.floats(allow_nan=False), st.text(max_size=5), st.booleans()), min_size=1, max_size=20
    )
)
@settings(max_examples=30, deadline=None)
def test_what_is_read_is_what_unpickling_would_give(rows):
    frame = plain(frame_of(**dict(zip("ifsb", ([row[k] for row in rows] for k in range(4)), strict=True))))
    assert columns_of(stored(frame)).to_pydict() == {name: frame[name].tolist() for name in frame.columns}


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self):
        return Path.write_text, (self.place, "caught")


def test_nothing_that_the_bytes_name_is_run(tmp_path):
    trap = tmp_path / "trap"
    frame = plain(frame_of(who=["x", "y"]))
    frame.attrs["trap"] = Trap(trap)
    content = stored(frame)
    assert columns_of(content).to_pydict() == {"who": ["x", "y"]}
    assert not trap.exists()
    pickle.loads(lzma.decompress(content))
    assert trap.read_text() == "caught"  # so the trap was set


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"nothing of the kind", "cannot be followed"),
        (lzma.compress(b"not a pickle"), "cannot be followed"),
        (stored([1, 2]), "expected a DataFrame, found list"),
        (stored(np.arange(3)), "expected a DataFrame, found _"),
        (stored({1, 2}), "the opcode EMPTY_SET is not among those"),
        (stored(plain(pd.DataFrame({"when": pd.to_datetime(["2024-01-01"])}))), "only numbers and text in blocks are read"),
        (stored(plain(pd.DataFrame({"c": pd.Categorical(["a", "b"])}))), "only numbers and text in blocks are read"),
    ],
)
def test_anything_else_is_refused(content, message):
    with pytest.raises(DataError, match=message):
        columns_of(content)


def test_a_pickle_cut_short_is_refused():
    whole = pickle.dumps(plain(frame_of(a=[1, 2, 3])), protocol=5)
    cut = next(place for opcode, _, place in pickletools.genops(whole) if opcode.name == "BUILD")
    with pytest.raises(DataError, match="cannot be followed"):
        columns_of(lzma.compress(whole[:cut]))
