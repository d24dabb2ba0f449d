from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import ConfigError
from cluster.settings import Settings, load, parse, resolve_root

YAML = """
model: late
data: {source: data/flights.parquet}
schema:
  features:
    - {name: miles, type: number}
    - {name: carrier, type: category}
  label: {name: late, delay: 1d}
  time: at
monitoring: {window: 12h}
"""


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HOMEOSTAT_ROOT", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)


def write(text: str) -> str:
    Path("late.yaml").write_text(text)
    return "late.yaml"


def content(**changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "model": "late",
        "data": {"source": "flights"},
        "schema": {"features": [{"name": "miles", "type": "number"}], "label": {"name": "late"}},
    }
    return plain | changes


def refusal(plain: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(plain, name="late.yaml")
    return caught.value.message


def test_a_file_is_read_with_its_durations_and_defaults() -> None:
    settings = load(write(YAML))
    assert settings.model == "late"
    assert settings.columns.names == ("miles", "carrier")
    assert settings.columns.label.delay == dt.timedelta(days=1)
    assert settings.monitoring.window == dt.timedelta(hours=12)
    assert settings.serving.port == 8000


def test_relative_places_and_data_become_absolute(tmp_path: Path) -> None:
    settings = load(write(YAML))
    assert settings.places.root == str(tmp_path / "var")
    assert settings.data.source == str(tmp_path / "data" / "flights.parquet")
    assert settings.places.mlflow_uri == f"sqlite:///{tmp_path}/var/mlflow.db"
    assert settings.places.journal("late") == f"{tmp_path}/var/journal/late"
    assert settings.places.pointers("late") == f"{tmp_path}/var/pointers/late.json"


def test_uris_and_named_data_sets_are_left_as_they_are() -> None:
    assert load(write(YAML.replace("data/flights.parquet", "flights"))).data.source == "flights"
    assert load(write(YAML.replace("data/flights.parquet", "'s3://lake/flights'"))).data.source == "s3://lake/flights"


def test_the_environment_replaces_root_and_mlflow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOMEOSTAT_ROOT", "elsewhere")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    places = load(write(YAML)).places
    assert (places.root, places.mlflow_uri) == (str(tmp_path / "elsewhere"), "http://mlflow:5000")


def test_a_command_without_a_file_means_the_root_that_a_file_would_mean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert resolve_root() == load(write(YAML)).places.root == str(tmp_path / "var")
    monkeypatch.setenv("HOMEOSTAT_ROOT", "elsewhere")
    assert resolve_root() == load(write(YAML)).places.root == str(tmp_path / "elsewhere")


def test_writing_one_key_of_a_scaling_leaves_the_others_as_they_were() -> None:
    default = parse(content()).serving.gateway
    assert default.max_replicas == 2
    assert parse(content(serving={"gateway": {"cpus": 1}})).serving.gateway == default.model_copy(update={"cpus": 1.0})


def test_a_cooldown_may_be_as_long_as_the_hold_out_and_no_shorter() -> None:
    assert parse(content(gate={"holdout": "3d"}, loop={"cooldown": "3d"})).loop.cooldown == dt.timedelta(days=3)
    assert "loop.cooldown 2w is shorter than gate.holdout 15d" in refusal(content(gate={"holdout": "15d"}))


def test_settings_survive_being_dumped_and_parsed() -> None:
    settings = load(write(YAML))
    assert parse(settings.dump()) == settings
    assert isinstance(settings, Settings)


@pytest.mark.parametrize(
    ("plain", "key", "allowed"),
    [
        (content(modle="x"), "modle", "columns, data"),
        (content(serving={"prot": 1}), "serving.prot", "access_log, cascade, ensemble, ensemble_timeout_s, gateway"),
        (
            content(serving={"gateway": {"replicas": 1}}),
            "serving.gateway.replicas",
            "cpus, downscale_delay, gpus, max_replicas, min_replicas",
        ),
        (content(members={"torch": {"depth": 1}}), "members.torch.depth", "batch_size, dropout, epochs, hidden"),
        (
            content(schema={"features": [{"name": "miles", "type": "number", "rnage": [0, 1]}], "label": {"name": "late"}}),
            "schema.features.0.rnage",
            "categories, description, name, range, type",
        ),
        (
            content(schema={"features": [{"name": "miles", "type": "number"}], "label": {"name": "late", "klass": 1}}),
            "schema.label.klass",
            "classes, delay, name, positive, task, threshold",
        ),
    ],
)
def test_an_unknown_key_is_named_with_its_file_and_what_is_allowed(plain: dict[str, Any], key: str, allowed: str) -> None:
    message = refusal(plain)
    if key == "modle":
        allowed = (
            "card, checks, data, distillation, fairness, gate, loop, members, model, monitoring, places, schema, serving, tracing, training"
        )
    assert message.startswith(f"late.yaml: unknown key '{key}'; allowed here: {allowed}")


def test_a_wrong_key_in_a_file_names_the_file() -> None:
    with pytest.raises(ConfigError, match=r"^late\.yaml: unknown key 'monitoring\.windows'; allowed here: .*window"):
        load(write(YAML.replace("window:", "windows:")))


def test_all_wrong_keys_are_named_at_once() -> None:
    message = refusal(content(serving={"prot": 1}, loop={"evry": "1d"}))
    assert "unknown key 'serving.prot'" in message
    assert "unknown key 'loop.evry'" in message


def test_a_missing_key_is_named() -> None:
    plain = content()
    del plain["schema"]["label"]
    assert refusal(plain) == "late.yaml: key 'schema.label' is missing"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"serving": {"port": "http"}}, "key 'serving.port': Input should be a valid integer"),
        ({"serving": {"port": 70000}}, "key 'serving.port': Input should be less than or equal to 65535 (found 70000)"),
        ({"training": {"num_workers": 0}}, "key 'training.num_workers': Input should be greater than or equal to 1 (found 0)"),
        ({"monitoring": {"window": "soon"}}, "key 'monitoring.window'"),
        ({"monitoring": {"window": -60}}, "key 'monitoring.window': must be longer than 0 s"),
        ({"loop": {"cooldown": -60}}, "key 'loop.cooldown': must not be negative"),
        ({"model": "Late Flights"}, "key 'model': String should match pattern"),
        ({"serving": {"gateway": {"min_replicas": 3, "max_replicas": 2}}}, "min_replicas 3 is above max_replicas 2"),
        ({"members": {"xgboost": None, "torch": None, "linear": None}}, "at least one member is needed"),
        ({"serving": 8000}, "key 'serving': Input should be a valid dictionary"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_found(changes: dict[str, Any], message: str) -> None:
    assert message in refusal(content(**changes))


@pytest.mark.parametrize("name", ["__time__", "event_time"])
@pytest.mark.parametrize("part", ["feature", "label", "protected", "group"])
def test_a_column_named_as_our_own_time_is_refused_wherever_it_is_read(name: str, part: str) -> None:
    schema: dict[str, Any] = {"features": [{"name": "miles", "type": "number"}], "label": {"name": "late"}}
    training: dict[str, Any] = {}
    if part == "feature":
        schema["features"].append({"name": name, "type": "number"})
    elif part == "label":
        schema["label"] = {"name": name}
    elif part == "protected":
        schema["protected"] = [name]
    else:
        training = {"group": name}
    assert f"column '{name}' would be taken for the time: __time__ and event_time are names of Homeostat's own; rename it" in refusal(
        content(schema=schema, training=training)
    )


def test_the_time_itself_may_be_named_as_ours() -> None:
    schema = {"features": [{"name": "miles", "type": "number"}], "label": {"name": "late"}, "time": "event_time"}
    assert parse(content(schema=schema)).columns.time == "event_time"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: [", "'late.yaml' is not YAML"),
        ("- model", "must hold keys such as model, data and schema; found list"),
        ("", "found NoneType"),
        ("1: x", "late.yaml: "),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(write(text))


def test_a_file_that_is_no_text_is_refused() -> None:
    Path("late.yaml").write_bytes(b"\xff\xfe\x00model")
    with pytest.raises(ConfigError, match=r"'late\.yaml' is not text in UTF-8"):
        load("late.yaml")


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"cannot read 'nowhere\.yaml': No such file"):
        load("nowhere.yaml")
