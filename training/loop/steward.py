"""The steward: retrains, judges, promotes or refuses, and writes down why. A shell round `training.loop.loop`.

One thread acts, in steps; each ends with an entry in the ledger, so a steward that was killed goes on after the
last one. The named actor makes it the only one of its cluster; the ledger refuses a second decision elsewhere.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from cluster import ledger, storage
from cluster.bundle import Bundle
from cluster.errors import HomeostatError, LedgerConflict
from cluster.history import read_history
from cluster.records import GateVerdict, Pointer, Promotion, RetrainRequest
from cluster.registry import Registry
from cluster.runtime import NAMESPACE, steward_name
from cluster.schema import encode_labels
from cluster.settings import Settings, parse
from monitoring import traces
from monitoring.verdicts import VerdictLog
from training import pipeline
from training.data import frame as frames
from training.judging.duties import duties
from training.judging.gate import judge
from training.loop.loop import Run, State, Step, consider, next_step, recall

logger = logging.getLogger("homeostat.steward")


class Train(Protocol):
    """Fits and registers a challenger; asked again for the same run, it returns what it made."""

    def __call__(
        self, settings: Settings, rows: pa.Table, *, run: str, reason: str, seed: int, unlabelled: pa.Table | None = None
    ) -> Pointer:
        """Returns the registered version."""


class Steward:
    """Acts for one model.

    Parameters
    ----------
    settings
        The model's settings.
    registry
        Where versions and pointers are.
    train
        Fits a challenger; `training.pipeline.train`.
    clock
        Seconds since 1970 UTC.
    """

    def __init__(self, settings: Settings, *, registry: Registry, train: Train, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._registry = registry
        self._train = train
        self._clock = clock
        self._ledger = ledger.Ledger(settings.places.ledger(settings.model), clock=clock)
        self._verdicts = VerdictLog(settings.places.verdicts(settings.model))
        self._source: pa.Table | None = None
        self._lock = threading.Lock()
        self.doing = Step.REST
        registry.publish()  # heals a pointer file that a crash left behind the registry

    def settle(self) -> State:
        """Act until there is nothing to do; returns what the ledger then says."""
        with self._lock:
            while self._step():
                pass
            return self.state()

    def state(self) -> State:
        """What the ledger says now."""
        return recall(self._ledger.events())

    def _step(self) -> bool:
        """Take one step; returns whether there may be another."""
        state = self.state()
        self.doing = next_step(state, max_attempts=self._settings.loop.max_attempts)
        try:
            if self.doing is Step.REST:
                return self._begin(state)
            assert state.run is not None
            {Step.TRAIN: self._fit, Step.JUDGE: self._judge, Step.CONCLUDE: self._conclude, Step.ABANDON: self._abandon}[self.doing](
                state, state.run
            )
        except LedgerConflict:
            logger.info("somebody else decided first; looking again")
        finally:
            self.doing = Step.REST
        return True

    def _begin(self, state: State) -> bool:
        request = consider(self._settings, state, self._verdicts.read())
        if request is None:
            return False
        logger.info("retrain %s: %s", request.run, request.reason)
        self._ledger.append(request, after=state.length)
        return True

    def _fit(self, state: State, run: Run) -> None:
        began, request = self._clock(), run.request
        with self._attempt(state, run):
            known = self._registry.find(request.run)  # a steward killed between registering and writing it down
            history = self._history(request)
            rows = frames.between(self._frame(request, history), request.since, request.train_until)
            recent = frames.between(frames.unlabelled(history, self._settings.columns), request.since, request.now)
            made = known or self._train(self._settings, rows, run=request.run, reason=request.reason, seed=request.seed, unlabelled=recent)
            self._ledger.append(ledger.Trained(run=request.run, version=made.version, rows=rows.num_rows, seconds=self._clock() - began))

    @contextmanager
    def _attempt(self, state: State, run: Run) -> Iterator[None]:
        """Counted before it begins, so that work which kills the process is not tried for ever; the last failure ends the run."""
        number = run.attempts + 1
        self._ledger.append(ledger.Attempt(run=run.request.run, number=number), after=state.length)
        try:
            yield
        except HomeostatError as error:
            logger.error("attempt %s of %s failed: %s", number, run.request.run, error)
            if number >= self._settings.loop.max_attempts:
                self._end(run, "abandoned", f"{type(error).__name__}: {error}")

    def _judge(self, state: State, run: Run) -> None:
        with self._attempt(state, run):
            self._registry.move("challenger", run.version)
            self._ledger.append(self._judgement(run))

    def _judgement(self, run: Run) -> ledger.Judged:
        assert run.version is not None
        old, new = self._load(self._registry.champion()), self._load(self._registry.locate(run.version))
        since = max(run.request.train_until, _after_training(old))
        rows = frames.between(self._frame(run.request, self._history(run.request)), since, run.request.now)
        verdict = self._compare(old, new, rows, np.random.default_rng(run.request.seed))
        return ledger.Judged(run=run.request.run, version=run.version, champion=old.version, verdict=verdict)

    def _compare(self, old: Bundle, new: Bundle, rows: pa.Table, rng: np.random.Generator) -> GateVerdict:
        label = old.schema.label
        y = encode_labels(label, rows.column(label.name))
        times = rows.column(frames.TIME).to_numpy()
        if rows.num_rows == 0:
            champion = challenger = np.empty((0, 1), dtype=np.float32)
        else:
            champion, challenger = old.answer(old.encoder.table(rows)), new.answer(new.encoder.table(rows))
        more = duties(self._settings, new, rows, y, champion, challenger, rng=rng)
        return judge(label, self._settings.gate, y, champion, challenger, times, rng=rng, more=more)

    def _conclude(self, _: State, run: Run) -> None:
        assert run.verdict is not None
        assert run.version is not None
        if run.verdict.passed:
            promote(self._registry, self._ledger, run.version, by="steward", reason=run.verdict.reasons[0])
        self._end(run, "promoted" if run.verdict.passed else "refused", run.verdict.reasons[0])

    def _abandon(self, _: State, run: Run) -> None:
        self._end(run, "abandoned", f"{run.attempts} of {self._settings.loop.max_attempts} attempts were begun and none came to an end")

    def _end(self, run: Run, outcome: str, reason: str) -> None:
        """Close a run; nobody is challenger any more."""
        self._registry.move("challenger", None)
        logger.info("retrain %s %s: %s", run.request.run, outcome, reason)
        self._ledger.append(ledger.Closed(run=run.request.run, outcome=outcome, reason=reason, now=run.request.now))

    def _load(self, pointer: Pointer) -> Bundle:
        cache = Path(storage.local_path(self._settings.places.work(self._settings.model), need="the steward's scratch space"))
        return Bundle(storage.fetch_folder(pointer.uri, cache), version=pointer.version, digest=pointer.digest)

    def _history(self, request: RetrainRequest) -> pa.Table:
        """The journal up to now, with the labels that have come."""
        return read_history(self._settings.places.journal(self._settings.model), self._settings.columns, until=request.now)

    def _frame(self, request: RetrainRequest, history: pa.Table) -> pa.Table:
        """All labelled rows up to now: the source table's, then the journal's."""
        schema = self._settings.columns
        if self._source is None:
            self._source = pipeline.read_frame(self._settings)
        source = self._source
        if frames.TIME not in source.column_names:  # a table without time is older than anything served
            source = source.append_column(frames.TIME, pa.array(np.full(source.num_rows, request.since)))
        return frames.join(source, frames.from_history(history, schema, group=self._settings.training.group))


def _after_training(bundle: Bundle) -> float:
    """The earliest time of a row that the bundle cannot have been trained on."""
    until = bundle.json("lineage.json")["until"]
    return -math.inf if until is None else math.nextafter(float(until), math.inf)


def promote(registry: Registry, book: ledger.Ledger, version: str, *, by: str, reason: str) -> None:
    """Move the champion pointer and write down who did it and why; doing it twice is harmless.

    Raises
    ------
    UnknownVersion
        When there is no such version.
    """
    registry.move("champion", version)
    champions = recall(book.events()).champions
    previous = champions[-1] if champions else None
    if previous != version:
        book.append(Promotion(pointer="champion", version=version, previous=previous, by=by, reason=reason))


class StewardActor:
    """The steward as an actor: acts whenever the monitor has said something new."""

    def __init__(self, plain: dict[str, Any]) -> None:
        settings = parse(plain)
        self._poll_s = settings.monitoring.poll_s
        self._steward = Steward(settings, registry=Registry(settings), train=pipeline.train, clock=time.time)
        self._traces = traces.of_retrains(settings)
        self._failures = 0
        self._last_error = ""
        self._task = asyncio.get_running_loop().create_task(self._act())

    async def _act(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self._settle)
            except Exception as error:  # the actor's main loop: logged, counted, tried again
                self._failures += 1
                self._last_error = f"{type(error).__name__}: {error}"
                logger.exception("the steward's step failed")
                await asyncio.sleep(5)
            await asyncio.sleep(self._poll_s)

    def _settle(self) -> None:
        state = self._steward.settle()
        if self._traces is not None:
            self._traces.look(state.length)

    async def settle(self) -> dict[str, Any]:
        """Act on all that is known; returns the status."""
        await asyncio.to_thread(self._settle)
        return await self.status()

    async def status(self) -> dict[str, Any]:
        """What the ledger says, and what is being done."""
        state = await asyncio.to_thread(self._steward.state)
        return {
            "doing": self._steward.doing.value,
            "run": state.run.request.run if state.run else None,
            "champion": state.champions[-1] if state.champions else None,
            "last_retrain": _iso(state.last_move),
            "failures": self._failures,
            "last_error": self._last_error,
        }

    async def process_id(self) -> int:
        """Of the actor's process, for those who want to kill it."""
        return os.getpid()


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat()


def start(settings: Settings) -> Any:
    """Start the steward's actor, or take the one that runs; returns its handle."""
    import ray

    return (
        ray.remote(StewardActor)
        .options(
            name=steward_name(settings.model),
            namespace=NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            max_restarts=-1,
            max_task_retries=-1,
            num_cpus=0,
        )
        .remote(settings.dump())
    )
