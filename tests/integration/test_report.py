"""The page a person reads after the demo."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from tests.unit.training.demo.sample import sample
from training.demo.report import render

EMPTY: dict[str, Any] = {
    "model": "flights",
    "generated": "2026-11-22T19:20:00Z",
    "rows_served": 0,
    "requests": 0,
    "http_errors": 0,
    "acknowledged_not_in_journal": 0,
    "labels_joined": 0,
    **dict.fromkeys(("alarms", "retrains", "promotions", "refusals", "drift", "bundles"), ()),
    **{key: {} for key in ("static_auc_by_month", "loop_auc_by_month", "rows_by_month", "late_rate_by_month")},
    "latency_ms": {"p50": None, "p99": None, "max": None},
    "cascade": {"student_share": None, "agreement": None},
    "wall_s": {},
    "budget": {},
    "peak_memory_mib": None,
}


class Outline(HTMLParser):
    """Collects ids, headings, captions and unbalanced tags."""

    VOID = frozenset({"meta", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.svgs: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.seen.append(tag)
        self.ids += [value for key, value in attrs if key == "id" and value]
        self.links += [value for key, value in attrs if key in {"href", "src", "xlink:href"} and value]
        self.svgs += [given] if tag == "svg" else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def outline(page: str) -> Outline:
    parser = Outline()
    parser.feed(page)
    return parser


@pytest.fixture(scope="module")
def page() -> str:
    return render(sample())


def text_of(page: str) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)))


def test_the_headline_is_the_first_thing_said(page):
    assert re.findall(r"<h1>(.*?)</h1>", page) == [
        "The loop served 249,100 flights over nine months without an error; retraining lifted the mean monthly AUC from 0.678 to 0.697."
    ]


def test_the_same_report_gives_the_same_bytes(page):
    assert render(sample()) == page


def test_the_page_refers_to_nothing_outside_itself(page):
    assert "http" not in text_of(page).lower().replace("http requests", "").replace("through http", "")
    assert "://" not in page
    assert "@import" not in page
    assert all(target.startswith("#") for target in outline(page).links)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))


def test_every_tag_is_closed_and_every_id_is_used_once(page):
    found = outline(page)
    assert found.open == []
    assert len(found.ids) == len(set(found.ids))


def test_every_inner_reference_has_its_target(page):
    found = outline(page)
    wanted = (
        {link[1:] for link in found.links} | set(re.findall(r"url\(#([^)]*)\)", page)) | set(re.findall(r'aria-labelledby="([^"]*)"', page))
    )
    assert wanted <= set(found.ids)


def test_charts_are_described_and_tables_have_captions(page):
    found = outline(page)
    assert len(found.svgs) == 6
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in found.svgs)
    assert found.seen.count("table") == found.seen.count("caption") > 0
    assert found.seen.count("h1") == 1


def test_text_from_outside_is_escaped_everywhere():
    report = sample()
    nasty = "<script>alert('x')</script>"
    report["alarms"][0]["message"] = nasty
    report["retrains"][0]["reason"] = nasty
    report["model"] = nasty
    report["drift"] = report["drift"][:600]
    report["bundles"][0]["metrics"] = {nasty: 0.5}
    report["promotions"][1]["version"] = nasty
    for entry in report["drift"]:
        entry["name"] = nasty if entry["name"] == "temp" else entry["name"]
    page = render(report)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 7


def test_raw_drift_entries_are_not_embedded(page):
    assert len(page) < 400_000


def test_the_page_of_an_empty_run_says_what_is_missing():
    said = text_of(render(EMPTY))
    assert "The loop served 0 flights without an error; too few labels arrived to say whether retraining helped." in said
    assert "No month has enough labels to compute an AUC." in said
    assert "No window had enough rows to be judged." in said
    assert "Nothing: no alarm was raised and no retrain was due." in said
    assert "None" not in said
    assert "nan" not in said


def test_a_report_without_optional_parts_still_renders():
    assert "<h1>" in render({"model": "x"})


def test_one_month_without_decisions_renders_its_charts():
    one = EMPTY | {key: {"2013-04": 0.66} for key in ("static_auc_by_month", "loop_auc_by_month", "late_rate_by_month")}
    assert len(outline(render(one)).svgs) == 4


def test_refusals_are_told_in_plain_words_with_the_figures(page):
    said = text_of(page)
    assert "Retrained: version 4 refused" in said
    assert "The new model is not shown to be better: roc_auc changed by -0.0024, somewhere between -0.0081 and +0.0033" in said
    assert "Calibration error 0.0210 is within 0.0500." in said


def test_durations_and_memory_are_in_units_a_person_reads(page):
    said = text_of(page)
    assert "one false alarm in 180 days on average" in said
    assert "6 min 40 s" in said
    assert "5.0 GiB" in said
    assert "11.4 ms" in said


def test_lost_rows_and_errors_are_marked_as_bad():
    page = render(EMPTY | {"http_errors": 3, "acknowledged_not_in_journal": 1})
    assert '<div class="bad"><dt>failed requests</dt><dd>3</dd></div>' in page
    assert '<div class="bad"><dt>acknowledged rows lost</dt><dd>1</dd></div>' in page


def colours(block: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_colours_reach_the_contrast_of_wcag_aa_on_page_and_panel(page, scheme):
    theme = colours(re.findall(r":root \{(.*?)\}", page, flags=re.DOTALL)[scheme])
    for ground in ("paper", "panel"):
        for name in ("ink", "muted", "loop", "static", "good", "bad"):
            pair = sorted((luminance(theme[name]), luminance(theme[ground])))
            assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, (name, ground)
