"""Writes the dashboards' files by Grafana's own SDK: `python -m configs.grafana.make`.

A test compares the files with what this would write; another runs every query on a Prometheus server that scrapes a running
service (tests/integration/test_prometheus.py).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as models

from configs.grafana.boards import BOARDS, Board, Panel, Query

FOLDER: Final = Path(__file__).parent / "dashboards"
_SOURCE: Final = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
_HEIGHT: Final = 8


def render() -> Iterator[tuple[str, str]]:
    """Name and content of each file."""
    for name, board in BOARDS.items():
        yield f"{name}.json", json.dumps(_dashboard(board).build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def _dashboard(board: Board) -> builders.Dashboard:
    made = (
        builders.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags(["homeostat"])
        .timezone("browser")
        .time("now-6h", "now")
        .refresh("30s")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .with_variable(builders.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(_variable(board.models))
    )
    ids = itertools.count(1)
    for row in board.rows:
        made = made.with_row(builders.Row(row.title).id(next(ids)))
        for panel in row.panels:
            made = made.with_panel((_number(panel) if panel.number else _lines(panel)).id(next(ids)))
    return made


def _variable(metric: str) -> builders.QueryVariable:
    return (
        builders.QueryVariable("model")
        .label("Model")
        .datasource(_SOURCE)
        .query(f"label_values({metric}, model)")
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
    )


def _lines(panel: Panel) -> timeseries.Panel:
    made = timeseries.Panel().title(panel.title).description(panel.description).unit(panel.unit).datasource(_SOURCE)
    made = made if panel.signed else made.min(0)
    made = made.span(panel.width).height(_HEIGHT).tooltip(common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
    for index, query in enumerate(panel.queries):
        made = made.with_target(_target(query, index))
    return made


def _number(panel: Panel) -> stat.Panel:
    made = stat.Panel().title(panel.title).description(panel.description).unit(panel.unit).datasource(_SOURCE)
    made = made.span(panel.width).height(_HEIGHT).reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
    for index, query in enumerate(panel.queries):
        made = made.with_target(_target(query, index))
    return made


def _target(query: Query, index: int) -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(query.expression).legend_format(query.legend).ref_id(chr(ord("A") + index)).datasource(_SOURCE)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file_name, content in render():
        (FOLDER / file_name).write_text(content, encoding="utf-8")
