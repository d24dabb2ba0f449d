"""A bundle: one immutable version of a model, as a folder of safe formats.

    manifest.json     format, model, SHA-256 and size of every other file
    schema.json       the frozen feature schema
    student.onnx      float32 (n, features) -> float32 (n, width)
    ensemble.onnx     the same, members blended and calibrated
    encoding.onnx     typed columns -> float32 (n, features), for use outside Python
    cascade.json      when the student may answer alone
    profile.json      what the reference looked like
    metrics.json      measured on held-out rows
    lineage.json      data, code, pins, seeds
    members/          each member, native and as ONNX

Loading runs no code of the bundle's: JSON and ONNX only. Every file is hashed before it is read.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np
import onnxruntime as ort
from pydantic import ValidationError

from cluster.errors import BundleError, BundleTampered
from cluster.margin import is_hard
from cluster.records import Record
from cluster.schema import Encoder, FeatureSchema, Matrix

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
SUFFIXES: Final = frozenset({".json", ".onnx", ".ubj", ".arrow"})
Part = Literal["student", "ensemble"]


class FileRecord(Record, frozen=True, kw_only=True):
    """What a file must be."""

    sha256: str
    size: int


class Manifest(Record, frozen=True, kw_only=True):
    """The list of a bundle's files."""

    format: int
    model: str
    created: str
    """ISO 8601, UTC."""
    files: dict[str, FileRecord]


class CascadeRule(Record, frozen=True, kw_only=True):
    """When the student may answer alone, and what that promises."""

    threshold: float
    """A row goes to the ensemble when the student's margin (`cluster.margin`) is below this; 0: never, above 1: always."""
    max_disagreement: float
    confidence: float
    student_share: float
    """Share of held-out rows that the student answered."""
    disagreement: float
    """Share of those on which the ensemble decided otherwise."""


