import itertools
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from cluster import storage
from cluster.errors import StorageError
from monitoring import courier
from monitoring.courier import Courier, Deliveries, pause_s
from monitoring.verdicts import WindowVerdicts
from monitoring.webhook import Outcome
from tests.unit.monitoring.alarms import alarm
from tests.unit.monitoring.world import settings

ACCEPTED = Outcome(True)
DOWN = Outcome(False, is_down=True, reason="nobody there")
REFUSED = Outcome(False, reason="not this one")
ALARMS = [alarm(day) for day in (20, 31, 45)]


class Receiver:
    """Answers as it is told, then accepts; remembers what it accepted."""

    def __init__(self, *answers: Outcome) -> None:
        self.answers = itertools.chain(answers, itertools.repeat(ACCEPTED))
        self.asked: list[str] = []
        self.accepted: list[str] = []

    def __call__(self, record: WindowVerdicts) -> Outcome:
        self.asked.append(record.file_name)
        outcome = next(self.answers)
        if outcome.is_accepted:
            self.accepted.append(record.file_name)
        return outcome


def begin(root: Path, receiver: Receiver, known: list[WindowVerdicts]) -> Courier:
    made = Courier(receiver, Deliveries(str(root / "delivered"), known), longest_pause_s=300, rng=lambda: 0.5)
    made.offer(known)
    return made


def names(records: list[WindowVerdicts]) -> list[str]:
    return [record.file_name for record in records]


def test_alarms_are_delivered_once_each_and_in_order(tmp_path) -> None:
    receiver = Receiver()
    made = begin(tmp_path, receiver, [])
    for count in (1, 2, 2, 3, 3):
        made.offer(ALARMS[:count])
        assert made.deliver()
    assert receiver.accepted == names(ALARMS)
    assert made.waiting == 0


def test_a_receiver_that_fails_twice_is_asked_again_for_the_same_alarm(tmp_path) -> None:
    receiver = Receiver(DOWN, DOWN)
    made = begin(tmp_path, receiver, [])
    made.offer(ALARMS)
    assert [made.deliver() for _ in range(3)] == [False, False, True]
    assert receiver.asked == [ALARMS[0].file_name] * 2 + names(ALARMS)
    assert receiver.accepted == names(ALARMS)
    assert made.failures == 2


def test_an_alarm_that_is_refused_does_not_keep_the_others_waiting(tmp_path, caplog) -> None:
    receiver = Receiver(REFUSED)
    made = begin(tmp_path, receiver, [])
    made.offer(ALARMS)
    assert not made.deliver()
    assert receiver.accepted == names(ALARMS[1:])
    assert made.waiting == 1
    assert f"the alarm {ALARMS[0].file_name} was not delivered: not this one; it is tried again" in caplog.text
    assert made.deliver()
    assert receiver.accepted == names([*ALARMS[1:], ALARMS[0]])


def test_what_was_delivered_is_known_after_a_restart_and_what_was_not_is_sent(tmp_path) -> None:
    first = begin(tmp_path, Receiver(), [])
    first.offer(ALARMS[:2])
    assert first.deliver()
    receiver = Receiver()
    second = begin(tmp_path, receiver, ALARMS)
    assert second.waiting == 1
    assert second.deliver()
    assert receiver.accepted == names(ALARMS[2:])


def test_alarms_from_before_anybody_was_to_be_told_are_past(tmp_path) -> None:
    receiver = Receiver()
    made = begin(tmp_path, receiver, ALARMS[:2])
    assert made.deliver()
    made.offer(ALARMS)
    assert made.deliver()
    assert receiver.accepted == names(ALARMS[2:])


def test_one_that_was_killed_between_answer_and_memory_sends_again_and_no_other(tmp_path, monkeypatch) -> None:
    first, receiver = begin(tmp_path, Receiver(), []), Receiver()
    first.offer(ALARMS[:1])
    first.deliver()
    first.offer(ALARMS[:2])
    with monkeypatch.context() as patched:
        patched.setattr(Deliveries, "note", lambda *_: None)  # as far as the disk knows, it died here
        first.deliver()
    assert begin(tmp_path, receiver, ALARMS[:2]).deliver()
    assert receiver.accepted == names(ALARMS[1:2])


def test_a_disk_that_is_full_does_not_send_an_alarm_twice_in_one_process(tmp_path, monkeypatch, caplog) -> None:
    receiver = Receiver()
    made = begin(tmp_path, receiver, [])

    def full(*_: object) -> bool:
        raise StorageError("no space left on device")

    monkeypatch.setattr(storage, "create_exclusive", full)
    made.offer(ALARMS)
    assert made.deliver()
    assert made.deliver()
    assert receiver.accepted == names(ALARMS)
    assert "was delivered, and will be again after a restart" in caplog.text


@given(failures=st.integers(1, 10_000), longest_s=st.floats(0.1, 1e5), chance=st.floats(0, 1, exclude_max=True))
def test_a_pause_is_bounded_and_its_bound_never_shrinks_while_nothing_works(failures, longest_s, chance) -> None:
    pause = pause_s(failures, longest_s=longest_s, chance=chance)
    assert 0 <= pause <= min(longest_s, 2.0 ** (failures - 1) if failures < 40 else longest_s)
    assert pause <= pause_s(failures + 1, longest_s=longest_s, chance=chance)


def test_without_a_webhook_nobody_is_told_and_nothing_is_written(tmp_path) -> None:
    chosen = settings(tmp_path)
    assert courier.of_alarms(chosen, ALARMS) is None
    assert list(tmp_path.iterdir()) == []
