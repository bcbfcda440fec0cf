"""Depth: the gradient vanishes in a plain net of 110 layers, and passes through a residual one.

All nets have the same layers, the same default start and the same training; the only difference is the `h +`:

    plain       h = tanh(W h + b)         the gradient is multiplied by every layer on its way down
    residual    h = h + tanh(W h + b)     the `h +` hands it down as it is

Expect, at 110 layers, a gradient that has vanished long before the first layer and chance accuracy (10 %) for the plain
net, and an even gradient and more than 90 % for the residual one. The picture shows the gradient layer by layer.
(A start made for it, such as `nn.init.orthogonal_`, gets the gradient through a plain net, too; the `h +` needs none.)

    python examples/depth.py
"""

import argparse
import time
from pathlib import Path

from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import pullback as torch
import pullback.nn.functional as F
from pullback import nn

WIDTH, EPOCHS, BATCH, LEARNING_RATE = 32, 10, 64, 0.002


class Net(nn.Module):
    """64 pixels -> `depth` layers in all -> 10 digits."""

    def __init__(self, depth, residual):
        super().__init__()
        self.first = nn.Linear(64, WIDTH)
        self.middle = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(depth - 2))
        self.last = nn.Linear(WIDTH, 10)
        self.residual = residual

    def forward(self, x):
        h = self.first(x)
        for layer in self.middle:
            h = h + layer(h).tanh() if self.residual else layer(h).tanh()
        return self.last(h)


def load():
    digits = load_digits()
    images = (digits.data / 16).astype("float32")
    split = train_test_split(images, digits.target, test_size=360, random_state=0, stratify=digits.target)
    return [torch.from_numpy(part) for part in split]


def gradient_norms(model, images, labels):
    """The norm of the gradient of each layer's weights, from the first layer to the last."""
    F.cross_entropy(model(images), labels).backward()
    norms = [layer.weight.grad.norm().item() for layer in (model.first, *model.middle, model.last)]
    model.zero_grad()
    return norms


def train(model, images, labels, epochs):
    """Trains and returns the loss after each step."""
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    steps = epochs * -(-len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    losses = []
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(BATCH):
            loss = F.cross_entropy(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
    return losses


def draw(results, file):
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for color, (name, result) in zip(["C3", "C0"] * 3, results.items(), strict=False):
        style = {20: ":", 56: "--", 110: "-"}[result["depth"]]
        left.semilogy([norm or float("nan") for norm in result["norms"]], style, color=color, label=name)
        right.plot(result["losses"], style, color=color, label=name, linewidth=1)
    left.set(xlabel="layer", ylabel="norm of the gradient", title="before the first step")
    right.set(xlabel="step", ylabel="loss", title="training")
    left.legend(fontsize=8)
    figure.savefig(file, dpi=80)


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Plain against residual nets of 20, 56 and 110 layers.")
    parser.add_argument("--out", type=Path, default=Path("pictures"), help="where the picture goes")
    parser.add_argument("--quick", action="store_true", help="only 110 layers, fewer epochs")
    options = parser.parse_args(arguments)

    images, test_images, labels, test_labels = load()
    results = {}
    for depth in (110,) if options.quick else (20, 56, 110):
        for kind in ("plain", "residual"):
            torch.manual_seed(0)
            start, model = time.perf_counter(), Net(depth, kind == "residual")
            norms = gradient_norms(model, images, labels)
            losses = train(model, images, labels, 2 if options.quick else EPOCHS)
            with torch.no_grad():
                accuracy = (model(test_images).argmax(dim=1) == test_labels).float().mean().item()
            results[f"{kind} {depth}"] = {"depth": depth, "norms": norms, "losses": losses, "accuracy": accuracy}
            print(
                f"{kind:8} {depth:3} layers: gradient {norms[0]:.0e} at the first layer, {norms[-1]:.0e} at the last; "
                f"test accuracy {accuracy:6.2%} in {time.perf_counter() - start:.1f} s",
                flush=True,
            )

    options.out.mkdir(parents=True, exist_ok=True)
    draw(results, options.out / "depth.png")
    print(f"picture: {options.out / 'depth.png'}")
    return results


if __name__ == "__main__":
    main()