def seal(folder: Path, *, model: str, created: str) -> str:
    """Write the manifest over the files of a folder; returns the bundle's digest (SHA-256 of the manifest).

    Raises
    ------
    BundleError
        When a file is not of a safe format or a required one is missing.
    """
    files = {}
    for path in _files_of(folder):
        if path.suffix not in SUFFIXES:
            raise BundleError(f"'{path}' cannot go into a bundle; allowed: {', '.join(sorted(SUFFIXES))}")
        content = path.read_bytes()
        files[path.relative_to(folder).as_posix()] = FileRecord(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
    missing = {
        "schema.json",
        "student.onnx",
        "ensemble.onnx",
        "cascade.json",
        "profile.json",
        "metrics.json",
        "lineage.json",
    } - files.keys()
    if missing:
        raise BundleError(f"the bundle in '{folder}' lacks {', '.join(sorted(missing))}")
    manifest = msgspec.json.format(msgspec.json.encode(Manifest(format=FORMAT, model=model, created=created, files=files)), indent=1)
    (folder / MANIFEST).write_bytes(manifest)
    return hashlib.sha256(manifest).hexdigest()


def verify(folder: Path, *, digest: str | None = None) -> Manifest:
    """Hash every file of a bundle against its manifest, and the manifest against `digest`.

    Raises
    ------
    BundleTampered
        Naming the file that differs, is missing, or should not be there.
    BundleError
        When there is no bundle, or one of another format.
    """
    try:
        content = (folder / MANIFEST).read_bytes()
    except OSError as error:
        raise BundleError(f"'{folder}' holds no bundle: {error.strerror} ({MANIFEST})") from error
    if digest is not None and hashlib.sha256(content).hexdigest() != digest:
        raise BundleTampered(
            f"the manifest in '{folder}' is not the one that was registered; refuse this copy and restore it from the registry"
        )
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except msgspec.MsgspecError as error:
        raise BundleTampered(f"the manifest in '{folder}' cannot be read: {error}") from error
    if manifest.format != FORMAT:
        raise BundleError(f"the bundle in '{folder}' has format {manifest.format}; this version reads format {FORMAT}")
    present = {path.relative_to(folder).as_posix() for path in _files_of(folder)}
    if strays := sorted(present - manifest.files.keys()):
        raise BundleTampered(f"the bundle in '{folder}' holds files that its manifest does not list: {', '.join(strays)}")
    for name, record in manifest.files.items():
        if name not in present:
            raise BundleTampered(f"the bundle in '{folder}' lacks '{name}'")
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != record.sha256:
            raise BundleTampered(f"'{name}' of the bundle in '{folder}' differs from what its manifest records; it was damaged or altered")
    return manifest


def _files_of(folder: Path) -> Iterable[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and path.relative_to(folder).as_posix() != MANIFEST)


class Graph:
    """An ONNX graph of one float32 input (n, features) and one float32 output (n, width).

    Parameters
    ----------
    path
        The file.
    threads
        Threads of one call; 1 is fastest for few rows and keeps answers equal to the bit.

    Raises
    ------
    BundleError
        When the file is no such graph.
    """

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own errors share no public base
            raise BundleError(f"'{path}' is not a graph that can be run: {error}") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1:
            raise BundleError(f"'{path}' has {len(inputs)} inputs and {len(outputs)} outputs; a scoring graph has one of each")
        self._input, self._output = inputs[0].name, [outputs[0].name]

    def __call__(self, matrix: Matrix) -> Matrix:
        """Scores of shape (n, width)."""
        scores: Matrix = self._session.run(self._output, {self._input: matrix})[0]
        return scores


class Bundle:
    """A loaded bundle.

    Parameters
    ----------
    folder
        A local folder.
    version
        The registry's name for it, or the empty string.
    digest
        SHA-256 of the manifest as registered; None skips that one check.
    parts
        Which scoring graphs to load.

    Raises
    ------
    BundleTampered, BundleError
    """

    def __init__(
        self,
        folder: Path,
        *,
        version: str = "",
        digest: str | None = None,
        parts: Iterable[Part] = ("student", "ensemble"),
        threads: int = 1,
    ) -> None:
        self.folder = folder
        self.version = version
        self.manifest = verify(folder, digest=digest)
        try:
            self.schema = FeatureSchema.model_validate(self.json("schema.json"))
            self.cascade = msgspec.convert(self.json("cascade.json"), CascadeRule)
        except (msgspec.MsgspecError, ValidationError) as error:
            raise BundleError(f"the bundle in '{folder}' was sealed with a wrong schema.json or cascade.json: {error}") from error
        self.encoder = Encoder(self.schema)
        self._graphs: dict[Part, Graph] = {part: Graph(folder / f"{part}.onnx", threads=threads) for part in parts}

    def json(self, name: str) -> Any:
        """One of the bundle's JSON files."""
        return msgspec.json.decode((self.folder / name).read_bytes())

    def student(self, matrix: Matrix) -> Matrix:
        """The student's scores, float32 of shape (n, width)."""
        return self._graphs["student"](matrix)

    def ensemble(self, matrix: Matrix) -> Matrix:
        """The ensemble's scores, float32 of shape (n, width)."""
        return self._graphs["ensemble"](matrix)

    def answer(self, matrix: Matrix) -> Matrix:
        """The scores a caller would get, float32 of shape (n, width): the student's, and the ensemble's for hard rows."""
        scores = self.student(matrix)
        hard = is_hard(self.schema.label, scores, self.cascade.threshold)
        if hard.any():
            scores = scores.copy()
            scores[hard] = self.ensemble(matrix[hard])
        return scores

    def warm(self) -> None:
        """Score once with every loaded graph, at the sizes a first caller would use."""
        for rows in (1, 64):
            probe = np.zeros((rows, len(self.schema.features)), dtype=np.float32)
            for graph in self._graphs.values():
                graph(probe)


def new_folder(work: Path) -> Path:
    """An empty folder for a bundle under construction, named `bundle` in a folder of its own: MLflow keeps the name."""
    folder = work / uuid.uuid4().hex[:12] / "bundle"
    (folder / "members").mkdir(parents=True)
    return folder
