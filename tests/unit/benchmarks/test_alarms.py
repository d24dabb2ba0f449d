"""Streams, alarm rules, counting and promises of the benchmark of alarms: without tables, peers or Ray."""

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from benchmarks.alarms import changes, counting, elsewhere, tables
from benchmarks.alarms.changes import CHANGES, VANISH
from benchmarks.alarms.columns import Columns
from benchmarks.alarms.counting import Found
from benchmarks.alarms.detectors import Ours
from benchmarks.alarms.peers import RULES
from benchmarks.alarms.promises import lost_to_a_peer, targets_of
from benchmarks.alarms.rules import DELTAS, Strengths, matched
from benchmarks.alarms.streams import MEAN_RUN, World, draw
from benchmarks.alarms.trial import AFTER, BEFORE, REFERENCE, calibration, healthy, planted, spoil
from benchmarks.report import Line, Report, context
from cluster.errors import Unavailable
from cluster.schema import Feature, FeatureSchema, Label

RNG = np.random.default_rng
BY_NAME = {rule.who: rule for rule in RULES}
CHANGE = {change.name: change for change in CHANGES}


@pytest.fixture(scope="module")
def world() -> World:
    """Two numbers that go together and a category, in 40 windows of 50 rows."""
    rng = RNG(0)
    a = rng.normal(size=2000)
    X = np.column_stack([a, 2 * a + rng.normal(size=2000), rng.integers(0, 3, 2000)]).astype(np.float32)
    schema = FeatureSchema(
        features=(
            Feature(name="a", type="number"),
            Feature(name="b", type="number"),
            Feature(name="kind", type="category", categories=("x", "y", "z")),
        ),
        label=Label(name="late", classes=(0, 1)),
    )
    y = (rng.random(2000) < 0.3).astype(np.float64)
    return World("toy", schema, X, np.full((2000, 1), 0.3, np.float32), y, np.array_split(np.arange(2000), 40))


def test_a_stream_is_drawn_in_runs_of_neighbours(world):
    stream = draw(world, reference=60, healthy=4000, rng=RNG(1))
    assert (len(stream.reference), len(stream.healthy)) == (60, 4000)
    follows = np.mean(np.diff(stream.healthy) % 40 == 1)
    assert follows == pytest.approx(1 - 1 / MEAN_RUN, abs=0.04)
    assert set(stream.healthy.tolist()) == set(range(40))


