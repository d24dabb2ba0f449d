from pathlib import Path

import pytest

from benchmarks import environments
from cluster.errors import Unavailable


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that would have been run."""
    found: list[list[str]] = []

    def run(command: list[str], name: str) -> None:
        found.append(command)
        if "venv" in command:
            Path(command[-1]).mkdir(parents=True)

    monkeypatch.setattr(environments, "_run", run)
    return found


def test_an_environment_is_made_once(tmp_path: Path, commands: list[list[str]]):
    first = environments.python("litserve", root=tmp_path)
    assert environments.python("litserve", root=tmp_path) == first == str(tmp_path / "litserve" / "bin" / "python")
    assert [command[1:3] for command in commands] == [["-m", "venv"], ["-m", "pip"]]
    assert commands[1][-3:] == list(environments.PINS["litserve"])


def test_other_pins_make_it_anew(tmp_path: Path, commands: list[list[str]], monkeypatch: pytest.MonkeyPatch):
    environments.python("litserve", root=tmp_path)
    (tmp_path / "litserve" / "stale").touch()
    monkeypatch.setitem(environments.PINS, "litserve", ("litserve==0.2.18",))
    environments.python("litserve", root=tmp_path)
    assert commands[3][-1] == "litserve==0.2.18"
    assert not (tmp_path / "litserve" / "stale").exists()


def test_an_environment_that_cannot_be_made_is_named_with_the_reason_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.executable", "/bin/false")
    for _ in range(2):
        with pytest.raises(Unavailable, match="the environment 'bare' cannot be made: no message"):
            environments.python("bare", root=tmp_path)


def test_every_version_is_pinned():
    assert all("==" in pin for pins in environments.PINS.values() for pin in pins)
