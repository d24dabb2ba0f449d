"""The page and the report as HTML, from files alone."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import numpy as np
import pytest

from cluster import storage
from cluster.journal import Writer
from cluster.ledger import Ledger
from cluster.records import Pointer, Pointers, Promotion
from cluster.settings import Settings
from monitoring import verdicts
from monitoring.core import MonitorCore
from monitoring.dashboard import render
from monitoring.dashboard.pages import Pages
from monitoring.dashboard.views import build
from tests.unit.monitoring.dashboard.sample import NOW, alarm, facts, record, settings, verdict
from tests.unit.monitoring.world import Stream, journal, profile_of, seal

HOSTILE = "<script>alert(1)</script>\"' onload=x"
STREAM = Stream(np.random.default_rng(5), 45)


class Outline(HTMLParser):
    """Tags, ids and what is loaded."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.loaded: list[str] = []
        self.handlers: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.loaded += [value for name, value in attrs if name in ("href", "src", "xlink:href") and value]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Pointer]:
    """Fourteen days, wind greater by three from the fourth on; judged."""
    root = tmp_path_factory.mktemp("pages")
    chosen, moved = settings(root / "var"), Stream(np.random.default_rng(5), 45)
    pointer = seal(root / "bundle", profile_of(STREAM, 30))
    moved.X[moved.day >= 33, 1] += 3
    journal(Writer(chosen.places.journal("trips"), clock_ns=lambda: 10**18), moved, range(30, 44))
    storage.write_atomic(chosen.places.pointers("trips"), msgspec.json.encode(Pointers(model="trips", champion=pointer)))
    ledger = Ledger(chosen.places.ledger("trips"), clock=lambda: NOW)
    ledger.append(Promotion(pointer="champion", version="1", previous=None, by="a test", reason=HOSTILE))
    MonitorCore(chosen, locate=lambda _: pointer).poll()
    return chosen, pointer


@pytest.fixture
def pages(world: tuple[Settings, Pointer], tmp_path: Path) -> Pages:
    chosen, pointer = world
    return Pages(chosen, locate=lambda _: pointer, cache=tmp_path, status=lambda: {"rows": 2800, "errors": 0}, clock=lambda: NOW)


def test_the_page_shows_the_alarm_of_a_monitor_that_is_gone_with_then_and_now(pages, world):
    status, content_type, body = pages.answer("/trips/ui", {})
    page = body.decode()
    assert (status, content_type) == (200, "text/html; charset=utf-8")
    assert re.search(r'<h1 id="headline">Look: wind moved.* since \d+ February 1970</h1>', page)
    assert "wind then and now" in page
    alarmed = [record for record in verdicts.read(world[0].places.verdicts("trips")) if record.alarm]
    assert sum(alarmed[0].cells["feature:wind"]) > 0
    assert [r.cells for r in verdicts.read(world[0].places.verdicts("trips")) if not r.alarm and r.cells] == []


def test_a_new_page_answers_what_the_old_one_did(pages, world, tmp_path):
    again = Pages(world[0], locate=lambda _: world[1], cache=tmp_path, status=lambda: {"rows": 2800, "errors": 0}, clock=lambda: NOW)
    assert again.answer("/trips/ui/live", {}) == pages.answer("/trips/ui/live", {}) == pages.answer("/trips/ui/live", {})


def test_what_people_wrote_is_escaped(pages):
    page = pages.answer("/trips/ui", {})[2].decode()
    assert HOSTILE not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_hostile_names_stay_names_wherever_they_are_shown():
    seen = facts(
        records=[
            alarm(30, f"feature_drift:{HOSTILE}"),
            record(31, [verdict(name=HOSTILE), verdict("stability", HOSTILE, message=HOSTILE), verdict("estimate", HOSTILE, unit=HOSTILE)]),
            record(31, [verdict("performance", HOSTILE)], look="performance"),
        ],
        problems=[HOSTILE],
    )
    for text in (
        render.page(build(seen), mount=f"/{HOSTILE}/ui", choices=[], query=f"?{HOSTILE}", now=NOW),
        render.report(build(seen), now=NOW),
    ):
        found = Outline(text)
        assert found.tags.count("script") == text.count("page.js")
        assert found.handlers == []
        assert "<script>alert" not in text


def test_nothing_is_loaded_but_the_pages_own_files(pages):
    found = Outline(pages.answer("/root/trips/ui", {})[2].decode())
    outside = [link for link in found.loaded if not link.startswith(("#", "/root/trips/ui"))]
    assert outside == []
    assert "style" not in found.tags
    assert len(found.ids) == len(set(found.ids))
    for name in ("page.css", "page.js", "icon.svg"):
        assert pages.answer(f"/root/trips/ui/{name}", {})[0] == 200
    assert pages.answer("/trips/ui/../secret", {})[0] == 404
    assert pages.answer("/trips/ui/page.html", {})[0] == 404


def test_the_span_that_is_chosen_is_kept_by_the_live_part_and_a_strange_one_is_the_usual(pages):
    page = pages.answer("/trips/ui", {"days": "7"})[2].decode()
    assert 'data-live="/trips/ui/live?days=7"' in page
    assert '<a href="/trips/ui?days=7" aria-current="page">' in page
    assert 'live?days=30"' in pages.answer("/trips/ui", {"days": "<b>"})[2].decode()


def test_parts_of_the_live_answer_are_those_of_the_page(pages):
    named = re.compile(r'<section id="(\w+)" data-part')
    page, live = (pages.answer(path, {})[2].decode() for path in ("/trips/ui", "/trips/ui/live"))
    assert named.findall(page) == named.findall(live)
    assert len(named.findall(page)) == len(re.findall("<section", page)) == 11
    assert live in page


def test_a_report_is_one_file_that_needs_nothing_and_runs_nothing():
    text = render.report(build(facts(records=[alarm(30)]), live=False), now=NOW)
    found = Outline(text)
    assert "script" not in found.tags
    assert [link for link in found.loaded if not link.startswith("#")] == []
    assert "default-src 'none'" in text
    assert "url(http" not in text


@pytest.mark.parametrize(
    "changes",
    [{"records": []}, {"status": None}, {"pointers": None, "bundles": {}}, {"bundles": {}}],
    ids=lambda changes: " ".join(changes),
)
def test_the_page_comes_up_with_whatever_is_missing(changes):
    text = render.page(build(facts(**changes)), mount="/trips/ui", choices=[], query="", now=NOW)
    assert text.count("<h1") == 1


def test_a_bundle_that_cannot_be_read_is_said_on_the_page(world, tmp_path):
    chosen, pointer = world
    wrong = msgspec.structs.replace(pointer, digest="0" * 64)
    root = tmp_path / "var"
    storage.write_atomic(settings(root).places.pointers("trips"), msgspec.json.encode(Pointers(model="trips", champion=wrong)))
    pages = Pages(settings(root), locate=lambda _: wrong, cache=tmp_path, status=dict, clock=lambda: NOW)
    page = pages.answer("/trips/ui", {})[2].decode()
    assert "Look: some of its records cannot be read" in page
    assert "bundle 1: the manifest" in page
    assert chosen.model == "trips"
