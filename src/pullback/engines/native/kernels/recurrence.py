"""recurrence."""

from __future__ import annotations
