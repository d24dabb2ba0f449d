from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from cluster.settings import Settings
from serve_apps.access_log import AccessLog
from serve_apps.meter import Event, Meter, answered_by
from tests.builders import MODEL, make_settings


def event(*, status: int = 200, rows: tuple[int, int, int] = (1, 0, 0)) -> Event:
    return Event(1.5, MODEL, "/v1/predict", "POST", status, 0.002, "7", *rows)


def test_what_is_drained_is_drained_once_and_in_order() -> None:
    meter = Meter()
    first, second, third = event(status=200), event(status=404), event(status=500)
    meter.note(first)
    meter.note(second)
    assert meter.drain() == [first, second]
    meter.note(third)
    assert meter.drain() == [third]
    assert meter.drain() == []


@pytest.mark.parametrize(
    ("rows", "who"),
    [((2, 0, 0), "student"), ((0, 2, 0), "ensemble"), ((1, 1, 0), "both"), ((1, 1, 1), "degraded"), ((0, 0, 0), "nobody")],
)
def test_who_answered_a_request_is_one_word(rows: tuple[int, int, int], who: str) -> None:
    assert answered_by(event(rows=rows)) == who


def written(settings: Settings) -> list[dict[str, object]]:
    folder = Path(settings.places.access_log(MODEL))
    return [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(("wanted", "statuses"), [("all", [200, 404]), ("errors", [404]), ("off", [])])
def test_the_access_log_holds_the_requests_that_are_asked_for(tmp_path: Path, wanted: str, statuses: list[int]) -> None:
    settings = make_settings(tmp_path, access_log=wanted)
    AccessLog({MODEL: settings})([event(), event(status=404)], [])
    assert [line["status"] for line in written(settings)] == statuses


def test_an_access_log_line_says_who_asked_what_and_nothing_of_the_rows(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, access_log="all")
    AccessLog({MODEL: settings})([event()], [])
    (line,) = written(settings)
    assert line == {
        "time": 1.5,
        "model": MODEL,
        "route": "/v1/predict",
        "method": "POST",
        "status": 200,
        "seconds": 0.002,
        "bundle": "7",
        "student": 1,
        "ensemble": 0,
        "degraded": 0,
    }


def test_a_request_for_no_model_is_in_no_models_log(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, access_log="all")
    AccessLog({MODEL: settings})([event()._replace(model="")], [])
    assert written(settings) == []


def test_files_of_replicas_that_ended_long_ago_go(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, access_log="all")
    folder = Path(settings.places.access_log(MODEL))
    folder.mkdir(parents=True)
    for number in range(40):
        path = folder / f"{os.uname().nodename}-{number}.jsonl"
        path.write_text("{}\n")
        os.utime(path, (number, number))
    AccessLog({MODEL: settings})
    assert sorted(int(path.stem.rpartition("-")[2]) for path in folder.iterdir()) == list(range(8, 40))
