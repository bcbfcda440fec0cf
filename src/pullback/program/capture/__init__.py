"""From a function to a Program."""

from __future__ import annotations
