"""XOR: what a single layer cannot learn, and a hidden layer can.

A single layer draws one straight line, and no line has (0, 0) and (1, 1) on one side and (0, 1) and (1, 0) on the
other: however it starts, at most 3 of the 4 points come out right. Four hidden units bend the line. Expect "3 of 4" and
"4 of 4", and a picture of both decision surfaces.

    python examples/xor.py
"""

import argparse
from pathlib import Path

from matplotlib.figure import Figure

import pullback as torch
import pullback.nn.functional as F
from pullback import nn

STARTS, STEPS, LEARNING_RATE = 5, 400, 0.5

POINTS = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
XOR = torch.tensor([[0.0], [1.0], [1.0], [0.0]])


def single_layer():
    return nn.Linear(2, 1)


def hidden_layer():
    return nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))


def train(model, steps):
    """Trains on all four points at once; returns the most points that were right after any step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=0.9)
    best = 0
    for _ in range(steps):
        logits = model(POINTS)
        best = max(best, ((logits > 0) == (XOR > 0)).sum().item())
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(logits, XOR).backward()
        optimizer.step()
    return best


def draw(models, file):
    axis = torch.linspace(-0.5, 1.5, 101)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    grid = torch.stack([x.flatten(), y.flatten()], dim=1)

    figure = Figure(figsize=(8, 3.6), layout="constrained")
    for panel, (name, model) in zip(figure.subplots(1, len(models)), models.items(), strict=True):
        with torch.no_grad():
            surface = model(grid).sigmoid().reshape(101, 101)
        shades = panel.contourf(x, y, surface, levels=20, vmin=0, vmax=1, cmap="RdBu_r")
        panel.contour(x, y, surface, levels=[0.5], colors="black")
        panel.scatter(
            POINTS[:, 0], POINTS[:, 1], c=XOR[:, 0], cmap="RdBu_r", edgecolors="white", linewidths=2, s=120, zorder=2
        )
        panel.set_title(name)
    figure.colorbar(shades, label="probability of 1")
    figure.savefig(file, dpi=80)


def main(arguments=None):
    parser = argparse.ArgumentParser(description="A single layer fails on XOR, a hidden layer learns it.")
    parser.add_argument("--out", type=Path, default=Path("pictures"), help="where the picture goes")
    parser.add_argument("--quick", action="store_true", help="fewer starts")
    options = parser.parse_args(arguments)

    models, right = {}, {}
    for make in (single_layer, hidden_layer):
        name = make.__name__.replace("_", " ")
        right[name] = []
        for start in range(2 if options.quick else STARTS):
            torch.manual_seed(start)
            models[name] = make()
            right[name].append(train(models[name], STEPS))
        print(f"{name}: points right at best, for each start: {right[name]}")

    options.out.mkdir(parents=True, exist_ok=True)
    draw(models, options.out / "xor.png")
    print(f"picture: {options.out / 'xor.png'}")
    return right


if __name__ == "__main__":
    main()
