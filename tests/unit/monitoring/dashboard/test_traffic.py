"""Counts and latencies of the access log."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.dashboard.access import AccessReader
from monitoring.dashboard.traffic import Line, Traffic

LINE = '{"time":%d,"model":"trips","route":"/v1/predict","method":"POST","status":%d,"seconds":%g,"bundle":"1","student":1,"ensemble":0,"degraded":0}\n'


def test_a_quantile_is_off_by_at_most_six_per_cent():
    seconds = np.random.default_rng(0).lognormal(-5, 1, 4000)
    traffic = Traffic()
    traffic.take([Line(time=60.0, status=200, seconds=s, bundle="1") for s in seconds])
    whole = traffic.total(0, 120)
    assert whole.p50_s == pytest.approx(np.quantile(seconds, 0.5), rel=0.07)
    assert whole.p99_s == pytest.approx(np.quantile(seconds, 0.99), rel=0.07)


def test_pages_and_health_checks_are_not_traffic_and_refusals_are_not_failures():
    traffic = Traffic()
    traffic.take([Line(time=1.0, status=status, seconds=0.1) for status in (200, 304, 422, 401, 500, 503)])
    whole = traffic.total(0, 60)
    assert (whole.answered, whole.refused, whole.failed, whole.p50_s) == (0, 2, 2, None)


@given(st.lists(st.tuples(st.integers(0, 7200), st.sampled_from([200, 404, 503])), max_size=60), st.integers(1, 60))
def test_parts_of_a_span_add_up_to_it(asked, step):
    traffic = Traffic()
    traffic.take([Line(time=float(at), status=status, seconds=0.01, bundle="1") for at, status in asked])
    parts, whole = traffic.minutes(0, 7260, step=step), traffic.total(0, 7260)
    assert [sum(getattr(part, name) for part in parts) for name in ("answered", "refused", "failed")] == list(whole[1:4])


def test_what_is_old_is_forgotten():
    traffic = Traffic()
    traffic.take([Line(time=at, status=200, seconds=0.01, bundle="1") for at in (10.0, 70.0)])
    traffic.forget(60.0)
    assert traffic.span() == (60, 120)


def test_lines_are_read_once_across_rotation_and_torn_ones_when_they_are_whole(tmp_path):
    log, reader = tmp_path / "host-1.jsonl", AccessReader(tmp_path)
    log.write_text(LINE % (1, 200, 0.1) + LINE[:20])
    assert [line.time for line in reader.read(since=0)] == [1]
    log.write_text(LINE % (1, 200, 0.1) + LINE % (2, 200, 0.1))
    assert [line.time for line in reader.read(since=0)] == [2]
    log.rename(tmp_path / "host-1.jsonl.1")
    log.write_text(LINE % (3, 503, 0.1) + "no line of ours\n")
    assert [line.time for line in reader.read(since=0)] == [3]
    assert list(reader.read(since=0)) == []


def test_of_a_long_file_only_the_end_is_read_at_first(tmp_path):
    (tmp_path / "host-1.jsonl").write_text("".join(LINE % (at, 200, 0.1) for at in range(100)))
    assert [line.time for line in AccessReader(tmp_path, first_bytes=400).read(since=0)] == [98, 99]
    assert len(list(AccessReader(tmp_path, first_bytes=None).read(since=0))) == 100


def test_a_folder_that_is_not_there_holds_no_traffic(tmp_path):
    assert list(AccessReader(tmp_path / "none").read(since=0)) == []
