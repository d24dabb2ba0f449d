"""A bundle: one immutable version of a model, as a folder of safe formats.

    manifest.json       format, model, SHA-256 and size of every other file
    schema.json         the frozen feature schema
    student.onnx        float32 (n, features) -> float32 (n, width)
    ensemble.onnx       the same, members blended and calibrated
    ensemble_rest.onnx  the ensemble with the scores of XGBoost's trees given from outside; for many rows
    encoding.onnx       typed columns -> float32 (n, features), for use outside Python
    cascade.json        when the student may answer alone
    profile.json        what the reference looked like
    metrics.json        measured on held-out rows
    lineage.json        data, code, pins, seeds
    costs.json          seconds a call by number of rows, on the machine that built it
    probe.arrow         up to 64 encoded rows and their scores: what every replica must reproduce.
                        These are rows of the training table; whoever reads the bundle reads them
    intervals.json      regression: how far from the answer the truth may be
    members/            each member, native and as ONNX
    evaluation/         what was measured: calibration, groups, slices, stability, checks, columns, explanation, losses
    explanation/        what LIME needs to explain a row; what the trees' answers rest on, for the monitor
    settings.json, blend.json, distillation.json, efforts.json, search.json   how it was made
    figures/, card.md, card.html   for people; every number in the card is from one of the files above

What a replica needs not, and `ensemble_rest.onnx`, `costs.json` and `probe.arrow`, are optional: older bundles lack them. Every file
is hashed and its format looked at before it is read (`cluster.formats`), and loading runs no code of the bundle's.
"""

from __future__ import annotations

import hashlib
import math
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from pydantic import ValidationError

from cluster import formats, probe
from cluster.costs import Costs
from cluster.costs import Part as Part
from cluster.encoder import Encoder
from cluster.errors import BundleError, BundleTampered
from cluster.intervals import Intervals
from cluster.margin import Sureness, is_hard
from cluster.probe import Probe
from cluster.records import Record
from cluster.schema import FeatureSchema, Matrix
from cluster.scorer import Graph, Native

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
COSTS: Final = "costs.json"
INTERVALS: Final = "intervals.json"
TREES: Final = "members/xgboost.ubj"
REST: Final = "ensemble_rest.onnx"
_REQUIRED: Final = frozenset(
    {"schema.json", "student.onnx", "ensemble.onnx", "cascade.json", "profile.json", "metrics.json", "lineage.json"}
)


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


class CascadeRule(Record, frozen=True, kw_only=True, omit_defaults=True):
    """When the student may answer alone, and what that promises. Fields with a default are absent from older bundles."""

    threshold: float
    """A row goes to the ensemble when the student's margin (`cluster.margin`) is below this; 0: never, above 1: always."""
    max_disagreement: float
    confidence: float
    student_share: float
    """Share of held-out rows that the student answered."""
    disagreement: float
    """Share of those on which the ensemble decided otherwise."""
    rows: int = 0
    """How many those were."""
    upper_bound: float | None = None
    """Of the disagreement, one-sided, at `confidence`; None where nothing is promised."""
    tolerance: float | None = None
    """Regression: answers differ when further apart than this, in units of the label."""
    sureness: Sureness | None = None
    """Regression: what the margin goes by; None: all rows are alike."""


def seal(folder: Path, *, model: str, created: str) -> str:
    """Write the manifest over the files of a folder; returns the bundle's digest (SHA-256 of the manifest).

    Raises
    ------
    BundleError
        When a file is not of a safe format or a required one is missing.
    """
    files = {}
    for path in _files_of(folder):
        formats.check(path)
        files[path.relative_to(folder).as_posix()] = FileRecord(sha256=_sha256(path), size=path.stat().st_size)
    required = _REQUIRED | {TREES, COSTS} if REST in files else _REQUIRED
    if missing := required - files.keys():
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
    UnsafeFormat
        When a file was sealed that is not of the format its name says.
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
        if _sha256(folder / name) != record.sha256:
            raise BundleTampered(f"'{name}' of the bundle in '{folder}' differs from what its manifest records; it was damaged or altered")
        formats.check(folder / name)
    return manifest


