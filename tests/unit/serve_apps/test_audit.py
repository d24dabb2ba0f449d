from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.bundle import Bundle
from cluster.errors import JournalError, Unavailable
from cluster.journal import scan
from cluster.records import Audit
from cluster.schema import Matrix
from serve_apps.audit import MOST_TOGETHER, Auditor, choose
from serve_apps.cascade import ENSEMBLE, STUDENT, UNANSWERED, AskEnsemble
from serve_apps.gateway import Gateway
from serve_apps.placement import Placement
from serve_apps.served import ServedModel
from tests.builders import ENSEMBLE_WEIGHTS, MODEL, expected_scores, make_bundle, make_champion, make_row, make_settings

ids = st.builds("{:012x}-{:04x}-{:x}".format, st.integers(0, 2**48 - 1), st.integers(0, 9), st.integers(128, 2**30))


# The choice


@given(ids, st.integers(1, 300), st.floats(0.001, 0.999))
def test_a_choice_depends_on_the_request_id_alone_and_names_rows_in_order(request_id: str, rows: int, share: float) -> None:
    chosen = choose(request_id, rows, share)
    assert chosen == choose(request_id, rows, share)
    assert chosen == sorted(set(chosen))
    assert all(0 <= row < rows for row in chosen)
    assert choose(request_id, rows + 50, share)[: len(chosen)] == chosen


def test_a_share_of_1_chooses_all() -> None:
    assert choose("eeb2475a05f6-0000-80", 3, 1.0) == [0, 1, 2]


@pytest.mark.parametrize("rows", [1, 2, 40])
def test_every_row_is_chosen_as_often_as_was_asked_for_and_independently(rows: int) -> None:
    requests, share = 12_000 // rows, 0.2
    found = np.zeros((requests, rows))
    for number in range(requests):
        found[number, choose(f"eeb2475a05f6-0000-{number:x}", rows, share)] = 1
    spread = (share * (1 - share)) ** 0.5
    assert abs(found.mean() - share) < 4 * spread / found.size**0.5
    assert np.abs(found.mean(axis=0) - share).max() < 4.5 * spread / requests**0.5
    if rows > 1:
        neighbours = np.corrcoef(found[:, :-1].ravel(), found[:, 1:].ravel())[0, 1]
        assert abs(neighbours) < 4 / found[:, 1:].size ** 0.5


# The queue


class Desk:
    """An auditor of a made bundle, and what it asked and wrote."""

    def __init__(self, folder: Path, *, share: float = 1.0, most_waiting: int = 4096) -> None:
        make_bundle(folder / "bundle")
        self.bundle = Bundle(folder / "bundle", version="1")
        self.asked: list[Matrix] = []
        self.written: list[Audit] = []
        self.fails: list[Exception] = []
        self.auditor = Auditor(self.ask, self.append, share=share, budget_s=1.5, most_waiting=most_waiting)

    async def ask(self, bundle: Bundle, matrix: Matrix, budget_s: float) -> Matrix:
        assert budget_s == 1.5
        await asyncio.sleep(0)
        if self.fails:
            raise self.fails.pop(0)
        self.asked.append(matrix)
        return bundle.ensemble(matrix)

    def append(self, audit: Audit) -> None:
        self.written.append(audit)

    def consider_all(self, blocks: dict[str, Matrix]) -> None:
        for name, block in blocks.items():
            self.consider(name, block)

    def consider(self, request_id: str, rows: Matrix, answered_by: list[int] | None = None, *, bundle: Bundle | None = None) -> None:
        self.auditor.consider(bundle or self.bundle, request_id, rows, np.array(answered_by or [STUDENT] * len(rows), dtype=np.uint8))

    def run(self, work: Callable[[], object]) -> None:
        async def inside() -> None:
            work()
            await self.auditor.settled()

        asyncio.run(inside())

    def counts(self) -> tuple[int, int, int]:
        stats = self.auditor.stats
        return stats.audited_rows, stats.dropped_rows, stats.queued_rows


