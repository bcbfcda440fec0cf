"""movement."""

from __future__ import annotations
