"""A table is fitted as a stream as it would be in memory: same schema, same parts, same rows; and a fault in it is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.encoder import Encoder
from cluster.errors import DataError
from cluster.freeze import freeze
from cluster.schema import encode_labels
from cluster.settings import Settings, parse
from tests.integration.recorders import ROUNDS, Recorder
from training.data import frame, split
from training.members import Rows
from training.workers import pieces, stream

pytestmark = pytest.mark.usefixtures("ray_cluster")

SCHEMA: dict[str, Any] = {
    "features": [{"name": "wind", "type": "number"}, {"name": "carrier", "type": "category"}],
    "label": {"name": "late"},
    "time": "at",
    "protected": ["sex"],
}


def table_of(rows: int) -> pa.Table:
    rng = np.random.default_rng(0)
    columns: dict[str, Any] = {
        "wind": rng.integers(-50, 50, rows).astype(np.float64),
        "carrier": np.array(list("ABC"))[rng.integers(0, 3, rows)],
        "sex": np.array(["f", "m"])[rng.integers(0, 2, rows)],
        "late": pa.array([[0, 1, None][i] for i in rng.integers(0, 3, rows)]),
        "at": 1e9 + rng.permutation(rows),
    }
    return pa.table(columns)


def written(folder: Path, *tables: pa.Table) -> str:
    (folder / "t").mkdir()
    for number, table in enumerate(tables):
        pq.write_table(table, folder / "t" / f"{number}.parquet", row_group_size=500)
    return str(folder / "t")


def settings_of(source: str, **training: Any) -> Settings:
    return parse({"model": "m", "data": {"source": source}, "schema": SCHEMA, "training": {"stream_rows": 1000, **training}})


def test_a_stream_gives_what_reading_the_table_whole_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "SAMPLE_ROWS", 700)
    table = table_of(6000)
    settings = settings_of(written(tmp_path, table.slice(0, 2000), table.slice(2000)), num_workers=2)
    assert pieces.is_large(settings)
    member = Recorder(str(tmp_path))
    found = stream.fit_stream(settings, lambda *_: [member], str(tmp_path / "runs"), run="run")

    whole = frame.join(frame.from_table(table, settings.columns))
    schema = freeze(settings.columns, whole)
    rows = Rows(Encoder(schema).table(whole), encode_labels(schema.label, whole.column("late")))
    times = whole.column(frame.TIME).to_numpy()
    train, last = split.by_time(times, 0.2, rng=np.random.default_rng(0))
    tune, held = split.interleaved(last, 0.3)

    assert found.schema == schema
    assert found.counts == {"train": len(train), "tune": len(tune), "held_out": len(held)}
    assert (found.since, found.until) == (times[0], times[-1])
    for sample, index in ((found.sample, train), (found.tune, tune), (found.held, held)):
        assert sample.times is not None
        at = np.searchsorted(times, sample.times)
        assert len(sample.rows) == min(700, len(index))
        assert np.isin(at, index).all()
        np.testing.assert_array_equal(sample.rows.X, rows.X[at])
        np.testing.assert_array_equal(sample.rows.y, rows.y[at])
        assert sample.frame.column("sex").to_pylist() == whole.column("sex").take(at).to_pylist()

    def sums(taught: Any) -> bytes:
        values = (rows.X[taught].sum(dtype=np.float64), rows.y[taught].sum(), 0)
        return str([float(ROUNDS), *(ROUNDS * float(value) for value in values)]).encode()

    assert found.fits.folds == [{"recorder": sums(train)}]
    assert found.fits.final == {"recorder": sums(np.concatenate([train, tune]))}
    stopped = [[int(count) for count in line.split(": ")[1].split()] for line in member.noted() if not line.endswith(" 0")]
    assert sum(fit + stop for fit, stop in stopped) == 2 * len(train) + len(tune)  # before the piece, then with the piece
    assert sum(stop for _, stop in stopped) == pytest.approx(0.2 * len(train) + len(tune), abs=2)
    assert list((tmp_path / "runs").iterdir()) == []

    by_one = stream.fit_stream(settings_of(settings.data.source), lambda *_: [member], str(tmp_path / "runs"), run="run")
    assert by_one.fits == found.fits  # sums of whole numbers do not depend on who adds what
    assert by_one.data_sha256 == found.data_sha256
    assert all(mine.frame.equals(theirs.frame) for mine, theirs in zip(by_one[1:4], found[1:4], strict=True))


def test_text_among_numbers_is_named_with_file_and_row_group(tmp_path: Path) -> None:
    odd = table_of(600).set_column(0, "wind", pa.array(["calm"] * 600))
    source = written(tmp_path, table_of(1500), odd)
    with pytest.raises(DataError, match=rf"^'{source}/1.parquet', row group [01]: column 'wind' is declared a number and holds string"):
        stream.fit_stream(settings_of(source), lambda *_: [Recorder(str(tmp_path))], str(tmp_path / "runs"), run="run")
