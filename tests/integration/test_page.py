"""The page in a real browser: a small service with traffic, labels and a change that raises an alarm."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
import ray
import yaml

from cluster import bundle, service, storage
from cluster.bundle import Bundle
from cluster.ledger import Ledger
from cluster.records import Pointer, Pointers, Promotion
from cluster.settings import Settings, parse
from monitoring.monitor import start
from tests import builders
from tests.browser import Tab, browser
from tests.unit.monitoring import world
from tests.unit.monitoring.world import Stream, profile_of

pytestmark = pytest.mark.usefixtures("ray_cluster")
STREAM = Stream(np.random.default_rng(5), 50)
CARRIERS = world.SCHEMA.features[2].categories or ()
MOVED = 3.0
"""What wind is greater by from day 33 on."""


def locate(pointer: Pointer, version: str) -> Pointer:
    assert version == pointer.version
    return pointer


def seal(folder: Path) -> Pointer:
    """A bundle that answers, with a profile that the monitor judges by and an explanation."""
    builders.make_bundle(folder, schema=world.SCHEMA, measured=False)
    STREAM.scores = Bundle(folder).answer(STREAM.X)
    (folder / "profile.json").write_bytes(msgspec.json.encode(profile_of(STREAM, 30)))
    importance = [{"feature": name, "loss": {"estimate": 0.1, "lower": 0.05, "upper": 0.2}} for name in ("wind", "miles")]
    (folder / "evaluation").mkdir()
    explanation = {"rows": 500, "confidence": 0.9, "loss": "log_loss", "importance": importance}
    (folder / "evaluation" / "explanation.json").write_text(json.dumps(explanation))
    return Pointer(version="1", uri=str(folder), digest=bundle.seal(folder, model="trips", created="2026-01-01T00:00:00Z"))


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, http_port: int) -> Settings:
    plain = world.settings(tmp_path_factory.mktemp("page"), audit_share=0.0, poll_s=0.2).dump()
    plain["serving"] |= {"port": http_port, "poll_s": 0.1, "access_log": "all"}
    return parse(plain)


@pytest.fixture(scope="module")
def url(settings: Settings, ray_cluster: Any) -> Iterator[str]:
    """A service that has answered 15 days; from the fourth on wind is greater than ever in training."""
    root = Path(settings.places.root)
    pointer = seal(root / "bundle")
    storage.write_atomic(settings.places.pointers("trips"), msgspec.json.encode(Pointers(model="trips", champion=pointer)))
    promotion = Promotion(pointer="champion", version="1", previous=None, by="a test", reason="<b>the first</b> version")
    Ledger(settings.places.ledger("trips"), clock=lambda: 1e9).append(promotion)
    path = root / "model.yaml"
    path.write_text(yaml.safe_dump(settings.dump()))
    base = service.up({str(path): settings}, loop=False)
    actor = start(settings, locate=partial(locate, pointer))
    with httpx.Client(base_url=base, timeout=60) as client:
        replay(client, range(30, 45))
    status = ray.get(actor.catch_up.remote(), timeout=120)
    assert status["alarms"] >= 1
    yield base
    ray.kill(actor)
    service.down([settings])


def replay(client: httpx.Client, days: range) -> None:
    for day in days:
        rows = STREAM.rows(day)
        answer = client.post("/v1/predict", json={"rows": [row(i, day) for i in range(rows.start, rows.stop)]})
        assert answer.status_code == 200, answer.text
        request = answer.json()["request_id"]
        labels = [{"request_id": request, "row": i, "label": int(y)} for i, y in enumerate(STREAM.y[rows])]
        assert client.post("/v1/labels", json={"labels": labels}).status_code == 200


def row(i: int, day: int) -> dict[str, Any]:
    at = dt.datetime.fromtimestamp(STREAM.times[i], dt.UTC).isoformat()
    wind = float(STREAM.X[i, 1]) + (MOVED if day >= 33 else 0.0)
    return {"miles": float(STREAM.X[i, 0]), "wind": wind, "carrier": CARRIERS[int(STREAM.X[i, 2])], "at": at}


@pytest.fixture(scope="module")
def tab(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with browser(tmp_path_factory.mktemp("chromium")) as found:
        found.show(width=1280)
        found.open(f"{url}/ui")
        yield found


def text(tab: Tab, selector: str) -> str:
    return str(tab.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))


DRAWN = "[...document.querySelectorAll('.alarm svg')].find((svg) => svg.textContent.includes('wind, then and now'))"


def test_a_person_sees_that_something_moved_who_answers_and_what_the_evidence_is(tab: Tab) -> None:
    assert re.fullmatch(r"Look: .*\bwind moved.* since \d+ \w+ 1970", text(tab, "h1"))
    assert "version 1" in text(tab, "#figures")
    tab.run("document.getElementById('alarms-more')?.setAttribute('open', '')")
    assert "wind: mean went from" in text(tab, "#alarms")
    assert tab.run(f"{DRAWN}.getAttribute('role')") == "img"
    tab.run(f"{DRAWN}.closest('figure').querySelector('details').open = true")
    cells = tab.run(f"[...{DRAWN}.closest('figure').querySelectorAll('tbody tr')].map(row => row.cells[2].innerText)")
    assert sum(float(cell.removesuffix(" %")) for cell in cells) == pytest.approx(100, abs=2)
    assert "Brier score" in text(tab, "#performance")
    assert "median" in text(tab, "#figures")
    assert "Version 1 became champion: <b>the first</b> version" in text(tab, "#decisions"), "what people wrote is shown as they wrote it"
    assert "wind" in text(tab, "#explanations")


def test_the_page_follows_what_happens_without_being_loaded_again(url: str, tab: Tab) -> None:
    tab.run("window.notLoadedAgain = true")
    tab.run("document.getElementById('rows-table').open = true")
    before = text(tab, "#watched caption")
    with httpx.Client(base_url=url, timeout=60) as client:
        replay(client, range(45, 49))
    tab.wait(f"document.querySelector('#watched caption').innerText !== {json.dumps(before)}", timeout_s=60)
    assert tab.run("window.notLoadedAgain") is True
    assert tab.run("document.getElementById('rows-table').open") is True, "what a person unfolded stays so"
    assert text(tab, "#clock").startswith("Live, last looked at ")


def test_it_can_be_paused(tab: Tab) -> None:
    tab.run("document.getElementById('pause').click()")
    assert tab.run("document.getElementById('pause').getAttribute('aria-pressed')") == "true"
    assert text(tab, "#clock").startswith("Paused at ")
    tab.run("document.getElementById('pause').click()")
    tab.wait("document.getElementById('clock').innerText.startsWith('Live')")


def test_it_asks_nobody_else_and_has_nothing_to_complain_of(url: str, tab: Tab) -> None:
    tab.wait("true")
    assert tab.requests
    assert [asked for asked in tab.requests if not asked.startswith(f"{url}/")] == []
    assert tab.complaints == []


STRUCTURE = """
(() => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const levels = all("h1, h2, h3, h4").map((heading) => Number(heading.localName[1]));
  const ids = all("[id]").map((one) => one.id);
  const named = (one) => one.textContent.trim() || one.getAttribute("aria-label") || (one.getAttribute("aria-labelledby") || "")
    .split(" ").map((id) => document.getElementById(id)?.textContent ?? "").join("").trim();
  return {
    lang: document.documentElement.lang,
    landmarks: all("header, main, nav, footer").map((one) => one.localName).sort(),
    h1: levels.filter((level) => level === 1).length,
    skipped: levels.filter((level, i) => i && level > levels[i - 1] + 1),
    twice: ids.filter((id, i) => ids.indexOf(id) !== i),
    dangling: all("[aria-labelledby]").flatMap((one) => one.getAttribute("aria-labelledby").split(" ")).filter((id) => !document.getElementById(id)),
    uncaptioned: all("table").filter((table) => !table.caption || !table.querySelector("thead th[scope=col]")).length,
    unscoped: all("th:not([scope])").length,
    charts: all("figure svg").length,
    mute: all("figure svg").filter((svg) => svg.getAttribute("role") !== "img" || !svg.querySelector("title")?.textContent.trim() || !svg.querySelector("desc")?.textContent.trim()).length,
    untold: all("figure").filter((figure) => !figure.querySelector("figcaption")?.textContent.trim()).length,
    unnamed: all("a, button, summary, section, nav, [role=region]").filter((one) => !named(one)).length,
    firstLink: document.querySelector("a").getAttribute("href"),
  };
})()
"""
CONTRAST = """
(() => {
  const parse = (colour) => (colour.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const faint = [];
  for (const details of document.querySelectorAll("details")) details.open = true;
  for (const one of document.querySelectorAll("body *")) {
    const own = [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || ["title", "desc", "noscript"].includes(one.localName)) continue;
    const style = getComputedStyle(one);
    const front = parse(one.ownerSVGElement ? style.fill : style.color);
    const [a, b] = [light(front), light(behind(one))].sort((x, y) => y - x);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    if ((a + 0.05) / (b + 0.05) < (large ? 3 : 4.5)) faint.push(`${one.textContent.trim().slice(0, 30)}: ${front} on ${behind(one)}`);
  }
  return faint;
})()
"""


def test_its_structure_can_be_heard(tab: Tab) -> None:
    found = tab.run(STRUCTURE)
    assert found.pop("charts") >= 5
    assert found == {
        "lang": "en",
        "landmarks": ["footer", "header", "main", "nav"],
        "h1": 1,
        "firstLink": "#main",
        **{problem: [] for problem in ("skipped", "twice", "dangling")},
        **dict.fromkeys(("uncaptioned", "unscoped", "mute", "untold", "unnamed"), 0),
    }


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(tab: Tab, dark: bool) -> None:
    tab.show(width=1280, dark=dark)
    assert tab.run(CONTRAST) == []


@pytest.mark.parametrize("width", [320, 640, 1280])
def test_it_never_scrolls_sideways(tab: Tab, width: int) -> None:
    """640 points are 1,280 at a zoom of 200 %."""
    tab.show(width=width)
    assert tab.run("document.scrollingElement.scrollWidth") <= width


def test_the_focus_can_be_seen(tab: Tab) -> None:
    tab.run("document.activeElement.blur()")
    tab.press("Tab")
    assert tab.run("document.activeElement.className") == "skip"
    assert tab.run("parseFloat(getComputedStyle(document.activeElement).outlineWidth)") >= 2


def test_without_its_monitor_the_page_says_so(settings: Settings, url: str) -> None:
    """Last: the monitor is gone afterwards."""
    from cluster.runtime import NAMESPACE, monitor_name

    ray.kill(ray.get_actor(monitor_name(settings.model), namespace=NAMESPACE))
    answer = httpx.get(f"{url}/trips/ui", timeout=60)
    assert answer.status_code == 503
    assert "monitor" in answer.text
    assert answer.headers["content-type"].startswith("text/html")
