"""The registry: versions of a model and the pointers to champion and challenger, kept by MLflow.

MLflow holds the truth. Replicas must learn of a new champion within a second, without MLflow's client in every
process; so whoever moves a pointer publishes a small file that they watch (docs/decisions/003). The file is a
copy: `publish` writes it anew at any time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from cluster import storage
from cluster.errors import NoChampion, RegistryError, UnknownVersion
from cluster.records import Pointer, Pointers, Share
from cluster.schema import FeatureSchema
from cluster.settings import Settings

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

Alias = Literal["champion", "challenger"]
_DIGEST, _RUN, _SHARE = "homeostat.digest", "homeostat.run", "homeostat.challenger_share"
_PAGE = 1000


def read_pointers(uri: str) -> Pointers | None:
    """What the published file says; None when nothing has been published.

    Raises
    ------
    RegistryError
        When the file is damaged.
    """
    if not storage.exists(uri):
        return None
    try:
        return msgspec.json.decode(storage.read_bytes(uri), type=Pointers)
    except msgspec.MsgspecError as error:
        raise RegistryError(f"the published pointers in '{uri}' cannot be read: {error}; publish them anew") from error


class Registry:
    """One model's versions and pointers.

    Parameters
    ----------
    settings
        The model's settings; `places` says where MLflow keeps them.

    Raises
    ------
    RegistryError
        When MLflow cannot be reached.
    """

    def __init__(self, settings: Settings) -> None:
        self.model = settings.model
        self._places = settings.places
        if settings.places.mlflow_uri.startswith("sqlite:///"):
            Path(settings.places.mlflow_uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        with _mlflow():
            from mlflow import MlflowClient

            for name in ("alembic", "mlflow"):  # they tell of every table they create; MLflow's import sets its own level
                logging.getLogger(name).setLevel(logging.WARNING)
            self._client = MlflowClient(settings.places.mlflow_uri)
            self._experiment = self._ensure_experiment()
            if not self._client.search_registered_models(f"name='{self.model}'"):
                self._client.create_registered_model(self.model)

    def _ensure_experiment(self) -> str:
        found = self._client.get_experiment_by_name(self.model)
        if found is not None:
            return str(found.experiment_id)
        return str(self._client.create_experiment(self.model, artifact_location=f"{self._places.artifacts}/{self.model}"))

    def register(
        self,
        folder: Path,
        *,
        digest: str,
        run: str,
        metrics: Mapping[str, float],
        params: Mapping[str, object],
        texts: Mapping[str, str] | None = None,
    ) -> Pointer:
        """Log a sealed bundle as a run with an MLflow model, and register it as the next version.

        Parameters
        ----------
        folder, digest
            The bundle and what `cluster.bundle.seal` returned.
        run
            Names the training run; registering the same run again returns the version it already has.
        metrics, params, texts
            Shown in MLflow; texts are files such as SVG or HTML, by name.
        """
        if known := self.find(run):
            return known
        with _mlflow():
            model_uri, run_id = self._log(folder, run, metrics, params, texts or {})
            made = self._client.create_model_version(self.model, model_uri, run_id, tags={_DIGEST: digest, _RUN: run})
            return self.locate(str(made.version))

    def _log(
        self, folder: Path, run: str, metrics: Mapping[str, float], params: Mapping[str, object], texts: Mapping[str, str]
    ) -> tuple[str, str]:
        import mlflow

        from cluster.signature import signature_of

        mlflow.set_tracking_uri(self._places.mlflow_uri)
        here = Path(__file__).parent
        with mlflow.start_run(run_id=self._client.create_run(self._experiment, run_name=run).info.run_id) as active:
            mlflow.log_params({name: str(value)[:500] for name, value in params.items()})
            mlflow.log_metrics(dict(metrics))
            for name, text in texts.items():
                mlflow.log_text(text, name)
            with _without_hints():
                info = mlflow.pyfunc.log_model(
                    name="bundle",
                    python_model=str(here / "pyfunc.py"),
                    artifacts={"bundle": str(folder)},
                    code_paths=[str(here)],
                    pip_requirements=["mlflow", "onnxruntime", "xgboost", "pyarrow", "pandas", "pydantic", "msgspec", "pyyaml"],
                    signature=signature_of(_schema_of(folder)),
                )
        return info.model_uri, active.info.run_id

    def find(self, run: str) -> Pointer | None:
        """The version that a training run made, if it got that far."""
        with _mlflow():
            found = self._client.search_model_versions(f"name='{self.model}' and tags.`{_RUN}`='{run}'")
        return self.locate(str(found[0].version)) if found else None

    def versions(self) -> list[str]:
        """All versions, oldest first."""
        found: list[str] = []
        token: str | None = None
        with _mlflow():
            while True:
                page = self._client.search_model_versions(f"name='{self.model}'", max_results=_PAGE, page_token=token)
                found += [str(version.version) for version in page]
                token = page.token
                if not token:
                    return sorted(found, key=int)

    def locate(self, version: str) -> Pointer:
        """Where a version's bundle is.

        Raises
        ------
        UnknownVersion
            Listing the latest known ones.
        RegistryError
            When somebody else registered it: no digest was kept.
        """
        return self._locate(version)[0]

    def _locate(self, version: str) -> tuple[Pointer, dict[str, str]]:
        """Where a version's bundle is, and the version's tags."""
        try:
            with _mlflow():
                found = self._client.get_model_version(self.model, version)
                uri = self._client.get_model_version_download_uri(self.model, version)
        except RegistryError as error:
            known = ", ".join(self.versions()[-10:]) or "none"
            raise UnknownVersion(f"model '{self.model}' has no version {version!r}; the latest are: {known}") from error
        if _DIGEST not in found.tags:
            raise RegistryError(f"version {version} of model '{self.model}' was not registered by Homeostat: it has no tag '{_DIGEST}'")
        return Pointer(version=version, uri=f"{uri.rstrip('/')}/artifacts/bundle", digest=found.tags[_DIGEST]), dict(found.tags)

    def pointers(self) -> Pointers:
        """Champion and challenger as MLflow has them."""
        aliases = self._aliases()
        champion = self.locate(aliases["champion"]) if "champion" in aliases else None
        challenger, tags = self._locate(aliases["challenger"]) if "challenger" in aliases else (None, {})
        return Pointers(model=self.model, champion=champion, challenger=challenger, challenger_share=_share_of(tags))

    def _aliases(self) -> dict[str, str]:
        with _mlflow():
            found = self._client.get_registered_model(self.model).aliases
        return {alias: str(version) for alias, version in found.items()}

    def champion(self) -> Pointer:
        """The champion.

        Raises
        ------
        NoChampion
            When there is none yet.
        """
        champion = self.pointers().champion
        if champion is None:
            raise NoChampion(f"model '{self.model}' has no champion yet; train one with: homeostat train YOUR.yaml")
        return champion

    def move(self, alias: Alias, version: str | None, *, share: float = 0.0) -> Pointers:
        """Point an alias at a version, or at none, and publish. Moving it twice to the same place is harmless.

        A challenger that becomes champion is challenger no more. The share is kept as a tag of the version on trial and
        counts while the alias is there, so that no crash gives one challenger the share of another.

        Parameters
        ----------
        share
            Part of the requests that a challenger answers; a champion answers the rest.

        Raises
        ------
        UnknownVersion
            When there is no such version.
        RegistryError
            When the share is not between 0 and 1.
        """
        if not 0 <= share <= 1:
            raise RegistryError(f"a challenger's share of the requests is between 0 and 1; found {share:g}")
        with _mlflow():
            if version is None:
                self._client.delete_registered_model_alias(self.model, alias)
            else:
                self.locate(version)
                if alias == "challenger":
                    self._client.set_model_version_tag(self.model, version, _SHARE, str(share))
                self._client.set_registered_model_alias(self.model, alias, version)
                if alias == "champion" and self._aliases().get("challenger") == version:
                    self._client.delete_registered_model_alias(self.model, "challenger")
        return self.publish()

    def publish(self) -> Pointers:
        """Write the file that replicas watch, from what MLflow says."""
        pointers = self.pointers()
        uri = self._places.pointers(self.model)
        content = msgspec.json.encode(pointers)
        if not storage.exists(uri) or storage.read_bytes(uri) != content:  # compared unread: a damaged file is replaced
            storage.write_atomic(uri, content)
        return pointers


def _schema_of(folder: Path) -> FeatureSchema:
    return FeatureSchema.model_validate_json((folder / "schema.json").read_bytes())


def _share_of(tags: Mapping[str, str]) -> float:
    try:
        return msgspec.convert(tags.get(_SHARE, "0"), Share, strict=False)
    except msgspec.ValidationError as error:
        raise RegistryError(f"the tag '{_SHARE}' of the challenger is {tags[_SHARE]!r}; allowed: 0 to 1; correct it in MLflow") from error


@contextlib.contextmanager
def _mlflow() -> Iterator[None]:
    """A call of MLflow: its errors as ours, without its warnings of what its own dependencies will drop."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow.exceptions import MlflowException

        try:
            yield
        except MlflowException as error:
            raise RegistryError(f"MLflow refused: {error}") from error


@contextlib.contextmanager
def _without_hints() -> Iterator[None]:
    """Without MLflow's hints on type annotations, which do not apply to models from code."""
    logger = logging.getLogger("mlflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
