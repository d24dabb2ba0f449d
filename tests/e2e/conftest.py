"""One Ray for all tests that need one: starting it takes seconds, and every test leaves it as it found it."""

from __future__ import annotations

from tests.shared_ray import http_port, ray_cluster

__all__ = ["http_port", "ray_cluster"]
