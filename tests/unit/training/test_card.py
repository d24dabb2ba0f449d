from __future__ import annotations

import datetime as dt
import html
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from cluster.errors import BundleError
from cluster.schema import Task
from tests.unit.training.bundles import documents, make_evidence, schema_for
from training import card
from training.card import evidence

TASKS: tuple[Task, ...] = ("binary", "multiclass", "regression")
SVG = '<svg role="img" aria-labelledby="{0}-title" xmlns="http://www.w3.org/2000/svg"><title id="{0}-title">A figure</title><desc id="{0}-desc">Dots</desc><path stroke="#0b5cad"/></svg>'
_SOURCE = re.compile(r"\[([\w/]+\.json(?:, [\w/]+\.json)*)\]")
_NUMBER = re.compile(r"(?<![\w.])(?<!\w-)-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?(?![A-Za-z])(?: ?%)?")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


@pytest.fixture(scope="module", params=TASKS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_figures(make_evidence(tmp_path_factory.mktemp(request.param), request.param))


def with_figures(folder: Path) -> Path:
    """Figures that cost nothing to draw."""
    (folder / "figures").mkdir()
    for name in ("weights", "calibration"):
        (folder / "figures" / f"{name}.svg").write_text(SVG.format(name))
    return folder


def leaves(value: Any) -> Iterator[Any]:
    """Every key and value of a JSON document."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner)
    else:
        yield value


def forms(value: float) -> set[str]:
    """The ways in which a card may show a number, each to some digits."""
    shown = {
        f"{value:.4g}",
        f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}",
        f"{value:.2f}",
        f"{value:.3f}",
        f"{value:.3g}",
        f"{value:.6g}",
    }
    return shown | {f"{value:,}"} | {f"{100 * value:.1f} %", f"{100 * value:.4g} %"}


class Stored:
    """What one of the bundle's files holds."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        found = [leaf for name in names for leaf in leaves(json.loads((folder / name).read_text()))]
        self.texts = sorted(
            {t for leaf in found if isinstance(leaf, str) for t in (leaf, leaf.rstrip("+")) if re.search(r"\d", t)}, key=len, reverse=True
        )
        numbers = [leaf for leaf in found if isinstance(leaf, (int, float)) and not isinstance(leaf, bool)]
        self.numbers = {form for number in numbers for form in forms(number)} | {"-0", "0"}
        moments = [n for n in numbers if 1e9 < n < 2e9]
        self.days = {dt.datetime.fromtimestamp(n, dt.UTC).date().isoformat() for n in moments}

    def strangers(self, text: str) -> list[str]:
        """Numbers of a text that are not stored."""
        strange = [day for day in _DATE.findall(text) if day not in self.days and not any(day in t for t in self.texts)]
        text = _DATE.sub("", text)
        for known in self.texts:
            text = text.replace(known, "") if len(known) > 2 else text
        return strange + [n for n in _NUMBER.findall(text) if n not in self.numbers and n.replace(",", "") not in self.numbers]


def strangers(folder: Path, markdown: str) -> list[str]:
    """Numbers of a card that are in none of the files it names for them, with their lines."""
    head, body = markdown.removeprefix("---\n").split("\n---\n", 1)
    found = [f"head: {n}" for n in Stored(folder, ["metrics.json", "lineage.json", "settings.json"]).strangers(head)]
    lines = body.splitlines()
    for i, line in enumerate(lines):
        source = next(m[1] for text in near(lines, i) if (m := _SOURCE.search(text))) if _NUMBER.search(plain(line)) else ""
        if source:
            found += [f"{line}: {n}" for n in Stored(folder, source.split(", ")).strangers(plain(line))]
    return found


def near(lines: list[str], i: int) -> Iterator[str]:
    """Where a line's source is looked for: in itself; above it for a table; below it for a figure or commands."""
    yield lines[i]
    if lines[i].startswith("|"):
        yield from (line for line in reversed(lines[:i]) if line and not line.startswith("|"))
    elif lines[i].startswith(("!", "git ", "homeostat ")):
        yield from lines[i:]
    yield f"no source for: {lines[i]} [missing.json]"


def plain(line: str) -> str:
    return re.sub(r"\\(.)", r"\1", _SOURCE.sub("", line)).replace("`", "")


def test_every_number_is_in_the_file_that_is_named_beside_it(folder: Path) -> None:
    assert strangers(folder, card.render(folder).markdown) == []


def test_a_number_that_is_not_stored_would_be_found(tmp_path: Path) -> None:
    made = card.render(with_figures(make_evidence(tmp_path))).markdown
    assert len(strangers(tmp_path, made.replace("81.2 %", "81.3 %"))) == 2
    assert strangers(tmp_path, made.replace("257,653 labelled", "257,654 labelled")) != []
    assert strangers(tmp_path, made.replace("no row later than 2013-03-30", "no row later than 2013-03-29")) != []
    with pytest.raises(FileNotFoundError, match=r"missing\.json"):
        strangers(tmp_path, made.replace("## Limits", "## Limits\n\nAbout 17 of them."))


def test_the_page_says_what_the_markdown_says(folder: Path) -> None:
    made = card.render(folder)
    page = re.sub(r"<style>.*?</style>|<svg.*?</svg>|aria-label=\"[^\"]*\"", "", made.html, flags=re.DOTALL)
    told = html.unescape(re.sub(r"<[^>]+>", " ", page.split("<body>")[1].split("<footer>")[0]))
    body = "\n".join(line for line in made.markdown.split("\n---\n", 1)[1].splitlines() if not line.startswith("!"))
    assert sorted(_NUMBER.findall(told)) == sorted(_NUMBER.findall(plain(body)))


def test_the_same_folder_gives_the_same_bytes(folder: Path) -> None:
    assert card.render(folder) == card.render(folder)


def test_the_head_is_one_that_hugging_face_reads(folder: Path) -> None:
    made = ModelCard(card.render(folder).markdown)
    stored = json.loads((folder / "metrics.json").read_text())["held_out"]["ensemble"]
    assert made.data.library_name == "homeostat"
    assert made.data.model_name == "flights"
    assert made.data.pipeline_tag in {"tabular-classification", "tabular-regression"}
    assert {result.metric_type: result.metric_value for result in made.data.eval_results} == pytest.approx(stored, rel=1e-5)
    assert made.data.eval_results[0].dataset_name == "flights"
    assert made.text.startswith("\n# Model card: flights")


class Outline(HTMLParser):
    """Tags, ids and whether all that opened was closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value or "" for key, value in attrs if key == "id"]
        if tag not in {"meta", "link", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)


def test_the_page_stands_alone_and_can_be_read_aloud(folder: Path) -> None:
    page = card.render(folder).html
    found = Outline(page)
    assert found.open == []
    assert len(found.ids) == len(set(found.ids))
    assert found.tags.count("h1") == 1
    assert found.tags.count("table") == found.tags.count("caption") > 10
    assert found.tags.count("svg") == found.tags.count("title") - 1 == found.tags.count("desc") > 0
    assert not {"script", "link", "img", "iframe"} & set(found.tags)
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "#0b5cad" not in page.split("</style>")[1]
    assert "var(--main)" in page.split("</style>")[1]


def test_what_was_not_measured_is_said(tmp_path: Path) -> None:
    folder = with_figures(make_evidence(tmp_path, leave_out=tuple(name for name in documents("binary") if name != "schema.json")))
    made = card.render(folder)
    for told in ("How good it is", "Calibration on held-out rows", "How it treats groups of people", "Its lineage"):
        assert f"{told} was not measured for this version" in made.markdown
    assert "- how it behaves on checks: there is no `evaluation/checks.json`" in made.markdown
    assert "Model card: late" in made.html
    assert yaml.safe_load(made.markdown.split("---")[1])["tags"] == ["tabular", "binary"]


@pytest.mark.parametrize("missing", sorted(set(documents("binary")) - {"schema.json"}))
def test_a_card_does_without_any_one_file(tmp_path: Path, missing: str) -> None:
    document = card.compose(evidence.read(make_evidence(tmp_path, leave_out=(missing,))))
    assert len(document.sections) == 14


def test_a_file_of_another_version_is_named_and_not_guessed_at(tmp_path: Path) -> None:
    folder = with_figures(make_evidence(tmp_path))
    (folder / "evaluation" / "fairness.json").write_text('{"groups": 3}')
    made = card.render(folder).markdown
    assert "How it treats groups of people was not measured for this version: Object contains unknown field" in made
    assert "- how it treats groups of people: `evaluation/fairness.json` is of another version and cannot be read" in made


def test_limits_are_drawn_from_what_failed(tmp_path: Path) -> None:
    files = documents("binary")
    made = card.render(with_figures(make_evidence(tmp_path))).markdown
    limits = made.split("## Limits")[1].split("\n## ")[0]
    failed = [outcome.name for outcome in files["evaluation/checks.json"].outcomes if not outcome.passed]
    assert failed == ["carriers alike", "rare"]
    assert [name in limits for name in (*failed, "more wind")] == [True, True, False]
    assert "Answered positive differs by sex: female less male is -0.0541" in limits
    assert "True positive rate differs" not in limits
    assert "one feature missing" not in limits
    assert "missing (size 0.1) moves scores most: by 0.0387 on average" in limits


def test_a_student_that_never_answers_alone_is_a_limit(tmp_path: Path) -> None:
    folder = with_figures(make_evidence(tmp_path))
    rule = json.loads((folder / "cascade.json").read_text()) | {"threshold": 1.01}
    (folder / "cascade.json").write_text(json.dumps(rule))
    made = card.render(folder).markdown
    assert "The student never answers alone" in made
    assert "every row costs the ensemble" in made


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    folder = with_figures(make_evidence(tmp_path))
    schema = schema_for("binary").model_dump(mode="json")
    schema["features"][0]["description"] = "<script>alert(1)</script> | *bold* [link](x)"
    (folder / "schema.json").write_text(json.dumps(schema))
    made = card.render(folder)
    assert "<script>" not in made.html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; | *bold* [link](x)" in made.html
    assert r"\<script\>alert(1)\</script\> \| \*bold\* \[link\](x)" in made.markdown


def test_a_folder_without_a_schema_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"schema\.json is missing or cannot be read"):
        card.render(tmp_path)


def test_a_card_goes_into_its_bundle_or_with_its_figures_elsewhere(tmp_path: Path) -> None:
    folder = with_figures(make_evidence(tmp_path / "bundle"))
    assert card.write(folder) == folder / "card.html"
    assert card.write(folder, tmp_path / "out") == tmp_path / "out" / "card.html"
    assert (tmp_path / "out" / "card.md").read_bytes() == (folder / "card.md").read_bytes()
    assert sorted(path.name for path in (tmp_path / "out" / "figures").iterdir()) == ["calibration.svg", "weights.svg"]
