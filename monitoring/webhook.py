"""An alarm, or impossible values, as a message of Alertmanager's webhooks (version 4), and one try to send it. Knows no queue and no retries.

There is no message that an alarm is over: an alarm says that something has changed, which stays true. So `status` is always `firing`.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import httpx
import msgspec

from cluster.errors import ConfigError
from cluster.monitoring_settings import Webhook
from cluster.records import Verdict
from monitoring import impossible
from monitoring.drift import Alarm
from monitoring.verdicts import WindowVerdicts

ALERT: Final = "HomeostatAlarm"
"""The same name as the rule of configs/prometheus/rules.yml: a receiver may route both alike."""
RUNBOOK: Final = "docs/how-to/alerts.md#homeostatalarm"
IMPOSSIBLE: Final = "HomeostatImpossibleValues"
RUNBOOK_IMPOSSIBLE: Final = "docs/how-to/alerts.md#homeostatimpossiblevalues"
_NEVER: Final = "0001-01-01T00:00:00Z"
_TOO_MANY: Final = 429
_SERVER: Final = 500


class Outcome(NamedTuple):
    """What became of one try."""

    is_accepted: bool
    is_down: bool = False
    """Nobody there, or too busy: other alarms need not be tried now. Otherwise it is this alarm that was refused."""
    reason: str = ""


def message(record: WindowVerdicts) -> dict[str, Any]:
    """What is sent for a record that holds an alarm, or impossible values that are news. The same record gives the same message, whenever it is sent.

    Times are the rows' own: a replayed stream alarms in its past.
    """
    alerts = [*([_alarm(record, record.alarm)] if record.alarm is not None else []), *map(partial(_fault, record), _news(record))]
    labels, annotations = (_common([alert[part] for alert in alerts]) for part in ("labels", "annotations"))
    return {
        "version": "4",
        "groupKey": f"homeostat:{record.model}:{fingerprint(record)}",
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "homeostat",
        "groupLabels": {name: labels[name] for name in ("alertname", "model") if name in labels},
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": "",
        "alerts": alerts,
    }


def fingerprint(record: WindowVerdicts) -> str:
    """Names the record's alarm: 16 hexadecimal digits of its labels' hash. A receiver that sees one again has been told already."""
    return _hash(_labels(record))


def _alarm(record: WindowVerdicts, alarm: Alarm) -> dict[str, Any]:
    annotations = {
        "summary": f"{record.model}: version {record.bundle} sees other rows than it was trained on, or answers them worse",
        "description": f"{alarm.message}. Evidence {alarm.evidence:.0f}, alarm at {alarm.threshold:.0f}.",
        "blamed": ", ".join(alarm.blamed),
        "began": _time(alarm.began),
        **({} if record.harm is None else {"harm": record.harm.told}),
        "runbook_url": RUNBOOK,
    }
    return _alert(record, _labels(record), annotations)


def _news(record: WindowVerdicts) -> list[Verdict]:
    return [verdict for verdict in record.verdicts if verdict.kind == impossible.KIND and verdict.name in record.news]


def _fault(record: WindowVerdicts, verdict: Verdict) -> dict[str, Any]:
    feature, _, fault = verdict.name.rpartition(".")
    annotations = {
        "summary": f"{record.model}: version {record.bundle} is asked about values of {feature} that cannot be",
        "description": f"{verdict.message}.",
        "runbook_url": RUNBOOK_IMPOSSIBLE,
    }
    labels = _labels(record) | {"alertname": IMPOSSIBLE, "feature": feature, "fault": fault}
    return _alert(record, labels, annotations)


def _alert(record: WindowVerdicts, labels: dict[str, str], annotations: dict[str, str]) -> dict[str, Any]:
    return {
        "status": "firing",
        "labels": labels,
        "annotations": annotations,
        "startsAt": _time(record.window_end),
        "endsAt": _NEVER,
        "generatorURL": "",
        "fingerprint": _hash(labels),
    }


def _common(parts: Sequence[dict[str, str]]) -> dict[str, str]:
    """What all have alike."""
    return {name: value for name, value in parts[0].items() if all(part.get(name) == value for part in parts)}


def _hash(labels: dict[str, str]) -> str:
    return hashlib.sha256(msgspec.json.encode(sorted(labels.items()))).hexdigest()[:16]


def _labels(record: WindowVerdicts) -> dict[str, str]:
    """Which look at which window of which bundle: no two alarms of the verdict log share them."""
    return {
        "alertname": ALERT,
        "severity": "warning",
        "model": record.model,
        "bundle": record.bundle,
        "look": record.look,
        "window": _time(record.window_start),
    }


def _time(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat().replace("+00:00", "Z")


def post(webhook: Webhook, content: dict[str, Any]) -> Outcome:
    """Try once. Reasons name the host only: the path of a webhook is often its secret."""
    host = urlsplit(webhook.url).hostname
    headers = {"Content-Type": "application/json", "User-Agent": "homeostat"}
    try:
        if (token := _token(webhook)) is not None:
            headers["Authorization"] = f"Bearer {token}"
        answer = httpx.post(webhook.url, content=msgspec.json.encode(content), headers=headers, timeout=webhook.timeout_s)
    except ConfigError as error:
        return Outcome(False, is_down=True, reason=error.message)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Outcome(False, is_down=True, reason=f"{host} does not answer ({type(error).__name__})")
    if answer.is_success:
        return Outcome(True)
    is_down = answer.status_code == _TOO_MANY or answer.status_code >= _SERVER
    return Outcome(False, is_down=is_down, reason=f"{host} answers {answer.status_code}")


def _token(webhook: Webhook) -> str | None:
    """The bearer token, if one is to be sent.

    Raises
    ------
    ConfigError
        When there is none where the settings say: without it, the receiver would only refuse.
    """
    if webhook.token_file is not None:
        try:
            token, where = Path(webhook.token_file).read_text(encoding="utf-8").strip(), "is empty; write the token into it"
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"monitoring.webhook.token_file '{webhook.token_file}' cannot be read: {error}") from error
        named = f"monitoring.webhook.token_file '{webhook.token_file}'"
    elif webhook.token_env is not None:
        token, where = os.environ.get(webhook.token_env, "").strip(), "is empty in the monitor's process; set it before Ray starts"
        named = f"monitoring.webhook.token_env names the variable {webhook.token_env}, which"
    else:
        return None
    if not token:
        raise ConfigError(f"{named} {where}")
    return token
