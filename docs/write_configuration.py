"""Writes docs/how-to/configuration.md from the settings themselves: `python docs/write_configuration.py`.

A test compares the page with what this would write, so that no key is left out and no default goes stale.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any, get_args

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from cluster.check_settings import KINDS, Check
from cluster.schema import Feature, Section, format_duration
from cluster.settings import Settings

PAGE = Path(__file__).parent / "how-to" / "configuration.md"
_HEAD = """# Every key of a model's YAML file

Written by `python docs/write_configuration.py` from the settings in `cluster/` (`settings.py` and the files named `*_settings.py`) and `cluster/schema.py`; change those, not this page.

- One file is one model. `homeostat init` writes one with every key; `configs/flights.yaml` shows one that names only what differs.
- A key that is not listed here is refused: the message names the file, the key and what is allowed.
- Durations are a number and a unit: `90s`, `30m`, `6h`, `1d`, `2w`. Times are ISO 8601; one without a zone is UTC.
- A nested section that you write replaces its default as a whole: keys left out of it take the defaults shown in its own table.
- A relative path counts from where the command runs, not from where the file is.
- Two environment variables win over the file: `HOMEOSTAT_ROOT` over `places.root`, `MLFLOW_TRACKING_URI` over `places.mlflow`.
"""
_SIGNS = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))


def render() -> str:
    """The page."""
    parts = [_HEAD, "## The file\n", _intro(Settings), *_table(Settings, "")]
    for name, field in Settings.model_fields.items():
        if section := _section(field):
            parts += _pages(section, field.alias or name)
        if name == "checks":
            for kind, section in KINDS.items():
                parts += _pages(section, f"checks[] of kind {kind}")
    return "\n".join(parts).rstrip() + "\n"


def _pages(section: type[Section], path: str) -> list[str]:
    """A section's heading and table, then those of the sections in it."""
    parts = [f"\n## `{path}`\n", _intro(section), *_table(section, path)]
    for name, field in section.model_fields.items():
        if inner := _section(field):
            parts += _pages(inner, f"{path}.{name}{'[]' if inner is Feature else ''}")
    return parts


def _intro(section: type[Section]) -> str:
    return (section.__doc__ or "").strip().splitlines()[0] + "\n"


def _table(section: type[Section], path: str) -> list[str]:
    lines = ["| key | default | allowed | meaning |", "|---|---|---|---|"]
    for name, field in section.model_fields.items():
        key = field.alias or name
        inner = _section(field)
        where = f"{path}.{key}" if path else key
        meaning = f"See [`{where}`](#{where.replace('.', '').lower()})." if inner and not field.description else field.description or ""
        if inner is Feature:
            meaning += " See [`schema.features[]`](#schemafeatures)."
        lines.append(f"| `{key}` | {_default(field, inner)} | {_allowed(field, inner)} | {_cell(meaning)} |")
    return lines


def _section(field: FieldInfo) -> type[Section] | None:
    candidates = [field.annotation, *get_args(field.annotation)]
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, Section)), None)


def _default(field: FieldInfo, inner: type[Section] | None) -> str:
    value = field.default
    if value is PydanticUndefined:
        return "needed"
    if inner is not None and value is not None:
        given = value.model_dump(mode="json", exclude_defaults=True)
        return f"`{_shown(given)}`" if given else "its defaults"
    return f"`{_shown(value)}`"


def _shown(value: Any) -> str:
    if isinstance(value, dt.timedelta):
        return format_duration(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_shown(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(map(_shown, value)) + "]"
    names = {None: "null", True: "true", False: "false"}
    return names[value] if value is None or isinstance(value, bool) else str(value) or '""'


def _allowed(field: FieldInfo, inner: type[Section] | None) -> str:
    if inner is not None:
        return "list of sections" if inner is Feature else "section or null" if type(None) in get_args(field.annotation) else "section"
    bounds = [f"{sign} {getattr(rule, name)}" for rule in field.metadata for name, sign in _SIGNS if hasattr(rule, name)]
    patterns = [f"`{rule.pattern}`" for rule in field.metadata if getattr(rule, "pattern", None)]
    return ", ".join([_kind(field.annotation), *bounds, *patterns])


def _kind(annotation: Any) -> str:
    """A type in words."""
    if hasattr(annotation, "__metadata__"):  # Annotated
        annotation = annotation.__origin__
    words = {str: "text", int: "integer", float: "number", bool: "true or false", type(None): "null"}
    words |= {dt.timedelta: "duration", dt.datetime: "time"}
    if annotation in words:
        return words[annotation]
    if annotation == tuple[Check, ...]:
        return "list of checks"
    inner = get_args(annotation)
    if inner and all(isinstance(choice, str) for choice in inner):
        return ", ".join(f"`{choice}`" for choice in inner)
    kinds = list(dict.fromkeys(_kind(part) for part in inner if part is not Ellipsis))
    if getattr(annotation, "__origin__", None) is tuple:
        return f"list of {' or '.join(kinds)}"
    return " or ".join(kinds)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
