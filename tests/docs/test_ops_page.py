"""docs/ops.md says what the records say."""

from __future__ import annotations

from pathlib import Path

from pullback.ops import OPS
from pullback.ops.document import document

PAGE = Path(__file__).resolve().parents[2] / "docs" / "ops.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == document(), "the records have changed: run `make docs`"


def test_every_op_stands_on_it() -> None:
    page = document()
    assert [name for name in OPS if f"| `{name}` |" not in page] == []
