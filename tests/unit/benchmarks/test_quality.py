import datetime as dt

import msgspec
import numpy as np
import pyarrow as pa
import pytest
import yaml
from sklearn.metrics import roc_auc_score

from benchmarks import report
from benchmarks.quality import judge, ours, tables
from benchmarks.quality.cases import CASES, as_table, encoded
from benchmarks.quality.judge import Contender
from benchmarks.report import Report
from cluster.records import Interval
from cluster.schema import Feature, FeatureSchema, Label
from cluster.settings import load
from training.data.datasets import NAMED

SPLITS = {case.name: case.split for case in CASES}
LATE = Label(name="late", classes=(0, 1))
RNG = np.random.default_rng


def days(*texts: str) -> pa.Table:
    return pa.table({"scheduled": [dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC) for text in texts]})


def test_every_named_data_set_is_measured():
    assert sorted(SPLITS) == sorted(NAMED)


def test_flights_are_tested_from_april_and_chosen_on_the_last_two_weeks_of_march():
    split = SPLITS["flights"](
        days("2013-01-01T05:00", "2013-03-17T23:59", "2013-03-18", "2013-03-31T23:59", "2013-04-01", "2013-04-01T09:00")
    )
    assert split.learn.tolist() == [0, 1, 2, 3]
    assert split.choose.tolist() == [False, False, True, True]
    assert (split.test.tolist(), split.blocks.tolist()) == ([4, 5], [0, 0])


def test_the_census_is_learned_on_one_year_and_tested_on_the_next():
    split = SPLITS["census"](pa.table({"year": [94, 95] * 500}))
    assert (split.learn % 2).sum() == 0
    assert split.test.tolist() == list(range(1, 1000, 2))
    assert 70 < split.choose.sum() < 130


@pytest.mark.parametrize("name", ["letter", "diamonds"])
def test_a_split_at_random_uses_each_row_once_and_is_always_the_same(name):
    table = pa.table({"x": range(1000)})
    split = SPLITS[name](table)
    assert sorted([*split.learn, *split.test]) == list(range(1000))
    assert (len(split.test), int(split.choose.sum())) == (200, 200)
    assert np.array_equal(split.test, SPLITS[name](table).test)
    assert len(set(split.blocks)) == 200


def test_interviews_are_tested_on_the_last_years_and_a_woman_is_a_block():
    years = [1968, 1982, 1983, 1985, 1987, 1988]
    table = pa.table({"surveyed": [dt.datetime(year, 1, 1, tzinfo=dt.UTC) for year in years], "idcode": [1, 1, 2, 9, 4, 9]})
    split = SPLITS["nlswork"](table)
    assert (split.learn.tolist(), split.choose.tolist()) == ([0, 1, 2], [False, True, True])
    assert (split.test.tolist(), split.blocks.tolist()) == ([3, 4, 5], [1, 0, 1])


def test_a_thinned_split_keeps_rows_of_its_whole_span():
    split = SPLITS["diamonds"](pa.table({"x": range(1000)}))
    thin = split.thinned(50)
    assert (len(thin.learn), len(thin.choose), len(thin.test), len(thin.blocks)) == (50, 50, 50, 50)
    assert (thin.learn[0], thin.learn[-1]) == (split.learn[0], split.learn[-1])
    assert np.array_equal(thin.choose, split.choose[np.isin(split.learn, thin.learn)])
    assert np.array_equal(split.thinned(5000).learn, split.learn)


def test_peers_get_the_encoding_of_the_bundle():
    schema = FeatureSchema(
        features=(Feature(name="miles", type="number"), Feature(name="carrier", type="category", categories=("UA", "B6"))), label=LATE
    )
    rows = pa.table({"miles": [1.0, None], "carrier": ["B6", "ZZ"], "late": [1, 0]})
    table = as_table(schema, rows, np.array([True, False]))
    assert np.array_equal(table.X, np.array([[1, 1], [np.nan, 2]], dtype=np.float32), equal_nan=True)
    assert (table.y.tolist(), table.categorical, table.classes, table.width) == ([1.0, 0.0], (1,), 2, 1)
    assert np.array_equal(encoded(schema, rows)[0], table.X, equal_nan=True)


