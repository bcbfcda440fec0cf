"""Pretraining: a whole run on a few files, what it leaves behind, and going on after a crash."""

from __future__ import annotations

import hashlib
import json
import math
import os
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tokenizers")

import pullback as torch
from pullback.errors import ArgumentError
from pullback.lm.model import LanguageModel
from pullback.lm.pretrain import Pretraining, decayed, pretrain, warm_cosine
from pullback.lm.recipe import Recipe
from pullback.train.logs import read

LIBRARY = Path(sysconfig.get_path("stdlib"))
SMALL = {
    "vocab_size": 300,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 128,
}


def small(folder: Path, **changes: Any) -> Recipe:
    """A run of seconds."""
    data = [str(LIBRARY / name) for name in ("json", "email", "logging")]
    settings = {"data": data, "held_out": 4, "length": 32, "batch": 8, "steps": 6, "lr": 5e-3, "valid_every": 3}
    settings |= {"sample_every": 4, "checkpoint_every": 2, "model": SMALL} | changes
    return Recipe(folder=str(folder), **settings)


def weights(run: Pretraining) -> str:
    """What the run ended with, to the bit."""
    state = run.trainer.optimizer.state_dict()["state"]
    parts = [p.detach().numpy().tobytes() for p in run.model.parameters()]
    parts += [x.numpy().tobytes() for one in state.values() for x in one.values() if isinstance(x, torch.Tensor)]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def test_a_run_leaves_all_that_it_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = small(tmp_path / "run", baselines=True, steps=12)
    run = pretrain(recipe)
    out = capsys.readouterr().out
    assert all(
        word in out
        for word in ("data ", "model ", "training ", "held out", "bits per byte", "order-3", "xz", "--- 'def'")
    )
    assert "step 4\n" in out  # a sample on the way
    log = read(tmp_path / "run" / "log.jsonl")
    steps = [record for record in log if "loss" in record]
    assert [record["step"] for record in steps] == list(range(1, 13))
    assert all(record["machine"] > 0 and record["memory"] > 0 and record["tokens_per_second"] > 0 for record in steps)
    assert steps[-1]["loss"] < steps[0]["loss"]
    last = [record for record in log if "valid_loss" in record][-1]
    assert last["valid_perplexity"] == pytest.approx(math.exp(last["valid_loss"]), rel=1e-6)
    held = run.held_out
    bits = last["valid_loss"] * held.labels / math.log(2) / held.bytes
    assert last["valid_bits_per_byte"] == pytest.approx(bits, rel=1e-6) and run.score()[
        "bits_per_byte"
    ] == pytest.approx(bits)
    assert Recipe.read(tmp_path / "run" / "config.toml") == recipe
    names = {path.name for path in (tmp_path / "run" / "model").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    again = LanguageModel.from_pretrained(tmp_path / "run" / "model")
    tokens = torch.arange(20)[None]
    assert torch.equal(again.eval()(tokens), run.model.eval()(tokens))


def test_the_held_out_text_is_not_learned_from(tmp_path: Path) -> None:
    run = Pretraining(small(tmp_path))
    texts = [{run.tokenizer.decode(file.document(i)) for i in range(len(file))} for file in (run.train, run.held_out)]
    assert texts[0] and texts[1] and not texts[0] & texts[1]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["eager", "numpy"])
def test_engines_agree(tmp_path: Path, engine: str) -> None:
    runs = [pretrain(small(tmp_path / name, engine=name, sample_every=0)) for name in ("native", engine)]
    assert runs[0].score()["loss"] == pytest.approx(runs[1].score()["loss"], rel=1e-4)


SCRIPT = """
import sys
from pullback.lm.pretrain import Pretraining
from tests.lm.test_pretrain import small, weights
from pathlib import Path
run = Pretraining(small(Path(sys.argv[1]), **eval(sys.argv[2])), resume=True)
run.fit()
print("ended", weights(run))
"""


