"""The words, held against the code: what README and docs name must be there."""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cluster import cli, errors
from monitoring.dashboard import report_command
from serve_apps import metrics
from serve_apps.protocols.errors import status_of
from serve_apps.routes import PATHS
from tests.unit.configs.watching import exported_by_monitor
from training import commands, demo

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
PLACES = ("cluster/", "serve_apps/", "training/", "monitoring/", "configs/", "docs/", "tests/", "benchmarks/", ".ci/")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"^(?: {4}|\t)(.*)$", re.MULTILINE)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def prose(text: str) -> str:
    return _FENCE.sub("", text)


def code(text: str) -> Iterator[str]:
    """Lines of code blocks and code spans."""
    for _, block in _FENCE.findall(text):
        yield from block.splitlines()
    yield from _INDENTED.findall(prose(text))
    yield from _SPAN.findall(prose(text))


def anchors(text: str) -> set[str]:
    """Anchors of the headings, as the usual renderers make them."""
    headings = re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def subcommands() -> dict[str, argparse.ArgumentParser]:
    parsers = argparse.ArgumentParser().add_subparsers()
    cli._add_own(parsers)
    commands.add(parsers)
    demo.add(parsers)
    report_command.add(parsers)
    return dict(parsers.choices)


@every_page
def test_every_file_that_a_page_names_exists(page):
    named = {part for line in code(page.read_text()) for part in line.split() if part.startswith(PLACES)}
    named = {re.split(r"::|:", part)[0].rstrip(".,;)") for part in named if not re.search(r"[<>*{}…]", part)}
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


@every_page
def test_every_internal_link_of_a_page_resolves(page):
    broken = []
    for target in _LINK.findall(prose(page.read_text())):
        name, _, anchor = target.partition("#")
        if "://" in target:
            continue
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (anchor and anchor not in anchors(file.read_text())):
            broken.append(target)
    assert broken == []


@every_page
def test_every_make_target_that_a_page_names_exists(page):
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    lines = [line.partition("#")[0] for line in code(page.read_text())]
    named = {m[1] for line in lines if (m := re.match(r"\s*(?:[A-Z]+=\S+ )*make (?:[A-Z]+=\S+ )*([a-z][a-z-]*)\s*$", line))}
    assert named - targets == set()


@every_page
def test_every_command_that_a_page_names_exists_with_its_options(page):
    known = subcommands()
    wrong = []
    for line in code(page.read_text()):
        if not (match := re.match(r"(?:\$ )?homeostat ([a-z]+)\b(.*)", line)):
            continue
        parser = known.get(match[1])
        options = {word.partition("=")[0] for word in shlex.split(match[2], comments=True) if word.startswith("--")}
        if parser is None or not options <= parser._option_string_actions.keys():
            wrong.append(line)
    assert wrong == []


@every_page
def test_yaml_and_json_blocks_of_a_page_parse(page):
    for language, block in _FENCE.findall(page.read_text()):
        if language == "json":
            assert json.loads(block)
        elif language == "yaml":
            assert yaml.safe_load(block)


def test_the_page_of_settings_is_what_the_settings_say():
    spec = importlib.util.spec_from_file_location("write_configuration", ROOT / "docs/write_configuration.py")
    assert spec is not None
    assert spec.loader is not None
    writer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writer)
    assert writer.render() == writer.PAGE.read_text(), "run: python docs/write_configuration.py"


def test_every_refusal_is_documented_with_its_status():
    page = (ROOT / "docs/how-to/serve.md").read_text()
    documented = {
        (name, int(status))
        for status, names in re.findall(r"^\| (\d{3}) \| ([^|]+) \|", page, re.MULTILINE)
        for name in _SPAN.findall(names)
    }
    concrete: set[type[errors.HomeostatError]] = {
        cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, errors.RequestError)
    }
    concrete -= {errors.RequestError, errors.InvalidRows, errors.InvalidLabels}  # parents; what is raised is one of their children
    passing: set[type[errors.HomeostatError]] = {
        errors.Unavailable,
        *errors.Unavailable.__subclasses__(),
        errors.JournalError,
        errors.NoChampion,
    }
    raised: set[type[errors.HomeostatError]] = concrete | passing | {errors.ScoringFailed}
    assert documented == {(cls.__name__, status_of(cls(""))) for cls in raised} | {("InternalError", 500)}


def test_every_route_is_documented():
    page = (ROOT / "docs/how-to/serve.md").read_text()
    assert [path for path in PATHS if not path.startswith("/docs/") and f"`{path}`" not in page] == []
    named = {span for span in _SPAN.findall(prose(page)) if span.startswith("/") and "{" in span}
    assert named - set(PATHS) == set()


def test_every_metric_of_gateways_and_ensembles_is_documented_and_none_is_made_up():
    gauges = {f"homeostat_ensemble_{name}" for name in metrics._NOW}
    made = set(re.findall(r'"(homeostat_\w+)"', (ROOT / "serve_apps/metrics.py").read_text())) | gauges
    made |= {f"homeostat_ensemble_{name}" for name in metrics._COUNTED}
    page = (ROOT / "docs/how-to/serve.md").read_text()
    documented = {name for span in _SPAN.findall(prose(page)) for name in re.findall(r"^ray_(homeostat_\w+)", span)}
    assert {name.removesuffix("_total") for name in documented} == made
    assert {name for name in documented if name.startswith("homeostat_ensemble_") and not name.endswith("_total")} == gauges


def test_every_metric_is_documented_and_none_is_made_up():
    page = (ROOT / "docs/how-to/monitoring.md").read_text()
    documented = set(re.findall(r"^\| `(homeostat_\w+)`", page, re.MULTILINE))
    assert documented == exported_by_monitor()
