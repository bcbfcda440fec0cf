"""Every example runs and shows what it says: shortened here, in full among the slow tests."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))


def xor(figures: Any, full: bool) -> None:
    assert max(figures["single layer"]) == 3
    assert min(figures["hidden layer"]) == 4


def regression(figures: Any, full: bool) -> None:
    assert 0.97 < figures["network"] / figures["noise"] < (1.1 if full else 1.25)
    assert figures["best linear function"] > 3 * figures["noise"]


def worked_example(figures: Any, full: bool) -> None:
    """The chain rule by hand, in NumPy."""
    values, worst = figures["values"], figures["worst"]
    v = {name: tensor.detach().numpy() for name, tensor in vars(values).items()}
    yhat = 1 / (1 + np.exp(-(v["Wo"] @ v["a2"] + v["bo"])))
    np.testing.assert_allclose(yhat, v["yhat"], rtol=1e-14)
    np.testing.assert_allclose(v["yhat"], 0.75431024, atol=5e-9)
    zo = (v["yhat"] - v["y"]) * v["yhat"] * (1 - v["yhat"])
    z2 = (v["Wo"].T @ zo) * v["a2"] * (1 - v["a2"])
    z1 = (v["W2"].T @ z2) * v["a1"] * (1 - v["a1"])
    by_hand = {
        "bo": zo,
        "Wo": np.outer(zo, v["a2"]),
        "b2": z2,
        "W2": np.outer(z2, v["a1"]),
        "b1": z1,
        "W1": np.outer(z1, v["x"]),
        "x": v["W1"].T @ z1,
    }
    for name, gradient in by_hand.items():
        np.testing.assert_allclose(getattr(values, name).grad.numpy(), gradient, rtol=1e-12)
    assert worst < 1e-9


def train_digits(figures: Any, full: bool) -> None:
    assert figures["accuracy"] >= (0.96 if full else 0.95)


def digits_mlp(figures: Any, full: bool) -> None:
    assert len(figures["accuracies"]) == (5 if full else 1)
    assert figures["median"] >= (0.97 if full else 0.95)


def digits_cnn(figures: Any, full: bool) -> None:
    assert len(figures["accuracies"]) == (5 if full else 1)
    assert figures["median"] >= (0.985 if full else 0.94)


def depth(figures: Any, full: bool) -> None:
    plain, residual = figures["plain 110"], figures["residual 110"]
    assert len(plain["norms"]) == len(residual["norms"]) == 110
    assert plain["norms"][0] < 1e-15 * plain["norms"][-1]
    assert max(residual["norms"][1:-1]) < 10 * min(residual["norms"][1:-1])
    assert plain["accuracy"] < 0.2 and residual["accuracy"] > (0.9 if full else 0.5)
    if full:
        assert figures["plain 20"]["norms"][0] > figures["plain 56"]["norms"][0] > plain["norms"][0]
        assert min(figures[f"residual {depth}"]["accuracy"] for depth in (20, 56, 110)) > 0.9


def char_rnn(figures: Any, full: bool) -> None:
    for cell in ("LSTM", "GRU"):
        assert figures["losses"][f"{cell} truncated"] < figures["losses"][f"{cell} full"] - 0.1
        assert figures["losses"][f"{cell} truncated"] < (1.7 if full else 3.2)  # about 4.5 before training
    assert figures["cosines"] == sorted(figures["cosines"]) and figures["cosines"][0] < 0.999
    assert figures["cosines"][-1] == pytest.approx(1, abs=1e-5)
    assert figures["memory"][-1] > 3 * figures["memory"][3]  # all 256 characters against windows of 32


def vae(figures: Any, full: bool) -> None:
    assert figures["before"] < figures["without z"] < figures["after"]
    assert figures["after"] > (-112 if full else -180)
    assert figures["divergence"] > 5  # z is used


def recommender(figures: Any, full: bool) -> None:
    assert figures["noise"] < figures["factorisation"] < (1.1 if full else 1.25) * figures["noise"]
    assert figures["factorisation"] < 0.7 * figures["biases alone"] < 0.7 * figures["mean of all"]
    assert sorted(figures["ranks"])[2] <= 30  # half of those recommended are among the best tenth


def large_batch(figures: Any, full: bool) -> None:
    small, unscaled = figures["small"], figures["large, unscaled"]
    for name in ("large, scaled", "growing"):
        assert figures[name]["accuracy"] >= small["accuracy"] - (0.006 if full else 0.015)
        assert figures[name]["updates"] < 0.6 * small["updates"]
    assert unscaled["accuracy"] < small["accuracy"] - 0.01
    assert figures["large, scaled"]["updates"] < small["updates"] / 7


CLAIMS: dict[str, Callable[[Any, bool], None]] = {
    claim.__name__: claim
    for claim in (
        xor,
        regression,
        worked_example,
        train_digits,
        digits_mlp,
        digits_cnn,
        depth,
        char_rnn,
        vae,
        recommender,
        large_batch,
    )
}


def run(name: str, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> Any:
    figures = importlib.import_module(f"examples.{name}").main(arguments)
    for picture in re.findall(r"^picture: (.*)$", capsys.readouterr().out, re.MULTILINE):
        assert Path(picture).read_bytes().startswith(b"\x89PNG")
    return figures


@pytest.mark.parametrize("name", NAMES)
def test_shortened(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    CLAIMS[name](run(name, [] if name == "worked_example" else ["--quick"], capsys), False)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_in_full(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    CLAIMS[name](run(name, [], capsys), True)


@pytest.mark.parametrize("name", NAMES)
def test_stands_in_the_docs(name: str) -> None:
    page = (ROOT / "docs" / "examples.md").read_text(encoding="utf-8")
    assert f"(../examples/{name}.py)" in page


def test_pictures_of_the_docs() -> None:
    """Each picture of the pages exists, is small, and is shown."""
    pages = [page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md")]
    shown = {name for page in pages for name in re.findall(r"\(pictures/(\w+\.png)\)", page)}
    assert shown == {path.name for path in (ROOT / "docs" / "pictures").iterdir()}
    assert all((ROOT / "docs" / "pictures" / name).stat().st_size < 100_000 for name in shown)
