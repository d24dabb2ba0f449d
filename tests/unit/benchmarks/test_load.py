from pathlib import Path

import pytest

from benchmarks import load
from cluster.errors import ConfigError, Unavailable

GOOD = b"""Running 1s test @ http://127.0.0.1:40401/
  1 threads and 2 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    42.28ms    8.81ms  48.10ms   95.65%
    Req/Sec    45.90      8.52    60.00     80.00%
  46 requests in 1.01s, 5.29KB read
Requests/sec:     45.67
Transfer/sec:      5.25KB
homeostat-load {"requests":46,"duration_us":1007290,"p50_us":43996,"p99_us":48098,"connect":0,"read":0,"write":0,"status":0,"timeout":0}
"""

FAILING = b"""Running 1s test @ http://127.0.0.1:35457/
  1 threads and 2 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    42.35ms   11.78ms  48.05ms   92.00%
    Req/Sec    45.45     10.36    70.00     81.82%
  50 requests in 1.10s, 5.80KB read
  Socket errors: connect 0, read 2, write 0, timeout 0
  Non-2xx or 3xx responses: 4
Requests/sec:     45.46
Transfer/sec:      5.28KB
homeostat-load {"requests":50,"duration_us":1099815,"p50_us":44092,"p99_us":48054,"connect":0,"read":2,"write":0,"status":4,"timeout":0}
"""


def test_a_run_without_errors_gives_rate_and_percentiles():
    found = load.parse(GOOD)
    assert found.requests_s == pytest.approx(45.67, abs=0.005)
    assert (found.p50_ms, found.p99_ms) == (43.996, 48.098)
    assert (found.requests, found.refused, found.broken, found.errors) == (46, 0, 0, 0)


def test_refused_and_broken_requests_are_counted_apart_and_do_not_count_as_throughput():
    found = load.parse(FAILING)
    assert (found.requests, found.refused, found.broken, found.errors) == (50, 4, 2, 6)
    assert found.requests_s == pytest.approx(46 / 1.099815)


def test_every_kind_of_broken_connection_is_counted():
    counts = b'"connect":1,"read":20,"write":300,"status":0,"timeout":4000}'
    assert load.parse(b'homeostat-load {"requests":9,"duration_us":1000000,"p50_us":1,"p99_us":1,' + counts).broken == 4321


def test_a_run_of_no_length_has_no_throughput():
    nothing = b'homeostat-load {"requests":0,"duration_us":0,"p50_us":0,"p99_us":0,"connect":0,"read":0,"write":0,"status":0,"timeout":0}'
    assert load.parse(nothing).requests_s == 0


def test_output_without_a_result_is_named_with_what_wrk_said():
    with pytest.raises(Unavailable, match=r"wrk ended without a result: unable to connect to 127\.0\.0\.1:1 Connection refused"):
        load.parse(b"unable to connect to 127.0.0.1:1 Connection refused\n")


def test_a_result_that_was_cut_off_is_refused():
    with pytest.raises(Unavailable, match="wrk's result cannot be read"):
        load.parse(GOOD[:-20])


def test_load_is_never_put_on_another_machine():
    with pytest.raises(ConfigError, match="load is only put on this machine"):
        load.run("http://example.com/v1/predict", [b"{}"], connections=1, duration_s=1, headers={})


@pytest.mark.parametrize("duration_s", [0, 61])
def test_a_run_of_unbounded_length_is_refused(duration_s: int):
    with pytest.raises(ConfigError, match=f"1 to 60 seconds, not {duration_s}"):
        load.run("http://127.0.0.1:1/", [b"{}"], connections=1, duration_s=duration_s, headers={})


def test_a_missing_generator_is_named_with_the_way_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="apt-get install wrk"):
        load.run("http://127.0.0.1:1/", [b"{}"], connections=1, duration_s=1, headers={})
