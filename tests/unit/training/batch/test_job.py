"""A job as a whole, in this process: every row once, whatever is killed, refused or odd."""

from __future__ import annotations

import gzip
import hashlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from cluster import storage
from cluster.errors import ConfigError, DataError, MissingColumn, WrongType
from tests.unit.training.batch.tables import Stage, counting_clock, flights, read, write_folder
from training.batch import inputs, units
from training.batch.job import UnitScorer, Work, run
from training.batch.outputs import Done, Output
from training.batch.units import Unit


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setattr(inputs, "UNIT_ROWS", 20)  # a unit a row group or two
    monkeypatch.setattr(inputs, "UNIT_BYTES", 200)
    return Stage(tmp_path)


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*.parquet"))
    }


def expected(stage: Stage, table: pa.Table) -> list[float]:
    return [float(v) for v in stage.bundle.answer(stage.bundle.encoder.table(table))[:, 0]]


def test_every_row_is_scored_once_and_can_be_joined(stage: Stage, tmp_path: Path) -> None:
    table = write_folder(tmp_path / "in")
    summary = stage.run(stage.plan(tmp_path / "in", keep=["id", "carrier"]), tmp_path / "out")
    found = read(tmp_path / "out" / "predictions")
    assert found.column_names == ["id", "carrier", "prediction", "probability", "answered_by", "bundle", "source_file", "source_row"]
    assert found["id"].to_pylist() == list(range(120))
    assert found["carrier"].equals(table["carrier"])
    assert found["source_file"].to_pylist() == [f"{i}.parquet" for i in range(3) for _ in range(40)]
    assert found["source_row"].to_pylist() == list(range(40)) * 3
    assert found["probability"].to_pylist() == pytest.approx(expected(stage, table))
    assert (summary.rows, summary.scored, summary.rejected, summary.resumed_units) == (120, 120, 0, 0)
    assert summary.unknown_categories == {"carrier": 12}
    assert sum(summary.answered_by.values()) == 120
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["_SUCCESS", "_manifest.json", "predictions", "summary.json"]
    assert msgspec.json.decode((tmp_path / "out" / "summary.json").read_bytes())["rows"] == 120


@pytest.mark.parametrize("ending", ["csv", "csv.gz"])
def test_a_csv_is_scored_as_the_same_parquet(stage: Stage, tmp_path: Path, ending: str) -> None:
    table = flights(60)
    csv.write_csv(table, tmp_path / "t.csv")
    content = (tmp_path / "t.csv").read_bytes()
    (tmp_path / f"in.{ending}").write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    job = stage.plan(tmp_path / f"in.{ending}", keep=["id"])
    assert len(job.units) > 3 or ending == "csv.gz"
    summary = stage.run(job, tmp_path / "out")
    found = read(tmp_path / "out" / "predictions")
    assert found["id"].to_pylist() == [str(i) for i in range(60)]
    assert found["source_row"].to_pylist() == list(range(60))
    assert found["probability"].to_pylist() == pytest.approx(expected(stage, table))
    assert summary.rejected == 0


