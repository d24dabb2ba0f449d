"""Times, spans and names of the monitor's things, as a person says them. Pure; numbers are `monitoring.wording`'s."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final

_MOST_NAMED: Final = 2
_KINDS: Final = {
    "feature_drift": "feature",
    "association": "pair of features",
    "prediction_drift": "predictions",
    "performance": "performance",
    "quality": "data quality",
    "cascade": "cascade",
    "data_quality": "impossible values",
    "attribution": "what answers rest on",
    "explanation": "trust in explanations",
}
_FAULTS: Final = {
    "missing": "is missing more often",
    "unknown": "has unknown categories",
    "outside": "is outside its range",
    "precision": "has more decimals than before",
}


def kind(name: str) -> str:
    """What sort of metric it is.

    >>> kind("feature_drift"), kind("data_freshness")
    ('feature', 'data freshness')
    """
    return _KINDS.get(name, name.replace("_", " "))


def blamed(keys: Sequence[str]) -> str:
    """What an alarm says, in a few words; what became worse first.

    >>> blamed(["feature_drift:wind", "feature_drift:temp", "feature_drift:humid"])
    'wind, temp and one more feature moved'
    >>> blamed(["quality:wind.missing"]), blamed(["performance:brier"])
    ('wind is missing more often', 'its answers became worse')
    >>> blamed(["feature_drift:wind", "prediction_drift:score", "performance:brier"])
    'its answers became worse, wind moved and one more change'
    """
    moved = [name for sort, _, name in (key.partition(":") for key in keys) if sort == "feature_drift"]
    worse = [_change(key) for key in keys if key.startswith("performance:")]
    rest = [_change(key) for key in keys if not key.startswith(("performance:", "feature_drift:"))]
    told = [*worse, *([f"{listed(_first(moved, 'feature'))} moved"] if moved else []), *rest]
    return listed(_first(told, "change"))


def _first(names: Sequence[str], thing: str) -> list[str]:
    """The first two, and how many more."""
    more = len(names) - _MOST_NAMED
    return [*names[:_MOST_NAMED], *([] if more <= 0 else [f"one more {thing}" if more == 1 else f"{more} more {thing}s"])]


def _change(key: str) -> str:
    sort, _, name = key.partition(":")
    if sort == "quality":
        column, _, fault = name.rpartition(".")
        return f"{column} {_FAULTS.get(fault, fault)}"
    told = {
        "feature_drift": f"{name} moved",
        "prediction_drift": "its predictions moved",
        "association": f"{name} go together in another way",
        "performance": "its answers became worse",
        "cascade": "the student disagrees with the ensemble more than promised",
    }
    return told.get(sort, f"{kind(sort)} {name} changed")


def listed(parts: Sequence[str]) -> str:
    """Parts of a sentence.

    >>> listed(["a", "b", "c"]), listed(["a"])
    ('a, b and c', 'a')
    """
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else ""


def sentence(text: str) -> str:
    """Text as a sentence: a capital first, a full stop last.

    >>> sentence("changed since May")
    'Changed since May.'
    """
    return text[:1].upper() + text[1:].rstrip(".") + "."


def plural(number: int, thing: str) -> str:
    """A count of things.

    >>> plural(1, "row"), plural(2000, "row")
    ('1 row', '2,000 rows')
    """
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def span(seconds: float) -> str:
    """A length of time in its largest whole unit.

    >>> span(30), span(7200), span(200_000)
    ('30 seconds', '2 hours', '2 days')
    """
    for length, unit in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= length:
            return plural(int(seconds // length), unit)
    return plural(int(seconds), "second")


def ago(seconds: float) -> str:
    """How long since.

    >>> ago(0.2), ago(90)
    ('just now', '1 minute ago')
    """
    return "just now" if seconds < 1 else f"{span(seconds)} ago"


def date(seconds: float) -> str:
    """A day, UTC.

    >>> date(1367539200)
    '3 May 2013'
    """
    at = _utc(seconds)
    return f"{at.day} {at:%B %Y}"


def moment(seconds: float) -> str:
    """A day with its time, UTC.

    >>> moment(1367539200)
    '3 May 2013, 00:00'
    """
    return f"{date(seconds)}, {_utc(seconds):%H:%M}"


def iso(seconds: float) -> str:
    """For machines.

    >>> iso(1367539200)
    '2013-05-03T00:00:00+00:00'
    """
    return _utc(seconds).isoformat(timespec="seconds")


def milliseconds(seconds: float | None) -> str:
    """A latency in the unit a person would choose.

    >>> milliseconds(0.00421), milliseconds(1.5), milliseconds(None)
    ('4.2 ms', '1.5 s', '–')
    """
    if seconds is None:
        return "–"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms" if seconds >= 0.1 else f"{1000 * seconds:.1f} ms"


def size(number: int) -> str:
    """Bytes.

    >>> size(1536), size(5 << 30)
    ('1.5 KiB', '5.0 GiB')
    """
    value, unit = float(number), "bytes"
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{number:,} bytes" if unit == "bytes" else f"{value:,.1f} {unit}"


def _utc(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)
