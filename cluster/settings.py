"""Settings: the one reader of YAML and environment.

Every section is frozen and refuses keys it does not know. Components receive their own section, never the file.
"""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import Any, Final, Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from cluster.errors import ConfigError
from cluster.schema import Duration, FeatureSchema, Period, Section, Task, format_duration


class Data(Section):
    """Where the training table comes from."""

    source: str
    """`flights`, or a path or URI (file, s3, gs) of a Parquet or CSV file, or of a folder of Parquet files."""
    since: dt.datetime | None = None
    """Train on rows at or after this time."""
    until: dt.datetime | None = None
    """Train on rows before this time."""


class XGBoost(Section):
    """Gradient-boosted trees."""

    rounds: int = Field(default=300, ge=1)
    """Most trees; fewer when the validation loss stops falling."""
    max_depth: int = Field(default=6, ge=1, le=16)
    """Levels of a tree."""
    learning_rate: float = Field(default=0.08, gt=0, le=1)
    """Share of each tree that counts."""
    min_child_weight: float = Field(default=10.0, ge=0)
    """Least weight of rows in a leaf; more resists noise."""
    subsample: float = Field(default=0.8, gt=0, le=1)
    """Share of the rows a tree sees."""
    colsample_bytree: float = Field(default=0.6, gt=0, le=1)
    """Share of the features a tree sees."""
    reg_lambda: float = Field(default=2.0, ge=0)
    """Strength of the L2 penalty on leaves."""
    early_stopping_rounds: int = Field(default=25, ge=1)
    """Trees without a better validation loss before it stops."""


class Torch(Section):
    """A network with categorical embeddings."""

    epochs: int = Field(default=6, ge=1)
    """Most epochs; the one with the lowest validation loss is kept."""
    hidden: tuple[int, ...] = (128, 64)
    """Widths of the hidden layers."""
    batch_size: int = Field(default=512, ge=8)
    """Rows a step and worker."""
    learning_rate: float = Field(default=2e-3, gt=0)
    """Step size of AdamW."""
    weight_decay: float = Field(default=1e-4, ge=0)
    """Strength of the weight decay."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of hidden units silenced at each step."""


class Linear(Section):
    """Logistic or ridge regression: the baseline."""

    regularization: float = Field(default=1.0, gt=0)
    """Strength of the L2 penalty."""


class Members(Section):
    """The models of the ensemble; set one to null to leave it out."""

    xgboost: XGBoost | None = XGBoost()
    torch: Torch | None = Torch()
    linear: Linear | None = Linear()

    @model_validator(mode="after")
    def _at_least_one(self) -> Members:
        if self.xgboost is None and self.torch is None and self.linear is None:
            raise ValueError("at least one member is needed: xgboost, torch or linear")
        return self


class Training(Section):
    """How members are fitted."""

    num_workers: int = Field(default=1, ge=1)
    """Ray Train workers; the rows are split between them."""
    cpus_per_worker: float = Field(default=1.0, gt=0)
    """CPUs reserved a worker."""
    use_gpu: bool = False
    """One GPU a worker."""
    seed: int = 7
    """Equal data, settings and seed give an equal model."""
    validation_share: float = Field(default=0.2, gt=0.02, lt=0.6)
    """Share of the rows, the latest ones where there is a time, kept for blending, calibration and the cascade."""
    min_category_count: int = Field(default=20, ge=1)
    """Categories seen less often are treated as unknown."""


class Distillation(Section):
    """The student: a small model that learns from the ensemble."""

    rounds: int = Field(default=60, ge=1)
    """Most trees."""
    max_depth: int = Field(default=5, ge=1, le=12)
    """Levels of a tree."""
    learning_rate: float = Field(default=0.15, gt=0, le=1)
    """Share of each tree that counts."""


