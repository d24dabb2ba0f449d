"""The Ray Train shell: one group of workers fits all members, one after the other.

Starting workers costs ten to twenty seconds, so it is paid once. Each worker holds every size-th training row
and all validation rows. After each member a checkpoint is reported: when a worker dies, the group restarts
and skips what is already fitted. What a member does lives in `training.members`, which knows no Ray.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray.data
import ray.train
import torch
import torch.distributed
from ray.train import Checkpoint, CheckpointConfig, DataConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from cluster import storage
from cluster.errors import HomeostatError
from cluster.schema import Floats
from cluster.settings import absolute
from cluster.training_settings import Training
from training.members import Crew, Member, Rows

logger = logging.getLogger(__name__)

_LABEL = "label"
_VALID = "valid"
_MAX_FAILURES = 2
_POLL = ("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.1")  # a report waits for the controller's look: 2 s by default, 0.1 s so


def fit_members(members: Sequence[Member], train: Rows, valid: Rows, training: Training, storage_path: str) -> dict[str, bytes]:
    """Fit every member on `training.num_workers` workers; returns native models by member name.

    Ray must be running. Rows without a label are left out. The same rows, settings and number of workers give
    the same models. Checkpoints are kept under `storage_path`, and removed from a local one in the end.

    Raises
    ------
    HomeostatError
        When the workers failed more often than they are restarted; the cause is chained.
    """
    os.environ.setdefault(*_POLL)
    run, place = f"members-{uuid.uuid4().hex[:12]}", absolute(storage_path)
    logging.getLogger("ray.train").setLevel(logging.WARNING)
    trainer = TorchTrainer(
        _fit_on_worker,
        train_loop_config={"members": list(members), "training": training},
        scaling_config=ScalingConfig(
            num_workers=training.num_workers,
            use_gpu=training.use_gpu,
            resources_per_worker={"CPU": training.cpus_per_worker} | ({"GPU": 1} if training.use_gpu else {}),
        ),
        datasets=_datasets(train.labelled(), valid.labelled(), training.num_workers),
        dataset_config=DataConfig(datasets_to_split=[]),  # split above, so that a worker's rows don't depend on timing
        run_config=RunConfig(
            name=run,
            storage_path=place,
            failure_config=FailureConfig(max_failures=_MAX_FAILURES),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
        ),
    )
    try:
        result = trainer.fit()
        assert result.checkpoint is not None  # every member reports one
        logger.info("members fitted, in seconds: %s", result.metrics)
        return _fitted(result.checkpoint, members)
    except ray.train.TrainingFailedError as error:
        raise HomeostatError(f"fitting the members failed on the workers after {_MAX_FAILURES} restarts: {error}") from error
    finally:
        if storage.is_local(place):
            storage.remove_tree(f"{place}/{run}")  # a restart within the run needs it, a later run never


def _datasets(train: Rows, valid: Rows, workers: int) -> dict[str, Any]:
    """A data set a worker with every so-many-th training row, and one of all validation rows."""
    ray.data.DataContext.get_current().enable_progress_bars = False
    parts = {f"train-{rank}": Rows(train.X[rank::workers], train.y[rank::workers]) for rank in range(workers)} | {_VALID: valid}
    return {name: ray.data.from_arrow(_to_arrow(rows)) for name, rows in parts.items()}


def _to_arrow(rows: Rows) -> pa.Table:
    return pa.table({f"{j:05d}": rows.X[:, j] for j in range(rows.X.shape[1])} | {_LABEL: rows.y})


def _read(name: str) -> Rows:
    """A worker's rows, in the order in which the driver wrote them."""
    shard = ray.train.get_dataset_shard(name)
    batches = list(shard.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=1))
    columns = {column: np.concatenate([batch[column] for batch in batches]) for column in batches[0]}
    y = columns.pop(_LABEL).astype(np.float64)
    return Rows(np.column_stack([columns[column] for column in sorted(columns)]).astype(np.float32), y)


def _fit_on_worker(config: dict[str, Any]) -> None:
    """What each worker runs."""
    crew = _crew(config["training"])
    train, valid = _read(f"train-{crew.rank}"), _read(_VALID)
    checkpoint = ray.train.get_checkpoint()
    done = {} if checkpoint is None else _fitted(checkpoint, config["members"])
    seconds = {}
    for member in config["members"]:
        if member.name not in done:
            began = time.monotonic()
            done[member.name] = member.fit(train, valid, crew)
            seconds[member.name] = round(time.monotonic() - began, 2)
            _report(config["members"], done, seconds, crew)


def _report(members: Sequence[Member], done: dict[str, bytes], seconds: dict[str, float], crew: Crew) -> None:
    with tempfile.TemporaryDirectory() as folder:
        if crew.rank == 0:
            for member in members:
                if member.name in done:
                    (Path(folder) / member.native_name).write_bytes(done[member.name])
        ray.train.report(dict(seconds), checkpoint=Checkpoint.from_directory(folder) if crew.rank == 0 else None)


def _fitted(checkpoint: Checkpoint, members: Sequence[Member]) -> dict[str, bytes]:
    with checkpoint.as_directory() as folder:
        paths = {member.name: Path(folder) / member.native_name for member in members}
        return {name: path.read_bytes() for name, path in paths.items() if path.exists()}


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
