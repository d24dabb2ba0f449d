"""`homeostat report`, from files alone."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

import msgspec
import numpy as np
import pytest
import yaml

from cluster import storage
from cluster.errors import ConfigError, HomeostatError
from cluster.journal import Writer
from cluster.records import Pointers
from monitoring.core import MonitorCore
from monitoring.dashboard import column_profile, report_command
from tests.unit.monitoring.dashboard.sample import settings
from tests.unit.monitoring.world import Stream, journal, profile_of, seal


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The YAML of a model with ten judged days."""
    root = tmp_path_factory.mktemp("report")
    chosen, stream = settings(root / "var"), Stream(np.random.default_rng(11), 42)
    pointer = seal(root / "bundle", profile_of(stream, 30))
    journal(Writer(chosen.places.journal("trips"), clock_ns=lambda: 10**18), stream, range(30, 42))
    storage.write_atomic(chosen.places.pointers("trips"), msgspec.json.encode(Pointers(model="trips", champion=pointer)))
    MonitorCore(chosen, locate=lambda _: pointer).poll()
    path = root / "trips.yaml"
    path.write_text(yaml.safe_dump(chosen.dump()))
    return path


def run(*words: str | Path) -> int:
    parser = argparse.ArgumentParser()
    report_command.add(parser.add_subparsers())
    arguments = parser.parse_args(["report", *map(str, words)])
    return int(arguments.run(arguments))


def test_a_report_shows_the_windows_of_its_span(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.html"
    assert run(config, "--since", "1970-02-03", "--until", "1970-02-05", "--output", out) == 0
    page = out.read_text()
    assert "from 3 February 1970, 00:00 to 5 February 1970, 00:00" in page
    rows = page[page.index('id="rows-table"') :].split("</details>")[0]
    assert rows.count('<th scope="row">') == 2
    assert '<th scope="row">4 February 1970, 00:00</th>' in rows
    assert "<script" not in page


def test_a_profile_holds_the_rows_of_the_span(config: Path, tmp_path: Path) -> None:
    first, second, both = (tmp_path / f"{name}.json" for name in ("first", "second", "both"))
    out = ("--output", tmp_path / "out.html")
    run(config, *out, "--until", "1970-02-05", "--profile", first)
    run(config, *out, "--since", "1970-02-05", "--profile", second)
    run(config, *out, "--profile", both)
    one, two, whole = (column_profile.decode(path.read_bytes()) for path in (first, second, both))
    merged = column_profile.merge(one, two)
    assert 0 < one.rows < whole.rows == merged.rows
    assert merged.numbers["wind"].positive == whole.numbers["wind"].positive
    assert merged.categories == whole.categories


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--since", "yesterday"), "'yesterday' is no time"),
        (("--since", "1970-02-05", "--until", "1970-02-05"), "--since 1970-02-05 is not before --until"),
    ],
)
def test_a_span_that_is_none_is_refused_and_nothing_is_written(config: Path, tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        run(config, *words, "--output", tmp_path / "out.html")
    assert not (tmp_path / "out.html").exists()


@pytest.mark.skipif(importlib.util.find_spec("evidently") is not None, reason="the extra is installed")
def test_evidently_without_its_extra_names_the_extra(config: Path, tmp_path: Path) -> None:
    with pytest.raises(HomeostatError, match=r"homeostat\[evidently\]"):
        run(config, "--output", tmp_path / "out.html", "--evidently", tmp_path / "drift.html")
