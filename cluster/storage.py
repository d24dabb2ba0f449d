"""Places: local paths and object stores behind one URI.

A URI without a scheme is a local path. `s3://`, `gs://` and the rest go through pyarrow's file systems. Only
this module and the journal's open segment know that some places are local disks.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from pyarrow import ArrowException, fs

from cluster.errors import StorageError


def is_local(uri: str) -> bool:
    """Whether the URI is a path on this host."""
    return "://" not in uri or uri.startswith("file://")


def local_path(uri: str, *, need: str) -> Path:
    """The local path of a URI.

    Raises
    ------
    StorageError
        When it is not local; the message says that `need` needs a local or shared file system.
    """
    if not is_local(uri):
        raise StorageError(f"'{uri}' is an object store; {need} needs a local or shared file system. Set places.root to a path")
    return Path(uri.removeprefix("file://"))


def filesystem(uri: str) -> tuple[fs.FileSystem, str]:
    """The file system of a URI, and the path in it."""
    if is_local(uri):
        return fs.LocalFileSystem(), str(local_path(uri, need=""))
    try:
        found, path = fs.FileSystem.from_uri(uri)
    except (ArrowException, ValueError) as error:
        raise StorageError(f"'{uri}' cannot be opened: {error}") from error
    return found, path


def exists(uri: str) -> bool:
    """Whether there is a file or folder."""
    system, path = filesystem(uri)
    return bool(system.get_file_info(path).type != fs.FileType.NotFound)


def read_bytes(uri: str) -> bytes:
    """A whole file.

    Raises
    ------
    StorageError
        When it is not there or cannot be read.
    """
    system, path = filesystem(uri)
    try:
        with system.open_input_stream(path) as stream:
            return bytes(stream.read())
    except OSError as error:
        raise StorageError(f"cannot read '{uri}': {error}") from error


def write_atomic(uri: str, content: bytes) -> None:
    """Write a whole file so that a reader sees the old one or the new one, never a part."""
    system, path = filesystem(uri)
    try:
        if not is_local(uri):
            with system.open_output_stream(path) as stream:  # an object appears when the upload is complete
                stream.write(content)
            return
        target = Path(path)
        with _written_beside(target, content) as temporary:
            temporary.replace(target)
    except OSError as error:
        raise StorageError(f"cannot write '{uri}': {error}") from error


def create_exclusive(uri: str, content: bytes) -> bool:
    """Write a file only if there is none; returns whether this call wrote it. Whole or not at all.

    Raises
    ------
    StorageError
        On an object store, or when the place cannot be written.
    """
    target = local_path(uri, need="writing a file only once")
    try:
        with _written_beside(target, content) as temporary:
            os.link(temporary, target)
    except FileExistsError:
        return False
    except OSError as error:
        raise StorageError(f"cannot write '{uri}': {error}") from error
    return True


@contextlib.contextmanager
def _written_beside(target: Path, content: bytes) -> Iterator[Path]:
    """The content in a hidden file of its own beside the target; gone at the end, whatever happened."""
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        temporary.write_bytes(content)
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def list_files(uri: str, *, suffix: str = "") -> Iterator[str]:
    """URIs of the files directly in a folder, by name; none when there is no such folder."""
    system, path = filesystem(uri)
    found = system.get_file_info(fs.FileSelector(path, allow_not_found=True))
    for info in sorted(found, key=lambda info: str(info.base_name)):
        if info.type == fs.FileType.File and info.base_name.endswith(suffix) and not info.base_name.startswith("."):
            yield f"{uri.rstrip('/')}/{info.base_name}"


def remove_tree(uri: str) -> None:
    """Remove a local folder and all in it, if it is there."""
    shutil.rmtree(local_path(uri, need="removing a folder"), ignore_errors=True)


def fetch_folder(uri: str, cache: Path) -> Path:
    """A folder that nobody changes, as a local path: itself when local, else a copy under `cache`, fetched once.

    Processes that share the cache see a whole copy or none.

    Raises
    ------
    StorageError
        When it cannot be copied.
    """
    if is_local(uri):
        return local_path(uri, need="")
    target = cache / uri.split("://", 1)[1].strip("/").replace("/", "_")
    if target.is_dir():
        return target
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        fs.copy_files(uri, str(temporary))
        temporary.rename(target)
    except (OSError, ArrowException) as error:
        if not target.is_dir():  # else somebody else was first, and theirs is the same
            raise StorageError(f"cannot copy '{uri}': {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target
