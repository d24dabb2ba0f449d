"""Encoded rows in a person's terms: see `monitoring.conditions`, where the gate and the monitor share it."""

from __future__ import annotations

from monitoring.conditions import UNKNOWN, Flags, Shown, matches, show

__all__ = ["UNKNOWN", "Flags", "Shown", "matches", "show"]
