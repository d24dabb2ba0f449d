"""Charts as inline SVG."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from tests.unit.training.demo.sample import sample
from training.demo import charts, digest

STATIC = {"2013-04": 0.66, "2013-05": 0.68}
LOOP = {"2013-04": 0.66, "2013-05": 0.70}


def auc(layout=charts.WIDE) -> str:
    return charts.auc_by_month(STATIC, LOOP, [("2013-05-01T00:00:00Z", "2")], [("2013-05-20T00:00:00Z", "3")], layout)


def test_the_same_figures_give_the_same_bytes():
    assert auc() == auc()


def test_a_chart_says_its_figures_to_a_screen_reader():
    told = ET.fromstring(auc()).get("aria-label")
    assert told == (
        "AUC by month. The first model: 0.660 in April 2013, 0.680 in May 2013. "
        "The loop: 0.660 in April 2013, 0.700 in May 2013. 1 promotions and 1 refusals are marked."
    )


@pytest.mark.parametrize("layout", [charts.WIDE, charts.NARROW])
def test_colours_are_the_pages_own_and_text_stays_text(layout):
    drawing = auc(layout)
    assert "var(--loop)" in drawing
    assert "var(--static)" in drawing
    assert not re.findall(r"#000[12]0\d", drawing)
    assert "the loop</text>" in drawing


def test_a_chart_holds_no_address_and_no_date():
    drawing = auc()
    assert "://" not in drawing
    assert "<metadata" not in drawing


def test_months_that_are_missing_leave_a_gap_but_no_error():
    drawing = charts.auc_by_month({"2013-04": 0.66}, {"2013-09": 0.7}, [], [], charts.WIDE)
    assert ">Apr</text>" in drawing
    assert ">Sep</text>" in drawing


def test_bars_carry_their_figures():
    drawing = charts.late_rate_by_month({"2013-04": 0.256, "2013-05": 0.221}, charts.WIDE)
    assert ">26 %</text>" in drawing
    assert ">22 %</text>" in drawing


def test_the_drift_map_names_its_metrics_and_marks_alarms():
    grid = digest.drift_grid(sample())
    assert grid is not None
    drawing = charts.drift_map(grid, [("2013-05-01T00:00:00Z", "2")], charts.WIDE)
    assert ">temp · feature</text>" in drawing
    assert "var(--alarm)" in drawing
    assert "var(--heat-4)" in drawing


@pytest.mark.parametrize("name", ["$x^2", "a_b", "航班", "<b>&", '"quoted"'])
def test_a_metric_of_any_name_is_drawn_as_it_is_written(name):
    entries = [{"at": "2013-04-02T00:00:00Z", "bundle": "1", "kind": "quality", "name": name, "evidence": 1.0, "alarm": False}]
    grid = digest.drift_grid({"drift": entries, "budget": {"one_false_alarm_in": "180d", "window": "1d"}})
    assert grid is not None
    drawing = ET.fromstring(charts.drift_map(grid, [], charts.WIDE))
    assert f"{name} · quality" in ["".join(text.itertext()) for text in drawing.iter("text")]
    assert name in drawing.get("aria-label", "")
