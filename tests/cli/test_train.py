"""`pullback train`, as `make train` calls it, with a smaller budget."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

pytest.importorskip("tokenizers")

from pullback.cli import main

LIBRARY = Path(sysconfig.get_path("stdlib"))
SMALL = ["--model", "vocab_size=512", "hidden_size=64", "num_hidden_layers=2", "num_attention_heads=4"]


@pytest.mark.slow
def test_the_whole_way_and_on_again(tmp_path: Path) -> None:
    """Tokenizer, tokens, training, baselines, samples; a second call finds all of it done."""
    folder = tmp_path / "lm"
    command = [sys.executable, "-m", "pullback", "train", "--resume", "--baselines", "--play", "--folder", str(folder)]
    data = [str(LIBRARY / name) for name in ("json", "email", "logging", "asyncio", "concurrent", "http", "xml")]
    flags = ["--data", *data, *SMALL, "--steps", "80", "--length", "64", "--held-out", "10", "--sample-every", "50"]
    outputs = []
    for _ in range(2):
        done = subprocess.run(
            [*command, *flags], capture_output=True, text=True, stdin=subprocess.DEVNULL, env=os.environ
        )
        assert done.returncode in (0, 1), done.stderr
        model, ngram, xz = (
            float(re.search(pattern, done.stdout)[1])  # type: ignore[index]
            for pattern in (r"([\d.]+) bits per byte", r"([\d.]+) for an order-3 model", r"([\d.]+) for xz")
        )
        assert done.returncode == (model >= ngram), done.stdout
        assert 0.5 < xz < 8 and model < 6
        outputs.append(done.stdout)
    assert "tokenizer  512 tokens" in outputs[0] and "--- step 50" in outputs[0] and "order-3" in outputs[0]
    assert "tokenizer  512" not in outputs[1] and "step 1/" not in outputs[1]
    assert outputs[0].partition("held out   loss")[2] == outputs[1].partition("held out   loss")[2]


def test_settings_come_from_a_file_and_flags_change_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.toml").write_text(
        f"folder = '{tmp_path / 'run'}'\ndata = ['{LIBRARY / 'json'}', '{LIBRARY / 'email'}']\nsteps = 500\n"
        "held_out = 4\nlength = 16\nbatch = 4\nsample_every = 0\nprompts = []\n"
        "[model]\nvocab_size = 300\nhidden_size = 16\nnum_hidden_layers = 1\nnum_attention_heads = 2\n"
        "num_key_value_heads = 1\nintermediate_size = 32\nmax_position_embeddings = 32\n"
    )
    assert main(["train", str(tmp_path / "run.toml"), "--steps", "2"]) == 0
    out = capsys.readouterr().out
    assert "training   2 steps of 4 x 16 tokens" in out and "held out   loss" in out
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--preset", "huge"], "no preset 'huge'"),
        (["--data", "nowhere"], "there is no .*nowhere"),
        (["--model", "hidden_size"], "not of the form NAME=VALUE"),
        (["--model", "hidden_size=64"], "not a multiple of 6 attention heads"),
        (["missing.toml"], "there is no missing.toml"),
    ],
)
def test_mistakes_are_told(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", *flags]) == 2
    assert re.search(message, capsys.readouterr().err)
    with pytest.raises(SystemExit):
        main(["train", "--steps", "many"])
