from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import BadJson, BadRequestShape
from serve_apps.protocols.loose_json import parse, parse_object

json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(st.characters(codec="utf-8")), st.floats(allow_nan=False)),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(st.characters(codec="utf-8")), inner)),
    max_leaves=5,
)


@given(json_values)
def test_what_python_writes_is_read_back(value: Any) -> None:
    assert parse(json.dumps(value).encode()) == value


@pytest.mark.parametrize(("written", "value"), [(b"[NaN]", [None]), (b"[Infinity, 1e999]", [math.inf] * 2), (b"-Infinity", -math.inf)])
def test_not_a_number_is_missing_and_infinity_is_itself(written: bytes, value: Any) -> None:
    assert parse(written) == value


@pytest.mark.parametrize("written", [b"", b"{", b"\xff", b'"\\ud800"', b'["\\uD800", NaN]', b"[" * 100_000, b"1" * 10_000, b"'a'"])
def test_what_is_no_json_is_refused(written: bytes) -> None:
    with pytest.raises(BadJson, match="the body is not JSON"):
        parse(written)


def test_whole_surrogate_pairs_are_text() -> None:
    assert parse(b'["\\ud83d\\ude00", NaN]') == ["😀", None]


def test_a_body_that_must_be_an_object_is_one() -> None:
    assert parse_object(b'{"a": 1}', shape="with a") == {"a": 1}
    with pytest.raises(BadRequestShape, match="the body is a list, and must be an object: with a"):
        parse_object(b"[]", shape="with a")