class Gate(Section):
    """When a challenger may replace the champion."""

    metric: Literal["roc_auc", "log_loss", "brier", "accuracy", "rmse"] | None = None
    """Compared on the same rows. Left out: roc_auc (binary), log_loss (multiclass), rmse (regression)."""
    holdout: Period = dt.timedelta(days=7)
    """The latest labelled rows of this length are kept from training and judged on."""
    min_rows: int = Field(default=500, ge=20)
    """Fewer labelled rows than this, and the challenger is refused."""
    confidence: float = Field(default=0.9, gt=0.5, lt=1)
    """The improvement's lower bound (block bootstrap) must hold with this confidence."""
    min_improvement: float = Field(default=0.0)
    """The lower bound must exceed this, in units of the metric."""
    max_calibration_error: float = Field(default=0.1, gt=0, le=1)
    """A challenger whose expected calibration error is above both this and the champion's is refused."""


_GATE_METRICS: Final[dict[Task, tuple[str, ...]]] = {
    "binary": ("roc_auc", "log_loss", "brier", "accuracy"),
    "multiclass": ("log_loss", "accuracy"),
    "regression": ("rmse",),
}


class Scaling(Section):
    """Replicas of a deployment."""

    min_replicas: int = Field(default=1, ge=0)
    """Kept when idle."""
    max_replicas: int = Field(default=2, ge=1)
    """Autoscaling stops here."""
    upscale_delay: Duration = dt.timedelta(seconds=5)
    """How long the load must be above its target before replicas are added."""
    downscale_delay: Duration = dt.timedelta(minutes=2)
    """How long it must be below before replicas are taken away."""
    cpus: float = Field(default=0.5, ge=0)
    """CPUs reserved a replica."""
    gpus: float = Field(default=0.0, ge=0)
    """GPUs reserved a replica."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas {self.min_replicas} is above max_replicas {self.max_replicas}")
        return self


class Gateway(Scaling):
    """The processes that answer requests."""

    min_replicas: int = Field(default=1, ge=1)
    """Kept when idle; a gateway that is not there answers nobody."""
    target_load: float = Field(default=0.6, gt=0, le=1)
    """Share of a core that a replica may be busy before another is started."""


class Ensemble(Scaling):
    """Who scores the rows that the student is not sure of."""

    placement: Literal["auto", "in_process", "deployment"] = "auto"
    """`deployment`: processes of its own; `in_process`: the gateway itself; `auto`: by what the bundle costs, measured when it was built."""
    min_replicas: int = Field(default=1, ge=0)
    """Kept when idle; 0 lets it go when no row needs it, and the next such row waits for its start or is answered by the student."""
    target_ongoing_requests: float = Field(default=16, gt=0)
    """Requests in flight a replica that autoscaling aims at."""
    max_batch_rows: int = Field(default=1024, ge=1)
    """Most rows that are scored together."""


class Cascade(Section):
    """Which rows the student answers alone."""

    max_disagreement: float = Field(default=0.02, gt=0, lt=1)
    """At most this share of the rows the student answers may differ from the ensemble's decision."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """The promise holds with this probability, on rows like those held out of training; drift breaks it."""
    tolerance: float = Field(default=0.1, gt=0)
    """Regression: answers differ when further apart than this share of the label's standard deviation."""


class Serving(Section):
    """The HTTP service."""

    host: str = "127.0.0.1"
    """Where it listens; 0.0.0.0 for all interfaces."""
    port: int = Field(default=8000, ge=1, le=65535)
    """HTTP."""
    grpc_port: int | None = Field(default=None, ge=1, le=65535)
    """gRPC (Open Inference Protocol); null: off."""
    gateway: Gateway = Gateway()
    ensemble: Ensemble = Ensemble()
    cascade: Cascade = Cascade()
    max_rows: int = Field(default=10_000, ge=1)
    """Most rows in one request."""
    max_body_bytes: int = Field(default=8 * 1024 * 1024, ge=1024)
    """Largest request body."""
    token_env: str | None = None
    """Name of an environment variable; when set, requests must carry its value as a bearer token."""
    timeout_s: float = Field(default=10.0, gt=0, le=3600)
    """What a request may take when it carries no `X-Request-Timeout` header; work that cannot be done by then is not begun."""
    ensemble_timeout_s: float = Field(default=2.0, gt=0)
    """Longest wait for the ensemble, within the request's own time."""
    without_ensemble: Literal["degrade", "refuse"] = "degrade"
    """When the ensemble does not answer in time: `degrade` lets the student answer, and says so; `refuse` answers 503."""
    access_log: Literal["off", "errors", "all"] = "errors"
    """Which requests are written to `log/access` under `places.root`, as lines of JSON without values of features."""
    poll_s: float = Field(default=0.5, gt=0)
    """Seconds between looks at the champion pointer."""


