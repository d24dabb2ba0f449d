from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cluster.errors import LedgerConflict, LedgerCorrupt
from cluster.ledger import Attempt, Closed, Event, Judged, Ledger, Trained
from cluster.records import GateVerdict, Promotion, RetrainRequest

VERDICT = GateVerdict(passed=True, reasons=["better"], metric="roc_auc", rows=900, champion=0.7, challenger=0.72, improvement=None)
STORY: list[Event] = [
    RetrainRequest(run="late-1", reason="alarm", now=9.0, since=0.0, train_until=8.0, seed=7),
    Attempt(run="late-1", number=1),
    Trained(run="late-1", version="2", rows=1000, seconds=3.5),
    Judged(run="late-1", version="2", champion="1", verdict=VERDICT),
    Promotion(pointer="champion", version="2", previous="1", by="gate", reason="better"),
    Closed(run="late-1", outcome="promoted", reason="better", now=9.5),
]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(str(tmp_path), clock=lambda: 42.0)


def files(ledger: Ledger) -> list[Path]:
    return sorted(Path(ledger.root).glob("*.json"))


def tell(ledger: Ledger) -> None:
    for event in STORY:
        ledger.append(event)


def test_events_are_read_back_in_order_and_in_their_own_types(ledger: Ledger) -> None:
    assert [ledger.append(event, after=i) for i, event in enumerate(STORY)] == list(range(6))
    assert ledger.events() == STORY
    assert [entry.written for entry in ledger.entries()] == [42.0] * 6


def test_an_empty_ledger_has_no_events(tmp_path: Path) -> None:
    assert Ledger(f"{tmp_path}/none", clock=lambda: 0.0).events() == []


@pytest.mark.parametrize("number", range(5))
def test_a_removed_entry_is_missed(ledger: Ledger, number: int) -> None:
    tell(ledger)
    files(ledger)[number].unlink()
    with pytest.raises(LedgerCorrupt, match="does not follow the one before it"):
        ledger.entries()


@pytest.mark.parametrize("number", range(5))
def test_an_altered_entry_is_found(ledger: Ledger, number: int) -> None:
    tell(ledger)
    path = files(ledger)[number]
    path.write_bytes(path.read_bytes().replace(b'"written":42.0', b'"written":43.0'))
    with pytest.raises(LedgerCorrupt, match=f"{number + 1:08d}.json' does not follow"):
        ledger.entries()


@pytest.mark.parametrize(
    ("old", "new"), [(b'"number":5', b'"number":6'), (b"{", b""), (b'"kind":"Closed"', b'"kind":"Opened"'), (b"outcome", b"income")]
)
def test_a_last_entry_that_makes_no_sense_is_found(ledger: Ledger, old: bytes, new: bytes) -> None:
    tell(ledger)
    last = files(ledger)[-1]
    last.write_bytes(last.read_bytes().replace(old, new))
    with pytest.raises(LedgerCorrupt, match=r"00000005\.json"):
        ledger.events()


def test_nothing_is_appended_to_a_broken_chain(ledger: Ledger) -> None:
    tell(ledger)
    files(ledger)[0].unlink()
    with pytest.raises(LedgerCorrupt):
        ledger.append(STORY[0])


def test_whoever_decided_on_an_old_state_is_told_so(ledger: Ledger) -> None:
    ledger.append(STORY[0], after=0)
    with pytest.raises(LedgerConflict, match="has 1 entries, not 0: somebody else decided first"):
        ledger.append(STORY[1], after=0)
    assert ledger.events() == STORY[:1]


def test_of_many_who_decide_on_the_same_state_one_wins(ledger: Ledger) -> None:
    def decide(i: int) -> bool:
        try:
            ledger.append(Attempt(run=str(i), number=i), after=0)
        except LedgerConflict:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(decide, range(8)))
    assert won.count(True) == 1
    assert ledger.events() == [Attempt(run=str(won.index(True)), number=won.index(True))]


def test_events_that_depend_on_nothing_all_land(ledger: Ledger) -> None:
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda i: ledger.append(Attempt(run="r", number=i)), range(40)))
    assert sorted(numbers) == list(range(40))
    assert {event.number for event in ledger.events() if isinstance(event, Attempt)} == set(range(40))
