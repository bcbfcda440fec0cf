"""Trains a small network on scikit-learn's handwritten digits, with the Trainer: progress, a test after each epoch.

Run it from the project's folder with `make train`, or `python examples/train_digits.py`. With `--folder runs/digits` it
also keeps checkpoints, a log and a picture of the loss there, and goes on where it was when it is interrupted and
started again. Expect about 98 % of the unseen digits to be read correctly after a few seconds.
"""

import argparse
import sys

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import pullback as torch
from pullback import nn
from pullback.train import Trainer
from pullback.utils.data import DataLoader, TensorDataset

EPOCHS, BATCH, LEARNING_RATE = 20, 32, 0.02
REQUIRED = 0.95


def load():
    """The digits (64 pixels from 0 to 1, and which digit it is), 1437 to learn from and 360 to be tested on."""
    digits = load_digits()
    images = (digits.data / 16).astype("float32")
    split = train_test_split(images, digits.target, test_size=360, random_state=0, stratify=digits.target)
    images, test_images, labels, test_labels = (torch.from_numpy(part) for part in split)
    return TensorDataset(images, labels), TensorDataset(test_images, test_labels)


def accuracy(logits, labels):
    return (logits.argmax(dim=1) == labels).float().mean()


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Trains a small network on handwritten digits.")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--folder", help="where checkpoints, the log and the curves go, and where to go on from")
    parser.add_argument("--quick", action="store_true", help="five epochs")
    options = parser.parse_args(arguments)
    epochs = 5 if options.quick else options.epochs

    torch.manual_seed(0)
    train, test = (DataLoader(digits, batch_size=BATCH, shuffle=True) for digits in load())
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    trainer = Trainer(
        model,
        optimizer,
        nn.CrossEntropyLoss(label_smoothing=0.1),
        train,
        test,
        epochs=epochs,
        scheduler=torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=epochs * len(train)),
        scheduler_per="step",
        metrics={"accuracy": accuracy},
        folder=options.folder,
    )
    reached = trainer.fit()["valid_accuracy"]
    print(f"test accuracy {reached:.2%} on {len(test.dataset)} digits it has not seen")
    if reached < REQUIRED:
        sys.exit(f"This is below {REQUIRED:.0%}, where about 98 % is usual: a gradient may be wrong.")
    return {"accuracy": reached}


if __name__ == "__main__":
    main()
