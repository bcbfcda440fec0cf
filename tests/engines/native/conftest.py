"""What builds needs a C compiler: without one it is skipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pullback.engines.native.engine import builder


def pytest_collection_modifyitems(items: list[Any]) -> None:
    if builder.compiler() is None:
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="there is no C compiler"))
