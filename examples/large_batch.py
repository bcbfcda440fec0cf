"""Large batches: the same accuracy in fewer updates, if the learning rate is scaled along.

A batch eight times as large averages away noise, so each step may be eight times as long (linear scaling); the first
steps are made shorter, while the loss is still curved (warm-up). And where one would shrink the learning rate as
training ends, one can grow the batch instead: both quieten the noise by the same amount. Four runs of equally many
epochs are compared, over five random starts each:

    small             batch 16, the learning rate falls to a quarter twice
    large, unscaled   batch 128, the same learning rate: too few steps that are too short
    large, scaled     batch 128, eight times the learning rate, warmed up
    growing           batch 16 -> 64 -> 256 where the first one shrinks its learning rate

    python examples/large_batch.py
"""

import argparse
import statistics
from pathlib import Path

from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import pullback as torch
import pullback.nn.functional as F
from pullback import nn

EPOCHS, SMALL, LARGE, LEARNING_RATE, WARM_UP = 30, 16, 128, 0.03, 3
FALLS = (15, 24)  # the epochs after which the learning rate falls to a quarter, or the batch grows fourfold


def falls(epoch):
    """How often the learning rate has fallen."""
    return sum(epoch >= fall for fall in FALLS)


SCALED = torch.optim.scaling.linear_scaled_lr(LEARNING_RATE, SMALL, LARGE)  # eight times LEARNING_RATE

# What each run does at a time counted in epochs (2.5 is midway through the third): (batch size, learning rate).
RUNS = {
    "small": lambda epoch: (SMALL, LEARNING_RATE / 4 ** falls(epoch)),
    "large, unscaled": lambda epoch: (LARGE, LEARNING_RATE / 4 ** falls(epoch)),
    "large, scaled": lambda epoch: (LARGE, SCALED * min(1.0, (1 + epoch) / WARM_UP) / 4 ** falls(epoch)),
    "growing": lambda epoch: (SMALL * 4 ** falls(epoch), LEARNING_RATE),
}


def load():
    digits = load_digits()
    images = (digits.data / 16).astype("float32")
    split = train_test_split(images, digits.target, test_size=360, random_state=0, stratify=digits.target)
    return [torch.from_numpy(part) for part in split]


def train(plan, seed, data, epochs):
    """Trains by the plan; returns [(updates so far, test accuracy)] after each epoch."""
    images, test_images, labels, test_labels = data
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=0.9)
    updates, history = 0, []
    for epoch in range(epochs):
        batch_size, _ = plan(epoch)
        batches = torch.randperm(len(images)).split(batch_size)
        for i, batch in enumerate(batches):
            _, optimizer.param_groups[0]["lr"] = plan(epoch + i / len(batches))
            loss = F.cross_entropy(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        updates += len(batches)
        with torch.no_grad():
            history.append((updates, (model(test_images).argmax(dim=1) == test_labels).float().mean().item()))
    return history


def draw(histories, file):
    figure = Figure(figsize=(5.5, 3.8), layout="constrained")
    panel = figure.subplots()
    for name, history in histories.items():
        panel.plot(*zip(*history, strict=True), "--" if name == "growing" else "-", label=name)
    panel.set(xlabel="updates", ylabel="test accuracy", xscale="log", ylim=(0.8, 1))
    panel.legend()
    figure.savefig(file, dpi=80)


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Large batches against small ones.")
    parser.add_argument("--out", type=Path, default=Path("pictures"), help="where the picture goes")
    parser.add_argument("--quick", action="store_true", help="one random start")
    options = parser.parse_args(arguments)

    data = load()
    histories, results = {}, {}
    print("run               updates   test accuracy (median, each)", flush=True)
    for name, plan in RUNS.items():
        runs = [train(plan, seed, data, EPOCHS) for seed in range(1 if options.quick else 5)]
        updates, accuracies = runs[0][-1][0], [run[-1][1] for run in runs]
        histories[name] = runs[0]
        results[name] = {"updates": updates, "accuracy": statistics.median(accuracies)}
        each = "  ".join(f"{accuracy:.2%}" for accuracy in accuracies)
        print(f"{name:16}  {updates:7}   {results[name]['accuracy']:.2%}   {each}", flush=True)

    options.out.mkdir(parents=True, exist_ok=True)
    draw(histories, options.out / "large_batch.png")
    print(f"picture: {options.out / 'large_batch.png'}")
    return results


if __name__ == "__main__":
    main()
