"""Trains a small network on scikit-learn's handwritten digits.

Run it from the project's folder with `make train`, or `python examples/train_digits.py`.
"""

import math
import sys
import time

from sklearn.datasets import load_digits

import pullback as torch
import pullback.nn.functional as F
from pullback import nn

EPOCHS, BATCH, LEARNING_RATE, MOMENTUM = 40, 32, 0.1, 0.9
HIDDEN = 256
TEST_SAMPLES = 360
REQUIRED = 0.95  # it ends near 98 %, give or take a point with the split into training and test digits


class MLP(nn.Module):
    """64 pixels -> hidden units -> 10 digits."""

    def __init__(self):
        super().__init__()
        # He initialisation: keeps the variance of what passes through a relu
        self.w1 = nn.Parameter(torch.randn(64, HIDDEN) * math.sqrt(2 / 64))
        self.b1 = nn.Parameter(torch.zeros(HIDDEN))
        self.w2 = nn.Parameter(torch.randn(HIDDEN, 10) * math.sqrt(1 / HIDDEN))
        self.b2 = nn.Parameter(torch.zeros(10))

    def forward(self, x):
        return F.relu(x @ self.w1 + self.b1) @ self.w2 + self.b2


def load():
    """The digits in a random order, as (train images, train labels), (test images, test labels)."""
    digits = load_digits()
    images = torch.tensor(digits.data, dtype=torch.float32) / 16
    labels = torch.from_numpy(digits.target)
    order = torch.randperm(len(labels))
    test, train = order[:TEST_SAMPLES], order[TEST_SAMPLES:]
    return (images[train], labels[train]), (images[test], labels[test])


def count_correct(logits, labels):
    return (logits.argmax(dim=1) == labels).sum().item()


def show(line, last):
    """Redraws one line on a terminal; elsewhere prints each line."""
    if sys.stdout.isatty():
        print(f"\r\033[K{line}", end="\n" if last else "", flush=True)
    else:
        print(line, flush=True)


def train(model, images, labels):
    parameters = list(model.parameters())
    velocities = [torch.zeros_like(p) for p in parameters]
    start = time.perf_counter()
    for epoch in range(1, EPOCHS + 1):
        rate = LEARNING_RATE * (EPOCHS + 1 - epoch) / EPOCHS
        total, correct = 0.0, 0
        for batch in torch.randperm(len(labels)).split(BATCH):
            logits = model(images[batch])
            loss = F.cross_entropy(logits, labels[batch])
            loss.backward()
            with torch.no_grad():
                for p, v in zip(parameters, velocities, strict=True):
                    v.mul_(MOMENTUM).add_(p.grad)
                    p -= rate * v
                    p.grad = None
            total += loss.item() * len(batch)
            correct += count_correct(logits, labels[batch])

        seconds = time.perf_counter() - start
        show(
            f"epoch {epoch:2}/{EPOCHS}  loss {total / len(labels):.4f}  accuracy {correct / len(labels):6.2%}  "
            f"{epoch * len(labels) / seconds:,.0f} samples/s  ETA {seconds / epoch * (EPOCHS - epoch):.1f} s",
            last=epoch == EPOCHS,
        )


def main():
    torch.manual_seed(0)
    (train_images, train_labels), (test_images, test_labels) = load()
    model = MLP()
    train(model, train_images, train_labels)
    with torch.no_grad():
        accuracy = count_correct(model(test_images), test_labels) / len(test_labels)
    print(f"test accuracy {accuracy:.2%} on {len(test_labels)} digits it has not seen")
    if accuracy < REQUIRED:
        sys.exit(f"This is below {REQUIRED:.0%}, where about 98 % is usual: a gradient may be wrong.")


if __name__ == "__main__":
    main()
