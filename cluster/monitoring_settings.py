"""Sections of `monitoring` that say whom to tell. What is watched, and how loud, is in `cluster/settings.py`."""

from __future__ import annotations

import datetime as dt
from typing import Self

from pydantic import Field, model_validator

from cluster.schema import Period, Section


class Webhook(Section):
    """Where each new alarm is sent, in the form of Alertmanager's webhooks, until it is accepted."""

    url: str = Field(pattern=r"^https?://[^/\s]+")
    """Alarms are POSTed here. Redirects are not followed."""
    token_env: str | None = None
    """Name of an environment variable whose value is sent as a bearer token; set it before Ray starts."""
    token_file: str | None = Field(default=None, pattern=r"^/")
    """Absolute path of a file whose content is sent as a bearer token; read at each try, so it may be replaced."""
    timeout_s: float = Field(default=10.0, gt=0, le=600)
    """What one try may take."""
    longest_pause: Period = dt.timedelta(minutes=5)
    """Pauses between tries double from one second up to this; an alarm is tried until it is accepted."""

    @model_validator(mode="after")
    def _one_token(self) -> Self:
        if self.token_env is not None and self.token_file is not None:
            raise ValueError("token_env and token_file are both set; keep one of them")
        return self
