"""Figures as they are drawn: seconds of matplotlib, so not among the unit tests."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from cluster.schema import Task
from monitoring.drawing import PALETTE
from tests.unit.training.bundles import documents, make_evidence
from training.card import figures

NAMES = {
    "binary": ["weights", "calibration", "scores", "importance", "dependence", "fairness"],
    "multiclass": ["weights", "calibration", "scores", "importance", "dependence", "fairness"],
    "regression": ["weights", "residuals", "scores", "importance", "dependence", "fairness"],
}


@pytest.fixture(scope="module", params=NAMES)
def drawn(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Task, Path, dict[str, bytes]]:
    folder = make_evidence(tmp_path_factory.mktemp(request.param), request.param)
    return request.param, folder, figures.draw(folder)


def test_each_task_has_its_figures(drawn: tuple[Task, Path, dict[str, bytes]]) -> None:
    task, _, made = drawn
    assert list(made) == NAMES[task]


def test_the_same_files_give_the_same_bytes(drawn: tuple[Task, Path, dict[str, bytes]]) -> None:
    _, folder, made = drawn
    assert figures.draw(folder) == made


def test_a_figure_is_sound_says_what_it_shows_and_keeps_to_the_palette(drawn: tuple[Task, Path, dict[str, bytes]]) -> None:
    for name, content in drawn[2].items():
        root = ElementTree.fromstring(content)
        title, told = figures.told(content)
        assert root[0].text == title
        assert root.get("aria-labelledby") == f"{name}-title {name}-desc"
        assert len(told) > 20
        ids = re.findall(rb'\bid="([^"]+)"', content)
        assert len(ids) == len(set(ids))
        assert {i.split(b"-")[0].decode() for i in ids} == {name}
        assert set(re.findall(r"#[0-9a-f]{6}\b", content.decode())) <= set(PALETTE)


def test_ids_do_not_meet_on_one_page(drawn: tuple[Task, Path, dict[str, bytes]]) -> None:
    ids = [i for content in drawn[2].values() for i in re.findall(rb'\bid="([^"]+)"', content)]
    assert len(ids) == len(set(ids))


def test_figures_show_what_is_stored(tmp_path: Path) -> None:
    made = figures.draw(make_evidence(tmp_path))
    assert figures.told(made["weights"]) == ("Weight of each member", "Bars: xgboost 0.61; torch 0.33; linear 0.06.")
    assert "the ensemble's bins run from 0.031 to 0.863" in figures.told(made["calibration"]).description
    for text in ("answered positive", "female", "male", "sex"):
        assert f">{text}</text>" in made["fairness"].decode()
    assert ">(small groups)</text>" not in made["fairness"].decode()


def test_what_is_missing_is_not_drawn(tmp_path: Path) -> None:
    make_evidence(tmp_path, leave_out=("evaluation/explanation.json", "evaluation/fairness.json", "blend.json"))
    assert list(figures.draw(tmp_path)) == ["calibration"]


def test_kept_figures_are_read_and_not_drawn_again(tmp_path: Path) -> None:
    make_evidence(tmp_path, leave_out=("evaluation/explanation.json", "evaluation/fairness.json"))
    assert list(figures.read(tmp_path)) == ["weights", "calibration"]
    figures.write(tmp_path)
    kept = tmp_path / "figures" / "weights.svg"
    assert figures.read(tmp_path)["weights"] == kept.read_bytes()
    kept.write_bytes(b"<svg/>")
    assert figures.read(tmp_path)["weights"] == b"<svg/>"


def test_many_groups_and_odd_names_are_drawn(tmp_path: Path) -> None:
    make_evidence(tmp_path, leave_out=("evaluation/explanation.json", "blend.json", "evaluation/calibration.json"))
    report = documents("binary")["evaluation/fairness.json"]
    [sex] = report.attributes
    many = [msgspec.structs.replace(sex.groups[0], name=f"<group> & ${i}$" + "x" * 40) for i in range(30)]
    crossed = msgspec.structs.replace(sex, name="sex x race", groups=many)
    report = msgspec.structs.replace(report, attributes=[sex, crossed])
    (tmp_path / "evaluation" / "fairness.json").write_bytes(msgspec.json.encode(report))
    made = figures.draw(tmp_path)["fairness"].decode()
    assert "&lt;group&gt; &amp; $11$" in made
    assert "$12$" not in made
