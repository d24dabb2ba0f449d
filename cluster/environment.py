"""What Ray must find in the environment: before it starts, and some of it before it is imported.

Serve reads its settings when Ray starts, on every node; so the fast HTTP path lives here as data, and everything
that starts Ray (`cluster.runtime`, the launch files, the Dockerfile) uses the same table. Imports no Ray.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from pathlib import Path
from typing import Final

FAST_HTTP: Final[dict[str, str]] = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",  # HAProxy in front, requests go straight to replicas
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_HAPROXY_NBTHREAD": str(min(4, os.cpu_count() or 1)),
    "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "50",  # 1,000 by default: flushed in one pause of 10-20 ms
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "0.2",  # 10 by default: 23 s without answers when HAProxy dies; 3 to 4 s with this
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve_apps.shortcut:middlewares",  # straight from the HTTP server to the gateway
    "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",  # a log line a request, parsed in Python; the gateway counts for itself
    "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",  # a replica that died before it answered: ask another
    "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(256 << 20),  # 4 MB by default: 10,000 hard rows of 105 features are more
    "RAY_worker_niceness": "0",  # workers are niced by default
}
"""Set before Ray starts, on every node. Figures: docs/decisions/006-fast-http-path.md."""

LOCAL: Final[dict[str, str]] = {
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",  # 30 by default: Ctrl-C would take that long
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "1",  # 30 by default, always used up: replicas never become idle
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",  # 2 by default, paid by every report
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_worker_maximum_startup_concurrency": "6",  # by cores: Ray warns on screen when a small machine runs many sleepy actors
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
}
"""More of them for a cluster on one machine."""


THREADS: Final[dict[str, str]] = {
    "GOMP_SPINCOUNT": "1000",  # a thread that waits soon lets others run: docs/decisions/014-threads-that-wait-sleep.md
}
"""Read when XGBoost or torch is loaded."""


def prepare() -> None:
    """Set what a process must have before it imports Ray, XGBoost or torch; what the user has set stays.

    A cluster of somebody else's (`RAY_ADDRESS`) has its own way to authenticate.
    """
    if "OMP_WAIT_POLICY" not in os.environ:  # the user's own way to wait; a count would overrule it
        for name, value in THREADS.items():
            os.environ.setdefault(name, value)
    if "RAY_ADDRESS" not in os.environ:
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def ensure_token() -> None:
    """Give this user a Ray token, which every process of a local cluster must show, if there is none."""
    if os.environ.get("RAY_AUTH_MODE") != "token" or {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        return
    path = Path.home() / ".ray" / "auth_token"
    if path.exists():
        return
    path.parent.mkdir(mode=0o700, exist_ok=True)
    descriptor, made = tempfile.mkstemp(dir=path.parent, prefix=".auth_token-")  # readable by its owner only
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
        with contextlib.suppress(FileExistsError):  # another process was first; its token counts
            os.link(made, path)  # whole from its first moment: nobody reads it empty
    finally:
        Path(made).unlink()
