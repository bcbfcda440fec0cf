"""A 10-20-1 network learns a curved function of ten numbers from noisy examples.

The data are generated, so the best possible result is known: a network that has found the function is off by the noise
and nothing else. Expect a test error a few per cent above the noise, where the best linear function is off several
times as much.

    python examples/regression.py
"""

import argparse
from pathlib import Path

from matplotlib.figure import Figure

import pullback as torch
import pullback.nn.functional as F
from pullback import nn

NOISE = 0.3
TRAIN, TEST, BATCH, EPOCHS = 8000, 4000, 64, 40


def generate(count):
    """Ten inputs, of which eight matter, and y = f(x) + noise."""
    x = torch.rand(count, 10) * 2 - 1
    y = torch.sin(torch.pi * x[:, 0]) + 2 * x[:, 1] * x[:, 2] + 2 * x[:, 3] ** 2 + x[:, 4:8].sum(dim=1)
    return x, (y + NOISE * torch.randn(count)).unsqueeze(1)


def linear_error(x, y, x_test, y_test):
    """The test error (root mean square) of the best linear function."""

    def with_bias(x):
        return torch.cat([x, torch.ones(len(x), 1)], dim=1)

    weights = torch.linalg.lstsq(with_bias(x), y).solution
    return F.mse_loss(with_bias(x_test) @ weights, y_test).sqrt().item()


def train(model, x, y, epochs):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)
    for epoch in range(1, epochs + 1):
        total = 0.0
        for batch in torch.randperm(len(x)).split(BATCH):
            loss = F.mse_loss(model(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        schedule.step()
        if epoch % 10 == 0 or epoch == 1:
            print(f"epoch {epoch:3}/{epochs}  training error {(total / len(x)) ** 0.5:.4f}", flush=True)


def draw(prediction, y, file):
    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    panel = figure.subplots()
    panel.plot(y, prediction, ".", markersize=2, alpha=0.5)
    panel.axline((0, 0), slope=1, color="black", linewidth=1)
    panel.set(xlabel="y", ylabel="predicted", title="4000 test examples")
    figure.savefig(file, dpi=80)


def main(arguments=None):
    parser = argparse.ArgumentParser(description="A 10-20-1 network on generated data.")
    parser.add_argument("--out", type=Path, default=Path("pictures"), help="where the picture goes")
    parser.add_argument("--quick", action="store_true", help="fewer epochs")
    options = parser.parse_args(arguments)

    torch.manual_seed(0)
    (x, y), (x_test, y_test) = generate(TRAIN), generate(TEST)
    model = nn.Sequential(nn.Linear(10, 20), nn.Tanh(), nn.Linear(20, 1))
    train(model, x, y, epochs=10 if options.quick else EPOCHS)

    with torch.no_grad():
        prediction = model(x_test)
    errors = {
        "noise": NOISE,
        "network": F.mse_loss(prediction, y_test).sqrt().item(),
        "best linear function": linear_error(x, y, x_test, y_test),
    }
    for name, error in errors.items():
        print(f"{name:20}  {error:.4f}  {error / NOISE:5.2f} x the noise")

    options.out.mkdir(parents=True, exist_ok=True)
    draw(prediction, y_test, options.out / "regression.png")
    print(f"picture: {options.out / 'regression.png'}")
    return errors


if __name__ == "__main__":
    main()
