"""How charts are laid out; what they say is tested where it is made."""

from __future__ import annotations

from typing import Any

import pytest

from monitoring.dashboard import charts
from monitoring.dashboard.spread import Spread
from monitoring.dashboard.watched import Series
from tests.unit.monitoring.dashboard.sample import verdict
from tests.unit.monitoring.world import DAY

DAYS = tuple(day * DAY for day in range(30))
SERIES = Series("roc_auc", DAYS, tuple(0.7 + 0.001 * day for day in range(30)), 0.7395, ((30 * DAY, 0.7, 0.6, 0.8),))
SPREAD = Spread("wind", ("a", "b", "c"), (0.0, 1.0, 0.0), (0.2, 0.5, 0.3), 100, edges=(0.0, 1.0))
FEATURES = tuple(verdict("attribution", f"f{i}", value=0.2, lower=0.1, upper=0.3, alarm=i == 1) for i in range(10))


def laid_out(monkeypatch: pytest.MonkeyPatch, draw: Any, *seen: object) -> Any:
    """The figure behind a chart, once everything has its place."""
    monkeypatch.setattr(charts, "_svg", lambda drawn, _: drawn.figure)
    figure = draw.__wrapped__(*seen)  # past what is kept of earlier drawings
    figure.draw_without_rendering()
    return figure


@pytest.mark.parametrize(
    ("draw", "seen"),
    [(charts.performance, (SERIES,)), (charts.spread, (SPREAD, "one")), (charts.attribution, (FEATURES,))],
    ids=["performance", "spread", "attribution"],
)
def test_a_legend_is_whole_and_takes_no_width_from_the_drawing(monkeypatch, draw, seen) -> None:
    figure = laid_out(monkeypatch, draw, *seen)
    (axes,), (legend,) = figure.axes, figure.legends
    assert axes.get_tightbbox().width > 0.9 * figure.bbox.width
    assert legend.get_window_extent().x1 <= figure.bbox.x1
    assert legend.get_window_extent().y0 >= axes.get_tightbbox().y1 - 1
