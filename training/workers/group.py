"""The Ray Train shell: one group of workers fits all members together, fold by fold.

Starting workers costs ten to twenty seconds, so it is paid once. Each worker fills a memory-mapped file with its rows and
then runs `training.fitting`. After each step a checkpoint is reported: when a worker dies, the group restarts, with fewer
workers if it may, and goes on from there. What a member does lives in `training.members`, which knows no Ray.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
import ray
import ray.train
import ray.train.torch
import torch
import torch.distributed
from ray.train import Checkpoint, CheckpointConfig, ControllerError, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from cluster import storage
from cluster.errors import HomeostatError, Unavailable
from cluster.schema import Floats
from cluster.settings import absolute
from cluster.training_settings import Training
from training.fitting import Cuts, Fits, Fold, fit_all
from training.members import Crew, Member, Rows
from training.workers import mapped, placement, steps

logger = logging.getLogger(__name__)

_MAX_FAILURES: Final = 2
_STARTS: Final = 5
"""Ray waits a minute for the CPUs of the group; this often, then whoever holds them is to be asked."""
_BLOCK_ROWS: Final = 65_536
_POLL: Final = ("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.1")  # a report waits for the controller's look: 2 s by default, 0.1 s so


class Filled(NamedTuple):
    """A worker's rows, and where they are cut."""

    rows: Rows
    cuts: Cuts


Fill = Callable[[Crew], Filled]
"""Gives a worker its share of the rows; called on the worker, travels to it."""


@dataclass(frozen=True)
class FromMemory:
    """Rows that the driver holds: worker r of n takes the rows r, r + n, ... into a file of its own."""

    blocks: tuple[Any, ...]
    """References to `Rows` in Ray's object store, in order."""
    rows: int
    features: int
    weighted: bool
    cuts: Cuts

    @classmethod
    def of(cls, rows: Rows, cuts: Cuts) -> FromMemory:
        """Put rows into Ray's object store."""
        blocks = tuple(ray.put(rows[start : start + _BLOCK_ROWS]) for start in range(0, len(rows), _BLOCK_ROWS))
        return cls(blocks, len(rows), rows.X.shape[1], rows.weight is not None, cuts)

    def __call__(self, crew: Crew) -> Filled:
        """Fill a worker's file."""
        mine = mapped.blank(len(range(crew.rank, self.rows, crew.size)), self.features, weighted=self.weighted)
        at = 0
        for number, block in enumerate(self.blocks):
            some: Rows = ray.get(block)[slice((crew.rank - number * _BLOCK_ROWS) % crew.size, None, crew.size)]
            until = at + len(some)
            mine.X[at:until], mine.y[at:until] = some.X, some.y
            if mine.weight is not None and some.weight is not None:
                mine.weight[at:until] = some.weight
            at = until
        return Filled(mine, self.cuts.share(crew.rank, crew.size))


def fit_group(
    members: Sequence[Member],
    fill: Fill,
    folds: int,
    training: Training,
    storage_path: str,
    *,
    run: str,
    keep_every_s: float = steps.PARTIAL_EVERY_S,
) -> Fits:
    """Fit every member on `training.num_workers` workers, each with the rows that `fill` gives it.

    Ray must be running. Checkpoints are kept under `storage_path` by the name of the run, so that a run whose driver was killed goes on
    when it is called again; they are removed from a local path in the end.

    Parameters
    ----------
    folds
        How many folds `fill` gives.
    run
        Names what is fitted, whole: members, settings and rows.
    keep_every_s
        Seconds between two states of a step under way.

    Raises
    ------
    Unavailable
        When the cluster has no place for the workers.
    HomeostatError
        When the workers failed more often than they are restarted; the cause is chained.
    """
    os.environ.setdefault(*_POLL)
    placement.check_places(training, ray.nodes())
    place = absolute(storage_path)
    logging.getLogger("ray.train").setLevel(logging.WARNING)
    trainer = TorchTrainer(
        _fit_on_worker,
        train_loop_config={"members": list(members), "fill": fill, "training": training, "keep_every_s": keep_every_s},
        scaling_config=_scaling(training),
        run_config=RunConfig(
            name=run,
            storage_path=place,
            failure_config=FailureConfig(max_failures=_MAX_FAILURES, controller_failure_limit=_STARTS - 1),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
        ),
    )
    try:
        result = trainer.fit()
        assert result.checkpoint is not None  # every step reports one
        done = _steps(result.checkpoint)
    except ControllerError as error:
        raise Unavailable(
            f"{training.num_workers} workers could not be started; their CPUs are held by others, or Ray is in trouble: {error}"
        ) from error
    except ray.train.TrainingFailedError as error:
        raise HomeostatError(f"fitting the members failed on the workers after {_MAX_FAILURES} restarts: {error}") from error
    finally:
        if storage.is_local(place):
            storage.remove_tree(f"{place}/{run}")  # a driver that was killed does not come here
    logger.info("fitted, in seconds: %s", result.metrics)
    nothing = Rows(np.empty((0, 0), dtype=np.float32), np.empty(0))
    cuts = Cuts(Fold(0, 0), [Fold(0, 0)] * folds)
    return fit_all(members, nothing, cuts, Crew(), done=done)  # nothing is left to do: it only sorts them


