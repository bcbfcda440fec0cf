"""Runs the documentation: every ```python block of README.md and docs/, top to bottom.

The blocks of one file share one namespace. A ```text block right below a python block is what it prints, or how it
fails (`ErrorType: message`), with `...` for what may vary. `<!-- not run -->` above a block leaves it out, which only a
block of shell commands or one that imports PyTorch may ask for.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOT_RUN = "<!-- not run -->"


@dataclass
class Block:
    language: str
    line: int  # of the first line of code, counted from one
    code: str
    above: str  # what stands between this block and the one before

    @property
    def skipped(self) -> bool:
        return self.above.rstrip().endswith(NOT_RUN)


def blocks_of(text: str) -> list[Block]:
    blocks: list[Block] = []
    above: list[str] = []
    code: list[str] | None = None
    language, start = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        fence = line.startswith("```")
        if code is None and fence:
            language, start, code = line.strip("` "), number + 1, []
        elif code is None:
            above.append(line)
        elif fence:
            blocks.append(Block(language, start, "\n".join(code) + "\n", "\n".join(above)))
            above, code = [], None
        else:
            code.append(line)
    assert code is None, f"the block opened on line {start - 1} is never closed"
    return blocks


def spaces(text: str) -> str:
    """One space where there is any, and none inside a bracket: `[[ 1.  2.]]` is `[[1. 2.]]`."""
    return re.sub(r"(?<=[\[(]) | (?=[\])])", "", " ".join(text.split()))


def agree(expected: str, printed: str) -> bool:
    return doctest.OutputChecker().check_output(spaces(expected) + "\n", spaces(printed) + "\n", doctest.ELLIPSIS)


def run(block: Block, path: Path, namespace: dict[str, object], fails: bool) -> str:
    """What the block prints; an error is part of it when `fails`. Line numbers in tracebacks are the page's own."""
    code = compile("\n" * (block.line - 1) + block.code, str(path), "exec")
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            exec(code, namespace)
        except Exception as error:
            if not fails:
                raise
            print(f"{type(error).__name__}: {error}")
    return out.getvalue()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_page(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "torch", None)  # pages import pullback as torch
    page = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", page)  # so that what a page defines can be pickled

    blocks = blocks_of(path.read_text(encoding="utf-8"))
    for block, below in zip(blocks, [*blocks[1:], None], strict=False):
        if block.language != "python":
            continue
        if block.skipped:
            reason = re.search(r"^\s*(?:[$!%]|import torch\b|from torch\b)", block.code, re.MULTILINE)
            assert reason, f"{path.name}:{block.line}: only shell commands or PyTorch are a reason not to run a block"
            continue
        expected = below.code if below and below.language == "text" and not below.above.strip() else None
        printed = run(block, path, page.__dict__, fails=expected is not None)
        if expected is not None:
            assert agree(expected, printed), f"{path.name}:{block.line} printed\n{printed}\ninstead of\n{expected}"


def test_blocks_are_found() -> None:
    page = "# t\n```python\nx = 1\n```\n\n```text\n1\n```\n<!-- not run -->\n```python\n$ pip\n```\n"
    blocks = blocks_of(page)
    assert [(block.language, block.line, block.skipped) for block in blocks] == [
        ("python", 3, False),
        ("text", 7, False),
        ("python", 11, True),
    ]


def test_output_is_compared() -> None:
    assert agree("tensor([[ 1.,  2.],\n  [3., 4.]])", "tensor([[1., 2.],\n        [3., 4.]])\n")
    assert agree("took ... ms", "took 1.25 ms\n")
    assert not agree("tensor([1., 2.])", "tensor([1., 3.])\n")
    assert not agree("", "1\n")
