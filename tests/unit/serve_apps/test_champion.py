from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from cluster.errors import BundleTampered, NoChampion, RegistryError, Unavailable
from cluster.schema import Feature
from serve_apps.champion import Champion
from tests.builders import MODEL, expected_scores, make_bundle, make_champion, make_schema, make_settings, publish

ROW = np.array([[200, 3.5, 1]], dtype=np.float32)


def follow(root: Path) -> Champion:
    return Champion(make_settings(root).places.pointers(MODEL), parts=("student",))


def make_unfinite(root: Path, version: str) -> None:
    """Publish a bundle whose graphs answer NaN."""
    folder = root / "bundles" / version
    publish(root, folder, version=version, digest=make_bundle(folder, bias=float("nan")))


def test_without_a_champion_there_is_nothing_to_serve(tmp_path: Path) -> None:
    with pytest.raises(NoChampion, match=r"train one with: homeostat train YOUR\.yaml"):
        follow(tmp_path)


def test_a_tampered_first_champion_is_refused(tmp_path: Path) -> None:
    (make_champion(tmp_path) / "metrics.json").write_bytes(b"{}")
    with pytest.raises(BundleTampered, match=r"metrics\.json"):
        follow(tmp_path)


def test_a_moved_pointer_is_followed_at_the_next_look(tmp_path: Path) -> None:
    make_champion(tmp_path, version="1")
    champion = follow(tmp_path)
    assert champion.refresh() is False
    make_champion(tmp_path, version="2", bias=1.0)
    assert champion.current.version == "1"
    assert champion.refresh() is True
    assert champion.current.version == "2"
    np.testing.assert_allclose(champion.current.student(ROW), expected_scores((0.002, -0.1, 0.5), ROW, 1.0), rtol=1e-6)
    assert champion.refresh() is False


def test_the_version_before_is_held_for_requests_under_way_and_older_ones_are_not(tmp_path: Path) -> None:
    make_champion(tmp_path, version="1")
    champion = follow(tmp_path)
    for version in ("2", "3"):
        make_champion(tmp_path, version=version)
        champion.refresh()
    assert champion.version("2").version == "2"
    assert champion.version("3") is champion.current
    with pytest.raises(Unavailable, match="this replica does not hold version 1"):
        champion.version("1")


def test_a_pointer_that_is_ahead_is_caught_up_with_when_a_version_is_asked_for(tmp_path: Path) -> None:
    make_champion(tmp_path, version="1")
    champion = follow(tmp_path)
    make_champion(tmp_path, version="2")
    assert champion.version("2").version == champion.current.version == "2"


def test_a_rollback_is_followed_too(tmp_path: Path) -> None:
    make_champion(tmp_path, version="1")
    champion = follow(tmp_path)
    first = champion.current
    make_champion(tmp_path, version="2")
    champion.refresh()
    folder = first.folder
    publish(tmp_path, folder, version="1", digest=make_bundle(tmp_path / "same"))
    assert champion.refresh() is True
    assert champion.current is first


def test_a_tampered_new_champion_is_refused_once_and_the_old_one_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_champion(tmp_path, version="1")
    champion = follow(tmp_path)
    (make_champion(tmp_path, version="2") / "student.onnx").write_bytes(b"x")
    with caplog.at_level(logging.ERROR):
        assert [champion.refresh() for _ in range(3)] == [False, False, False]
    assert champion.current.version == "1"
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "refused champion 2" in caplog.text
    assert "version 1 goes on answering" in caplog.text
    make_champion(tmp_path, version="3")
    assert champion.refresh() is True


def test_a_champion_that_answers_nonsense_never_gets_a_request(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_champion(tmp_path, version="1")
    make_champion(tmp_path, version="2")
    champion = follow(tmp_path)
    make_unfinite(tmp_path, "3")
    assert champion.refresh() is False
    assert champion.current.version == "2"
    assert "its student answers numbers that are not finite" in caplog.text
    with pytest.raises(Unavailable):
        champion.version("3")


def test_a_refused_champion_does_not_push_out_the_version_before(tmp_path: Path) -> None:
    make_champion(tmp_path, version="1")
    champion = follow(tmp_path)
    make_unfinite(tmp_path, "2")
    champion.refresh()
    make_champion(tmp_path, version="3")
    champion.refresh()
    assert champion.version("1").version == "1"


def test_damaged_pointers_are_told_and_the_champion_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_champion(tmp_path, version="1")
    champion = follow(tmp_path)
    Path(make_settings(tmp_path).places.pointers(MODEL)).write_bytes(b"{")
    assert champion.refresh() is False
    assert champion.current.version == "1"
    assert "cannot read the champion pointer" in caplog.text
    with pytest.raises(RegistryError, match=r"the published pointers in .* cannot be read"):
        follow(tmp_path)


def test_a_champion_with_other_columns_is_taken_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_champion(tmp_path, version="1")
    champion = follow(tmp_path)
    features = (*make_schema().features, Feature(name="rain", type="number"))
    folder = tmp_path / "bundles" / "2"
    publish(tmp_path, folder, version="2", digest=make_bundle(folder, schema=make_schema(features=features)))
    assert champion.refresh() is True
    assert champion.current.schema.names == ("miles", "wind", "carrier", "rain")
    assert "reads other columns than 1" in caplog.text