def started(folder: Path, changes: dict[str, Any], **options: Any) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    paths = os.pathsep.join([str(root), str(root / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SCRIPT, str(folder), repr(changes)],
        stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": paths}, **options,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize("changes", [{}, {"accumulate": 2, "model": SMALL | {"dropout": 0.1}}, {"engine": "native"}])
def test_a_killed_run_ends_as_one_that_was_not(tmp_path: Path, changes: dict[str, Any]) -> None:
    changes = {"steps": 8} | changes
    whole = started(tmp_path / "whole", changes).communicate()[0]
    process = started(tmp_path / "killed", changes)
    log = tmp_path / "killed" / "log.jsonl"
    while process.poll() is None and not (log.exists() and log.read_text().count('"loss"') >= 5):
        pass
    process.send_signal(signal.SIGKILL)
    out = process.communicate()[0]
    assert "ended" not in out
    resumed = started(tmp_path / "killed", changes).communicate()[0]
    assert whole.splitlines()[-1].startswith("ended") and resumed.splitlines()[-1] == whole.splitlines()[-1]
    assert [r["step"] for r in read(log) if "loss" in r] == list(range(1, 9))


@pytest.mark.slow
def test_accumulated_steps_weigh_tokens_not_batches(tmp_path: Path) -> None:
    """Rows of unequal documents: two batches of four are one of eight."""
    one = pretrain(small(tmp_path / "one", packed=False, sample_every=0, steps=3))
    two = pretrain(small(tmp_path / "two", packed=False, sample_every=0, steps=3, batch=4, accumulate=2))
    assert one.score()["loss"] == pytest.approx(two.score()["loss"], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"packed": False},
        {"segments": True},
        {"checkpointing": True},
        {"bf16": True},
        {"preset": "gpt2", "model": SMALL | {"num_key_value_heads": 4}},
        {"preset": "tiny-moe", "model": SMALL | {"num_experts": 3, "num_experts_per_tok": 2}},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_other_ways_to_train(tmp_path: Path, changes: dict[str, Any]) -> None:
    run = pretrain(small(tmp_path, steps=8, **changes))
    losses = [record["loss"] for record in read(tmp_path / "log.jsonl") if "loss" in record]
    assert losses[-1] < losses[0] and math.isfinite(run.score()["loss"])


def test_groups_and_schedule() -> None:
    model = LanguageModel(Recipe(model=SMALL, length=32).shape)
    matrices, rest = decayed(model, 0.1)
    assert all(p.ndim > 1 for p in matrices["params"]) and all(p.ndim == 1 for p in rest["params"])
    assert len(matrices["params"]) + len(rest["params"]) == len(list(model.parameters())) and rest["weight_decay"] == 0
    factor = warm_cosine(100, 0.1, 0.1)
    assert [factor(0), factor(4), factor(9), factor(10)] == pytest.approx([0.1, 0.5, 1.0, 1.0])
    assert factor(55) == pytest.approx(0.55) and factor(100) == pytest.approx(0.1) == factor(500)


def test_a_step_that_is_not_finite_names_the_op(tmp_path: Path) -> None:
    run = Pretraining(small(tmp_path, engine="numpy"))
    with torch.no_grad():
        run.model.layers[1].feed.up.weight.fill_(3e38)  # finite, but no product with it is
    with pytest.raises(RuntimeError, match=r"(?s)linear made (nan|inf).*layers\.1\.feed\.up.*from 3e\+38"):
        run.fit()


def test_a_second_run_in_a_folder_is_refused(tmp_path: Path) -> None:
    Pretraining(small(tmp_path))
    with pytest.raises(ArgumentError, match="has a run already"):
        Pretraining(small(tmp_path))


def test_bad_lines_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "data.jsonl"
    good = [json.dumps({"text": f"the {i}th line of text, and {i * i} more of it"}) for i in range(300)]
    file.write_text("\n".join([*good[:100], "{broken", *good[100:], '{"txt": 1}']) + "\n")
    run = Pretraining(small(tmp_path / "run", data=[str(file)]))
    out = capsys.readouterr().out
    assert "data.jsonl:101" in out and "data.jsonl:302" in out and len(run.train) + len(run.held_out) == 300


# -- recipes -----------------------------------------------------------------------------------------------------------


def test_recipes_are_read_as_they_are_written(tmp_path: Path) -> None:
    recipe = Recipe(folder="a b", model={"hidden_size": 96}, prompts=['"quoted"\n', "ü"], tokenizer="x/y", bf16=True)
    recipe.write(tmp_path / "run.toml")
    assert Recipe.read(tmp_path / "run.toml") == recipe
    assert Recipe.read(tmp_path / "run.toml", steps=7) == recipe.but(steps=7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps = 'x'", "steps is 'x', which is not a whole number"),
        ("stpes = 3", "has no stpes"),
        ("steps = ", "is not TOML"),
        ("engine = 'cuda'", "no engine 'cuda'"),
        ("preset = 'huge'", "no preset 'huge'"),
        ("length = 100000", "longer than the 512 positions"),
        ("batch = 0", "at least 1"),
        ("[model]\nhidden = 3", "has no hidden"),
        ("data = []", "no data"),
        ("held_out = 1", "held_out is 1"),
    ],
)
def test_a_bad_recipe_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "run.toml").write_text(text)
    with pytest.raises(ArgumentError, match=message):
        Recipe.read(tmp_path / "run.toml")