def test_homeostat_is_given_the_rows_to_learn_from_and_its_own_configuration(tmp_path):
    settings = load(ours.write_config("census", tmp_path, budget_s=60))
    plain = load("configs/census.yaml")
    assert settings.data.source == str(tmp_path / "learn.parquet")
    assert settings.places.root == str(tmp_path)
    assert settings.training.search.budget_s == 30
    kept = {"columns", "members", "distillation", "gate", "serving", "monitoring"}
    assert {name: getattr(settings, name) for name in kept} == {name: getattr(plain, name) for name in kept}


def test_bounds_of_the_configuration_do_not_cut_what_is_learned_from(tmp_path):
    assert set(yaml.safe_load(ours.write_config("flights", tmp_path, budget_s=60).read_text())["data"]) == {"source"}


def scored(good: float, *, rows: int = 400, seed: int = 0):
    """Labels, and probabilities that lean towards them."""
    rng = RNG(seed)
    y = (RNG(1).random(rows) < 0.3).astype(np.float64)
    p = 1 / (1 + np.exp(-(good * (2 * y - 1) + rng.normal(size=rows))))
    return y, p.astype(np.float32)[:, None]


def contenders(ensemble: float, student: float, *peers: float):
    y = scored(0)[0]
    found = [Contender("ensemble", "ours", scored(ensemble, seed=2)[1], {"train_s": 60.0, "one_row_us": 5.0})]
    found.append(Contender("student", "variant", scored(student, seed=2)[1], {"one_row_us": 2.5}))
    found += [Contender(f"peer {i}", "peer", scored(good, seed=3 + i)[1], {"one_row_us": 50.0}) for i, good in enumerate(peers)]
    return y, found


def test_concordance_of_two_classes_is_the_area_under_the_curve():
    y, scores = scored(0.7)
    rounded = np.round(scores[:, 0], 1)  # with ties
    assert judge.concordance(y, rounded) == pytest.approx(roc_auc_score(y, rounded))


def test_concordance_of_numbers_counts_pairs_in_order():
    y, scores = RNG(0).normal(size=60).round(1), RNG(1).normal(size=60).round(1)
    pairs = [(a, b) for a in range(60) for b in range(60) if y[a] < y[b]]
    right = sum(1.0 if scores[a] < scores[b] else 0.5 * (scores[a] == scores[b]) for a, b in pairs)
    assert judge.concordance(y, scores) == pytest.approx(right / len(pairs))


def test_figures_are_those_of_the_task_and_the_costs():
    y, found = contenders(1.0, 0.9)
    first, second = judge.lines("toy", LATE, y, found)
    assert list(first.figures) == ["roc_auc", "log_loss", "ece", "train_s", "one_row_us"]
    assert "train_s" not in second.figures
    assert (first.role, first.case, first.figures["one_row_us"]) == ("ours", "toy", 5.0)


def test_the_best_peer_is_the_one_with_the_best_main_metric():
    y, found = contenders(1.0, 0.9, 0.2, 1.5, 0.7)
    assert judge.best_peer(LATE, judge.lines("toy", LATE, y, found)).who == "peer 1"


def test_the_best_peer_of_a_loss_is_the_lowest():
    label, y = Label(name="price", task="regression"), np.arange(10.0)
    found = [Contender(f"off by {off}", "peer", (y + off).astype(np.float32)[:, None], {}) for off in (3, 1, 2)]
    assert judge.best_peer(label, judge.lines("toy", label, y, found)).who == "off by 1"


@pytest.mark.parametrize(("ensemble", "peer", "sign"), [(1.5, 0.3, 1), (0.3, 1.5, -1)])
def test_a_clear_difference_is_told_with_its_sign(ensemble, peer, sign):
    y, found = contenders(ensemble, 1.0, peer)
    interval = judge.gain(LATE, y, found[0].scores, found[2].scores, np.arange(len(y)), rng=RNG(0))
    assert sign * interval.estimate > 0.1
    assert sign * (interval.lower if sign > 0 else interval.upper) > 0


