from __future__ import annotations

import pickle
import re
from collections.abc import Iterator

import pytest

from cluster import errors
from cluster.errors import HomeostatError


def all_errors(root: type[HomeostatError] = HomeostatError) -> Iterator[type[HomeostatError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from all_errors(child)


def drawn_tree() -> dict[str, str]:
    """Each error's parent, as the module's docstring draws it."""
    assert errors.__doc__ is not None
    parents: dict[str, str] = {}
    path: dict[int, str] = {}
    for line in errors.__doc__.splitlines():
        match = re.match(r"^ {4}((?:│   |    )*)[├└]── (.*)$", line)
        if line.strip() == "HomeostatError":
            path = {0: "HomeostatError"}
        if match is None:
            continue
        depth = len(match[1]) // 4 + 1
        for name in re.match(r"[A-Za-z]+(?:, [A-Za-z]+)*(?=  |$)", match[2])[0].split(", "):  # type: ignore[index]
            parents[name] = path[depth - 1]
            path[depth] = name
    return parents


@pytest.mark.parametrize("cls", list(all_errors()), ids=lambda cls: cls.__name__)
def test_every_error_crosses_processes_with_message_and_details(cls: type[HomeostatError]) -> None:
    arrived = pickle.loads(pickle.dumps(cls("row 3 is wrong", details=[{"row": 3, "column": "miles"}])))
    assert type(arrived) is cls
    assert str(arrived) == arrived.message == "row 3 is wrong"
    assert arrived.details == ({"row": 3, "column": "miles"},)


def test_the_tree_drawn_in_the_docstring_is_the_real_one() -> None:
    real = {cls.__name__: cls.__base__.__name__ for cls in all_errors() if cls is not HomeostatError and cls.__base__}
    assert drawn_tree() == real


def test_an_error_without_details_has_none() -> None:
    assert HomeostatError("wrong").details == ()
