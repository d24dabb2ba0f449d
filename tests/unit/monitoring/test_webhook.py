import json

import msgspec
import pytest

from cluster.errors import ConfigError
from cluster.monitoring_settings import Webhook
from cluster.records import Verdict
from cluster.settings import Settings, parse
from monitoring.webhook import Outcome, fingerprint, message, post
from tests.builders import make_settings
from tests.unit.monitoring.alarms import alarm
from tests.unit.monitoring.world import DAY


def fault(side: str) -> Verdict:
    """Miles that cannot be, in the window of `alarm(20)`."""
    return Verdict(
        model="trips",
        bundle="3",
        kind="data_quality",
        name=f"miles.{side}",
        window_start=20 * DAY,
        window_end=21 * DAY,
        rows=200,
        value=0.01,
        expected=0.0,
        unit="share of rows",
        alarm=True,
        message=f"miles is {side} 50 in 2 of 200 rows",
    )


URL = "http://127.0.0.1:9/hook"


def test_a_message_has_the_form_of_alertmanagers_webhooks() -> None:
    sent = message(alarm(20))
    (alert,) = sent["alerts"]
    assert json.loads(msgspec.json.encode(sent)) == sent
    assert set(sent) == {
        *("version", "groupKey", "truncatedAlerts", "status", "receiver", "groupLabels"),
        *("commonLabels", "commonAnnotations", "externalURL", "alerts"),
    }
    assert (sent["version"], sent["status"], sent["truncatedAlerts"]) == ("4", "firing", 0)
    assert sent["groupLabels"] == {"alertname": "HomeostatAlarm", "model": "trips"}
    assert set(alert) == {"status", "labels", "annotations", "startsAt", "endsAt", "generatorURL", "fingerprint"}
    assert (
        alert["labels"]
        == sent["commonLabels"]
        == {
            "alertname": "HomeostatAlarm",
            "severity": "warning",
            "model": "trips",
            "bundle": "3",
            "look": "drift",
            "window": "1970-01-21T00:00:00Z",
        }
    )
    assert (alert["startsAt"], alert["endsAt"]) == ("1970-01-22T00:00:00Z", "0001-01-01T00:00:00Z")


def test_a_message_says_what_changed_since_when_and_on_what_evidence() -> None:
    annotations = message(alarm(20))["alerts"][0]["annotations"]
    assert annotations["description"] == "changed since about then: miles, 12% of the rows are in other bins. Evidence 123, alarm at 100."
    assert annotations["blamed"] == "feature_drift:miles, quality:wind.missing"
    assert annotations["began"] == "1970-01-19T00:00:00Z"


def test_the_same_alarm_has_the_same_fingerprint_and_another_has_another() -> None:
    assert message(alarm(20)) == message(alarm(20, sequence=7))  # the order of judging is not what is told
    prints = {fingerprint(record) for record in (alarm(20), alarm(21), alarm(20, bundle="4"))}
    assert len(prints) == 3
    assert fingerprint(alarm(20)) == "99f539db521c1903"  # pinned: a receiver remembers it over versions of Homeostat


def test_an_alarm_and_impossible_values_of_one_window_are_two_alerts_of_one_message() -> None:
    both = msgspec.structs.replace(alarm(20), verdicts=[fault("above"), fault("below")], news=["miles.above"])
    sent = message(both)
    assert [alert["labels"]["alertname"] for alert in sent["alerts"]] == ["HomeostatAlarm", "HomeostatImpossibleValues"]
    assert sent["alerts"][0] == message(alarm(20))["alerts"][0]
    assert sent["alerts"][1]["annotations"]["description"] == "miles is above 50 in 2 of 200 rows."
    assert sent["groupKey"] == message(alarm(20))["groupKey"]
    assert sent["groupLabels"] == {"model": "trips"}
    assert len({alert["fingerprint"] for alert in sent["alerts"]}) == 2


def test_a_token_that_is_not_where_the_settings_say_is_told_and_nothing_is_sent(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("HOOK_TOKEN", raising=False)
    missing, empty = tmp_path / "none", tmp_path / "empty"
    empty.write_text(" \n")

    def reason(**token: str) -> str:
        outcome = post(Webhook(url=URL, **token), {})
        assert outcome == Outcome(False, is_down=True, reason=outcome.reason)
        return outcome.reason

    assert "HOOK_TOKEN, which is empty in the monitor's process; set it before Ray starts" in reason(token_env="HOOK_TOKEN")
    assert f"monitoring.webhook.token_file '{missing}' cannot be read" in reason(token_file=str(missing))
    assert f"token_file '{empty}' is empty; write the token into it" in reason(token_file=str(empty))


def parsed(tmp_path, **webhook: object) -> Settings:
    content = make_settings(tmp_path).dump()
    return parse(content | {"monitoring": content["monitoring"] | {"webhook": webhook}})


@pytest.mark.parametrize(
    ("webhook", "message"),
    [
        ({}, "key 'monitoring.webhook.url' is missing"),
        ({"url": "hooks.example/alarms"}, r"key 'monitoring\.webhook\.url'.*https\?://"),
        ({"url": URL, "token_env": "A", "token_file": "/b"}, "token_env and token_file are both set; keep one of them"),
        ({"url": URL, "token_file": "token"}, r"key 'monitoring\.webhook\.token_file'"),
        ({"url": URL, "retries": 3}, "unknown key 'monitoring.webhook.retries'; allowed here: longest_pause, timeout_s"),
    ],
)
def test_a_section_that_is_wrong_is_refused_by_key(tmp_path, webhook, message) -> None:
    with pytest.raises(ConfigError, match=message):
        parsed(tmp_path, **webhook)


def test_a_section_is_read_with_its_defaults_and_survives_the_way_to_the_actor(tmp_path) -> None:
    chosen = parsed(tmp_path, url=URL, longest_pause="30s")
    assert chosen.monitoring.webhook is not None
    assert chosen.monitoring.webhook.longest_pause.total_seconds() == 30
    assert parse(chosen.dump()) == chosen
    assert make_settings(tmp_path).monitoring.webhook is None
