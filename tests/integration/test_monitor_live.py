"""What is said of live rows beside the tested metrics, by a monitor over a journal and bundles that can answer."""

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from cluster import bundle
from cluster.journal import Writer
from cluster.records import LabelEntry, Labels, Pointer, Prediction
from cluster.schema import FeatureSchema
from cluster.settings import Settings, parse
from monitoring import verdicts
from monitoring.core import MonitorCore
from monitoring.exporter import Figures, Snapshot
from monitoring.remembered import Remembered
from tests.builders import make_graph
from tests.unit.monitoring import world
from tests.unit.monitoring.world import DAY, Stream

SCHEMA = FeatureSchema.model_validate(world.SCHEMA.model_dump(mode="json") | {"protected": ["sex"]})
STREAM = Stream(np.random.default_rng(12), 75, rows=300)
PROFILE = world.profile_of(STREAM, 30)
WEAK = {"found": [{"where": "miles > 0.5", "features": ["miles"]}]}


def seal(folder: Path, version: str, *, bias: float = -1.0) -> Pointer:
    folder.mkdir(parents=True)
    rule = bundle.CascadeRule(threshold=0.0, max_disagreement=0.02, confidence=0.95, student_share=0.75, disagreement=0.01)
    (folder / "evaluation").mkdir()
    graph = make_graph((1.0, 0.0, 0.0), bias)
    files = {"student.onnx": graph, "ensemble.onnx": graph, "cascade.json": msgspec.json.encode(rule)}
    files |= {"metrics.json": b"{}", "lineage.json": b"{}", "evaluation/slices.json": msgspec.json.encode(WEAK)}
    files |= {"schema.json": SCHEMA.model_dump_json().encode(), "profile.json": msgspec.json.encode(PROFILE)}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return Pointer(version=version, uri=str(folder), digest=bundle.seal(folder, model="trips", created="2026-01-01T00:00:00Z"))


def settings(root: Path) -> Settings:
    return parse(
        {
            "model": "trips",
            "data": {"source": "trips.parquet"},
            "schema": SCHEMA.model_dump(mode="json"),
            "monitoring": {"min_rows": 50, "metrics_port": 0, "one_false_alarm_in": "100d"},
            "fairness": {"max_selection_rate_difference": 0.1, "max_tpr_difference": 0.9, "min_group_rows": 50},
            "checks": [
                {"name": "further is later", "kind": "monotonic", "feature": "miles", "direction": "up"},
                {"name": "never below a half", "kind": "range", "score": [0.5, 1.0]},
                {"name": "mostly below 0.9", "kind": "range", "score": [0.0, 0.9], "share": 0.5},
            ],
            "places": {"root": str(root)},
        }
    )


def write(writer: Writer, days: range, version: str, *, is_fair: bool, share_labelled: float = 1.0) -> None:
    """A request a day, labelled before the rows of two days later; where it is unfair, the women are those of the largest scores."""
    rng, waiting = np.random.default_rng(3), list[Labels]()
    for day in days:
        for late in waiting[:-1]:
            writer.append(late)
        rows = STREAM.rows(day)
        sent = world.prediction(STREAM, rows, version=version)
        tall = STREAM.scores[rows, 0] > np.median(STREAM.scores[rows, 0])
        women = rng.random(len(tall)) < 0.5 if is_fair else tall
        columns = sent.columns | {"sex": ["f" if woman else "m" for woman in women]}
        by_ensemble = bytes([1] * 10 + [0] * (len(tall) - 10))
        found = Prediction(bundle=version, event_times=sent.event_times, columns=columns, scores=sent.scores, by_ensemble=by_ensemble)
        request = writer.append(found)
        some = [i for i in range(len(tall)) if i < share_labelled * len(tall)]
        waiting = [*waiting[-1:], Labels(entries=[LabelEntry(request_id=request, row=i, label=int(STREAM.y[rows][i])) for i in some])]