def test_the_same_seed_draws_the_same_stream(world):
    one, two, other = (draw(world, reference=60, healthy=10, rng=RNG(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one.reference, two.reference)
    assert not np.array_equal(one.reference, other.reference)


def test_a_change_leaves_all_columns_but_one_and_the_world_as_they_are(world):
    before = world.X.copy()
    rows = world.rows(np.array([3]))[0]
    for change in CHANGES:
        assert change.columns is not None
        column = change.columns(world)[0]
        matrix, _, y = spoil(world, rows, change, column, RNG(0))
        others = [j for j in range(3) if j != column]
        assert np.array_equal(matrix[:, others], rows[0][:, others]), change.name
        assert not np.array_equal(matrix[:, column], rows[0][:, column], equal_nan=True), change.name
        assert np.array_equal(y, rows[2])
    assert np.array_equal(world.X, before)


def test_labels_change_and_columns_do_not(world):
    rows = world.rows(np.array([3]))[0]
    matrix, _, y = spoil(world, rows, changes.LABELS, -1, RNG(0))
    assert np.array_equal(matrix, rows[0])
    assert 0 < np.mean(y != rows[2]) < 0.5


def test_the_same_category_vanishes_in_every_window(world):
    left = [spoil(world, rows, VANISH, 2, RNG(seed))[0][:, 2] for seed, rows in enumerate(world.rows(np.arange(5)))]
    assert len(np.unique(np.concatenate(left))) == 2


def test_a_flip_keeps_the_column_and_turns_its_correlation_round(world):
    rows = world.rows(np.array([3]))[0]
    matrix = spoil(world, rows, CHANGE["correlations flip"], 1, RNG(0))[0]
    assert np.array_equal(np.sort(matrix[:, 1]), np.sort(rows[0][:, 1]))
    assert np.corrcoef(matrix[:, 0], matrix[:, 1])[0, 1] < -0.5 < 0.5 < np.corrcoef(rows[0][:, 0], rows[0][:, 1])[0, 1]


def test_one_column_of_a_window_is_measured_as_it_is_among_all(world):
    columns, windows = Columns(world, world.rows(np.arange(20))), world.rows(np.arange(20, 30))
    far, means = columns.far(windows), columns.means(windows)
    assert (far.shape, means.shape) == ((10, 3, 3), (10, 4))
    for j in range(3):
        assert np.array_equal(columns.far_in(j, windows), far[:, j])
        assert np.array_equal(columns.means_in(j, windows), means[:, j])
    assert np.array_equal(columns.means_in(-1, windows), means[:, -1])


def test_a_planted_stream_is_one_and_the_same_until_it_changes_and_then_in_one_column_alone(world):
    made = list(planted(world, 0))
    assert [one.change.name for one in made] == [change.name for change in (*CHANGES, changes.LABELS)]
    first = made[0].seen
    for one in made:
        assert len(one.seen.ours) == len(one.seen.far) == BEFORE + AFTER
        assert one.seen.ours[:BEFORE] == first.ours[:BEFORE]
        assert np.array_equal(one.seen.far[:BEFORE], first.far[:BEFORE])
        assert np.array_equal(one.seen.means[: REFERENCE + BEFORE], first.means[: REFERENCE + BEFORE])
    names = ["a", "b", "kind", "(label)"]
    flipped = next(one for one in made if one.change is changes.LABELS).seen.means[REFERENCE + BEFORE :]
    for one in made[:-1]:
        moved = (one.seen.means[REFERENCE + BEFORE :] != flipped).any(axis=0)
        assert {names[j] for j in np.flatnonzero(moved[:3])} <= {one.blame}
        assert moved[3]  # the labels changed in the other


def test_a_fork_does_not_change_what_it_was_forked_from(world):
    watcher = Ours(world, world.rows(np.arange(40)), threshold=50.0)
    calm, broken = world.rows(np.array([5]))[0], world.rows(np.array([5]))[0]
    broken[0][:, 0] += 9
    plain, fork = watcher.fork(), watcher.fork()
    assert any(fork.look(*broken) for _ in range(10))
    assert not any(plain.look(*calm) for _ in range(3))


def test_streams_that_set_thresholds_are_not_those_that_are_counted(world):
    assert not np.array_equal(calibration(world, 0).means, healthy(world, 0).means)
    assert np.array_equal(calibration(world, 0).means, calibration(world, 0).means)


def test_a_peer_that_cannot_be_run_is_named(monkeypatch):
    monkeypatch.setattr("benchmarks.environments.python", lambda _: "/bin/false")
    with pytest.raises(Unavailable, match="drift_adwin failed"):
        elsewhere.adwin(np.zeros((1, 3, 1)), reference=2)


def strengths(streams: int = 30, *, windows: int = 20, columns: int = 4, seed: int = 0) -> Strengths:
    rng = RNG(seed)
    far = rng.exponential(size=(streams, windows, columns, 3)) / np.array([1.0, 5.0, 20.0])
    strictest = rng.integers(-300, len(DELTAS), (streams, windows, columns + 1))
    return Strengths(far, strictest[..., None] >= np.arange(len(DELTAS)))


@pytest.mark.parametrize("who", BY_NAME)
def test_a_stream_alarms_if_and_only_if_its_level_is_above_the_threshold(who):
    rule, seen = BY_NAME[who], strengths()
    levels = rule.levels(seen)
    thresholds = range(len(DELTAS) + 1) if who == "ADWIN" else [*np.quantile(levels, [0, 0.3, 0.8, 1]), rule.default(4)]
    for threshold in thresholds:
        assert np.array_equal(rule.hits(seen, float(threshold)).any(axis=(1, 2)), levels > threshold)


@pytest.mark.parametrize("who", BY_NAME)
@pytest.mark.parametrize("share", [0.0, 0.05, 0.2])
def test_a_matched_threshold_lets_no_more_than_the_share_alarm(who, share):
    rule, seen = BY_NAME[who], strengths()
    alarmed = rule.hits(seen, matched(rule.levels(seen), share)).any(axis=(1, 2)).mean()
    assert alarmed <= share
    if who.startswith(("KS", "PSI")):  # figures without ties: not one stream fewer than allowed
        assert alarmed == pytest.approx(share, abs=1 / 30)


def test_a_matched_threshold_holds_even_where_every_stream_may_alarm():
    assert matched(np.array([1.0, 2.0]), 1.0) == 1.0


def test_defaults_are_those_that_the_peers_document():
    p = np.array([0.001, 0.02, 0.03, 0.9])
    seen = Strengths(
        np.stack([-np.log10(p), np.array([0.1, 0.21, 0, 0]), np.array([0.2, 0.1, 0.05, 0])], axis=-1)[None, None], np.zeros(0, bool)
    )
    found = {who: rule.hits(seen, rule.default(4))[0, 0].tolist() for who, rule in BY_NAME.items() if who != "ADWIN"}
    assert found["KS, Bonferroni"] == [True, False, False, False]
    assert found["KS, FDR"] == [True, True, True, False]  # .03 <= .05 * 3 / 4
    assert found["PSI"] == [False, True, False, False]
    assert found["Evidently, the table"] == [True, True, False, False]  # half of the columns is enough
    assert DELTAS[int(BY_NAME["ADWIN"].default(4))] == 0.002


def test_discoveries_are_those_of_scipy():
    seen = strengths(3)
    wanted = -np.log10(false_discovery_control(10.0 ** -seen.far[..., 0], axis=-1))
    assert np.maximum(BY_NAME["KS, FDR"].strength(seen), 0) == pytest.approx(wanted, abs=1e-9)


def test_an_alarm_blames_the_strongest_first():
    hits = np.array([[False, False, False], [True, False, True]])
    assert counting.course("abc", hits, np.array([[0.0, 0, 0], [1, 9, 2]])) == [None, (("c",), ("a",))]


ALARM = (("b",), ("a", "c"))


@pytest.mark.parametrize(
    ("alarms", "blame", "wanted"),
    [
        ([None] * 6, "a", Found(False, None, False)),
        ([None, ALARM, None, None, ALARM, None], "a", Found(True, None, False)),
        ([None, None, ALARM, None, None, None], "a", Found(False, 1, True)),
        ([None, None, None, ALARM, None, ALARM], "d", Found(False, 2, False)),
        ([None, None, (("a",), ("b",), ("c",)), None], "a", Found(False, 1, False)),
    ],
)
def test_a_find_is_the_first_alarm_after_the_change_that_blames_it_among_two(alarms, blame, wanted):
    assert counting.found(alarms, 2, blame) == wanted


def test_streams_are_compared_with_the_best_peer_of_each():
    never, two, five = Found(False, None, False), Found(False, 2, True), Found(False, 5, True)
    ours, peers = [two, never, five, five], [[never, never, five, two], [never, five, never, never]]
    assert counting.beside(ours, peers) == {"only ours %": 25.0, "only a peer %": 25.0, "a peer sooner %": 25.0}


def test_the_delay_of_what_is_early_or_wrongly_blamed_does_not_count():
    figures = counting.found_figures([Found(True, None, False), Found(False, 1, False), Found(False, 9, True), Found(False, 11, True)])
    assert {name: round(value, 1) for name, value in figures.items()} == {
        "streams": 4,
        "useful %": 50,
        "within 10 %": 25,
        "early %": 25,
        "found %": 75,
        "rightly blamed %": 66.7,
        "median delay": 10,
    }


def test_healthy_streams_are_counted_by_stream_and_by_window():
    figures = counting.calm_figures([[None, ALARM, ALARM, None]] + [[None] * 4] * 9)
    assert (figures["any alarm %"], figures["alarms per 1000"]) == (10, 50)
    assert figures["upper %"] == pytest.approx(39.4, abs=0.1)
    assert figures["from"] < 50 < figures["to"]


def test_the_interval_of_a_rate_holds_what_it_says_when_alarms_come_in_clusters():
    rng, held, plain = RNG(5), 0, 0
    for _ in range(400):
        counts = rng.poisson(0.4, 100).astype(np.float64) * 5  # 2 a stream, in fives
        low, high = counting.rate_interval(counts, 10_000)
        held += low <= 0.02 <= high
        low, high = counting.rate_interval(np.full(100, float(counts.mean())), 10_000)  # the same total, taken for independent alarms
        plain += low <= 0.02 <= high
    assert held >= 0.93 * 400
    assert plain < 0.75 * 400


def test_streams_that_all_alarm_are_bounded_by_all():
    assert counting.upper_bound(5, 5) == 1.0
    assert counting.rate_interval(np.full(3, 10.0), 30)[1] == 1.0


def found_line(who: str, case: str, useful: float, delay: float | None = None, **more: float) -> Line:
    figures = {"streams": 4.0, "useful %": useful, "within 10 %": useful} | more | ({"median delay": delay} if delay else {})
    return Line(who=who, role="ours" if who == "Homeostat" else "peer", case=case, figures=figures)


FOUND = [
    found_line("Homeostat", "letter: 5 % more nulls", 90, 3.0, **{"only ours %": 80.0, "only a peer %": 5.0, "a peer sooner %": 1.0}),
    found_line("PSI (default)", "letter: 5 % more nulls", 100, 1.0),
    found_line("PSI (matched)", "letter: 5 % more nulls", 90, 4.0),
    found_line("Homeostat", "letter: mean + 0.5 sd", 40, 9.0, **{"only ours %": 0.0, "only a peer %": 20.0, "a peer sooner %": 3.0}),
    found_line("PSI (default)", "letter: mean + 0.5 sd", 0),
    found_line("PSI (matched)", "letter: mean + 0.5 sd", 50, 20.0),
]


def calm_line(who: str, any_alarm: float) -> Line:
    figures = {"streams": 200.0, "any alarm %": any_alarm, "upper %": any_alarm + 2, "alarms per 1000": 0.1, "from": 0.0, "to": 0.4}
    return Line(who=who, role="peer", case="letter", figures=figures | ({} if who == "Homeostat" else {"threshold": 0.2}))


CALM = [calm_line("Homeostat", 1.5), calm_line("PSI (default)", 100), calm_line("PSI (matched)", 1.0)]
COST = [Line(who="Homeostat", role="ours", case="letter", figures={"cpu s per million rows": 16.5})]


def test_a_case_is_lost_to_a_peer_that_finds_it_oftener_or_sooner_at_the_matched_rate_alone():
    assert lost_to_a_peer(FOUND) == ["letter: mean + 0.5 sd"]
    assert lost_to_a_peer([*FOUND[:2], found_line("PSI (matched)", FOUND[0].case, 90, 2.0)]) == [FOUND[0].case]


def test_every_promise_has_a_verdict():
    targets = {target.what: (target.found, target.is_met) for target in targets_of(CALM, FOUND, COST, {"letter": 1e-9})}
    assert targets["letter: streams with an alarm, %"] == (1.5, True)
    assert targets["planted changes found usefully, %"] == (65.0, True)
    assert targets["plain changes found usefully within 10 windows, %"] == (90.0, True)
    assert targets["changes that one peer at the matched rate finds oftener, or as often and sooner, of 2"] == (1.0, False)
    assert targets["processor seconds per million rows, the worst"] == (16.5, False)


def test_the_page_shows_where_a_peer_does_better():
    made = context(quick=True)
    targets = targets_of(CALM, FOUND, COST, {"letter": 1e-9})
    reports = [
        Report(name="alarms", context=made, setup={}, lines=lines, compared="", ratios=[], targets=targets) for lines in (CALM, FOUND, COST)
    ]
    page = tables.markdown(*reports).splitlines()
    assert "| **Homeostat** | 1.5 (3.5) |" in page
    assert "| PSI (matched) | 0.1 (0.0 to 0.4) |" in page
    assert "| PSI (default) | PSI > 0.2 |" in page
    assert "| mean + 0.5 sd | 40.0 (9.0) | 50.0 (20.0) |" in page
    assert "| mean + 0.5 sd | 40.0 (9.0) | 0.0 |" in page
    assert "| letter: mean + 0.5 sd | 0.0 | 20.0 | 3.0 |" in page
    assert "| all changes | 65.0 (6.0) | 70.0 (12.0) |" in page
    assert any(line.endswith("of 2: 1, wanted at most 0: no") for line in page)
