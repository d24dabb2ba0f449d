from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cluster import storage
from cluster.errors import StorageError


def test_what_is_written_is_read_back_and_nothing_else_is_left(tmp_path: Path) -> None:
    uri = f"{tmp_path}/new/folder/file.json"
    storage.write_atomic(uri, b"one")
    storage.write_atomic(uri, b"two")
    assert storage.read_bytes(uri) == storage.read_bytes(f"file://{uri}") == b"two"
    assert [path.name for path in Path(uri).parent.iterdir()] == ["file.json"]
    assert storage.exists(uri)
    assert not storage.exists(f"{tmp_path}/other")


def test_readers_see_the_old_file_or_the_new_one_never_a_part(tmp_path: Path) -> None:
    uri, versions = str(tmp_path / "file"), [bytes([i]) * 200_000 for i in range(40)]
    storage.write_atomic(uri, versions[0])
    seen, done = set(), threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(storage.read_bytes(uri))

    with ThreadPoolExecutor() as pool:
        reader = pool.submit(read)
        for version in versions:
            storage.write_atomic(uri, version)
        done.set()
        reader.result()
    assert seen <= set(versions)


def test_a_failed_write_leaves_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, content: bytes) -> int:
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    for write in (storage.write_atomic, storage.create_exclusive):
        with pytest.raises(StorageError, match=r"cannot write .*No space left"):
            write(str(tmp_path / "file"), b"x")
    assert list(tmp_path.iterdir()) == []


def test_of_many_who_create_a_file_exactly_one_wins(tmp_path: Path) -> None:
    uri, start = str(tmp_path / "entry"), threading.Barrier(16)

    def create(i: int) -> bool:
        start.wait()
        return storage.create_exclusive(uri, b"%d" % i)

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(create, range(16)))
    assert won.count(True) == 1
    assert storage.read_bytes(uri) == b"%d" % won.index(True)
    assert [path.name for path in tmp_path.iterdir()] == ["entry"]


def test_files_are_listed_by_name_without_folders_and_hidden_ones(tmp_path: Path) -> None:
    for name in ("b.json", "a.json", "c.txt", ".hidden.json", "folder.json/inside.json"):
        storage.write_atomic(f"{tmp_path}/{name}", b"")
    assert list(storage.list_files(f"{tmp_path}/", suffix=".json")) == [f"{tmp_path}/a.json", f"{tmp_path}/b.json"]
    assert list(storage.list_files(f"{tmp_path}/nowhere")) == []


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=f"cannot read '{tmp_path}/x'"):
        storage.read_bytes(f"{tmp_path}/x")


def test_an_object_store_is_refused_where_a_local_place_is_needed() -> None:
    with pytest.raises(StorageError, match="'s3://lake/x' is an object store; the journal needs a local or shared file system"):
        storage.local_path("s3://lake/x", need="the journal")
    with pytest.raises(StorageError, match="writing a file only once needs"):
        storage.create_exclusive("gs://lake/x", b"")


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(StorageError, match="'ftp://host/x' cannot be opened"):
        storage.read_bytes("ftp://host/x")


def test_a_local_folder_is_fetched_as_it_is_and_removed_whole(tmp_path: Path) -> None:
    storage.write_atomic(f"{tmp_path}/folder/inside/file", b"x")
    assert storage.fetch_folder(f"{tmp_path}/folder", tmp_path / "cache") == tmp_path / "folder"
    storage.remove_tree(f"{tmp_path}/folder")
    storage.remove_tree(f"{tmp_path}/folder")
    assert list(tmp_path.iterdir()) == []


def remote(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder's URI that is taken for an object store's; the copying itself is real."""
    monkeypatch.setattr(storage, "is_local", lambda uri: False)
    return f"file://{folder}"


def test_a_remote_folder_is_copied_once_and_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lake" / "inside").mkdir(parents=True)
    (tmp_path / "lake" / "inside" / "file").write_bytes(b"x")
    uri = remote(tmp_path / "lake", monkeypatch)
    with ThreadPoolExecutor(8) as pool:
        (found,) = set(pool.map(lambda _: storage.fetch_folder(uri, tmp_path / "cache"), range(8)))
    assert (found / "inside" / "file").read_bytes() == b"x"
    assert list((tmp_path / "cache").iterdir()) == [found]
    (tmp_path / "lake" / "inside" / "file").unlink()
    assert (storage.fetch_folder(uri, tmp_path / "cache") / "inside" / "file").read_bytes() == b"x"


def test_a_remote_folder_that_cannot_be_copied_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = remote(tmp_path / "nowhere", monkeypatch)
    with pytest.raises(StorageError, match=f"cannot copy '{uri}'"):
        storage.fetch_folder(uri, tmp_path / "cache")
    assert list((tmp_path / "cache").glob("*")) == []
