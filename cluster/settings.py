"""Settings: the one reader of YAML and environment.

Every section is frozen and refuses keys it does not know. Components receive their own section, never the file.
"""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import Any, Final, get_args

import yaml
from pydantic import Field, ValidationError, model_validator

from cluster.card_settings import Card
from cluster.check_settings import Check, check_names
from cluster.errors import ConfigError
from cluster.fairness_settings import Fairness
from cluster.member_settings import Members
from cluster.monitoring_settings import Webhook
from cluster.schema import OWN_COLUMNS, Duration, FeatureSchema, Period, Section, Task, format_duration
from cluster.serving_settings import Serving
from cluster.tracing_settings import Tracing
from cluster.training_settings import Distillation, Gate, Training


class Data(Section):
    """Where the training table comes from."""

    source: str
    """A named data set (`flights`, `census`, `letter`, `diamonds`, `nlswork`), or a path or URI (file, s3, gs) of a Parquet or CSV file, or of a folder of Parquet files."""
    since: dt.datetime | None = None
    """Train on rows at or after this time."""
    until: dt.datetime | None = None
    """Train on rows before this time."""


_GATE_METRICS: Final[dict[Task, tuple[str, ...]]] = {
    "binary": ("roc_auc", "log_loss", "brier", "accuracy"),
    "multiclass": ("log_loss", "accuracy"),
    "regression": ("rmse",),
}


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
    webhook: Webhook | None = None
    """Who is told of each alarm; null: nobody."""


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

    def snapshots(self, model: str) -> str:
        """Where the rows of training runs are kept, by their content."""
        return self._under("snapshots", model)

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
    fairness: Fairness = Fairness()
    checks: tuple[Check, ...] = ()
    """What the model must do on rows of its table, beyond being right on average; a challenger that fails one is refused."""
    card: Card = Card()
    serving: Serving = Serving()
    monitoring: Monitoring = Monitoring()
    loop: Loop = Loop()
    tracing: Tracing = Tracing()
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
    def _no_column_is_named_as_ours(self) -> Settings:
        schema = self.columns
        for name in (*schema.names, schema.label.name, *schema.protected, self.training.group):
            if name in OWN_COLUMNS:
                raise ValueError(
                    f"column '{name}' would be taken for the time: {' and '.join(OWN_COLUMNS)} are names of Homeostat's own; "
                    "rename it in the table, or leave it out"
                )
        return self

    @model_validator(mode="after")
    def _duties_fit_the_schema(self) -> Settings:
        check_names(self.checks, self.columns)
        if problem := self.fairness.misfit(self.columns.label.task, self.columns.protected):
            raise ValueError(problem)
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
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"unknown key '{where}'; allowed here: {', '.join(_allowed(problem['loc'][:-1]))}"
    if problem["type"] == "missing":
        return f"key '{where}' is missing"
    message = problem["msg"].removeprefix("Value error, ")
    found = problem["input"]
    shown = f" (found {found!r})" if isinstance(found, (str, int, float, bool, type(None))) else ""
    return f"key '{where}': {message}{shown}" if where else f"{message}{shown}"


def _allowed(loc: tuple[str | int, ...]) -> list[str]:
    """Keys that the section at `loc` knows."""
    sections: list[type[Section]] = [Settings]
    for part in loc:
        if tagged := [section for section in sections if part == _tag(section)]:
            sections = tagged
            continue
        field = next((f for n, f in sections[0].model_fields.items() if part in (n, f.alias)), None)
        sections = (_sections_in(field.annotation) if field is not None else []) or sections
    return sorted(f.alias or n for n, f in sections[0].model_fields.items())


def _tag(section: type[Section]) -> str | None:
    """What tells one kind of a list's entries from the others: its `kind`."""
    field = section.model_fields.get("kind")
    return None if field is None else str(get_args(field.annotation)[0])


def _sections_in(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [section for inner in get_args(annotation) for section in _sections_in(inner)]


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
