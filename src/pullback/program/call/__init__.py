"""A Program, called again and again."""

from __future__ import annotations
