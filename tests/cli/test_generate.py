"""`pullback generate`: what it prints, from which folders, and what it says of those it cannot use."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

import pullback
from pullback.cli import main
from pullback.lm.config import Config
from pullback.lm.exchange import save_pretrained
from pullback.lm.model import LanguageModel
from pullback.lm.tokenizer import Tokenizer

pytest.importorskip("tokenizers")
CONFIG = Config(
    hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, max_position_embeddings=64
)
FAST = ["--engine", "numpy", "--max-new-tokens", "8"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `pullback train` leaves it."""
    folder = tmp_path_factory.mktemp("run")
    tokenizer = Tokenizer.train(["the cat sat on the mat, and the dog sat by the door. "] * 3, 300)
    pullback.manual_seed(0)
    model = LanguageModel(CONFIG.but(vocab_size=tokenizer.vocab_size))
    with pullback.no_grad():
        for p in model.parameters():
            p.mul_(6.0)
    save_pretrained(model, folder / "model", tokenizer)
    (folder / "config.toml").write_text("")
    return folder


def printed(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert main(["generate", *map(str, arguments), *FAST]) == 0
    return capsys.readouterr().out


def test_a_prompt_is_continued(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, run, "the cat", "--greedy")
    model, tokenizer = pullback.lm.from_pretrained(run / "model"), Tokenizer.load(run / "model")
    tokens = [tokenizer.end_id, *tokenizer.encode("the cat")]
    stop = [tokenizer.end_id, tokenizer.eos_id]
    wanted = model.generate([tokens], 8, stop=stop, engine="numpy")[0].tolist()[1:]
    assert out == tokenizer.decode(wanted, skip_special=True) + "\n" and out.startswith("the cat")
    other = printed(capsys, run / "model", "the cat", "--greedy")  # of Hugging Face's kind: another token begins it
    assert other.startswith("the cat")


def test_seeds(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def text(*options: str) -> str:
        return printed(capsys, run, "the", "--temperature", "2", "--top-p", "1", *options)

    assert text("--seed", "1") == text("--seed", "1") != text("--seed", "2")
    assert len({text() for _ in range(4)}) > 1
    assert text("--seed", "1", "--top-k", "1") == printed(capsys, run, "the", "--greedy")
    assert text("--seed", "1", "--top-k", "1", "--repetition-penalty", "0.05") != printed(
        capsys, run, "the", "--greedy"
    )


def test_a_prompt_from_a_pipe(run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("the dog"))
    piped = printed(capsys, run, "--greedy")
    assert piped == printed(capsys, run, "the dog", "--greedy")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_prompts_on_a_terminal(run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    one = printed(capsys, run, "the dog", "--greedy")
    two = printed(capsys, run, "a mat", "--greedy")
    monkeypatch.setattr(sys, "stdin", Terminal(f"the dog\n\n{'cat ' * 70}\na mat\n"))
    assert main(["generate", str(run), "--greedy", *FAST]) == 0
    said = capsys.readouterr()
    assert one in said.out and two in said.out
    assert "has room for 64" in said.err  # and the loop went on


def test_a_conversation(run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    real = Tokenizer.encode_chat

    def encode_chat(self: Tokenizer, messages: list[dict[str, str]]) -> list[int]:
        asked.append([message["content"] for message in messages])
        return real(self, messages)

    monkeypatch.setattr(Tokenizer, "encode_chat", encode_chat)
    first = printed(capsys, run, "hi", "--chat", "--greedy")
    monkeypatch.setattr(sys, "stdin", Terminal("hi\nthe cat\n" + "the dog\n" * 6))
    assert main(["generate", str(run), "--chat", "--greedy", *FAST]) == 0
    assert capsys.readouterr().out.startswith("> " + first)
    assert asked[0] == asked[1] == ["hi"]
    assert asked[2] == ["hi", first[:-1], "the cat"]
    assert asked[-1][-1] == "the dog" and "hi" not in asked[-1]  # there was no room for all of it


def test_mistakes(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*arguments: str | Path) -> str:
        assert main(["generate", *map(str, arguments), *FAST]) == 1
        return capsys.readouterr().err

    assert "there is no folder" in said(tmp_path / "none", "x")
    assert "no config.json" in said(tmp_path, "x")
    (tmp_path / "config.toml").write_text("")
    assert "has no model yet" in said(tmp_path, "x") and "--resume" in said(tmp_path, "x")
    save_pretrained(LanguageModel(CONFIG), tmp_path / "model")
    assert "no tokenizer.json" in said(tmp_path, "x")
    assert "room for 64" in said(run, "cat " * 100)
    assert "temperature is -1" in said(run, "x", "--temperature", "-1")
    assert main(["generate", str(run), "x", "--engine", "fast"]) == 1
    assert "there is no engine 'fast'" in capsys.readouterr().err
