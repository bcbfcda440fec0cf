"""Branches and loops inside of a step."""

from __future__ import annotations