def test_rows_that_are_copies_of_each_other_make_the_interval_wider_only_as_blocks():
    y, found = contenders(0.8, 1.0, 0.7)
    one, two = (np.repeat(found[i].scores, 4, axis=0) for i in (0, 2))
    alone = judge.gain(LATE, np.repeat(y, 4), one, two, np.arange(4 * len(y)), rng=RNG(0))
    together = judge.gain(LATE, np.repeat(y, 4), one, two, np.repeat(np.arange(len(y)), 4), rng=RNG(0))
    assert 1.7 < (together.upper - together.lower) / (alone.upper - alone.lower) < 2.3  # the square root of four


@pytest.mark.parametrize(("upper", "met"), [(0.001, True), (0.0, True), (-0.001, False)])
def test_as_good_within_noise_means_that_the_interval_is_not_below_zero(upper, met):
    y, found = contenders(1.0, 0.99, 1.0)
    interval = Interval(estimate=-0.002, lower=-0.004, upper=upper)
    first, second = judge.targets("toy", LATE, judge.lines("toy", LATE, y, found), "peer 0", interval)
    assert first.is_met is met
    assert first.what.startswith("toy: ensemble better than peer 0 in roc_auc by -0.0020, 95 % interval -0.0040 to")
    assert second.what == "toy: the student's roc_auc as a share of the ensemble's"


@pytest.mark.parametrize(("student", "met"), [(0.98, True), (0.3, False)])
def test_the_student_must_keep_99_of_100_parts(student, met):
    y, found = contenders(1.0, student)
    lines = judge.lines("toy", LATE, y, found)
    target = judge.targets("toy", LATE, lines, "nobody", Interval(estimate=0, lower=0, upper=0))[1]
    assert target.found == pytest.approx(lines[1].figures["roc_auc"] / lines[0].figures["roc_auc"])
    assert target.is_met is met


def made() -> Report:
    y, found = contenders(1.0, 0.9, 0.8)
    lines = judge.lines("letter", LATE, y, found)
    targets = judge.targets("letter", LATE, lines, "peer 0", Interval(estimate=0.1, lower=0.05, upper=0.2))
    context = msgspec.structs.replace(report.context(quick=True), command="python -m benchmarks.quality --quick")
    ratios = report.ratios(lines, of="one_row_us")
    return Report(name="quality", context=context, setup={}, lines=lines, compared="one_row_us", ratios=ratios, targets=targets)


def test_the_page_shows_each_contender_and_each_verdict():
    page = tables.markdown(made()).splitlines()
    assert page[0] == "### letter"
    assert page[3] == "|  | roc auc | log loss | ece | training, s | one row, µs |"
    assert page[5].startswith("| **ensemble** | 0.")
    assert page[5].endswith("| 60 | 5.0 |")
    assert page[6].endswith("|  | 2.5 |")
    assert page[9].endswith("95 % interval +0.0500 to +0.2000; its upper end: 0.2000, wanted at least 0: yes")
    assert "`python -m benchmarks.quality --quick`" in page[-1]


def test_the_page_survives_its_file():
    report_ = made()
    assert tables.markdown(msgspec.json.decode(msgspec.json.encode(report_), type=Report)) == tables.markdown(report_)


def test_the_table_leaves_empty_what_was_not_measured():
    shown = tables.table("letter", made().lines)
    assert [str(column.header) for column in shown.columns] == ["who", "roc auc", "log loss", "ece", "training, s", "one row, µs"]
    assert list(shown.columns[4].cells) == ["60", "", ""]


def test_one_row_is_timed_after_a_first_call():
    calls: list[int] = []
    assert judge.one_row_us(lambda: calls.append(1), calls=3) > 0
    assert len(calls) == 1 + 5 * 3