class Monitoring(Section):
    """What the monitor watches and how loud it may be."""

    window: Period = dt.timedelta(days=1)
    """Rows are judged in windows of this length, in the rows' own time."""
    lateness: Duration = dt.timedelta(hours=2)
    """A window is judged once rows this much later have been seen."""
    min_rows: int = Field(default=100, ge=10)
    """A window with fewer rows is not judged."""
    one_false_alarm_in: Period = dt.timedelta(days=180)
    """The alarm budget: on a healthy stream, one alarm in this time on average, over all features and metrics together."""
    metrics_port: int = Field(default=9464, ge=0, le=65535)
    """Prometheus scrapes the monitor here; 0 turns it off."""
    metrics_host: str = "127.0.0.1"
    """Where the monitor's figures are served, without a token; 0.0.0.0 for all interfaces."""
    poll_s: float = Field(default=0.5, gt=0)
    """Seconds between looks at the journal."""


class Loop(Section):
    """When the steward retrains."""

    enabled: bool = True
    """false: watch, but never retrain."""
    on_alarm: bool = True
    """Retrain when the monitor raises an alarm."""
    every: Period | None = None
    """Also retrain this long after the last try; null: only on alarms."""
    train_window: Period = dt.timedelta(days=90)
    """Rows of this length before now are trained on."""
    cooldown: Duration = dt.timedelta(days=14)
    """After a retrain, whatever became of it, none is begun for this long; at least `gate.holdout`."""
    max_attempts: int = Field(default=2, ge=1)
    """A retrain that crashed is tried again this often, then abandoned."""


class Places(Section):
    """Where things are kept."""

    root: str = "var"
    """Folder of journal, ledger, verdicts, pointers and bundles, local or shared. Relative to where the command runs."""
    mlflow: str | None = None
    """MLflow's tracking URI. Left out: SQLite under `root`."""

    def _under(self, *parts: str) -> str:
        return "/".join([self.root.rstrip("/"), *parts])

    def journal(self, model: str) -> str:
        """Where predictions and labels are appended."""
        return self._under("journal", model)

    def verdicts(self, model: str) -> str:
        """Where the monitor's verdicts are kept."""
        return self._under("verdicts", model)

    def ledger(self, model: str) -> str:
        """Where decisions are kept."""
        return self._under("ledger", model)

    def pointers(self, model: str) -> str:
        """The file replicas watch for the champion."""
        return self._under("pointers", f"{model}.json")

    def access_log(self, model: str) -> str:
        """Where gateways write who was answered what, and how fast."""
        return self._under("log", "access", model)

    def work(self, model: str) -> str:
        """Scratch space of training runs."""
        return self._under("work", model)

    @property
    def mlflow_uri(self) -> str:
        """MLflow's tracking URI."""
        return self.mlflow or f"sqlite:///{self.root}/mlflow.db"

    @property
    def artifacts(self) -> str:
        """Where MLflow keeps bundles."""
        return self._under("artifacts")


