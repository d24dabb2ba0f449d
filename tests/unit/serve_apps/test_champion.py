from __future__ import annotations

import itertools
import logging
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from cluster import bundle, probe, storage
from cluster.errors import BundleError, BundleTampered, NoChampion, RegistryError, StorageError, Unavailable
from cluster.records import Pointer, Pointers
from cluster.schema import Feature
from serve_apps import loading
from serve_apps.canary import Canary
from serve_apps.champion import Champion, Serving, Swap
from tests.builders import CREATED, MODEL, STUDENT_WEIGHTS, expected_scores, make_bundle, make_champion, make_schema, make_settings, publish

ROW = np.array([[200, 3.5, 1]], dtype=np.float32)
KEYS = [b"customer-%d" % number for number in range(200)]


def follow(root: Path) -> Champion:
    return Champion(make_settings(root).places.pointers(MODEL), parts=("student",))


def make_unfinite(root: Path, version: str) -> None:
    """Publish a bundle whose graphs answer NaN."""
    folder = root / "bundles" / version
    publish(root, folder, version=version, digest=make_bundle(folder, bias=float("nan")))


def made(root: Path, version: str, *, bias: float = 0.0) -> Pointer:
    """A sealed bundle that nobody points at yet."""
    folder = root / "bundles" / version
    return Pointer(version=version, uri=str(folder), digest=make_bundle(folder, bias=bias))


def with_probe(pointer: Pointer, *, wrong_by: float = 0.0) -> Pointer:
    """The same bundle, sealed with a probe of four rows."""
    folder, rows = Path(pointer.uri), np.repeat(ROW, 4, axis=0)
    found = bundle.Bundle(folder)
    expected: dict[bundle.Part, Any] = {"student": found.student(rows) + np.float32(wrong_by), "ensemble": found.ensemble(rows)}
    probe.write(folder, probe.Probe(rows, expected))
    return msgspec.structs.replace(pointer, digest=bundle.seal(folder, model=MODEL, created=CREATED))


def point(root: Path, champion: Pointer, challenger: Pointer | None = None, share: float = 0.0) -> None:
    """Publish pointers, as the registry would."""
    pointers = Pointers(model=MODEL, champion=champion, challenger=challenger, challenger_share=share)
    storage.write_atomic(make_settings(root).places.pointers(MODEL), msgspec.json.encode(pointers))


