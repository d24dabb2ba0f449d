"""Reads a data frame that was stored as a compressed pickle, without unpickling it.

Unpickling calls whatever functions the bytes name. Here the opcodes are only followed: a name becomes a string and a
call a record of what would have been called, so nothing named is imported or run. From the records of a plain data frame
(blocks of numbers or strings) the columns are read. Anything else is refused.
"""

from __future__ import annotations

import lzma
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cluster.errors import DataError

_DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "f8": np.dtype("<f8"),
    "f4": np.dtype("<f4"),
    "i8": np.dtype("<i8"),
    "i4": np.dtype("<i4"),
    "b1": np.dtype("?"),
}
_CONSTANTS: Final[dict[str, Callable[[], object]]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
}
_IN_THE_OPCODE: Final = frozenset(
    {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "SHORT_BINUNICODE", "BINUNICODE", "SHORT_BINBYTES", "BINBYTES", "BYTEARRAY8"}
)
_SKIPPED: Final = frozenset({"PROTO", "FRAME", "STOP"})
_FEW: Final = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_CALLS: Final = frozenset({"REDUCE", "NEWOBJ"})
Values = npt.NDArray[Any] | list[Any]


@dataclass
class Call:
    """A call that unpickling would have made."""

    name: str
    arguments: Any
    state: Any = None

    @property
    def what(self) -> str:
        """The last part of the name: packages move their functions between modules."""
        return self.name.rpartition(".")[2]


def columns_of(content: bytes) -> pa.Table:
    """The columns of a pandas frame whose blocks hold numbers or text; its row index is dropped.

    Parameters
    ----------
    content
        A pickle, compressed by xz.

    Raises
    ------
    DataError
        When the bytes are no such thing, or the pickle is of something else.
    """
    frame = _followed(content)
    try:
        blocks, axes = _expect(_expect(frame, "DataFrame").state["_mgr"], "BlockManager").arguments[:2]
        names = [str(name) for name in _array(_expect(axes[0], "_new_Index").arguments[1]["data"])]
        found: dict[int, Values] = {}
        for block in blocks:
            values, places, _ = _expect(block, "_unpickle_block").arguments
            found.update(zip(_places(places), _array(values), strict=True))
        return pa.table({name: pa.array(found[i], from_pandas=True) for i, name in enumerate(names)})
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, pa.ArrowException) as error:
        raise DataError(
            f"the stored frame is not of the form that is known here: {error}; only numbers and text in blocks are read"
        ) from error


def _followed(content: bytes) -> Any:
    """What the pickle describes, with a `Call` for each call."""
    follower = _Follower()
    try:
        for opcode, argument, _ in pickletools.genops(lzma.decompress(content)):
            follower.follow(opcode.name, argument)
        return follower.stack[-1]
    except (lzma.LZMAError, ValueError, IndexError, KeyError, AttributeError, TypeError) as error:
        raise DataError(f"the stored frame cannot be followed: {error}") from error


class _Follower:
    """The stack, the memo and the marks of a pickle."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self._memo: list[Any] = []
        self._marks: list[int] = []

    def follow(self, name: str, argument: Any) -> None:
        if name in _IN_THE_OPCODE:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif name in _FEW:
            self.stack.append(tuple(self._take(_FEW[name])))
        elif name not in _SKIPPED:
            steps = {"MARK": self._mark, "MEMOIZE": self._memoize, "BINGET": self._get, "LONG_BINGET": self._get, "TUPLE": self._tuple}
            steps |= {"APPENDS": self._appends, "APPEND": self._append, "SETITEMS": self._set_items, "SETITEM": self._set_item}
            steps |= {"STACK_GLOBAL": self._name, "BUILD": self._build} | dict.fromkeys(_CALLS, self._call)
            if name not in steps:
                raise ValueError(f"the opcode {name} is not among those that a plain frame needs")
            steps[name](argument)

    def _take(self, count: int) -> list[Any]:
        taken = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return taken

    def _since_mark(self) -> list[Any]:
        return self._take(len(self.stack) - self._marks.pop())

    def _mark(self, _: object) -> None:
        self._marks.append(len(self.stack))

    def _memoize(self, _: object) -> None:
        self._memo.append(self.stack[-1])

    def _get(self, place: int) -> None:
        self.stack.append(self._memo[place])

    def _tuple(self, _: object) -> None:
        taken = self._since_mark()
        self.stack.append(tuple(taken))

    def _appends(self, _: object) -> None:
        taken = self._since_mark()
        self.stack[-1].extend(taken)

    def _append(self, _: object) -> None:
        (taken,) = self._take(1)
        self.stack[-1].append(taken)

    def _set_items(self, _: object) -> None:
        taken = self._since_mark()
        self.stack[-1].update(zip(taken[::2], taken[1::2], strict=True))

    def _set_item(self, _: object) -> None:
        key, value = self._take(2)
        self.stack[-1][key] = value

    def _name(self, _: object) -> None:
        module, name = self._take(2)
        self.stack.append(f"{module}.{name}")

    def _call(self, _: object) -> None:
        name, arguments = self._take(2)
        self.stack.append(Call(name, arguments))

    def _build(self, _: object) -> None:
        (state,) = self._take(1)
        self.stack[-1].state = state


def _expect(found: Any, what: str) -> Call:
    if not isinstance(found, Call) or found.what != what:
        raise ValueError(f"expected a {what}, found {found.what if isinstance(found, Call) else type(found).__name__}")
    return found


def _places(found: Any) -> list[int]:
    """Which columns a block holds."""
    if isinstance(found, Call) and found.what == "slice":
        return list(range(*found.arguments))
    return [int(place) for place in _array(found)]


def _array(found: Call) -> Values:
    """An array by rows; text as lists."""
    if found.what == "_frombuffer":
        content, kind, shape, order = found.arguments
    else:
        _, shape, kind, is_fortran, content = _expect(found, "_reconstruct").state
        order = "F" if is_fortran else "C"
    code = _expect(kind, "dtype").arguments[0]
    if code != "O8":
        values: npt.NDArray[Any] = np.frombuffer(content, dtype=_DTYPES[code])
        return values.reshape(shape, order="F" if order == "F" else "C")
    if len(shape) == 1:
        return list(content)
    rows, width = shape
    return [content[i::rows] if order == "F" else content[i * width : (i + 1) * width] for i in range(rows)]
