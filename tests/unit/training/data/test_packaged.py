import hashlib
import io
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.errors import DataError
from training.data import packaged
from training.data.packaged import Package


def wheel(**files: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        for name, content in files.items():
            file.writestr(f"some_package/data/{name}", content)
    return made.getvalue()


def tar(**files: bytes) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as file:
        for name, content in files.items():
            info = tarfile.TarInfo(f"some-package-1.0/data/{name}")
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return made.getvalue()


ARCHIVE = wheel(numbers=b"1,2,3")
PACKAGE = Package(name="some-package", version="1.0", file="some_package-1.0.whl", sha256=hashlib.sha256(ARCHIVE).hexdigest())


def build(archive: bytes) -> pa.Table:
    (content,) = packaged.files(archive, ["data/numbers"])
    return pa.table({"x": [int(x) for x in content.split(b",")]})


def ensure(cache: Path, recipe: bytes = b"1") -> Path:
    return packaged.ensure(PACKAGE, cache, name="numbers", recipe=recipe, build=build)


@pytest.mark.parametrize("pack", [wheel, tar])
def test_files_are_found_by_the_ends_of_their_paths_in_the_order_asked(pack):
    assert packaged.files(pack(a=b"1", ba=b"2"), ["data/ba", "a"]) == [b"2", b"1"]


@pytest.mark.parametrize("pack", [wheel, tar])
def test_files_that_are_absent_are_named(pack):
    with pytest.raises(DataError, match="the archive lacks data/b, c"):
        packaged.files(pack(a=b"1"), ["data/a", "data/b", "c"])


def test_an_archive_put_in_place_is_built_once_and_then_reused(tmp_path):
    (tmp_path / PACKAGE.file).write_bytes(ARCHIVE)
    path = ensure(tmp_path)
    assert path == tmp_path / "numbers.parquet"
    assert pq.read_table(path)["x"].to_pylist() == [1, 2, 3]
    (tmp_path / PACKAGE.file).unlink()  # the second time nothing but the cache is needed
    assert ensure(tmp_path) == path


@pytest.mark.parametrize("found", [b"not parquet", None])
def test_a_cache_of_another_recipe_or_none_at_all_is_built_again(tmp_path, found):
    (tmp_path / PACKAGE.file).write_bytes(ARCHIVE)
    if found is None:
        pq.write_table(pa.table({"x": [0]}), ensure(tmp_path, recipe=b"0"))
    else:
        (tmp_path / "numbers.parquet").write_bytes(found)
    assert pq.read_table(ensure(tmp_path))["x"].to_pylist() == [1, 2, 3]


def test_a_wrong_archive_is_refused_with_both_checksums(tmp_path):
    (tmp_path / PACKAGE.file).write_bytes(b"something else")
    found = hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(DataError, match=f"its SHA-256 is {found}, expected {PACKAGE.sha256}"):
        ensure(tmp_path)


def test_without_pip_the_message_says_where_to_put_the_archive(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match=f"which this Python lacks.*put it at '{tmp_path / PACKAGE.file}'"):
        ensure(tmp_path)


def test_a_failed_download_repeats_what_pip_said_and_leaves_nothing(tmp_path, monkeypatch):
    said = "WARNING: noise\nERROR: Could not find a version\nERROR: No matching distribution found\n"
    monkeypatch.setattr("subprocess.run", lambda command, **_: subprocess.CompletedProcess(command, 1, "", said))
    with pytest.raises(DataError, match=r"Could not find a version ERROR: No matching distribution found; try again, or download"):
        ensure(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_download_that_takes_too_long_says_so(tmp_path, monkeypatch):
    def run(command, **_):
        raise subprocess.TimeoutExpired(command, 600)

    monkeypatch.setattr("subprocess.run", run)
    with pytest.raises(DataError, match=r"some_package-1\.0\.whl cannot be downloaded: .*timed out after 600 seconds"):
        ensure(tmp_path)


def test_a_download_is_asked_for_with_its_hash_and_kept(tmp_path, monkeypatch):
    wanted = []

    def run(command, **_):
        wanted.append(Path(command[command.index("--requirement") + 1]).read_text())
        Path(command[command.index("--dest") + 1], PACKAGE.file).write_bytes(ARCHIVE)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr("subprocess.run", run)
    assert pq.read_table(ensure(tmp_path)).num_rows == 3
    assert wanted == [f"some-package==1.0 --hash=sha256:{PACKAGE.sha256}\n"]
    assert (tmp_path / PACKAGE.file).read_bytes() == ARCHIVE
