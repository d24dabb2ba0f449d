"""Where the ensemble runs: in the gateway's process, or in a deployment of its own. Pure.

A deployment scales by itself, may hold a GPU and keeps long scoring off the gateway's loop; asking it costs a hop.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from cluster.costs import Costs

Where = Literal["in_process", "deployment"]
HOP_S: Final = 1.3e-3
"""A call from one replica to another and back, measured at 1.2 to 1.35 ms on two cores."""
BLOCK_S: Final = 5e-3
"""A gateway's loop answers nobody else while it scores in process; longer than this is too long for `BLOCK_ROWS`."""
BLOCK_ROWS: Final = 64


class Placement(NamedTuple):
    """Where, and one sentence that says why."""

    where: Where
    reason: str


def decide(
    placement: Literal["auto", "in_process", "deployment"], costs: Costs | None, *, gpus: float = 0.0, hop_s: float = HOP_S
) -> Placement:
    """Choose by the figures that were measured when the bundle was built.

    Parameters
    ----------
    placement
        The setting; all but `auto` are obeyed.
    costs
        Of the bundle; None where it has none.
    gpus
        GPUs asked for each replica of the ensemble.
    hop_s
        Seconds of a call to another replica.

    Examples
    --------
    >>> decide("auto", None)
    Placement(where='deployment', reason='placement is auto, and the bundle says nothing of its costs')
    """
    if placement != "auto":
        return Placement(placement, f"serving.ensemble.placement is {placement}")
    if gpus > 0:
        return Placement("deployment", f"placement is auto, and the ensemble asks for {gpus:g} GPU a replica")
    if costs is None:
        return Placement("deployment", "placement is auto, and the bundle says nothing of its costs")
    one, many = costs.seconds("ensemble", 1), costs.seconds("ensemble", BLOCK_ROWS)
    figures = f"placement is auto: the ensemble scores a row in {_ms(one)} and {BLOCK_ROWS} rows in {_ms(many)}"
    if one > hop_s:
        return Placement("deployment", f"{figures}; a hop to another process costs less, {_ms(hop_s)}")
    if many > BLOCK_S:
        return Placement("deployment", f"{figures}; more than {_ms(BLOCK_S)} would keep the gateway from answering others")
    return Placement("in_process", f"{figures}; a hop to another process costs {_ms(hop_s)}")


def _ms(seconds: float) -> str:
    """As milliseconds to two digits.

    >>> _ms(0.0000557), _ms(0.0013), _ms(1.5)
    ('0.056 ms', '1.3 ms', '1500 ms')
    """
    milliseconds = seconds * 1e3
    return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.2g} ms"