def answering(champion: Champion) -> list[str]:
    """Which version answers each of `KEYS`."""
    return [champion.serving.pick([(b"accept", b"*/*"), (b"x-routing-key", key)], b"").version for key in KEYS]


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Versions in the order in which they are loaded; fails where a load would make more than two bundles in memory."""
    versions: list[str] = []
    alive: weakref.WeakSet[bundle.Bundle] = weakref.WeakSet()

    class Counted(bundle.Bundle):
        def __init__(self, folder: Path, *, version: str, **options: Any) -> None:
            alive.add(self)
            assert len(alive) <= 2
            super().__init__(folder, version=version, **options)
            versions.append(version)

    monkeypatch.setattr(loading, "Bundle", Counted)
    return versions


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
    assert champion.refresh() == []
    make_champion(tmp_path, version="2", bias=1.0)
    assert champion.current.version == "1"
    assert [swap[:2] for swap in champion.refresh()] == [("champion", "2")]
    assert champion.current.version == "2"
    np.testing.assert_allclose(champion.current.student(ROW), expected_scores((0.002, -0.1, 0.5), ROW, 1.0), rtol=1e-6)
    assert champion.refresh() == []


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
    assert champion.refresh()
    assert champion.current is first


def test_a_tampered_new_champion_is_refused_once_and_the_old_one_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_champion(tmp_path, version="1")
    champion = follow(tmp_path)
    (make_champion(tmp_path, version="2") / "student.onnx").write_bytes(b"x")
    with caplog.at_level(logging.ERROR):
        assert [champion.refresh() for _ in range(3)] == [[], [], []]
    assert champion.current.version == "1"
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "refused champion 2 of late" in caplog.text
    assert "version 1 goes on answering" in caplog.text
    make_champion(tmp_path, version="3")
    assert champion.refresh()


def test_a_champion_that_answers_nonsense_never_gets_a_request(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_champion(tmp_path, version="1")
    make_champion(tmp_path, version="2")
    champion = follow(tmp_path)
    make_unfinite(tmp_path, "3")
    assert champion.refresh() == []
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
    assert [champion.refresh() for _ in range(2)] == [[], []]
    assert champion.current.version == "1"
    assert "cannot follow the pointers" in caplog.text
    assert len(caplog.records) == 1
    with pytest.raises(RegistryError, match=r"the published pointers in .* cannot be read"):
        follow(tmp_path)


def test_a_champion_with_other_columns_is_taken_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_champion(tmp_path, version="1")
    champion = follow(tmp_path)
    features = (*make_schema().features, Feature(name="rain", type="number"))
    folder = tmp_path / "bundles" / "2"
    publish(tmp_path, folder, version="2", digest=make_bundle(folder, schema=make_schema(features=features)))
    assert champion.refresh()
    assert champion.current.schema.names == ("miles", "wind", "carrier", "rain")
    assert "reads other columns than 1" in caplog.text


def test_a_challenger_answers_the_keys_of_its_share_and_the_champion_the_rest(tmp_path: Path) -> None:
    one, two = made(tmp_path, "1"), made(tmp_path, "2")
    point(tmp_path, one)
    champion = follow(tmp_path)
    assert (champion.challenger, champion.share, set(answering(champion))) == (None, 0.0, {"1"})
    point(tmp_path, one, two, 0.5)
    assert [swap[:2] for swap in champion.refresh()] == [("challenger", "2")]
    canary = Canary(model=MODEL, version="2", share=0.5)
    assert answering(champion) == ["2" if canary.takes(key) else "1" for key in KEYS]
    assert champion.challenger is not None
    assert (champion.current.version, champion.challenger.version, champion.share) == ("1", "2", 0.5)
    assert champion.refresh() == []


def test_a_replica_that_starts_during_a_trial_takes_part_at_once(tmp_path: Path) -> None:
    point(tmp_path, made(tmp_path, "1"), made(tmp_path, "2"), 1.0)
    assert set(answering(follow(tmp_path))) == {"2"}


def test_without_a_challenger_a_request_is_not_looked_at(tmp_path: Path) -> None:
    make_champion(tmp_path)
    champion = follow(tmp_path)
    nothing: Any = None
    assert champion.serving == Serving(champion.current)
    assert champion.serving.pick(nothing, nothing) is champion.current


@pytest.mark.parametrize(("version", "share"), [("2", 0.0), ("1", 0.5)])
def test_a_challenger_without_requests_or_that_is_champion_is_not_loaded(
    tmp_path: Path, loaded: list[str], version: str, share: float
) -> None:
    pointers = {name: made(tmp_path, name) for name in ("1", "2")}
    point(tmp_path, pointers["1"], pointers[version], share)
    champion = follow(tmp_path)
    assert champion.challenger is None
    assert loaded == ["1"]


def test_a_share_changes_without_loading(tmp_path: Path, loaded: list[str]) -> None:
    one, two = made(tmp_path, "1"), made(tmp_path, "2")
    point(tmp_path, one, two, 0.2)
    champion = follow(tmp_path)
    before = answering(champion)
    point(tmp_path, one, two, 0.6)
    assert champion.refresh() == []
    after = answering(champion)
    assert champion.share == 0.6
    assert after.count("2") > before.count("2") > 0
    assert all(new == "2" for old, new in zip(before, after, strict=True) if old == "2")
    assert loaded == ["1", "2"]


def test_promoting_a_challenger_that_is_loaded_loads_nothing(tmp_path: Path, loaded: list[str]) -> None:
    one, two = made(tmp_path, "1"), made(tmp_path, "2")
    point(tmp_path, one, two, 0.1)
    champion = follow(tmp_path)
    challenger = champion.challenger
    point(tmp_path, two)
    assert [swap[:2] for swap in champion.refresh()] == [("champion", "2")]
    assert champion.current is challenger
    assert champion.challenger is None
    assert champion.version("1").version == "1"
    assert loaded == ["1", "2"]


def test_champion_and_challenger_change_places_without_loading(tmp_path: Path, loaded: list[str]) -> None:
    one, two = made(tmp_path, "1"), made(tmp_path, "2")
    point(tmp_path, one, two, 0.1)
    champion = follow(tmp_path)
    point(tmp_path, two, one, 0.1)
    assert [swap[:2] for _ in range(3) for swap in champion.refresh()] == [("champion", "2"), ("challenger", "1")]
    assert loaded == ["1", "2"]


def test_a_challenger_taken_away_is_held_for_requests_under_way(tmp_path: Path) -> None:
    one, two = made(tmp_path, "1"), made(tmp_path, "2")
    point(tmp_path, one, two, 0.5)
    champion = follow(tmp_path)
    challenger = champion.challenger
    point(tmp_path, one)
    assert champion.refresh() == []
    assert set(answering(champion)) == {"1"}
    assert champion.version("2") is challenger


def test_a_swap_beside_a_challenger_never_holds_three_bundles(tmp_path: Path, loaded: list[str]) -> None:
    one, two, three = (made(tmp_path, version) for version in "123")
    point(tmp_path, one, two, 1.0)
    champion = follow(tmp_path)
    point(tmp_path, three, two, 1.0)
    assert [swap[:2] for swap in champion.refresh()] == [("champion", "3")]
    assert set(answering(champion)) == {"3"}
    assert champion.version("1").version == "1"
    assert [swap[:2] for swap in champion.refresh()] == [("challenger", "2")]
    assert set(answering(champion)) == {"2"}
    assert loaded == ["1", "2", "3", "2"]


def test_whatever_the_moves_three_bundles_are_never_held(tmp_path: Path, loaded: list[str]) -> None:
    pointers = [made(tmp_path, version) for version in "1234"]
    rng = np.random.default_rng(3)
    point(tmp_path, pointers[0])
    champion = follow(tmp_path)
    for _ in range(40):
        first, second = rng.choice(4, size=2, replace=False)
        point(tmp_path, pointers[first], pointers[second], float(rng.choice([0.0, 0.5])))
        for _ in range(int(rng.integers(1, 3))):
            champion.refresh()
        assert champion.current.version == pointers[first].version
    assert len(loaded) > 20


def test_requests_go_to_the_champion_while_a_challenger_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, three = (made(tmp_path, version) for version in "123")
    point(tmp_path, one, two, 1.0)
    champion = follow(tmp_path)
    meanwhile: list[set[str]] = []
    load = loading.load

    def watched(*args: Any, **options: Any) -> bundle.Bundle:
        meanwhile.append(set(answering(champion)))
        return load(*args, **options)

    monkeypatch.setattr(loading, "load", watched)
    point(tmp_path, one, three, 1.0)
    assert champion.refresh()
    assert meanwhile == [{"1"}]
    assert set(answering(champion)) == {"3"}


def test_a_bad_challenger_is_refused_once_and_costs_no_request(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one, two, three = made(tmp_path, "1"), made(tmp_path, "2"), made(tmp_path, "3", bias=float("nan"))
    point(tmp_path, one, two, 1.0)
    champion = follow(tmp_path)
    point(tmp_path, one, three, 1.0)
    with caplog.at_level(logging.ERROR):
        assert [champion.refresh() for _ in range(3)] == [[], [], []]
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "refused challenger 3 of late: its student answers numbers that are not finite; version 1 goes on answering" in caplog.text
    assert set(answering(champion)) == {"1"}
    point(tmp_path, one, two, 1.0)
    assert champion.refresh()
    point(tmp_path, one, three, 1.0)
    assert champion.refresh() == []
    assert caplog.text.count("refused challenger 3") == 2


def test_a_refused_champion_leaves_the_challenger_its_share(tmp_path: Path) -> None:
    one, two, three = made(tmp_path, "1"), made(tmp_path, "2"), made(tmp_path, "3", bias=float("nan"))
    point(tmp_path, one, two, 1.0)
    champion = follow(tmp_path)
    point(tmp_path, three, two, 1.0)
    champion.refresh()
    assert champion.current.version == "1"
    assert set(answering(champion)) == {"2"}


def test_a_place_that_does_not_answer_is_asked_again_and_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one, two, three = (made(tmp_path, version) for version in "123")
    point(tmp_path, one, two, 1.0)
    champion = follow(tmp_path)
    fetch = loading.fetch

    def fail(pointer: Pointer) -> Path:
        raise StorageError("no route to the store")

    monkeypatch.setattr(loading, "fetch", fail)
    point(tmp_path, three, two, 1.0)
    assert [champion.refresh() for _ in range(3)] == [[], [], []]
    assert [record.getMessage() for record in caplog.records] == ["cannot fetch champion 3 of late, trying again: no route to the store"]
    assert set(answering(champion)) == {"2"}
    monkeypatch.setattr(loading, "fetch", fetch)
    assert [swap[:2] for swap in champion.refresh()] == [("champion", "3")]


def test_a_bundle_that_does_not_score_as_it_did_when_built_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    point(tmp_path, with_probe(made(tmp_path, "1")))
    champion = follow(tmp_path)
    wrong = with_probe(made(tmp_path, "2"), wrong_by=0.01)
    point(tmp_path, wrong)
    assert champion.refresh() == []
    assert champion.current.version == "1"
    assert "refused champion 2 of late: the student scores row 0 of its probe 0.01 away" in caplog.text
    with pytest.raises(BundleError, match="the student scores row 0 of its probe"):
        follow(tmp_path)


def test_how_far_a_new_champion_is_from_the_old_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    point(tmp_path, with_probe(made(tmp_path, "1")))
    champion = follow(tmp_path)
    point(tmp_path, with_probe(made(tmp_path, "2", bias=1.0)))
    with caplog.at_level(logging.INFO):
        assert champion.refresh()
    distance = float(np.abs(expected_scores(STUDENT_WEIGHTS, ROW, 1.0) - expected_scores(STUDENT_WEIGHTS, ROW))[0, 0])
    assert f"the student of late 2 is {distance:.4g} from that of 1, on average of 4 rows" in caplog.text


def test_a_swap_says_how_long_it_took(tmp_path: Path) -> None:
    ticks = itertools.count(step=0.25)
    make_champion(tmp_path, version="1")
    champion = Champion(make_settings(tmp_path).places.pointers(MODEL), parts=("student",), clock=lambda: next(ticks))
    make_champion(tmp_path, version="2")
    assert champion.refresh() == [Swap("champion", "2", 0.25)]


def test_many_threads_that_want_a_new_version_load_it_once(tmp_path: Path, loaded: list[str]) -> None:
    one, two, three = (made(tmp_path, version) for version in "123")
    point(tmp_path, one)
    champion = follow(tmp_path)
    point(tmp_path, two, three, 0.5)
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: champion.version("2"), range(32)))
    assert found == {champion.current}
    assert champion.version("3").version == "3"
    assert loaded == ["1", "2", "3"]
