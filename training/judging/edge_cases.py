"""Rows at the edge of a schema: see `monitoring.edge_cases`, where the gate and the monitor share it."""

from __future__ import annotations

from monitoring.edge_cases import MOST_CASES, EdgeCases, edge_cases, survive

__all__ = ["MOST_CASES", "EdgeCases", "edge_cases", "survive"]
