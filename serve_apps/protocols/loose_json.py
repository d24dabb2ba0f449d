"""JSON as Python and TensorFlow write it: NaN, which stands for a missing value, and Infinity, which nothing can hold.

The protocols of other servers let their clients send these; JSON itself, and our own protocols, do not.
"""

from __future__ import annotations

import json
import math
from typing import Final

import msgspec

from cluster.errors import BadJson, BadRequestShape
from serve_apps.protocols.rules import kind_of

_CONSTANTS: Final = {"NaN": None, "Infinity": math.inf, "-Infinity": -math.inf}


def parse(body: bytes) -> object:
    """Read JSON; NaN becomes None.

    Raises
    ------
    BadJson
    """
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # a number beyond float64 is one of these too
        pass
    try:
        content = json.loads(body.decode(), parse_constant=_CONSTANTS.__getitem__)
        if b"\\ud" in body.lower():
            json.dumps(content, ensure_ascii=False).encode()  # half a surrogate pair is no text: nobody could write it down
    except (ValueError, RecursionError) as error:
        raise BadJson(f"the body is not JSON: {error}") from error
    return content


def parse_object(body: bytes, *, shape: str) -> dict[str, object]:
    """Read JSON that must be an object; `shape` says which.

    Raises
    ------
    BadJson, BadRequestShape
    """
    content = parse(body)
    if not isinstance(content, dict):
        raise BadRequestShape(f"the body is {kind_of(content)}, and must be an object: {shape}")
    return content