def test_rows_that_do_not_fit_are_set_aside_with_their_reason(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text('miles,wind,carrier\n100,1,UA\n200,strong,B6\n\n300,2\n-5,3,"9E"\ninf,4,UA\n400,5,UA\n')
    summary = stage.run(stage.plan(tmp_path / "in.csv"), tmp_path / "out")
    rejects = read(tmp_path / "out" / "rejects").select(["source_row", "reason", "column", "found"]).to_pylist()
    assert [tuple(row.values()) for row in rejects] == [
        (1, "WrongType", "wind", "strong"),
        (2, "WrongType", None, "300,2"),
        (4, "NotFinite", "miles", "inf"),
    ]
    assert read(tmp_path / "out" / "predictions")["source_row"].to_pylist() == [0, 3, 5]
    assert (summary.rows, summary.scored, summary.rejected_by_reason) == (6, 3, {"NotFinite": 1, "WrongType": 2})
    assert summary.out_of_range == {"miles": 1}


def test_infinite_numbers_of_a_parquet_file_are_set_aside(stage: Stage, tmp_path: Path) -> None:
    table = flights(30).set_column(2, "wind", pa.array([math.inf if i == 7 else 1.0 for i in range(30)]))
    pq.write_table(table, tmp_path / "in.parquet")
    stage.run(stage.plan(tmp_path / "in.parquet", keep=["id"]), tmp_path / "out")
    assert read(tmp_path / "out" / "predictions")["id"].to_pylist() == [i for i in range(30) if i != 7]
    assert read(tmp_path / "out" / "rejects")["source_row"].to_pylist() == [7]


def test_columns_named_by_folders_are_read(stage: Stage, tmp_path: Path) -> None:
    table = flights(8)
    for carrier in ("UA", "B6"):
        (tmp_path / "in" / f"carrier={carrier}").mkdir(parents=True)
        pq.write_table(table.drop_columns(["carrier"]), tmp_path / "in" / f"carrier={carrier}" / "0.parquet")
    stage.run(stage.plan(tmp_path / "in", keep=["carrier"]), tmp_path / "out")
    found = read(tmp_path / "out" / "predictions")
    assert found["carrier"].to_pylist() == ["B6"] * 8 + ["UA"] * 8
    whole = pa.table({"miles": table["miles"], "wind": table["wind"], "carrier": ["B6"] * 8})
    assert found["probability"].to_pylist()[:8] == pytest.approx(expected(stage, whole))


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_job_that_was_cut_off_goes_on_to_the_same_result(stage: Stage, tmp_path: Path, after: int) -> None:
    write_folder(tmp_path / "in")
    job = stage.plan(tmp_path / "in", keep=["id"])
    stage.run(job, tmp_path / "whole")

    def cut_off(left: Sequence[Unit]) -> Iterator[Done]:
        scorer = stage.scorer(job, tmp_path / "out")
        for unit in left[:after]:
            yield scorer(unit)
        scorer._columns = None  # type: ignore[assignment] # dies in the middle of a unit
        yield scorer(left[after])

    with pytest.raises(AttributeError):
        stage.run(job, tmp_path / "out", cut_off)
    assert not (tmp_path / "out" / "predictions").exists()
    assert not (tmp_path / "out" / "_SUCCESS").exists()
    again: list[int] = []

    def go_on(left: Sequence[Unit]) -> Iterator[Done]:
        again.extend(unit.number for unit in left)
        return map(stage.scorer(job, tmp_path / "out"), left)

    summary = stage.run(job, tmp_path / "out", go_on)
    assert again == [unit.number for unit in job.units[after:]]
    assert summary.resumed_units == after
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")
    assert (summary.rows, summary.unknown_categories) == (120, {"carrier": 12})


def test_a_unit_that_was_written_and_not_noted_is_replaced(stage: Stage, tmp_path: Path) -> None:
    write_folder(tmp_path / "in")
    job = stage.plan(tmp_path / "in")
    output = Output(str(tmp_path / "out"))
    output.begin(job)
    stage.scorer(job, tmp_path / "out")(job.units[0])
    (tmp_path / "out" / "_work" / "done" / "00000.json").unlink()
    left = tmp_path / "out" / "_work" / "predictions" / ".part-00001.parquet.0123"
    left.write_bytes(b"half a part")
    assert stage.run(job, tmp_path / "out").rows == 120
    assert len(read(tmp_path / "out" / "predictions")) == 120
    assert not list((tmp_path / "out").rglob(".part*"))


def test_a_part_that_lost_its_end_is_scored_again(stage: Stage, tmp_path: Path) -> None:
    write_folder(tmp_path / "in")
    job = stage.plan(tmp_path / "in")
    Output(str(tmp_path / "out")).begin(job)
    scorer = stage.scorer(job, tmp_path / "out")
    for unit in job.units[:2]:
        scorer(unit)
    part = tmp_path / "out" / "_work" / "predictions" / "part-00001.parquet"
    part.write_bytes(part.read_bytes()[:-10])
    assert stage.run(job, tmp_path / "out").resumed_units == 1
    assert len(read(tmp_path / "out" / "predictions")) == 120


def test_a_finished_job_is_not_done_again(stage: Stage, tmp_path: Path) -> None:
    write_folder(tmp_path / "in")
    job = stage.plan(tmp_path / "in")
    first = stage.run(job, tmp_path / "out")

    def refuse(_left: Sequence[Unit]) -> Iterator[Done]:
        raise AssertionError("nothing was left to do")

    assert stage.run(job, tmp_path / "out", refuse) == first


def test_death_between_the_renames_costs_nothing(stage: Stage, tmp_path: Path) -> None:
    write_folder(tmp_path / "in")
    job = stage.plan(tmp_path / "in")
    stage.run(job, tmp_path / "whole")
    Output(str(tmp_path / "out")).begin(job)
    for unit in job.units:
        stage.scorer(job, tmp_path / "out")(unit)
    output = tmp_path / "out"
    Output(str(output))._reveal(stage.run(job, tmp_path / "whole"))  # died before summary and mark
    assert stage.run(job, output).rows == 120
    assert digests(output) == digests(tmp_path / "whole")


def test_another_job_with_the_same_output_is_refused(stage: Stage, tmp_path: Path) -> None:
    write_folder(tmp_path / "in")
    stage.run(stage.plan(tmp_path / "in"), tmp_path / "out")
    with pytest.raises(ConfigError, match="it keeps no columns, and this id"):
        stage.run(stage.plan(tmp_path / "in", keep=["id"]), tmp_path / "out")
    other = msgspec.structs.replace(stage.plan(tmp_path / "in"), digest="0", version="4")
    with pytest.raises(ConfigError, match=r"scored by version 3 of late, and this is version 4 of late \(see --version\)"):
        stage.run(other, tmp_path / "out")
    pq.write_table(flights(41), tmp_path / "in" / "1.parquet")
    with pytest.raises(ConfigError, match=r"whose file '1\.parquet' has changed since"):
        stage.run(stage.plan(tmp_path / "in"), tmp_path / "out")


def test_a_folder_with_other_files_is_left_alone(stage: Stage, tmp_path: Path) -> None:
    write_folder(tmp_path / "in")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.doc").write_text("x")
    with pytest.raises(ConfigError, match="holds files that no job of ours began"):
        stage.run(stage.plan(tmp_path / "in"), tmp_path / "out")
    with pytest.raises(ConfigError, match="is a file"):
        stage.run(stage.plan(tmp_path / "in"), tmp_path / "out" / "thesis.doc")


def test_what_is_wrong_is_found_before_a_row_is_scored(stage: Stage, tmp_path: Path) -> None:
    table = write_folder(tmp_path / "in")
    with pytest.raises(ConfigError, match="--keep bundle: predict writes a column of that name"):
        stage.plan(tmp_path / "in", keep=["bundle"])
    with pytest.raises(MissingColumn, match=r"'0\.parquet' lacks column 'gate', which --keep asks for; it has: id, miles"):
        stage.plan(tmp_path / "in", keep=["gate"])
    pq.write_table(table.set_column(0, "id", pa.array(np.zeros(120))), tmp_path / "in" / "2.parquet")
    with pytest.raises(DataError, match=r"column 'id' of '2\.parquet' holds double, and int64 in files before it"):
        stage.plan(tmp_path / "in", keep=["id"])
    pq.write_table(table.drop_columns(["wind"]), tmp_path / "in" / "2.parquet")
    with pytest.raises(MissingColumn, match=r"'2\.parquet' lacks column 'wind'"):
        stage.plan(tmp_path / "in")
    pq.write_table(table.set_column(1, "miles", pa.array(["far"] * 120)), tmp_path / "in" / "2.parquet")
    with pytest.raises(WrongType, match=r"'2\.parquet': column 'miles' holds string and is a number"):
        stage.plan(tmp_path / "in")


def test_a_file_that_changed_after_the_plan_is_named(stage: Stage, tmp_path: Path) -> None:
    write_folder(tmp_path / "in")
    job = stage.plan(tmp_path / "in")
    pq.write_table(flights(5), tmp_path / "in" / "1.parquet")
    with pytest.raises(DataError, match=r"'1\.parquet' .* has other rows than when the work was cut"):
        stage.run(job, tmp_path / "out")


@pytest.mark.parametrize("name", ["in.parquet", "in.csv", "in.csv.gz"])
def test_a_table_without_rows_gives_a_result_without_rows_and_with_its_columns(stage: Stage, tmp_path: Path, name: str) -> None:
    for rows, folder in ((0, "empty"), (5, "filled")):
        source = tmp_path / folder / name
        source.parent.mkdir()
        with pa.output_stream(str(source)) as stream:
            (pq.write_table if name.endswith("parquet") else csv.write_csv)(flights(5).slice(0, rows), stream)
        summary = stage.run(stage.plan(source, keep=["id", "carrier"]), tmp_path / folder / "out")
        assert (summary.rows, summary.scored) == (rows, rows)
        assert (tmp_path / folder / "out" / "_SUCCESS").exists()
    found, wanted = (read(tmp_path / folder / "out" / "predictions") for folder in ("empty", "filled"))
    assert found.num_rows == 0
    assert found.schema.equals(wanted.schema)


def test_a_table_of_which_no_row_fits_keeps_its_columns_too(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("miles,wind,carrier\n1,strong,UA\n1,2\n")
    summary = stage.run(stage.plan(tmp_path / "in.csv"), tmp_path / "out")
    assert (summary.rows, summary.scored) == (2, 0)
    found = read(tmp_path / "out" / "predictions")
    assert (found.num_rows, found.column_names[0]) == (0, "prediction")


def test_on_an_object_store_parts_are_at_their_place_and_the_mark_comes_last(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, real = tmp_path / "store", storage.filesystem
    for folder in ("out/_work/done", "out/predictions", "out/rejects"):  # an object store has no folders to be made
        (store / folder).mkdir(parents=True)
    monkeypatch.setattr(storage, "filesystem", lambda uri: real(uri.replace("store://", f"{store}/")))
    monkeypatch.setattr(Output, "_check_empty", lambda _self: None)
    write_folder(tmp_path / "in")
    job, seen = stage.plan(tmp_path / "in"), []
    work = Work(bundle=stage.pointer, output="store://out", cache=str(tmp_path / "cache"))
    scorer = UnitScorer(job, work, clock=counting_clock(), cpu_clock=counting_clock(), bundle=stage.bundle)

    def execute(left: Sequence[Unit]) -> Iterator[Done]:
        for unit in left:
            yield scorer(unit)
            seen.append(((store / "out/predictions" / f"part-{unit.number:05d}.parquet").exists(), (store / "out/_SUCCESS").exists()))

    run(job, "store://out", execute, began=0.0, clock=counting_clock(), tell=lambda _: None)
    assert seen == [(True, False)] * len(job.units)
    assert (store / "out" / "_SUCCESS").exists()
    assert not (store / "out" / "_work").exists()
    assert len(read(store / "out" / "predictions")) == 120


def test_units_are_cut_alike_every_time(stage: Stage, tmp_path: Path) -> None:
    write_folder(tmp_path / "in")
    assert stage.plan(tmp_path / "in") == stage.plan(tmp_path / "in")
    assert len(stage.plan(tmp_path / "in").units) == 9
    assert units.UNIT_ROWS == 1 << 18