def _sha256(path: Path) -> str:
    """Read in pieces: a large file taken whole would hold the interpreter's lock, and requests, for some 20 ms."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files_of(folder: Path) -> Iterable[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and path.relative_to(folder).as_posix() != MANIFEST)


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
            self.costs = msgspec.convert(self.json(COSTS), Costs) if COSTS in self.manifest.files else None
            self.intervals = msgspec.convert(self.json(INTERVALS), Intervals) if INTERVALS in self.manifest.files else None
        except (msgspec.MsgspecError, ValidationError) as error:
            raise BundleError(f"the bundle in '{folder}' was sealed with a wrong schema.json, cascade.json or {COSTS}: {error}") from error
        self.encoder = Encoder(self.schema)
        self._graphs: dict[Part, Graph] = {part: Graph(folder / f"{part}.onnx", threads=threads) for part in parts}
        self._native, self._native_from = self._load_native(threads)

    def _load_native(self, threads: int) -> tuple[Native | None, float]:
        """XGBoost's own trees and the number of rows they are used from, where measuring said that they pay."""
        native_from = self.costs.native_from if self.costs else None
        if native_from is None or REST not in self.manifest.files or "ensemble" not in self._graphs:
            return None, math.inf
        return Native(self.folder / TREES, self.folder / REST, threads=threads), native_from

    def json(self, name: str) -> Any:
        """One of the bundle's JSON files."""
        return msgspec.json.decode((self.folder / name).read_bytes())

    def student(self, matrix: Matrix) -> Matrix:
        """The student's scores, float32 of shape (n, width)."""
        return self._graphs["student"](matrix)

    def ensemble(self, matrix: Matrix) -> Matrix:
        """The ensemble's scores, float32 of shape (n, width); many rows take XGBoost's own trees (`cluster.scorer`)."""
        if self._native is not None and len(matrix) >= self._native_from:
            return self._native(matrix)
        return self._graphs["ensemble"](matrix)

    def answer(self, matrix: Matrix) -> Matrix:
        """The scores a caller would get, float32 of shape (n, width): the student's, and the ensemble's for hard rows."""
        scores = self.student(matrix)
        hard = is_hard(self.schema.label, scores, self.cascade.threshold, self.cascade.sureness)
        if hard.any():
            scores = scores.copy()
            scores[hard] = self.ensemble(matrix[hard])
        return scores

    def warm(self) -> None:
        """Score once with every loaded graph, at the sizes a first caller would use."""
        for rows in (1, 64):
            zeros = np.zeros((rows, len(self.schema.features)), dtype=np.float32)
            for graph in self._graphs.values():
                graph(zeros)
            if self._native is not None:
                self._native(zeros)

    def probe(self) -> Probe | None:
        """Encoded rows with the scores they got when the bundle was built; None for a bundle without.

        Raises
        ------
        BundleError
            When the file is no probe of this schema.
        """
        return probe.read(self.folder, features=len(self.schema.features)) if probe.NAME in self.manifest.files else None

    def check_probe(self) -> None:
        """Score the probe with all that is loaded; a bundle without a probe passes.

        Raises
        ------
        BundleError
            Naming part, row and difference where the scores are not those of the day it was built.
        """
        found = self.probe()
        if found is None:
            return
        for part, graph in self._graphs.items():
            found.check(part, graph(found.matrix))
        if self._native is not None:
            found.check("ensemble", self._native(found.matrix), by=" by XGBoost's own trees")


def new_folder(work: Path) -> Path:
    """An empty folder for a bundle under construction, named `bundle` in a folder of its own: MLflow keeps the name."""
    folder = work / uuid.uuid4().hex[:12] / "bundle"
    (folder / "members").mkdir(parents=True)
    return folder