def said(tmp_path: Path, pointers: dict[str, Pointer]) -> tuple[MonitorCore, list[verdicts.WindowVerdicts]]:
    chosen = settings(tmp_path / "var")
    core = MonitorCore(chosen, locate=pointers.__getitem__)
    core.poll()
    return core, verdicts.read(chosen.places.verdicts("trips"))


def writer_of(tmp_path: Path) -> Writer:
    clock = itertools.count(1_800_000_000 * 10**9)
    return Writer(settings(tmp_path / "var").places.journal("trips"), clock_ns=lambda: next(clock))


def of(records: Iterable[verdicts.WindowVerdicts], kind: str, name: str) -> list[Any]:
    return [verdict for record in records for verdict in record.verdicts if (verdict.kind, verdict.name) == (kind, name)]


@pytest.fixture(scope="module")
def unfair(tmp_path_factory):
    """A month of an unfair bundle, then a few days of another that decides otherwise."""
    folder = tmp_path_factory.mktemp("unfair")
    pointers = {"1": seal(folder / "one", "1"), "2": seal(folder / "two", "2", bias=0.0)}
    writer = writer_of(folder)
    write(writer, range(30, 62), "1", is_fair=False, share_labelled=0.7)
    write(writer, range(62, 68), "2", is_fair=False)
    return said(folder, pointers)


def test_performance_so_far_is_bounded_over_windows_by_group_and_by_weak_slice(unfair):
    _, records = unfair
    found = of([r for r in records if r.bundle == "1"], "performance_so_far", "brier")
    days = [STREAM.rows(day) for day in range(30, 30 + len(found))]
    figures = [np.mean(((STREAM.scores[d, 0] - STREAM.y[d]) ** 2)[: int(np.ceil(0.7 * (d.stop - d.start)))]) for d in days]
    assert found[-1].value == pytest.approx(np.mean(figures), rel=1e-5)
    assert found[-1].lower is not None
    assert found[-1].upper is not None
    assert found[-1].lower < PROFILE.performance["brier"] < found[-1].upper
    assert found[0].lower is None
    names = {v.name for r in records for v in r.verdicts if v.kind == "performance_so_far"}
    parts = ["", "[sex=f]", "[sex=m]", "[miles > 0.5]"]
    assert names == {f"{metric}{part}" for metric in ("brier", "calibration") for part in parts}
    calibration = of(records, "performance_so_far", "calibration")[-20]
    assert calibration.lower is not None
    assert calibration.upper is not None
    assert calibration.lower < 0 < calibration.upper
    assert of(records, "performance", "ece_by_chance")[0].value > 0


def test_an_unfair_gap_is_told_once_its_bounds_lie_beyond_the_limit_and_not_before(unfair):
    _, records = unfair
    found = of([r for r in records if r.bundle == "1"], "fairness", "selection_rate by sex")
    assert [v.alarm for v in found[:3]] == [False] * 3  # a gap that has no bounds yet
    assert found[-1].alarm
    assert found[-1].expected == 0.1
    assert found[-1].lower > 0.1
    assert "it exceeds 0.1" in found[-1].message
    tpr = of(records, "fairness", "tpr by sex")
    assert tpr
    assert not any(v.alarm for v in tpr)


def test_a_fair_stream_raises_no_alarm_about_groups(tmp_path):
    write(writer_of(tmp_path), range(30, 60), "1", is_fair=True)
    _, records = said(tmp_path, {"1": seal(tmp_path / "one", "1")})
    found = of(records, "fairness", "selection_rate by sex")
    assert len(found) == 29
    assert not any(v.alarm for v in found)
    assert found[-1].upper is not None


def test_the_estimate_is_there_before_the_labels_and_takes_those_that_come(unfair):
    _, records = unfair
    at_drift = [v for r in records if r.look == "drift" for v in r.verdicts if v.kind == "estimate" and v.name == "brier"]
    later = [v for r in records if r.look == "performance" for v in r.verdicts if v.kind == "estimate" and v.name == "brier"]
    assert "have their label" not in at_drift[3].message
    assert "70% of the rows have their label" in later[3].message
    assert later[3].window_start == at_drift[3].window_start
    assert later[3].upper - later[3].lower < at_drift[3].upper - at_drift[3].lower
    assert of(records, "estimate", "roc_auc")  # once five windows have shown how far off they are