def rows_of(count: int, first: float = 0.0) -> Matrix:
    return np.column_stack([np.arange(count) * 100.0 + first, np.ones(count), np.zeros(count)]).astype(np.float32)


def test_only_rows_that_the_student_answered_for_being_sure_are_audited(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.run(lambda: desk.consider("a", rows_of(4), [STUDENT, ENSEMBLE, UNANSWERED, STUDENT]))
    expected = desk.bundle.ensemble(rows_of(4)[[0, 3]])
    assert desk.written == [Audit(request_id="a", rows=[0, 3], scores=expected.tobytes())]
    assert desk.counts() == (2, 0, 0)


def test_requests_that_wait_are_scored_together_and_written_apart(tmp_path: Path) -> None:
    desk, blocks = Desk(tmp_path), {"a": rows_of(1), "b": rows_of(2, 7.0), "c": rows_of(MOST_TOGETHER), "d": rows_of(1, 3.0)}
    desk.run(lambda: desk.consider_all(blocks))
    assert [len(matrix) for matrix in desk.asked] == [3, MOST_TOGETHER, 1]
    assert [audit.request_id for audit in desk.written] == list(blocks)
    for audit in desk.written:
        np.testing.assert_allclose(np.frombuffer(audit.scores, np.float32), desk.bundle.ensemble(blocks[audit.request_id])[:, 0], atol=1e-6)


def test_each_bundle_is_asked_by_itself(tmp_path: Path) -> None:
    desk, other = Desk(tmp_path), Desk(tmp_path / "other").bundle

    def work() -> None:
        desk.consider("a", rows_of(1))
        desk.consider("b", rows_of(1), bundle=other)

    desk.run(work)
    assert [len(matrix) for matrix in desk.asked] == [1, 1]


def test_what_finds_the_queue_full_is_dropped_and_counted(tmp_path: Path) -> None:
    desk = Desk(tmp_path, most_waiting=5)
    desk.run(lambda: desk.consider_all({"a": rows_of(3), "b": rows_of(3), "c": rows_of(2)}))
    assert [audit.request_id for audit in desk.written] == ["a", "c"]
    assert desk.counts() == (5, 3, 0)


@pytest.mark.parametrize("error", [Unavailable("not in time"), ValueError("a fault of ours")])
def test_an_audit_that_fails_is_dropped_and_the_next_is_done(tmp_path: Path, error: Exception) -> None:
    desk = Desk(tmp_path)
    desk.fails = [error]

    async def inside() -> None:
        desk.consider("a", rows_of(2))
        await desk.auditor.settled()
        desk.consider("b", rows_of(1))
        await desk.auditor.settled()

    asyncio.run(inside())
    assert [audit.request_id for audit in desk.written] == ["b"]
    assert desk.counts() == (1, 2, 0)


def test_an_audit_that_cannot_be_written_down_or_is_no_number_is_dropped(tmp_path: Path) -> None:
    desk = Desk(tmp_path)

    def full(audit: Audit) -> None:
        raise JournalError("the disk is full")

    async def nonsense(bundle: Bundle, matrix: Matrix, budget_s: float) -> Matrix:
        return np.full((len(matrix), 1), np.nan, dtype=np.float32)

    for ask, append in ((desk.ask, full), (nonsense, desk.append)):
        desk.auditor = Auditor(ask, append, share=1.0, budget_s=1.5)
        desk.run(lambda: desk.consider("a", rows_of(2)))
        assert desk.counts() == (0, 2, 0)
    assert desk.written == []


def test_a_share_of_0_audits_nothing(tmp_path: Path) -> None:
    desk = Desk(tmp_path, share=0.0)
    desk.run(lambda: desk.consider("a", rows_of(50)))
    assert (desk.written, desk.counts()) == ([], (0, 0, 0))


# In the data plane

SURE = {"miles": 2000.0, "carrier": "UA"}
HARD = {"miles": 0.0, "wind": 0.0, "carrier": "UA"}


async def elsewhere(bundle: Bundle, matrix: Matrix, budget_s: float) -> Matrix:
    return np.asarray(expected_scores(ENSEMBLE_WEIGHTS, matrix), dtype=np.float32)


def converse(root: Path, ask: AskEnsemble | None, talk: Callable[[httpx.AsyncClient, ServedModel], Awaitable[None]]) -> None:
    async def run() -> None:
        make_champion(root)
        model = ServedModel(make_settings(root, cascade={"audit_share": 1.0}), Placement("in_process", "the test says so"), ask)
        transport = httpx.ASGITransport(Gateway([model]))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            await talk(client, model)

    asyncio.run(run())


def journaled(root: Path) -> list[Any]:
    return list(scan(make_settings(root).places.journal(MODEL)))


@pytest.mark.parametrize("ask", [None, elsewhere])
def test_an_audit_follows_the_prediction_it_is_about_and_leaves_the_answer_as_it_was(tmp_path: Path, ask: AskEnsemble | None) -> None:
    async def talk(client: httpx.AsyncClient, model: ServedModel) -> None:
        rows = [make_row(**row) for row in (HARD, SURE, SURE)]
        answer = (await client.post("/v1/predict", json={"rows": rows})).json()
        assert [row["answered_by"] for row in answer["predictions"]] == ["ensemble", "student", "student"]
        await model.audits.settled()
        first, second = journaled(tmp_path)
        assert (first.kind, second.kind, second.rows) == ("prediction", "audit", 2)
        audit = second.audit()
        assert (audit.request_id, audit.rows) == (answer["request_id"], [1, 2])
        expected = expected_scores(ENSEMBLE_WEIGHTS, [[2000.0, 3.5, 0]] * 2)[:, 0]
        np.testing.assert_allclose(np.frombuffer(audit.scores, np.float32), expected, rtol=1e-5)
        student = np.frombuffer(first.prediction().scores, np.float32)[1:]
        assert [row["probability"] for row in answer["predictions"][1:]] == pytest.approx(student.tolist())

    converse(tmp_path, ask, talk)


def test_other_protocols_are_audited_too(tmp_path: Path) -> None:
    async def talk(client: httpx.AsyncClient, model: ServedModel) -> None:
        row = make_row(**SURE)
        answered = await client.post(f"/v1/models/{MODEL}:predict", json={"instances": [row]})
        assert answered.status_code == 200, answered.text
        await model.audits.settled()
        (audit,) = [entry.audit() for entry in journaled(tmp_path) if entry.kind == "audit"]
        assert (audit.request_id, audit.rows) == (answered.headers["X-Homeostat-Request"], [0])

    converse(tmp_path, None, talk)


def test_an_ensemble_that_is_away_costs_audits_and_no_answer(tmp_path: Path) -> None:
    async def away(bundle: Bundle, matrix: Matrix, budget_s: float) -> Matrix:
        raise Unavailable("not in time")

    async def talk(client: httpx.AsyncClient, model: ServedModel) -> None:
        assert (await client.post("/v1/predict", json={"rows": [make_row(**SURE)]})).status_code == 200
        await model.audits.settled()
        assert [entry.kind for entry in journaled(tmp_path)] == ["prediction"]
        assert (model.audits.stats.audited_rows, model.audits.stats.dropped_rows) == (0, 1)

    converse(tmp_path, away, talk)


def test_the_model_tells_its_promise_and_how_it_is_watched(tmp_path: Path) -> None:
    async def talk(client: httpx.AsyncClient, model: ServedModel) -> None:
        told = (await client.get("/v1/model")).json()["cascade"]
        assert told == {
            "threshold": 0.2,
            "max_disagreement": 0.02,
            "confidence": 0.95,
            "student_share": 0.7,
            "disagreement": 0.01,
            "audit_share": 1.0,
        }

    converse(tmp_path, None, talk)
