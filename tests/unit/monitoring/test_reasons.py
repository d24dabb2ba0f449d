"""What is said of a window's explanations: nothing while nothing changes, the changed feature once it has, and the same each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cluster.bundle import Bundle
from cluster.explaining import neighbourhood
from cluster.schema import Floats, Matrix
from monitoring import attributing, reasons
from monitoring.attributing import Attributions
from monitoring.drift import REST
from monitoring.reasons import Reasons
from monitoring.said import Figure, Live, Trail
from tests.builders import make_schema
from tests.unit.cluster.explaining.bundles import rows_of
from tests.unit.monitoring.explained import COLUMNS, loaded
from tests.unit.monitoring.test_attribution import DAYS, FEATURES, days, reference_of

THRESHOLD = 100.0


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return loaded(tmp_path_factory.mktemp("bundle") / "b")


def window(seed: int, *, grown: float = 1.0) -> Matrix:
    rows = rows_of(make_schema(), 120, seed=100 + seed).X
    rows[:, 0] *= grown
    return rows


def said(bundle: Bundle, rows: Matrix, live: Live) -> tuple[dict[str, Figure], Live]:
    told, live = reasons.explain(Reasons(bundle), COLUMNS, rows, live, threshold=THRESHOLD, rng=np.random.default_rng(5))
    return {f"{figure.kind}:{figure.name}": figure for figure in told}, live


def test_a_window_like_the_reference_is_told_with_its_bounds_and_blames_nobody(bundle: Bundle) -> None:
    found, live = said(bundle, window(0), Live())
    assert set(found) == {
        *(f"attribution:{name}" for name in ("miles", "wind", "carrier")),
        *(f"explanation:{name}" for name in ("rank_agreement", "noise_agreement", "seed_agreement", "fidelity", "poor_fidelity")),
    }
    miles = found["attribution:miles"]
    assert miles.unit == "mean size of its contribution (log odds)"
    assert miles.lower is not None
    assert miles.upper is not None
    assert miles.expected is not None
    assert miles.lower < miles.expected < miles.upper
    assert not any(figure.alarm for figure in found.values())
    assert found["explanation:rank_agreement"].value == 1.0
    assert (found["explanation:noise_agreement"].value or 0) > 0.8
    assert 0 < (found["explanation:fidelity"].value or 0) < 1
    assert found["explanation:seed_agreement"].rows == 15
    assert set(live.trails) == {"miles", "wind", "carrier"}


def test_the_same_window_is_told_the_same_to_the_bit_by_whoever_tells_it(bundle: Bundle) -> None:
    assert said(bundle, window(1), Live()) == said(bundle, window(1), Live())
    assert said(bundle, window(1), Live()) != said(bundle, window(2), Live())


def test_a_feature_that_hardly_varies_any_more_is_found_over_windows_and_stands_for_a_month(bundle: Bundle) -> None:
    lasting, live = reasons.Reasons(bundle), Live()
    alarms: list[list[str]] = []
    for day in range(REST + 15):
        trails, _ = reasons.advance(
            ["miles", "wind", "carrier"],
            live.trails,
            lasting.attributions,
            lasting.sizes(window(day, grown=0.05 if 5 <= day < 12 else 1.0)),
            limit=reasons.SAFETY * THRESHOLD,
        )
        live = live.followed(trails)
        alarms.append([name for name, trail in trails.items() if trail.rest])
    first = next(day for day, names in enumerate(alarms) if names)
    assert 5 < first < 11  # never by the first window alone
    assert alarms[first] == ["miles"]
    assert alarms[first + REST - 1] == ["miles"]
    assert alarms[first + REST] == []


def test_while_it_stands_the_verdict_says_so(bundle: Bundle) -> None:
    found, live = said(bundle, window(3), Live(trails={"miles": Trail(previous=0.1, rest=3)}))
    assert found["attribution:miles"].alarm
    assert "over windows it is shown to have changed" in found["attribution:miles"].message
    assert live.trails["miles"].rest == 2
    assert live.trails["miles"].evidence == 0.0


def test_a_bundle_that_holds_less_is_told_less_about(tmp_path: Path) -> None:
    older, _ = said(loaded(tmp_path / "older", leave_out=(attributing.NAME,)), window(0), Live())
    assert set(older) == {f"explanation:{name}" for name in ("seed_agreement", "fidelity", "poor_fidelity")}
    bare, _ = said(loaded(tmp_path / "bare", leave_out=(attributing.NAME, neighbourhood.NAME)), window(0), Live())
    assert bare == {}


def test_what_cannot_be_read_is_said_and_the_watch_goes_on(tmp_path: Path) -> None:
    found, live = said(loaded(tmp_path / "odd", attributions=b"{}"), window(0), Live())
    assert found["explanation:fidelity"].value is None
    assert "cannot be known: explanation/attributions.json of the bundle" in found["explanation:fidelity"].message
    assert live == Live()


def followed(learned: Attributions, stream: list[Floats]) -> list[list[str]]:
    """By window, the features that are said to have changed."""
    trails: dict[str, Trail] = {}
    blamed = []
    for day in stream:
        trails, _ = reasons.advance(learned.reference.features, trails, learned, np.abs(day), limit=reasons.SAFETY * THRESHOLD)
        blamed.append([name for name, trail in trails.items() if trail.rest])
    return blamed


def test_streams_in_which_days_differ_and_nothing_changes_blame_nobody_and_a_change_is_blamed_on_its_feature() -> None:
    rng, wrong, right = np.random.default_rng(7), 0, 0
    for _ in range(10):
        stream = days(rng, DAYS + 50, memory=0.4)
        learned = Attributions(whose="xgboost", unit="log odds", rows=80, reference=reference_of(stream[:DAYS]))
        wrong += any(followed(learned, stream[DAYS:]))
        changed = [day * np.array([2.5, 1, 1, 1, 1]) for day in stream[DAYS : DAYS + 15]]
        found = [names for names in followed(learned, changed) if names]
        right += bool(found) and found[0] == [FEATURES[0]]
    assert wrong == 0  # one in four such tests may, if every one of 500 windows used up what the limit allows
    assert right >= 8