def test_checks_are_run_on_live_rows_and_fail_where_they_are_shown_to(unfair):
    _, records = unfair
    assert all(v.value == 1.0 and not v.alarm for v in of(records, "correctness", "further is later"))
    assert all(v.alarm for v in of(records, "correctness", "never below a half"))
    assert not any(v.alarm for v in of(records, "correctness", "mostly below 0.9"))
    assert max(v.rows for v in of(records, "correctness", "mostly below 0.9")) == 200
    assert all(v.value == 1.0 for v in of(records, "correctness", "edge_cases"))


def test_flips_between_bundles_are_counted_on_the_rows_of_the_newer_one(unfair):
    _, records = unfair
    flips = of(records, "stability", "flips")
    assert {v.bundle for v in flips} == {"2"}
    rows = STREAM.rows(64)
    truth = np.mean((STREAM.X[rows, 0] >= 0) != (STREAM.X[rows, 0] >= 1))  # by sigmoid(x) against sigmoid(x - 1)
    at = next(v for v in flips if v.window_start == 64 * DAY)
    assert at.value == pytest.approx(truth, abs=0.1)
    assert "against bundle 1" in at.message
    worst = of(records, "stability", "score_change")
    assert all("'miles', changed alone" in v.message for v in worst)
    share = of(records, "stability", "by_ensemble")[0]
    assert (share.value, share.expected) == (pytest.approx(10 / share.rows), 0.25)


def test_everything_said_is_exported_with_bounded_labels(unfair):
    core, records = unfair
    snapshot = Snapshot(core.status() | {"errors": 0}, list(core.latest.values()))
    families = {f.name: f for f in Figures(lambda: snapshot).collect()}
    gap = {
        s.labels["bound"]: s.value
        for s in families["homeostat_fairness_gap"].samples
        if s.labels["figure"] == "selection_rate" and s.labels["bundle"] == "1"
    }
    newest = of([r for r in records if r.bundle == "1"], "fairness", "selection_rate by sex")[-1]
    assert gap == {"estimate": newest.value, "lower": newest.lower, "upper": newest.upper, "limit": 0.1}
    broken = {(s.labels["bundle"], s.labels["kind"]): s.value for s in families["homeostat_findings"].samples}
    assert broken["1", "fairness"] == 1
    assert broken["2", "correctness"] == 1
    parts = {s.labels["part"] for s in families["homeostat_performance_so_far"].samples}
    assert parts == {"", "sex=f", "sex=m", "miles > 0.5"}
    for family in families.values():
        labels = [tuple(s.labels.items()) for s in family.samples]
        assert len(labels) == len(set(labels)), family.name
    kinds = {s.labels["kind"] for s in families["homeostat_evidence"].samples}
    assert kinds <= {"feature_drift", "prediction_drift", "performance", "quality", "cascade"}


def test_a_monitor_that_is_built_anew_remembers_what_it_had_seen(unfair):
    core, records = unfair
    again = Remembered()
    for record in records:
        again.take(record)
    assert again._live == core._remembered._live
    assert again.live("1").courses["so_far|brier"].windows == 30


def test_records_without_the_new_fields_are_still_read(tmp_path):
    old = '{"sequence":0,"model":"trips","bundle":"1","look":"drift","window_start":0,"window_end":86400,"rows":9,"verdicts":[{"model":"trips","bundle":"1","kind":"quality","name":"x.missing","window_start":0,"window_end":86400,"rows":9,"value":0.1,"expected":0,"unit":"share"}]}'
    (tmp_path / "a.json").write_text(old)
    (found,) = verdicts.read(str(tmp_path))
    assert found.live.courses == {}
    assert (found.verdicts[0].lower, found.verdicts[0].upper) == (None, None)
