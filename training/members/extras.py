"""Libraries that only some members need, and that are installed only where they are wanted."""

from __future__ import annotations

import importlib
import logging
from types import ModuleType

from cluster.errors import ConfigError
from training.members import Crew

logger = logging.getLogger(__name__)


def need(name: str) -> ModuleType:
    """The module of an extra of the same name.

    Raises
    ------
    ConfigError
        When it is not installed; the message names the extra.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"members.{name} needs the package '{name}', which is not installed: pip install 'homeostat[{name}]', or set members.{name} to null"
        ) from error


def warn_of_share(name: str, crew: Crew) -> None:
    """Say once a fit that a library without a common fit sees one worker's rows only."""
    if crew.size > 1:
        logger.warning("%s is fitted on one of %d workers, and on its share of the rows only", name, crew.size)
