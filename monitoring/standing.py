"""Which alarms still stand: those that were raised within the last windows, as many as what they blame is left alone for. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from monitoring.drift import REST
from monitoring.verdicts import WindowVerdicts


def standing(records: Sequence[WindowVerdicts], newest: float, *, window_s: float) -> list[WindowVerdicts]:
    """Alarms that stand, the newest first.

    Parameters
    ----------
    records
        Of one bundle, in order of judging.
    newest
        End of the bundle's newest window.
    window_s
        Length of a window.
    """
    since = newest - REST * window_s
    return [record for record in reversed(records) if record.alarm is not None and record.window_end > since]