def _scaling(training: Training) -> ScalingConfig:
    most, least = training.num_workers, training.min_workers or training.num_workers
    return ScalingConfig(
        num_workers=most if least >= most else (least, most), use_gpu=training.use_gpu, resources_per_worker=placement.resources(training)
    )


def _fit_on_worker(config: dict[str, Any]) -> None:
    """What each worker runs."""
    crew = _crew(config["training"])
    checkpoint = ray.train.get_checkpoint()
    done = {} if checkpoint is None else _steps(checkpoint)
    began = time.monotonic()
    filled: Filled = config["fill"](crew)
    pace = steps.Pace(time.monotonic, every_s=config["keep_every_s"])
    keeper = _Keeper(crew, done, pace, {"rows": round(time.monotonic() - began, 2)})
    with mapped.released(filled.rows):
        fit_all(config["members"], filled.rows, filled.cuts, crew, done=done, keep=keeper.keep)


class _Keeper:
    """Reports steps as checkpoints. Rank 0 decides when, for all: a report that one worker skips would never end."""

    def __init__(self, crew: Crew, done: dict[str, bytes], pace: steps.Pace, seconds: dict[str, float]) -> None:
        self._crew, self._done, self._pace, self._seconds = crew, done, pace, seconds
        self._began = time.monotonic()

    def keep(self, name: str, made: steps.Made) -> None:
        if not self._crew.share(self._pace.is_due(name)):
            return
        if not name.endswith(steps.PARTIAL):
            self._seconds[name] = round(time.monotonic() - self._began, 2)
        with tempfile.TemporaryDirectory() as folder:
            if self._crew.rank == 0:
                self._done = steps.without(self._done, steps.outdated(name)) | {name: made()}
                for step, content in self._done.items():
                    steps.write(folder, step, content)
            ray.train.report(dict(self._seconds), checkpoint=Checkpoint.from_directory(folder) if self._crew.rank == 0 else None)
        if not name.endswith(steps.PARTIAL):
            self._began = time.monotonic()


def _steps(checkpoint: Checkpoint) -> dict[str, bytes]:
    with checkpoint.as_directory() as folder:
        return steps.read(str(folder))


def _crew(training: Training) -> Crew:
    context = ray.train.get_context()
    device = torch.device("cpu")
    if training.use_gpu and torch.cuda.is_available():
        device = ray.train.torch.get_device()
        torch.cuda.set_device(device)

    def share(item: object) -> object:
        box = [item]
        torch.distributed.broadcast_object_list(box, src=0)
        return box[0]

    def total(values: Floats) -> Floats:
        tensor = torch.from_numpy(np.array(values, dtype=np.float64)).to(device)
        torch.distributed.all_reduce(tensor)
        return np.asarray(tensor.cpu().numpy(), dtype=np.float64)

    crew = Crew(
        rank=context.get_world_rank(),
        size=context.get_world_size(),
        use_gpu=training.use_gpu,
        seed=training.seed,
        threads=max(1, int(training.cpus_per_worker)),
        host=ray.util.get_node_ip_address(),
    )
    return crew if crew.size == 1 else replace(crew, share=share, total=total)
