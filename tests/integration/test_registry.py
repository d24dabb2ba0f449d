"""MLflow takes seconds to create its tables, so all tests share one store and one registered bundle."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

from cluster import storage
from cluster.bundle import Bundle
from cluster.errors import NoChampion, RegistryError, UnknownVersion
from cluster.records import Pointer, Pointers
from cluster.registry import Registry, read_pointers
from cluster.settings import Settings
from tests.builders import MODEL, make_bundle, make_schema, make_settings


class Store(NamedTuple):
    settings: Settings
    registry: Registry
    folder: Path
    digest: str
    pointer: Pointer
    before: Any
    """What asking for the champion raised when there was none."""


ROWS: dict[str, list[Any]] = {"miles": [100.0, None, 900.0], "wind": [1.0, 2.0, None], "carrier": ["UA", "ZZ", None]}


def example() -> Any:
    import pandas as pd

    return pd.DataFrame(ROWS)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    root = tmp_path_factory.mktemp("registry")
    settings = make_settings(root)
    registry = Registry(settings)
    try:
        registry.champion()
        before: Any = None
    except NoChampion as error:
        before = error
    folder = root / "made" / "bundle"
    digest = make_bundle(folder)
    pointer = registry.register(
        folder,
        digest=digest,
        run="late-first",
        metrics={"ensemble.roc_auc": 0.75},
        params={"seed": 7, "long": "x" * 600},
        texts={"figures/weights.svg": "<svg/>"},
    )
    registry.move("champion", pointer.version)
    return Store(settings, registry, folder, digest, pointer, before)


def logged(store: Store) -> Path:
    return Path(store.settings.places.artifacts)


def test_without_a_champion_the_error_says_what_to_do(store: Store) -> None:
    assert isinstance(store.before, NoChampion)
    assert str(store.before) == "model 'late' has no champion yet; train one with: homeostat train YOUR.yaml"


def test_a_registered_bundle_is_whole_where_the_pointer_says(store: Store) -> None:
    assert (store.pointer.version, store.pointer.digest) == ("1", store.digest)
    loaded = Bundle(Path(store.pointer.uri), version="1", digest=store.pointer.digest)
    assert loaded.schema == make_schema()


def test_registering_the_same_run_again_returns_the_version_it_has(store: Store) -> None:
    again = store.registry.register(store.folder, digest=store.digest, run="late-first", metrics={}, params={})
    assert again == store.pointer
    assert store.registry.versions() == ["1"]


def test_a_run_is_found_by_its_name_and_no_other(store: Store) -> None:
    assert store.registry.find("late-first") == store.pointer
    assert store.registry.find("late") is None


@pytest.mark.parametrize("version", ["7", "latest"])
def test_an_unknown_version_is_refused_with_those_there_are(store: Store, version: str) -> None:
    with pytest.raises(UnknownVersion, match=f"no version '{version}'; the latest are: 1"):
        store.registry.locate(version)
    with pytest.raises(UnknownVersion):
        store.registry.move("champion", version)
    assert store.registry.champion() == store.pointer


def test_moving_a_pointer_publishes_it(store: Store) -> None:
    uri = store.settings.places.pointers(MODEL)
    moved = store.registry.move("challenger", "1")
    assert moved == Pointers(model=MODEL, champion=store.pointer, challenger=store.pointer)
    assert read_pointers(uri) == moved
    store.registry.move("challenger", None)
    assert read_pointers(uri) == Pointers(model=MODEL, champion=store.pointer)


@pytest.fixture
def second(store: Store) -> Iterator[Pointer]:
    """A second version, for the time of a test; the first is champion before and after, and nobody challenger."""
    client = store.registry._client
    first = client.get_model_version(MODEL, "1")
    tags = {"homeostat.digest": store.digest, "homeostat.run": "late-second"}
    version = str(client.create_model_version(MODEL, first.source, first.run_id, tags=tags).version)
    yield store.registry.locate(version)
    store.registry.move("champion", "1")
    store.registry.move("challenger", None)
    client.delete_model_version(MODEL, version)


def test_a_challengers_share_is_published_and_goes_with_it(store: Store, second: Pointer) -> None:
    uri = store.settings.places.pointers(MODEL)
    moved = store.registry.move("challenger", second.version, share=0.1)
    assert moved == Pointers(model=MODEL, champion=store.pointer, challenger=second, challenger_share=0.1)
    assert read_pointers(uri) == Registry(store.settings).pointers() == moved
    assert store.registry.move("challenger", second.version, share=1.0).challenger_share == 1.0
    assert store.registry.move("challenger", None) == Pointers(model=MODEL, champion=store.pointer)
    assert store.registry.move("challenger", second.version).challenger_share == 0.0


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused_and_nothing_moves(store: Store, share: float) -> None:
    with pytest.raises(RegistryError, match=f"a challenger's share of the requests is between 0 and 1; found {share:g}"):
        store.registry.move("challenger", "1", share=share)
    assert store.registry.pointers() == Pointers(model=MODEL, champion=store.pointer)


def test_a_challenger_that_becomes_champion_is_challenger_no_more(store: Store, second: Pointer) -> None:
    store.registry.move("challenger", second.version, share=0.5)
    assert store.registry.move("champion", second.version) == Pointers(model=MODEL, champion=second)


def test_a_challenger_stays_when_another_version_becomes_champion(store: Store, second: Pointer) -> None:
    store.registry.move("champion", second.version)
    moved = store.registry.move("challenger", "1", share=0.5)
    assert moved == store.registry.move("champion", second.version)
    assert moved == Pointers(model=MODEL, champion=second, challenger=store.pointer, challenger_share=0.5)


def test_a_share_that_somebody_wrote_by_hand_is_checked(store: Store, second: Pointer) -> None:
    store.registry.move("challenger", second.version, share=0.5)
    store.registry._client.set_model_version_tag(MODEL, second.version, "homeostat.challenger_share", "half")
    with pytest.raises(RegistryError, match=r"'homeostat\.challenger_share' of the challenger is 'half'; allowed: 0 to 1"):
        store.registry.pointers()
    assert store.registry.move("challenger", second.version, share=0.5).challenger_share == 0.5


def test_taking_away_a_pointer_that_is_not_there_is_harmless(store: Store) -> None:
    assert store.registry.move("challenger", None).challenger is None
    assert store.registry.move("challenger", None).challenger is None


def test_a_lost_or_damaged_file_of_pointers_is_published_anew(store: Store) -> None:
    uri = store.settings.places.pointers(MODEL)
    storage.write_atomic(uri, b'{"model":')
    with pytest.raises(RegistryError, match="cannot be read"):
        read_pointers(uri)
    store.registry.publish()
    assert read_pointers(uri) == Pointers(model=MODEL, champion=store.pointer)
    Path(uri).unlink()
    assert read_pointers(uri) is None
    store.registry.publish()
    assert read_pointers(uri) == Pointers(model=MODEL, champion=store.pointer)


def test_a_second_registry_on_the_same_places_sees_the_same(store: Store) -> None:
    assert Registry(store.settings).pointers() == store.registry.pointers()


def test_metrics_parameters_and_figures_are_in_mlflow(store: Store) -> None:
    client = store.registry._client
    version = client.get_model_version(MODEL, "1")
    run = client.get_run(version.run_id)
    assert run.data.metrics == {"ensemble.roc_auc": 0.75}
    assert run.data.params["seed"] == "7"
    assert len(run.data.params["long"]) == 500
    assert [found.path for found in client.list_artifacts(version.run_id, "figures")] == ["figures/weights.svg"]


def test_nothing_that_was_logged_is_a_pickle(store: Store) -> None:
    names = {path.name for path in logged(store).rglob("*") if path.is_file()}
    assert "ensemble.onnx" in names
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".joblib"))]


def test_the_champion_loads_as_an_mlflow_model_and_answers_like_the_bundle(store: Store) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own
        import mlflow

        mlflow.set_tracking_uri(store.settings.places.mlflow_uri)
        answer = mlflow.pyfunc.load_model(f"models:/{MODEL}@champion").predict(example())
    own = Bundle(Path(store.pointer.uri))
    scores = own.ensemble(own.encoder.columns(ROWS))[:, 0]
    assert np.array_equal(answer["probability"].to_numpy(), scores)
    assert answer["prediction"].tolist() == (scores >= 0.5).astype(int).tolist()


def test_a_version_of_somebody_elses_is_refused_with_the_reason(store: Store) -> None:
    client = store.registry._client
    source = client.get_model_version(MODEL, "1").source
    foreign = client.create_model_version(MODEL, source)
    try:
        with pytest.raises(RegistryError, match=r"was not registered by Homeostat: it has no tag 'homeostat\.digest'"):
            store.registry.locate(str(foreign.version))
    finally:
        client.delete_model_version(MODEL, str(foreign.version))


def test_versions_are_listed_page_by_page(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    class Pages:
        def search_model_versions(self, wanted: str, *, max_results: int, page_token: str | None) -> PagedList[Any]:
            first = int(page_token or 0)
            made = [SimpleNamespace(version=str(number)) for number in range(first + 1, min(first + max_results, 2500) + 1)]
            return PagedList(made[::-1], str(first + max_results) if first + max_results < 2500 else None)

    from mlflow.store.entities import PagedList

    monkeypatch.setattr(store.registry, "_client", Pages())
    assert store.registry.versions() == [str(number) for number in range(1, 2501)]