class Settings(Section):
    """One model, whole."""

    model: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")
    """The name users know: lower case letters, digits, - and _."""
    data: Data
    columns: FeatureSchema = Field(alias="schema")
    members: Members = Members()
    training: Training = Training()
    distillation: Distillation = Distillation()
    gate: Gate = Gate()
    serving: Serving = Serving()
    monitoring: Monitoring = Monitoring()
    loop: Loop = Loop()
    places: Places = Places()

    @model_validator(mode="after")
    def _gate_fits_the_task(self) -> Settings:
        allowed = _GATE_METRICS[self.columns.label.task]
        if self.gate.metric is not None and self.gate.metric not in allowed:
            raise ValueError(
                f"gate.metric is '{self.gate.metric}' and schema.label.task is {self.columns.label.task}; allowed: {', '.join(allowed)}"
            )
        return self

    @model_validator(mode="after")
    def _no_row_judges_twice(self) -> Settings:
        cooldown, holdout = self.loop.cooldown, self.gate.holdout
        if cooldown < holdout:
            raise ValueError(
                f"loop.cooldown {format_duration(cooldown)} is shorter than gate.holdout {format_duration(holdout)}: the rows that made "
                "a champion would judge it again; lengthen the cooldown or shorten the hold-out"
            )
        return self

    def dump(self) -> dict[str, Any]:
        """As plain JSON types, readable by `parse`."""
        return self.model_dump(mode="json", by_alias=True)


def load(path: str | Path) -> Settings:
    """Read one model's YAML file.

    Relative places are resolved against the working directory, so that every process of a cluster means the same.
    `HOMEOSTAT_ROOT` and `MLFLOW_TRACKING_URI` replace `places.root` and `places.mlflow`.

    Raises
    ------
    ConfigError
        Naming file, key, what was found and what is allowed.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read '{path}': {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"'{path}' is not text in UTF-8: {error}") from error
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"'{path}' is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"'{path}' must hold keys such as model, data and schema; found {type(content).__name__}")
    return _resolve(parse(content, name=str(path)))


def parse(content: dict[str, Any], *, name: str = "settings") -> Settings:
    """Read settings from plain types.

    Raises
    ------
    ConfigError
        Naming `name`, key, what was found and what is allowed.
    """
    try:
        return Settings.model_validate(content)
    except ValidationError as error:
        lines = [_explain(problem) for problem in error.errors()]
        raise ConfigError(f"{name}: " + "; ".join(lines)) from error


def _explain(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"]) or "top level"
    if problem["type"] == "extra_forbidden":
        return f"unknown key '{where}'; allowed here: {', '.join(_allowed(problem['loc'][:-1]))}"
    if problem["type"] == "missing":
        return f"key '{where}' is missing"
    message = problem["msg"].removeprefix("Value error, ")
    found = problem["input"]
    shown = f" (found {found!r})" if isinstance(found, (str, int, float, bool, type(None))) else ""
    return f"key '{where}': {message}{shown}"


def _allowed(loc: tuple[str | int, ...]) -> list[str]:
    """Keys that the section at `loc` knows."""
    section: type[Section] = Settings
    for part in loc:
        if isinstance(part, int):
            continue
        field = next((f for n, f in section.model_fields.items() if part in (n, f.alias)), None)
        section = _section_of(field.annotation) if field is not None else section
    return sorted(f.alias or n for n, f in section.model_fields.items())


def _section_of(annotation: Any) -> type[Section]:
    candidates = [annotation, *getattr(annotation, "__args__", ())]
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, Section)), Settings)


def _resolve(settings: Settings) -> Settings:
    mlflow = os.environ.get("MLFLOW_TRACKING_URI", settings.places.mlflow)
    places = Places(root=resolve_root(settings.places.root), mlflow=mlflow or None)
    source = settings.data.source
    data = settings.data.model_copy(update={"source": absolute(source) if _is_path(source) else source})
    return settings.model_copy(update={"places": places, "data": data})


def resolve_root(root: str | None = None) -> str:
    """The root that a command means: `HOMEOSTAT_ROOT` if set, else `root`, else the default; a local path made absolute."""
    return absolute(os.environ.get("HOMEOSTAT_ROOT") or root or Places().root)


def _is_path(source: str) -> bool:
    return "/" in source or "." in source


def absolute(uri: str) -> str:
    """A local path made absolute; a URI with a scheme is left as it is."""
    return uri if "://" in uri else str(Path(uri).expanduser().resolve())
